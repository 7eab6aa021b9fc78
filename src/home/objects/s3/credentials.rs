//! Credentials of an S3 service: never from arguments, which other users can see.
//!
//! The first of these that is configured:
//!
//! 1. `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (and `AWS_SESSION_TOKEN`);
//! 2. a web identity: `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN`;
//! 3. the profile `AWS_PROFILE` (or `default`) of `AWS_SHARED_CREDENTIALS_FILE` and `AWS_CONFIG_FILE`, by default
//!    `~/.aws/credentials` and `~/.aws/config`, read again while the server runs;
//! 4. a container's: `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`, or `AWS_CONTAINER_CREDENTIALS_FULL_URI` with
//!    `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`;
//! 5. the metadata service of the machine (IMDSv2), unless `AWS_EC2_METADATA_DISABLED` is `true`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::CredentialProvider;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential};
use parking_lot::Mutex;

use super::profile::{Profile, ProfileFiles};

/// What to do without usable credentials.
pub(super) const REMEDY: &str = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws/credentials (AWS_PROFILE, \
                                 AWS_SHARED_CREDENTIALS_FILE), or run on a machine with a role";
/// Time after which the files of profiles are read again.
const FILES_READ_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// The variables `AWS_*` and `HOME` of an environment.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AwsEnvironment(BTreeMap<String, String>);

impl AwsEnvironment {
    /// Reads the environment of this process.
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self::from_pairs(std::env::vars_os().filter_map(text))
    }

    /// Creates an environment; leaves out other variables and empty ones.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let is_used =
            |(name, value): &(String, String)| (name.starts_with("AWS_") || name == "HOME") && !value.is_empty();
        Self(pairs.into_iter().filter(is_used).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn path(&self, name: &str, below_home: &str) -> Option<PathBuf> {
        let in_home = || Some(PathBuf::from(self.get("HOME")?).join(below_home));
        self.get(name).map(PathBuf::from).or_else(in_home)
    }

    /// Returns the files of profiles and the profile in use.
    pub(super) fn profile_files(&self) -> ProfileFiles {
        ProfileFiles {
            credentials: self.path("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"),
            config: self.path("AWS_CONFIG_FILE", ".aws/config"),
            profile: self.get("AWS_PROFILE").unwrap_or("default").to_owned(),
            is_required: self.get("AWS_PROFILE").is_some() || self.get("AWS_SHARED_CREDENTIALS_FILE").is_some(),
        }
    }
}

impl fmt::Debug for AwsEnvironment {
    /// Formats the names only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The reason why there are no credentials.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no credentials: {0}")]
pub(super) struct NoCredentials(pub(super) String);

/// Adds the credentials to the settings of a client. Returns where they are from, for people.
pub(super) fn apply(
    environment: &AwsEnvironment,
    profile: Option<Profile>,
    builder: AmazonS3Builder,
) -> Result<(AmazonS3Builder, String), NoCredentials> {
    let get = |name| environment.get(name);
    match (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")) {
        (Some(id), Some(secret)) => {
            let builder = builder.with_access_key_id(id).with_secret_access_key(secret);
            let builder = with_each(builder, environment, &[("AWS_SESSION_TOKEN", AmazonS3ConfigKey::Token)]);
            return Ok((builder, "AWS_ACCESS_KEY_ID".to_owned()));
        }
        (None, None) => {}
        (Some(_), None) => {
            return Err(NoCredentials("AWS_ACCESS_KEY_ID is set, but not AWS_SECRET_ACCESS_KEY".to_owned()));
        }
        (None, Some(_)) => {
            return Err(NoCredentials("AWS_SECRET_ACCESS_KEY is set, but not AWS_ACCESS_KEY_ID".to_owned()));
        }
    }
    if let (Some(file), Some(role)) = (get("AWS_WEB_IDENTITY_TOKEN_FILE"), get("AWS_ROLE_ARN")) {
        let builder = builder.with_config(AmazonS3ConfigKey::WebIdentityTokenFile, file);
        let builder = builder.with_config(AmazonS3ConfigKey::RoleArn, role);
        let more = [
            ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
            ("AWS_ENDPOINT_URL_STS", AmazonS3ConfigKey::StsEndpoint),
        ];
        return Ok((with_each(builder, environment, &more), format!("the role {role} of AWS_WEB_IDENTITY_TOKEN_FILE")));
    }
    if profile.is_some() {
        let files = environment.profile_files();
        let from = files.to_string();
        return Ok((builder.with_credentials(Arc::new(FileCredentials { files, read: Mutex::default() })), from));
    }
    if get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").is_some() || get("AWS_CONTAINER_CREDENTIALS_FULL_URI").is_some() {
        let variables = [
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
        ];
        return Ok((with_each(builder, environment, &variables), "the container's role".to_owned()));
    }
    if get("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(NoCredentials("none are configured, and AWS_EC2_METADATA_DISABLED is set".to_owned()));
    }
    let endpoint = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", AmazonS3ConfigKey::MetadataEndpoint)];
    Ok((with_each(builder, environment, &endpoint), "the machine's metadata service".to_owned()))
}

fn with_each(
    builder: AmazonS3Builder,
    environment: &AwsEnvironment,
    variables: &[(&str, AmazonS3ConfigKey)],
) -> AmazonS3Builder {
    variables.iter().fold(builder, |builder, (name, key)| match environment.get(name) {
        Some(value) => builder.with_config(*key, value.trim_end_matches('/')),
        None => builder,
    })
}

/// Credentials of a profile, read again every [`FILES_READ_AGAIN_AFTER`]: another program may renew them.
#[derive(Debug)]
struct FileCredentials {
    files: ProfileFiles,
    /// The last ones read and the time. Locked only briefly.
    read: Mutex<Option<(Instant, Arc<AwsCredential>)>>,
}

#[async_trait::async_trait]
impl CredentialProvider for FileCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let last = self.read.lock().clone();
        if let Some((time, credential)) = &last
            && time.elapsed() < FILES_READ_AGAIN_AFTER
        {
            return Ok(credential.clone());
        }
        let failed = |why| object_store::Error::Generic { store: "S3", source: Box::new(NoCredentials(why)) };
        let files = self.files.clone();
        let read = tokio::task::spawn_blocking(move || files.read()).await;
        let read = read.unwrap_or_else(|error| Err(error.to_string()));
        let profile = match (read, last) {
            (Ok(Some(profile)), _) => profile,
            // A file that is being replaced may be missing or incomplete for a moment.
            (_, Some((_, credential))) => return Ok(credential),
            (Ok(None), None) => return Err(failed(format!("{} has no keys any more", self.files))),
            (Err(why), None) => return Err(failed(why)),
        };
        let Profile { key_id, secret_key, token, .. } = profile;
        let credential = Arc::new(AwsCredential { key_id, secret_key, token });
        *self.read.lock() = Some((Instant::now(), credential.clone()));
        Ok(credential)
    }
}
