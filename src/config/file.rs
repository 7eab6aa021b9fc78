//! The settings file: a TOML table, and the line of each setting in it. Its only sections are the rules of notices.

use std::path::{Path, PathBuf};

use super::names::{NOTICE_TABLES, known_keys, nearest};
use super::{ConfigError, RawSetting, SettingSource};

/// A settings file that has been read.
#[derive(Debug)]
pub(super) struct SettingsFile {
    path: PathBuf,
    table: toml::Table,
    /// The text, to find the line of a setting.
    text: String,
}

impl SettingsFile {
    /// Reads a file. Every key in it must be a known setting.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let file = Self::parse(path)?;
        match file.unknown_keys().into_iter().next() {
            Some(unknown) => Err(unknown),
            None => Ok(file),
        }
    }

    /// Reads a file that may have unknown keys.
    pub(super) fn parse(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let table = text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
            path: path.to_owned(),
            why: error.to_string().trim_end().to_owned(),
        })?;
        Ok(Self { path: path.to_owned(), table, text })
    }

    /// Returns an error for each unknown key, in the order of the names.
    pub(super) fn unknown_keys(&self) -> Vec<ConfigError> {
        let is_known = |key: &str| key == NOTICE_TABLES || known_keys().any(|known| known == key);
        let unknown = self.table.keys().filter(|key| !is_known(key));
        let error = |key: &String| ConfigError::UnknownKey {
            path: self.path.clone(),
            line: self.line_of(key),
            nearest: nearest(key, known_keys()),
            key: key.clone(),
        };
        unknown.map(error).collect()
    }

    /// Returns the value of a key.
    pub(super) fn value(&self, key: &str) -> Option<&toml::Value> {
        self.table.get(key)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the value of a setting and its place.
    pub(super) fn find(&self, key: &'static str) -> Result<Option<RawSetting>, ConfigError> {
        let Some(value) = self.table.get(key) else { return Ok(None) };
        let at = SettingSource::File(self.path.clone(), self.line_of(key), key.to_owned());
        match value {
            toml::Value::String(text) => Ok(Some((at, text.into()))),
            toml::Value::Integer(number) => Ok(Some((at, number.to_string().into()))),
            toml::Value::Boolean(yes) => Ok(Some((at, yes.to_string().into()))),
            other => {
                let why = format!("expected a string or a number, found {}", other.type_str());
                Err(ConfigError::Value { at, why })
            }
        }
    }

    /// Returns the line of a key, from 1.
    pub(super) fn line_of(&self, key: &str) -> usize {
        let table = toml::de::DeTable::parse(&self.text).ok();
        let start = table.as_ref().and_then(|table| {
            table.get_ref().keys().find(|known| known.get_ref() == key).map(|found| found.span().start)
        });
        1 + self.text.as_bytes()[..start.unwrap_or(0)].iter().filter(|byte| **byte == b'\n').count()
    }
}
