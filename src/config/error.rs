//! Errors in the settings, which name the source of the value.

use std::fmt;
use std::path::PathBuf;

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingSource {
    /// A flag, with its dashes.
    Flag(String),
    /// An environment variable.
    Environment(String),
    /// A line and a key of a settings file.
    File(PathBuf, usize, String),
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingSource::Flag(name) => f.write_str(name),
            SettingSource::Environment(name) => f.write_str(name),
            SettingSource::File(path, line, key) => write!(f, "{}:{line}: `{key}`", path.display()),
        }
    }
}

/// An error in the settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value is invalid.
    #[error("{at}: {why}")]
    Value {
        /// Source of the value.
        at: SettingSource,
        /// Problem and remedy.
        why: String,
    },
    /// The file cannot be read.
    #[error("cannot read the settings file {}: {source}", path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}: not TOML: {why}", path.display())]
    Syntax {
        /// Path of the file.
        path: PathBuf,
        /// Error of the parser, with the line.
        why: String,
    },
    /// The file has an unknown key.
    #[error("{}:{line}: unknown setting `{key}`; {}", path.display(), unknown_remedy(*nearest))]
    UnknownKey {
        /// Path of the file.
        path: PathBuf,
        /// Line of the key.
        line: usize,
        /// Unknown key.
        key: String,
        /// The most similar setting, if any.
        nearest: Option<&'static str>,
    },
    /// The file with the access token cannot be used.
    #[error("cannot read the access token from {}: {source}", path.display())]
    TokenFile {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system, or the problem with its contents.
        source: std::io::Error,
    },
    /// The data folder has no default without a home directory.
    #[error(
        "no data folder: neither HOME nor XDG_STATE_HOME is set; use --data DIR, set TASKTAIL_DATA, or use a server \
         with --url URL"
    )]
    NoHome,
}

fn unknown_remedy(nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => "`tasktail config show` lists all settings".to_owned(),
    }
}

impl ConfigError {
    /// Reports whether the command line itself is wrong.
    pub fn is_usage(&self) -> bool {
        matches!(self, ConfigError::Value { at: SettingSource::Flag(_), .. })
    }
}
