//! Checks of a Redis at the start: whether it can hold a journal, and what survives a failure of it.

use redis::Value;

use super::error::EngineError;
use super::keys::SERVERS_KEY;
use super::limits::POLL_INTERVAL;
use super::node::{LinkUse, info_field};
use super::router::Router;
use super::value::{into_fields, into_text};

/// What survives a failure of Redis, by its settings at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalDurability {
    /// Name and version of the server.
    pub version: String,
    /// Sentences about settings that are less safe than they could be; empty if there are none.
    pub warnings: Vec<String>,
    /// Replicas connected to the primary.
    pub replicas: u32,
    /// Whether a confirmed write is on the primary's disk.
    pub is_fsynced: bool,
    /// Whether Redis reports changes; otherwise it is polled.
    pub is_tracking: bool,
}

/// Checks the primary of a key that every engine uses.
pub(super) async fn check(router: &Router, trust: bool) -> Result<JournalDurability, EngineError> {
    let info = info(router).await?;
    let mut durability = JournalDurability { version: version(&info)?, ..JournalDurability::default() };
    durability.replicas = info_field(&info, "connected_slaves").and_then(|count| count.parse().ok()).unwrap_or(0);
    let Some(policy) = setting(router, "maxmemory-policy").await? else {
        if !trust {
            return Err(EngineError::Config(
                "the settings of the journal's Redis cannot be read (CONFIG GET): allow it, or pass \
                 --journal-trust if maxmemory-policy is noeviction and appendfsync is always"
                    .to_owned(),
            ));
        }
        durability.warnings.push("the settings of the journal's Redis cannot be read and are trusted".to_owned());
        return tracked(router, durability).await;
    };
    if policy != "noeviction" {
        let text = format!(
            "the journal's Redis may evict tasks when its memory is full (maxmemory-policy is {policy}): set it to \
             noeviction"
        );
        if !trust {
            return Err(EngineError::Config(text));
        }
        durability.warnings.push(text);
    }
    let is_kept = setting(router, "appendonly").await?.as_deref() == Some("yes");
    let fsync = setting(router, "appendfsync").await?.unwrap_or_default();
    durability.is_fsynced = is_kept && fsync == "always";
    if !is_kept {
        durability.warnings.push(
            "the journal's Redis keeps no append-only file: a restart loses tasks that are not archived; set \
             appendonly to yes"
                .to_owned(),
        );
    } else if fsync != "always" {
        durability.warnings.push(format!(
            "the journal's Redis writes to disk after it confirms (appendfsync is {fsync}): a power cut loses the \
             last seconds; set it to always"
        ));
    }
    tracked(router, durability).await
}

async fn tracked(router: &Router, mut durability: JournalDurability) -> Result<JournalDurability, EngineError> {
    router.command(SERVERS_KEY, LinkUse::Reads, redis::cmd("PING")).await?;
    if let Ok((_, link)) = router.link(SERVERS_KEY, LinkUse::Reads).await {
        durability.is_tracking = link.is_tracking;
    }
    if !durability.is_tracking {
        durability.warnings.push(format!(
            "the journal's Redis does not report changes (CLIENT TRACKING): it is asked every {} ms",
            POLL_INTERVAL.as_millis()
        ));
    }
    Ok(durability)
}

async fn info(router: &Router) -> Result<String, EngineError> {
    let mut all = String::new();
    for section in ["server", "replication"] {
        let mut command = redis::cmd("INFO");
        command.arg(section);
        let answer = router.command(SERVERS_KEY, LinkUse::Scripts, command).await?;
        all.push_str(&into_text(answer).unwrap_or_default());
    }
    Ok(all)
}

/// Returns the name and version, if the version is new enough: Redis 7.0, Valkey 7.2.
fn version(info: &str) -> Result<String, EngineError> {
    let (name, text, floor) = match info_field(info, "valkey_version") {
        Some(version) => ("Valkey", version, (7, 2)),
        None => ("Redis", info_field(info, "redis_version").unwrap_or("of unknown version"), (7, 0)),
    };
    let mut parts = text.split('.').map_while(|part| part.parse::<u32>().ok());
    let number = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    match number >= floor {
        true => Ok(format!("{name} {text}")),
        false => Err(EngineError::Config(format!(
            "the journal's server is {name} {text}: Redis 7.0 or Valkey 7.2 is needed"
        ))),
    }
}

/// Returns a setting of the server; `None` if it does not allow to read settings.
async fn setting(router: &Router, name: &str) -> Result<Option<String>, EngineError> {
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg(name);
    match router.command(SERVERS_KEY, LinkUse::Scripts, command).await {
        Ok(Value::Nil) => Ok(None),
        Ok(answer) => {
            let mut fields = into_fields(answer)?;
            Ok(fields.pop().and_then(|(_, value)| String::from_utf8(value).ok()))
        }
        // A user without the right, or a service without the command.
        Err(EngineError::Config(_) | EngineError::Protocol(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_below_the_floor_are_refused() {
        assert_eq!(version("redis_version:7.0.15\r\n").unwrap(), "Redis 7.0.15");
        assert_eq!(version("redis_version:7.2.4\r\nvalkey_version:9.1.2\r\n").unwrap(), "Valkey 9.1.2");
        for old in ["redis_version:6.2.7", "redis_version:7.2.4\r\nvalkey_version:7.1.0", ""] {
            assert!(version(old).is_err(), "{old}");
        }
    }
}
