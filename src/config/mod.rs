//! Settings, merged from defaults, a TOML file, the environment and flags; later sources win.
//!
//! Every setting has one name in three spellings: `worker_grace` in the file, `TASKTAIL_WORKER_GRACE`
//! in the environment, `--worker-grace` on the command line. An error names the source of the value.

mod error;
mod file;
mod home;
mod names;
mod notices;
mod show;
mod sources;
mod token;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::client::Endpoint;
use crate::home::HomeOptions;
use crate::model::limits::{self, Limit, Limits};
use crate::model::{Overflow, PtyMode, units};
use crate::notices::NoticeRules;
use crate::server::{Origins, PublicUrl, ServeOptions, TrustedProxies};
use crate::tasks::Durability;
use crate::transport::CertificateFiles;

use file::SettingsFile;
use sources::Sources;

pub use error::{ConfigError, SettingSource};
pub use names::{default_of, known_keys, unknown_variables};
pub use show::{SettingFault, SettingValue};
pub use token::TokenSource;

/// The effective settings: all sources merged and every value checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Server to use. Without it, commands look for a local server, and `run` may start one.
    pub url: Option<Endpoint>,
    /// Additional CA certificates to trust.
    pub ca_file: Option<PathBuf>,
    /// Access token to send, if any.
    pub token: Option<TokenSource>,
    /// Warnings to print before the command runs.
    pub warnings: Vec<String>,
    /// Data folder; none without a home directory, which commands with a server's URL do not need.
    pub data: Option<PathBuf>,
    /// Whether the data folder was set explicitly; then a server with another folder is not used.
    pub data_named: bool,
    /// Address to listen on, and to look for a server at.
    pub listen: String,
    /// Whether the address was set explicitly.
    pub listen_named: bool,
    /// When a line counts as durable.
    pub durability: Durability,
    /// Configured limits.
    pub limits: Limits,
    /// Address of the Redis port, if any.
    pub resp: Option<String>,
    /// Store that several servers share, if any.
    pub home: Option<HomeOptions>,
    /// Folder to read events from, as `RUN/events.jsonl`, if any.
    pub runs: Option<PathBuf>,
    /// Certificate of the server; TLS is on if set.
    pub tls: Option<CertificateFiles>,
    /// Permission to serve other hosts without tokens or without TLS.
    pub insecure: bool,
    /// Public address of the server, if it differs from the listen address.
    pub public_url: Option<PublicUrl>,
    /// Reverse proxies whose forwarding headers are trusted.
    pub trusted_proxy: TrustedProxies,
    /// Origins of other sites that may read (CORS).
    pub allowed_origins: Origins,
    /// Origins of other sites whose pages may show the log of a task in a frame.
    pub frame_ancestors: Origins,
    /// Public key for JWTs of another system that share tasks, if any.
    pub share_jwt_key_file: Option<PathBuf>,
    /// Audience that these JWTs must name, if any.
    pub share_jwt_audience: Option<String>,
    /// Rules by which the server reports events of tasks to other programs.
    pub notices: NoticeRules,
    /// Folder where `run` spools lines until the server confirms them, if any.
    pub spool: Option<PathBuf>,
    /// When `run` allocates a terminal for its command.
    pub pty: PtyMode,
    /// Maximum size of a task's local log, in bytes; `None` for the default.
    pub spool_bytes_max: Option<u64>,
    /// The policy of `run` for output beyond that.
    pub overflow: Overflow,
}

