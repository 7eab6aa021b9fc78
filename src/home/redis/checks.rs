//! Checks of a Redis at the start: whether it can hold a journal, and what survives a failure of it.

use redis::Value;

use super::error::EngineError;
use super::limits::POLL_INTERVAL;
use super::node::{Link, LinkUse, RedisNode, RequestError, info_field};
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

/// Checks every primary. Connecting is retried like any operation.
pub(super) async fn check(router: &Router, trust: bool) -> Result<JournalDurability, EngineError> {
    let mut attempts = router.attempts();
    loop {
        let error = match check_all(router, trust).await {
            Ok(durability) => return Ok(durability),
            Err(error) => error,
        };
        attempts.next(router.retry_reason(error)?).await?;
    }
}

async fn check_all(router: &Router, trust: bool) -> Result<JournalDurability, RequestError> {
    let mut all: Option<JournalDurability> = None;
    for node in router.primaries().await? {
        let link = node.link(LinkUse::Scripts).await.inspect_err(|_| router.forget())?;
        let mut one = check_node(&node, &link, trust).await?;
        one.is_tracking = node.link(LinkUse::Reads).await?.is_tracking;
        all = Some(match all {
            None => one,
            Some(all) => all.merged(one),
        });
    }
    let mut all = all.unwrap_or_default();
    if !all.is_tracking {
        all.warnings.push(format!(
            "the journal's Redis does not report changes (CLIENT TRACKING): it is asked every {} ms",
            POLL_INTERVAL.as_millis()
        ));
    }
    Ok(all)
}

impl JournalDurability {
    /// Returns what holds for both of two servers.
    fn merged(mut self, other: Self) -> Self {
        self.warnings
            .extend(other.warnings.into_iter().filter(|warning| !self.warnings.contains(warning)).collect::<Vec<_>>());
        self.replicas = self.replicas.min(other.replicas);
        self.is_fsynced &= other.is_fsynced;
        self.is_tracking &= other.is_tracking;
        self
    }
}

/// Checks the version and the settings of one server.
async fn check_node(node: &RedisNode, link: &Link, trust: bool) -> Result<JournalDurability, RequestError> {
    let mut info = String::new();
    for section in ["server", "replication"] {
        info.push_str(&into_text(run(node, link, &["INFO", section]).await?).unwrap_or_default());
    }
    let version = version(&info).map_err(RequestError::Fatal)?;
    let replicas = info_field(&info, "connected_slaves").and_then(|count| count.parse().ok()).unwrap_or(0);
    let mut durability = JournalDurability { version, replicas, ..JournalDurability::default() };
    let Some(policy) = setting(node, link, "maxmemory-policy").await? else {
        let text = "the settings of the journal's Redis cannot be read (CONFIG GET)";
        if !trust {
            return Err(RequestError::Fatal(EngineError::Config(format!(
                "{text}: allow it, or pass --journal-trust if maxmemory-policy is noeviction and appendfsync is always"
            ))));
        }
        durability.warnings.push(format!("{text} and are trusted"));
        return Ok(durability);
    };
    if policy != "noeviction" {
        let text = format!(
            "the journal's Redis may evict tasks when its memory is full (maxmemory-policy is {policy}): set it to \
             noeviction"
        );
        if !trust {
            return Err(RequestError::Fatal(EngineError::Config(text)));
        }
        durability.warnings.push(text);
    }
    let is_kept = setting(node, link, "appendonly").await?.as_deref() == Some("yes");
    let fsync = setting(node, link, "appendfsync").await?.unwrap_or_default();
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
    Ok(durability)
}

async fn run(node: &RedisNode, link: &Link, words: &[&str]) -> Result<Value, RequestError> {
    let mut pipeline = redis::pipe();
    pipeline.cmd(words[0]).arg(&words[1..]);
    match link.send(&pipeline).await?.pop().unwrap_or_default() {
        Value::ServerError(error) => Err(RequestError::of_server(&error, &node.address)),
        answer => Ok(answer),
    }
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
async fn setting(node: &RedisNode, link: &Link, name: &str) -> Result<Option<String>, RequestError> {
    match run(node, link, &["CONFIG", "GET", name]).await {
        Ok(answer) => {
            let mut fields = into_fields(answer).map_err(RequestError::Fatal)?;
            Ok(fields.pop().and_then(|(_, value)| String::from_utf8(value).ok()))
        }
        // A user without the right, or a service without the command.
        Err(RequestError::Fatal(_)) => Ok(None),
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
