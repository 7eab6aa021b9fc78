//! The access token of this user: from the environment, from a file of its own, or from the settings file.
//! Never from the command line, where everyone on the machine could read it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{ConfigError, Found, Source, parse, path_or_off};
use crate::client::BearerToken;

/// Where the token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// Here.
    Text(BearerToken),
    /// In this file, which is read each time: a token can be renewed.
    File(PathBuf),
}

impl TokenSource {
    /// The token.
    ///
    /// # Errors
    /// The file cannot be read, or there is no token in it.
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

/// The stronger of the two, and a warning if others can read it.
pub(super) fn source(
    token: Option<Found>,
    file: Option<Found>,
) -> Result<(Option<TokenSource>, Option<String>), ConfigError> {
    let rank = |found: &Option<Found>| match found {
        Some((Source::Flag(_), _)) => 3,
        Some((Source::Environment(_), _)) => 2,
        Some((Source::File(..), _)) => 1,
        None => 0,
    };
    if rank(&file) > rank(&token) {
        let path = path_or_off(file, "file")?;
        let warning = path.as_deref().and_then(warning);
        return Ok((path.map(TokenSource::File), warning));
    }
    let warning = match &token {
        Some((Source::File(path, _), _)) => warning(path),
        _ => None,
    };
    let token = parse(token, |text| text.parse::<BearerToken>().map_err(|bad| bad.to_string()))?;
    Ok((token.map(TokenSource::Text), warning))
}

fn warning(path: &Path) -> Option<String> {
    let mode = path.metadata().ok()?.mode();
    let text = || format!("{} holds an access token and others can read it: chmod 600 it", path.display());
    (mode & 0o077 != 0).then(text)
}
