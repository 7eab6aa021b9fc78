//! Profiles in the files that the AWS tools share: sections of `key = value` lines.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Maximum size of a file of profiles, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The files of profiles, and the profile in use.
#[derive(Clone, Debug)]
pub(super) struct ProfileFiles {
    pub(super) credentials: Option<PathBuf>,
    pub(super) config: Option<PathBuf>,
    pub(super) profile: String,
    /// The user named a profile or a file: it must exist.
    pub(super) is_required: bool,
}

/// A profile with keys.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) key_id: String,
    pub(super) secret_key: String,
    pub(super) token: Option<String>,
    pub(super) region: Option<String>,
}

impl fmt::Debug for Profile {
    /// Leaves out the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile").field("key_id", &self.key_id).field("region", &self.region).finish_non_exhaustive()
    }
}

impl fmt::Display for ProfileFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the profile `{}`", self.profile)?;
        match &self.credentials {
            Some(path) => write!(f, " of {}", path.display()),
            None => Ok(()),
        }
    }
}

impl ProfileFiles {
    /// Returns the profile, or `None` if it does not exist and is not required. Blocks on the disk.
    ///
    /// # Errors
    /// A file cannot be read, or the profile has no keys.
    pub(super) fn read(&self) -> Result<Option<Profile>, String> {
        let mut values = BTreeMap::new();
        if let Some(path) = &self.config {
            let section =
                if self.profile == "default" { "default".to_owned() } else { format!("profile {}", self.profile) };
            values.extend(section_of(&text_of(path)?, &section));
        }
        if let Some(path) = &self.credentials {
            values.extend(section_of(&text_of(path)?, &self.profile));
        }
        let (Some(key_id), Some(secret_key)) = (values.get("aws_access_key_id"), values.get("aws_secret_access_key"))
        else {
            let other = ["credential_process", "sso_session", "sso_start_url", "role_arn"]
                .into_iter()
                .find(|key| values.contains_key(*key));
            return match other {
                Some(other) if self.is_required => Err(format!(
                    "{self} uses {other}, which is not supported: write its keys with `aws configure export-credentials`"
                )),
                None if self.is_required => Err(format!("{self} has no aws_access_key_id and aws_secret_access_key")),
                _ => Ok(None),
            };
        };
        Ok(Some(Profile {
            key_id: key_id.clone(),
            secret_key: secret_key.clone(),
            token: values.get("aws_session_token").cloned(),
            region: values.get("region").cloned(),
        }))
    }
}

/// Returns the text of a file; empty if it does not exist.
fn text_of(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
            Err(format!("{} is larger than {FILE_BYTES_MAX} bytes", path.display()))
        }
        Ok(_) => std::fs::read_to_string(path).map_err(failed),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(failed(error)),
    }
}

/// Returns the values of a section. Nested values, which are indented, are left out.
fn section_of(text: &str, name: &str) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let mut is_inside = false;
    for line in text.lines().filter(|line| !line.starts_with([' ', '\t', '#', ';'])) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default();
            is_inside = header.split_whitespace().eq(name.split_whitespace());
        } else if is_inside && let Some((key, value)) = line.split_once('=') {
            values.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path, profile: &str, is_required: bool) -> ProfileFiles {
        let path = |name: &str| Some(folder.join(name));
        ProfileFiles { credentials: path("credentials"), config: path("config"), profile: profile.into(), is_required }
    }

    #[test]
    fn keys_and_region_are_read_from_both_files() {
        let folder = tempfile::tempdir().unwrap();
        let credentials = "# mine\n[default]\naws_access_key_id = A\naws_secret_access_key=s=1\n\n[ci]\naws_access_key_id=B\n\
                           aws_secret_access_key = t\naws_session_token = u\n";
        std::fs::write(folder.path().join("credentials"), credentials).unwrap();
        let config = "[default]\nregion = eu-central-1\n[profile  ci]\nregion=us-west-2\ns3 =\n  region = nested\n";
        std::fs::write(folder.path().join("config"), config).unwrap();
        let default = files(folder.path(), "default", false).read().unwrap().unwrap();
        assert_eq!((default.key_id.as_str(), default.secret_key.as_str()), ("A", "s=1"));
        assert_eq!((default.token, default.region.as_deref()), (None, Some("eu-central-1")));
        let ci = files(folder.path(), "ci", true).read().unwrap().unwrap();
        assert_eq!(
            (ci.key_id.as_str(), ci.token.as_deref(), ci.region.as_deref()),
            ("B", Some("u"), Some("us-west-2"))
        );
    }

    #[test]
    fn a_required_profile_must_have_keys() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(files(folder.path(), "default", false).read(), Ok(None));
        assert!(files(folder.path(), "ci", true).read().unwrap_err().contains("`ci`"));
        std::fs::write(folder.path().join("config"), "[profile ci]\nsso_session = x\n").unwrap();
        assert!(files(folder.path(), "ci", true).read().unwrap_err().contains("export-credentials"));
    }

    #[test]
    fn secrets_are_not_printed() {
        let profile =
            Profile { key_id: "A".into(), secret_key: "hidden".into(), token: Some("hidden".into()), region: None };
        assert!(!format!("{profile:?}").contains("hidden"));
    }
}
