//! The places that settings are read from, in the order of their priority.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::file::SettingsFile;
use super::names::variable_of;
use super::{ConfigError, FlagValues, RawSetting, SettingSource};

/// The flags, the environment and the settings file.
pub(super) struct Sources<'a> {
    flags: &'a FlagValues,
    env: &'a dyn Fn(&str) -> Option<OsString>,
    pub(super) file: Option<SettingsFile>,
}

impl<'a> Sources<'a> {
    /// Reads the settings file: `file`, or the user's own if it exists.
    pub(super) fn new(
        flags: &'a FlagValues,
        env: &'a dyn Fn(&str) -> Option<OsString>,
        file: Option<&Path>,
        read: impl FnOnce(&Path) -> Result<SettingsFile, ConfigError>,
    ) -> Result<Self, ConfigError> {
        let mut sources = Self { flags, env, file: None };
        let own = || sources.folder("XDG_CONFIG_HOME", ".config").map(|path| path.join("tasktail/config.toml"));
        let path = file.map(Path::to_owned).or_else(|| own().filter(|path| path.exists()));
        sources.file = path.as_deref().map(read).transpose()?;
        Ok(sources)
    }

    /// Returns a folder of the user, from its variable or below the home directory.
    pub(super) fn folder(&self, xdg: &str, home: &str) -> Option<PathBuf> {
        let absolute = |value: OsString| Some(PathBuf::from(value)).filter(|path| path.is_absolute());
        (self.env)(xdg).and_then(absolute).or_else(|| (self.env)("HOME").and_then(absolute).map(|path| path.join(home)))
    }

    /// Returns the value of a setting from the source with the highest priority. An empty variable counts
    /// as unset.
    pub(super) fn find(&self, key: &'static str) -> Result<Option<RawSetting>, ConfigError> {
        if let Some((_, value)) = self.flags.iter().rfind(|(name, _)| *name == key) {
            return Ok(Some((SettingSource::Flag(format!("--{}", key.replace('_', "-"))), value.clone())));
        }
        let name = variable_of(key);
        if let Some(value) = (self.env)(&name).filter(|value| !value.is_empty()) {
            return Ok(Some((SettingSource::Environment(name), value)));
        }
        self.file.as_ref().map_or(Ok(None), |file| file.find(key))
    }
}
