//! The names of the settings, their defaults as text, and names that are mistaken for them.

use std::ffi::OsString;

use crate::model::limits::{self, Limit, Limits};

/// Names of the settings in a file, besides those of the limits.
const KEYS: &[&str] = &[
    "url",
    "ca_file",
    "token",
    "token_file",
    "data",
    "listen",
    "durability",
    "resp",
    "journal",
    "journal_acks",
    "journal_ca_file",
    "journal_trust",
    "archive",
    "archive_endpoint",
    "archive_ca_file",
    "archive_region",
    "runs",
    "tls_cert",
    "tls_key",
    "public_url",
    "trusted_proxy",
    "allowed_origins",
    "frame_ancestors",
    "share_jwt_key_file",
    "share_jwt_audience",
    "insecure",
    "spool",
    "spool_bytes_max",
    "pty",
    "overflow",
];

/// The name of the tables with the rules of notices.
pub(super) const NOTICE_TABLES: &str = "notify";

/// Prefix of the names of environment variables.
const PREFIX: &str = "TASKTAIL_";
/// Environment variables that are not settings: for diagnostics, set by `run` for its command, or read by clients.
const OTHER_VARIABLES: &[&str] = &["LOG", "LOG_FORMAT", "CONFIG", "TASK", "RUN", "BIN"];
/// Minimum similarity of a name that is suggested, as for clap's own suggestions.
const SIMILARITY_MIN: f64 = 0.7;

/// Returns the names of all settings.
pub fn known_keys() -> impl Iterator<Item = &'static str> {
    KEYS.iter().copied().chain(Limit::ALL.iter().map(|limit| limit.name()))
}

/// Returns the name of a setting's environment variable.
pub(super) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase())
}

/// Returns the default of a setting as text; `None` if it depends on the machine, or if there is none.
pub fn default_of(key: &str) -> Option<String> {
    if let Some(limit) = Limit::from_name(key) {
        return Some(Limits::default().show(limit));
    }
    match key {
        "url" | "token" | "data" | "spool_bytes_max" => None,
        "listen" => Some(limits::LISTEN_DEFAULT.to_owned()),
        "durability" => Some("commit".to_owned()),
        "journal_acks" => Some("auto".to_owned()),
        "insecure" | "journal_trust" => Some("false".to_owned()),
        "pty" => Some("auto".to_owned()),
        "overflow" => Some("skip".to_owned()),
        _ => Some("off".to_owned()),
    }
}

/// Returns the most similar of some names, if one is similar enough.
pub(super) fn nearest(name: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let similarity = |known: &'static str| (strsim::jaro_winkler(name, known), known);
    let most = names.map(similarity).max_by(|one, other| one.0.total_cmp(&other.0));
    most.filter(|(similarity, _)| *similarity >= SIMILARITY_MIN).map(|(_, known)| known)
}

/// Returns a warning for each environment variable that looks like a setting and is none.
pub fn unknown_variables(variables: impl Iterator<Item = OsString>) -> Vec<String> {
    let mut warnings: Vec<String> = variables.filter_map(|name| unknown_variable(name.to_str()?)).collect();
    warnings.sort();
    warnings
}

fn unknown_variable(name: &str) -> Option<String> {
    let key = name.strip_prefix(PREFIX)?;
    if OTHER_VARIABLES.contains(&key) || known_keys().any(|known| variable_of(known) == name) {
        return None;
    }
    let remedy = match nearest(&key.to_lowercase(), known_keys()) {
        Some(nearest) => format!("did you mean {}?", variable_of(nearest)),
        None => "`tasktail config show` lists all settings".to_owned(),
    };
    Some(format!("{name} is not a setting and has no effect; {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_variables_are_reported_with_the_nearest_name() {
        let names = ["TASKTAIL_WORKERGRACE", "TASKTAIL_LISTEN", "TASKTAIL_LOG", "TASKTAIL_Q", "PATH", "TASKTAIL_TASK"];
        let warnings = unknown_variables(names.iter().map(OsString::from));
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].starts_with("TASKTAIL_Q is not a setting"), "{warnings:?}");
        assert!(warnings[1].ends_with("did you mean TASKTAIL_WORKER_GRACE?"), "{warnings:?}");
    }

    #[test]
    fn every_default_that_is_text_is_valid() {
        let set = |key: &'static str| default_of(key).map(|text| (key, OsString::from(text)));
        let flags = known_keys().filter_map(set).collect();
        let settings = crate::config::Settings::load(&flags, |_| None, None).unwrap();
        let defaults = crate::config::Settings::load(&Vec::new(), |_| None, None).unwrap();
        assert_eq!(settings.limits, defaults.limits);
        assert_eq!((settings.listen, settings.durability), (defaults.listen, defaults.durability));
        assert_eq!((settings.pty, settings.overflow, settings.resp), (defaults.pty, defaults.overflow, defaults.resp));
    }
}
