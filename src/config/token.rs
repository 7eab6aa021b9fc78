//! The user's access token: from the environment, from a separate file, or from the settings file.
//! Never from the command line, which every user of the machine can read.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{ConfigError, RawSetting, SettingSource, parse, path_or_off};
use crate::client::BearerToken;

/// The place where the token is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// The token itself.
    Text(BearerToken),
    /// A file, which is read each time: the token can be renewed.
    File(PathBuf),
}

impl TokenSource {
    /// Returns the token.
    ///
    /// # Errors
    /// The file cannot be read, or it holds no token.
    pub fn read(&self) -> Result<BearerToken, ConfigError> {
        let path = match self {
            Self::Text(token) => return Ok(token.clone()),
            Self::File(path) => path,
        };
        let unreadable = |source| ConfigError::TokenFile { path: path.clone(), source };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        text.parse().map_err(|bad| unreadable(std::io::Error::other(bad)))
    }
}

/// Returns the source with the higher priority, and a warning if other users can read it.
pub(super) fn source(
    token: Option<RawSetting>,
    file: Option<RawSetting>,
) -> Result<(Option<TokenSource>, Option<String>), ConfigError> {
    let rank = |found: &Option<RawSetting>| match found {
        Some((SettingSource::Flag(_), _)) => 3,
        Some((SettingSource::Environment(_), _)) => 2,
        Some((SettingSource::File(..), _)) => 1,
        None => 0,
    };
    if rank(&file) > rank(&token) {
        let path = path_or_off(file, "file")?;
        let warning = path.as_deref().and_then(warning);
        return Ok((path.map(TokenSource::File), warning));
    }
    let warning = match &token {
        Some((SettingSource::File(path, ..), _)) => warning(path),
        _ => None,
    };
    let token = parse(token, |text| text.parse::<BearerToken>().map_err(|bad| bad.to_string()))?;
    Ok((token.map(TokenSource::Text), warning))
}

fn warning(path: &Path) -> Option<String> {
    let mode = path.metadata().ok()?.mode();
    let text = || format!("{} contains an access token and is readable by others: run chmod 600 on it", path.display());
    (mode & 0o077 != 0).then(text)
}