/// Values of flags, by the setting's name; later ones win.
pub type FlagValues = Vec<(&'static str, OsString)>;

/// A value before parsing, with its source.
type RawSetting = (SettingSource, OsString);

impl Settings {
    /// Merges all sources: `flags`, the variables that `env` returns, the file (`file`, or the user's own
    /// if it exists), the defaults.
    ///
    /// # Errors
    /// A value, a file or a key is wrong; the message names it and the remedy.
    pub fn load(
        flags: &FlagValues,
        env: impl Fn(&str) -> Option<OsString>,
        file: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        let sources = Sources::new(flags, &env, file, SettingsFile::read)?;
        let settings = Self::merge(&sources, &|key| sources.find(key))?;
        let rules = sources.file.iter().flat_map(SettingsFile::rules).collect::<Result<NoticeRules, _>>()?;
        Ok(Self { notices: rules, ..settings })
    }

    /// Parses what `find` returns for each setting, and fills in the defaults.
    fn merge(
        sources: &Sources<'_>,
        find: &dyn Fn(&'static str) -> Result<Option<RawSetting>, ConfigError>,
    ) -> Result<Self, ConfigError> {
        let data = find("data")?;
        let data_named = data.is_some();
        let data = match data {
            Some((at, value)) if value.is_empty() => {
                return Err(ConfigError::Value { at, why: "the name of the data folder is empty".to_owned() });
            }
            Some((_, value)) => Some(PathBuf::from(value)),
            None => sources.folder("XDG_STATE_HOME", ".local/state").map(|folder| folder.join("tasktail")),
        };
        let defaults = ServeOptions::default();
        let mut limits = defaults.limits;
        for limit in Limit::ALL {
            parse(find(limit.name())?, |text| limits.set(*limit, text))?;
        }
        let listen = parse(find("listen")?, address)?;
        let url = parse(find("url")?, |text| text.parse::<Endpoint>().map_err(|error| error.to_string()))?;
        let ca_file = path_or_off(find("ca_file")?, "file")?;
        let (token, warning) = token::source(find("token")?, find("token_file")?)?;
        Ok(Self {
            token,
            warnings: warning.into_iter().collect(),
            url: url.map(|url| url.with_ca_file(ca_file.clone())),
            ca_file,
            data,
            data_named,
            listen_named: listen.is_some(),
            listen: listen.unwrap_or(defaults.listen),
            durability: parse(find("durability")?, durability)?.unwrap_or(defaults.durability),
            limits,
            resp: parse(find("resp")?, or_off(address))?.flatten(),
            home: home::options(find)?,
            runs: path_or_off(find("runs")?, "folder")?,
            tls: certificate_files(find("tls_cert")?, find("tls_key")?)?,
            insecure: parse(find("insecure")?, yes_or_no)?.unwrap_or_default(),
            public_url: parse(find("public_url")?, or_off(str::parse::<PublicUrl>))?.flatten(),
            trusted_proxy: parse(find("trusted_proxy")?, or_off(str::parse::<TrustedProxies>))?
                .flatten()
                .unwrap_or_default(),
            allowed_origins: parse(find("allowed_origins")?, or_off(str::parse::<Origins>))?
                .flatten()
                .unwrap_or_default(),
            frame_ancestors: parse(find("frame_ancestors")?, or_off(str::parse::<Origins>))?
                .flatten()
                .unwrap_or_default(),
            share_jwt_key_file: path_or_off(find("share_jwt_key_file")?, "file")?,
            share_jwt_audience: parse(find("share_jwt_audience")?, or_off(audience))?.flatten(),
            notices: NoticeRules::from([]),
            spool: path_or_off(find("spool")?, "folder")?,
            pty: parse(find("pty")?, str::parse::<PtyMode>)?.unwrap_or_default(),
            spool_bytes_max: parse(find("spool_bytes_max")?, units::size)?,
            overflow: parse(find("overflow")?, str::parse::<Overflow>)?.unwrap_or_default(),
        })
    }

    /// Returns the data folder.
    ///
    /// # Errors
    /// None was set, and there is no home directory for the default.
    pub fn data(&self) -> Result<&Path, ConfigError> {
        self.data.as_deref().ok_or(ConfigError::NoHome)
    }

    /// Returns the options of a server over `data` that listens on `listen`.
    pub fn serve_options(&self, data: &Path, listen: &str) -> ServeOptions {
        ServeOptions {
            listen: listen.to_owned(),
            data: data.to_owned(),
            durability: self.durability,
            limits: self.limits.clone(),
            resp: self.resp.clone(),
            home: self.home.clone(),
            runs: self.runs.clone(),
            tls: self.tls.clone(),
            insecure: self.insecure,
            public_url: self.public_url.clone(),
            trusted_proxy: self.trusted_proxy.clone(),
            allowed_origins: self.allowed_origins.clone(),
            frame_ancestors: self.frame_ancestors.clone(),
            share_jwt_key_file: self.share_jwt_key_file.clone(),
            share_jwt_audience: self.share_jwt_audience.clone(),
            notices: self.notices.clone(),
            redis_values: false,
            embedded: false,
        }
    }
}

/// Parses a path, which need not be UTF-8; `off` resets a value from a lower-priority source.
fn path_or_off(found: Option<RawSetting>, kind: &str) -> Result<Option<PathBuf>, ConfigError> {
    match found {
        Some((at, name)) if name.is_empty() => {
            Err(ConfigError::Value { at, why: format!("the name of the {kind} is empty") })
        }
        Some((_, name)) if name == "off" => Ok(None),
        found => Ok(found.map(|(_, name)| PathBuf::from(name))),
    }
}

/// Returns a certificate and its key: both or neither.
fn certificate_files(
    cert: Option<RawSetting>,
    key: Option<RawSetting>,
) -> Result<Option<CertificateFiles>, ConfigError> {
    let at = [&cert, &key].map(|found| found.as_ref().map(|(at, _)| at.clone()));
    match (path_or_off(cert, "file")?, path_or_off(key, "file")?, at) {
        (Some(cert), Some(key), _) => Ok(Some(CertificateFiles { cert, key })),
        (Some(_), None, [Some(at), _]) => {
            let why = "a certificate needs its key: set tls_key (--tls-key FILE) too".to_owned();
            Err(ConfigError::Value { at, why })
        }
        (None, Some(_), [_, Some(at)]) => {
            let why = "a key needs its certificate: set tls_cert (--tls-cert FILE) too".to_owned();
            Err(ConfigError::Value { at, why })
        }
        _ => Ok(None),
    }
}

fn parse<T>(
    found: Option<RawSetting>,
    mut read: impl FnMut(&str) -> Result<T, String>,
) -> Result<Option<T>, ConfigError> {
    let Some((at, value)) = found else { return Ok(None) };
    let Some(text) = value.to_str() else {
        return Err(ConfigError::Value { at, why: "the value is not UTF-8".to_owned() });
    };
    read(text).map(Some).map_err(|why| ConfigError::Value { at, why })
}

/// Parses `HOST:PORT`. Whether it can be bound is only known later.
fn address(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(_)) => Ok(text.to_owned()),
        _ => Err(format!(
            "`{text}` is not an address: use HOST:PORT, such as {}; port 0 picks a free one",
            limits::LISTEN_DEFAULT
        )),
    }
}

fn audience(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        Err("the audience is empty: use a name, such as tasktail".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("`{text}` is not a boolean: use true or false")),
    }
}

fn durability(text: &str) -> Result<Durability, String> {
    match text {
        "commit" => Ok(Durability::Commit),
        "interval" => Ok(Durability::Interval),
        _ => Err(format!("`{text}` is not a durability: use commit or interval")),
    }
}

/// Wraps a parser so that `off` resets a value from a lower-priority source.
fn or_off<T>(read: impl Fn(&str) -> Result<T, String>) -> impl Fn(&str) -> Result<Option<T>, String> {
    move |text| if text == "off" { Ok(None) } else { read(text).map(Some).map_err(|why| format!("{why}, or off")) }
}

#[cfg(test)]
mod tests;
