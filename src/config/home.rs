//! The settings of the store that several servers share: two addresses, which need each other.

use super::{ConfigError, RawSetting, SettingSource, or_off, parse, path_or_off, yes_or_no};
use crate::home::{HomeOptions, JournalUrl, StoreUrl};

/// Finds a setting by its name.
type Find<'a> = &'a dyn Fn(&'static str) -> Result<Option<RawSetting>, ConfigError>;

/// Returns the options of the shared store, if it is set.
pub(super) fn options(find: Find<'_>) -> Result<Option<HomeOptions>, ConfigError> {
    let (journal, archive) = (find("journal")?, find("archive")?);
    let at = [&journal, &archive].map(|found| found.as_ref().map(|(at, _)| at.clone()));
    let url = |text: &str| text.parse::<JournalUrl>().map_err(|error| error.to_string());
    let journal = parse(journal, or_off(url))?.flatten();
    let store = |text: &str| text.parse::<StoreUrl>().map_err(|error| error.to_string());
    let archive = parse(archive, or_off(store))?.flatten();
    let journal_acks = parse(find("journal_acks")?, replicas)?.flatten();
    let journal_trust = parse(find("journal_trust")?, yes_or_no)?.unwrap_or_default();
    let journal_ca_file = path_or_off(find("journal_ca_file")?, "file")?;
    let archive_ca_file = path_or_off(find("archive_ca_file")?, "file")?;
    let text = |text: &str| Ok(text.to_owned());
    let archive_endpoint = parse(find("archive_endpoint")?, or_off(text))?.flatten();
    let archive_region = parse(find("archive_region")?, or_off(text))?.flatten();
    let (journal, archive) = match (journal, archive, at) {
        (Some(journal), Some(archive), _) => (journal, archive),
        (Some(_), None, [Some(at), _]) => {
            let why = "tasks in a shared Redis need a shared place for their archives: set archive (--archive URL) too";
            return Err(ConfigError::Value { at, why: why.to_owned() });
        }
        (None, Some(_), [_, Some(at)]) => {
            let why = "archives in an object store need tasks in a shared Redis: set journal (--journal URL) too";
            return Err(ConfigError::Value { at, why: why.to_owned() });
        }
        _ => return Ok(None),
    };
    refuse_redis_port(find("resp")?)?;
    Ok(Some(HomeOptions {
        archive_ca_file,
        journal,
        journal_acks,
        journal_ca_file,
        journal_trust,
        archive,
        archive_endpoint,
        archive_region,
    }))
}

/// Parses a number of replicas; `auto` is one if there is a replica.
fn replicas(text: &str) -> Result<Option<u32>, String> {
    match text {
        "auto" => Ok(None),
        _ => text.parse().map(Some).map_err(|_| format!("`{text}` is not a number of replicas, nor auto")),
    }
}

/// Returns an error if the Redis port is set.
fn refuse_redis_port(resp: Option<(SettingSource, std::ffi::OsString)>) -> Result<(), ConfigError> {
    match resp {
        Some((at, value)) if value != "off" => {
            let why = "with a shared Redis (journal) this server has no Redis port: connect clients to that Redis, which has \
                       the same streams, and remove this setting";
            Err(ConfigError::Value { at, why: why.to_owned() })
        }
        _ => Ok(()),
    }
}
