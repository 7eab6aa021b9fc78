//! Every setting with its value and the source of the value, and a check of all of them at once.

use std::ffi::OsString;
use std::path::Path;

use serde::Serialize;

use super::file::SettingsFile;
use super::names::{NOTICE_TABLES, default_of, known_keys};
use super::sources::Sources;
use super::{ConfigError, FlagValues, SettingSource, Settings};
use crate::transport::Acceptor;

/// Settings whose values are secret.
const SECRET: &[&str] = &["token"];
/// Settings that are only valid together.
const PAIRS: &[&[&str]] = &[&["tls_cert", "tls_key"], &["token", "token_file"], HOME];
/// Settings of the store that several servers share.
const HOME: &[&str] = &[
    "journal",
    "journal_acks",
    "journal_ca_file",
    "journal_trust",
    "archive",
    "archive_endpoint",
    "archive_ca_file",
    "archive_region",
    "resp",
];
/// Settings that name a file which must be readable.
const FILES: &[&str] = &["ca_file", "token_file", "share_jwt_key_file", "journal_ca_file", "archive_ca_file"];
/// The folder of the credentials of units.
const CREDENTIALS: &str = "/run/credentials";

/// A setting as it is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SettingValue {
    /// Name of the setting.
    pub name: &'static str,
    /// Its value, with secrets masked; `None` if it is not set and has no default.
    pub value: Option<String>,
    /// Kind of the source: `flag`, `environment`, `file` or `default`.
    pub source: &'static str,
    /// The flag, the variable, or the file and line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// A mistake in the settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SettingFault {
    /// Place and problem, with the remedy.
    pub what: String,
}

impl Settings {
    /// Returns every setting with its value and source, in the order of the names' table.
    ///
    /// # Errors
    /// The settings file cannot be read.
    pub fn describe(
        flags: &FlagValues,
        env: impl Fn(&str) -> Option<OsString>,
        file: Option<&Path>,
    ) -> Result<Vec<SettingValue>, ConfigError> {
        let sources = Sources::new(flags, &env, file, SettingsFile::read)?;
        let mut settings = known_keys().map(|key| describe_one(key, &sources)).collect::<Result<Vec<_>, _>>()?;
        settings.extend(describe_rules(&sources)?);
        Ok(settings)
    }

    /// Returns every mistake in the settings, not only the first.
    pub fn check(flags: &FlagValues, env: impl Fn(&str) -> Option<OsString>, file: Option<&Path>) -> Vec<SettingFault> {
        let fault = |error: ConfigError| SettingFault { what: error.to_string() };
        let sources = match Sources::new(flags, &env, file, SettingsFile::parse) {
            Ok(sources) => sources,
            Err(error) => return vec![fault(error)],
        };
        let mut faults: Vec<SettingFault> =
            sources.file.iter().flat_map(SettingsFile::unknown_keys).map(fault).collect();
        let mut checked: Vec<&str> = Vec::new();
        for key in known_keys() {
            if checked.contains(&key) {
                continue;
            }
            let group = PAIRS.iter().find(|pair| pair.contains(&key)).map_or_else(|| vec![key], |pair| pair.to_vec());
            checked.extend(&group);
            let find = |key: &'static str| if group.contains(&key) { sources.find(key) } else { Ok(None) };
            match Settings::merge(&sources, &find) {
                Ok(settings) => faults.extend(unusable_files(&settings, &group, &sources)),
                Err(error) => faults.push(fault(error)),
            }
        }
        faults.extend(rule_faults(&sources));
        faults
    }
}

/// Returns the names of the rules of notices, if there are any.
fn describe_rules(sources: &Sources<'_>) -> Result<Option<SettingValue>, ConfigError> {
    let Some(file) = &sources.file else { return Ok(None) };
    let rules = file.rules().into_iter().collect::<Result<Vec<_>, _>>()?;
    let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    let at = Some(short_place(&file.place_of_rule(0)));
    let value = SettingValue { name: NOTICE_TABLES, value: Some(names.join(", ")), source: "file", at };
    Ok((!rules.is_empty()).then_some(value))
}

/// Returns the faults of the rules of notices, and of the files that they name.
fn rule_faults(sources: &Sources<'_>) -> Vec<SettingFault> {
    let rules = sources.file.iter().flat_map(|file| file.rules().into_iter().enumerate().map(move |rule| (file, rule)));
    let mut faults = Vec::new();
    for (file, (at, rule)) in rules {
        match rule {
            Err(error) => faults.push(SettingFault { what: error.to_string() }),
            Ok(rule) => {
                let broken = rule.actions.iter().filter_map(|action| action.check_file().err());
                faults.extend(broken.map(|(path, error)| {
                    let place = file.place_of_rule(at);
                    let (path, remedy) = (path.display(), credential_remedy(path));
                    SettingFault { what: format!("{place}: rule `{}`: cannot use {path}: {error}{remedy}", rule.name) }
                }));
            }
        }
    }
    faults
}

/// Returns a place in a file without the name of the setting.
fn short_place(at: &SettingSource) -> String {
    match at {
        SettingSource::File(path, line, _) => format!("{}:{line}", path.display()),
        at => at.to_string(),
    }
}

/// Returns the faults of the files that these settings name.
fn unusable_files(settings: &Settings, keys: &[&'static str], sources: &Sources<'_>) -> Vec<SettingFault> {
    let mut faults = Vec::new();
    if let Some(files) = &settings.tls
        && let Err(error) = Acceptor::load(files.clone())
    {
        faults.push(SettingFault { what: error.to_string() + credential_remedy(&files.key) });
    }
    for key in keys.iter().filter(|key| FILES.contains(key)) {
        let Ok(Some((at, name))) = sources.find(key) else { continue };
        if name != "off"
            && let Err(error) = std::fs::File::open(&name)
        {
            let remedy = match credential_remedy(Path::new(&name)) {
                "" => "; use the path of a readable file",
                remedy => remedy,
            };
            faults.push(SettingFault { what: format!("{at}: cannot read {}: {error}{remedy}", name.display()) });
        }
    }
    faults
}

/// Returns what to do if a file is a credential that is not there: it exists while its unit runs.
fn credential_remedy(file: &Path) -> &'static str {
    if file.starts_with(CREDENTIALS) && !file.exists() {
        "; restart the unit to which the credential belongs, and check again"
    } else {
        ""
    }
}

fn describe_one(key: &'static str, sources: &Sources<'_>) -> Result<SettingValue, ConfigError> {
    let Some((at, value)) = sources.find(key)? else {
        let value = default_of(key).or_else(|| {
            let data = (key == "data").then(|| sources.folder("XDG_STATE_HOME", ".local/state"))??;
            Some(data.join("tasktail").display().to_string())
        });
        return Ok(SettingValue { name: key, value, source: "default", at: None });
    };
    let source = match at {
        SettingSource::Flag(_) => "flag",
        SettingSource::Environment(_) => "environment",
        SettingSource::File(..) => "file",
    };
    let value = value.to_string_lossy();
    let shown = if SECRET.contains(&key) { "***".to_owned() } else { without_password(&value) };
    Ok(SettingValue { name: key, value: Some(shown), source, at: Some(short_place(&at)) })
}

/// Masks the user information of a URL, and the value of a query parameter that may be a secret.
fn without_password(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://***{}", &rest[at..]),
        None => value.to_owned(),
    }
}
