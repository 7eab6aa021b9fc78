//! `CONFIG`: the settings that Redis clients and tools query. CONFIG SET changes the size of stream
//! nodes; the others are fixed while the server runs, and it accepts only their current value.

use super::ids::{plain_integer, until_nul};
use super::{CommandError, CommandResult, write_help};
use crate::model::glob;
use crate::server::redis::RedisPort;
use crate::server::redis::session::RedisSession;
use crate::tasks::Durability;
use crate::tasks::keys::{Database, NodeLimits};
use crate::wire::resp::{Reply, Request};

const EVICTION_POLICIES: &[&str] = &[
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "noeviction",
];

/// Changes a setting to a number.
type ConfigChange = fn(&RedisPort, u64);

/// A Redis setting.
struct ConfigSetting {
    name: &'static str,
    kind: ConfigKind,
    value: fn(&RedisPort) -> String,
    /// Changes the setting, if it can be changed while the server runs.
    change: Option<ConfigChange>,
}

impl ConfigSetting {
    const fn new(name: &'static str, kind: ConfigKind, value: fn(&RedisPort) -> String) -> Self {
        Self { name, kind, value, change: None }
    }

    const fn changed_by(mut self, change: ConfigChange) -> Self {
        self.change = Some(change);
        self
    }
}

/// The values that a setting accepts.
enum ConfigKind {
    /// Fixed at startup, in Redis too.
    Immutable,
    /// A number in this inclusive range.
    Number(i64, i64),
    /// Bytes, optionally with a unit such as `4kb`.
    Memory,
    YesOrNo,
    OneOf(&'static [&'static str]),
    Text,
}

/// Sorted by name.
const SETTINGS: &[ConfigSetting] = &[
    ConfigSetting::new("appendfsync", ConfigKind::OneOf(&["everysec", "always", "no"]), appendfsync),
    ConfigSetting::new("appendonly", ConfigKind::YesOrNo, |_| "yes".to_owned()),
    ConfigSetting::new("bind", ConfigKind::Text, |port| port.addr.ip().to_string()),
    ConfigSetting::new("databases", ConfigKind::Immutable, |_| Database::COUNT.to_string()),
    ConfigSetting::new("dir", ConfigKind::Immutable, |port| port.state.options.data.display().to_string()),
    ConfigSetting::new("maxclients", ConfigKind::Number(1, u32::MAX as i64), |port| {
        port.limits().resp_connections_max.to_string()
    }),
    ConfigSetting::new("maxmemory", ConfigKind::Memory, |_| "0".to_owned()),
    ConfigSetting::new("maxmemory-policy", ConfigKind::OneOf(EVICTION_POLICIES), |_| "noeviction".to_owned()),
    ConfigSetting::new("notify-keyspace-events", ConfigKind::Text, |_| String::new()),
    ConfigSetting::new("port", ConfigKind::Number(0, 65_535), |port| port.addr.port().to_string()),
    ConfigSetting::new("proto-max-bulk-len", ConfigKind::Memory, |_| bulk_bytes_max().to_string()),
    ConfigSetting::new("requirepass", ConfigKind::Text, |_| String::new()),
    ConfigSetting::new("save", ConfigKind::Text, |_| String::new()),
    ConfigSetting::new("stream-node-max-bytes", ConfigKind::Memory, |port| node_limits(port).bytes.to_string())
        .changed_by(|port, bytes| set_node_limits(port, NodeLimits { bytes, ..node_limits(port) })),
    ConfigSetting::new("stream-node-max-entries", ConfigKind::Number(0, i64::MAX), |port| {
        node_limits(port).entries.to_string()
    })
    .changed_by(|port, entries| set_node_limits(port, NodeLimits { entries, ..node_limits(port) })),
    ConfigSetting::new("tcp-keepalive", ConfigKind::Number(0, i32::MAX as i64), |port| {
        port.limits().heartbeat.as_secs().to_string()
    }),
    ConfigSetting::new("timeout", ConfigKind::Number(0, i32::MAX as i64), |port| {
        port.limits().resp_idle_timeout.map_or(0, |idle| idle.as_secs()).to_string()
    }),
];

fn node_limits(port: &RedisPort) -> NodeLimits {
    port.state.tasks.journal().node_limits()
}

fn set_node_limits(port: &RedisPort, limits: NodeLimits) {
    port.state.tasks.journal().set_node_limits(limits);
}

fn bulk_bytes_max() -> usize {
    crate::wire::resp::RequestLimits::BULK_BYTES_MAX
}

fn appendfsync(port: &RedisPort) -> String {
    match port.state.options.durability {
        Durability::Commit => "always",
        Durability::Interval => "everysec",
    }
    .to_owned()
}

/// `CONFIG GET pattern..`
pub(in super::super) fn get(session: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    let mut found: Vec<(Vec<u8>, &ConfigSetting)> = Vec::new();
    for pattern in request.args().skip(2) {
        let lower = pattern.to_ascii_lowercase();
        // A name without wildcards is returned as typed.
        let plain = !lower.iter().any(|byte| b"*?[\\".contains(byte));
        for setting in SETTINGS.iter().filter(|setting| glob::matches(&lower, setting.name.as_bytes())) {
            if !found.iter().any(|(_, known)| known.name == setting.name) {
                found.push((if plain { pattern.to_vec() } else { setting.name.into() }, setting));
            }
        }
    }
    reply.map(found.len());
    for (name, setting) in found {
        reply.bulk(&name);
        reply.bulk((setting.value)(&session.port).as_bytes());
    }
    Ok(())
}

/// `CONFIG SET name value [name value..]`
pub(in super::super) fn set(session: &mut RedisSession, request: &Request, reply: &mut Reply) -> CommandResult {
    if !request.len().is_multiple_of(2) {
        return Err(CommandError::SYNTAX);
    }
    let mut seen: Vec<&str> = Vec::new();
    // Applied only once all are valid.
    let mut changes: Vec<(ConfigChange, u64)> = Vec::new();
    for at in (2..request.len()).step_by(2) {
        let (name, value) = (request.arg(at), request.arg(at + 1));
        let Some(setting) = SETTINGS.iter().find(|setting| name.eq_ignore_ascii_case(setting.name.as_bytes())) else {
            let text =
                [b"ERR Unknown option or number of arguments for CONFIG SET - '", until_nul(name), b"'"].concat();
            return Err(CommandError::Bytes(text));
        };
        let reason = match seen.contains(&setting.name) {
            true => Err("duplicate parameter".to_owned()),
            false => setting.check(value, &(setting.value)(&session.port)),
        };
        match (reason, setting.change) {
            (Err(reason), _) => {
                let name = setting.name;
                return Err(CommandError::Text(format!(
                    "ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"
                )));
            }
            (Ok(Some(value)), Some(change)) => changes.push((change, value)),
            (Ok(_), _) => {}
        }
        seen.push(setting.name);
    }
    changes.into_iter().for_each(|(change, value)| change(&session.port, value));
    reply.simple("OK");
    Ok(())
}

impl ConfigSetting {
    /// Checks that the value is valid, and that it equals the current one unless the setting can be changed.
    /// Returns the value if it is a number. Errors use Redis' texts.
    fn check(&self, value: &[u8], now: &str) -> Result<Option<u64>, String> {
        let text = String::from_utf8_lossy(value);
        let mut changed = None;
        let same = match self.kind {
            ConfigKind::Immutable => return Err("can't set immutable config".to_owned()),
            ConfigKind::Number(least, greatest) => {
                let number = plain_integer(value).ok_or("argument couldn't be parsed into an integer")?;
                if !(least..=greatest).contains(&number) {
                    return Err(format!("argument must be between {least} and {greatest} inclusive"));
                }
                changed = u64::try_from(number).ok();
                number.to_string() == now
            }
            ConfigKind::Memory => {
                changed = parse_memory(&text);
                changed.ok_or("argument must be a memory value")?.to_string() == now
            }
            ConfigKind::YesOrNo => {
                let known = ["yes", "no"].iter().any(|word| text.eq_ignore_ascii_case(word));
                known.then_some(()).ok_or("argument must be 'yes' or 'no'")?;
                text.eq_ignore_ascii_case(now)
            }
            ConfigKind::OneOf(words) => {
                if !words.iter().any(|word| text.eq_ignore_ascii_case(word)) {
                    return Err(format!("argument(s) must be one of the following: {}", words.join(", ")));
                }
                text.eq_ignore_ascii_case(now)
            }
            ConfigKind::Text => text == now,
        };
        if same || self.change.is_some() {
            Ok(changed)
        } else {
            Err(format!("the setting cannot be changed at runtime (current value: `{now}`)"))
        }
    }
}

/// Parses a size with Redis' units: `k` is 1000 and `kb` is 1024.
fn parse_memory(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// `CONFIG RESETSTAT`: resets the counters of INFO, but not those of `/metrics`.
pub(in super::super) fn resetstat(session: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    session.port.reset_counters();
    reply.simple("OK");
    Ok(())
}

/// `CONFIG REWRITE`: fails, since there is no Redis configuration file.
pub(in super::super) fn rewrite(_: &mut RedisSession, _: &Request, _: &mut Reply) -> CommandResult {
    Err(CommandError::Static("ERR The server is running without a config file"))
}

/// `CONFIG HELP`
pub(in super::super) fn help(_: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    write_help(
        reply,
        &[
            "CONFIG GET pattern..: show matching settings",
            "CONFIG SET name value [name value..]: change the size of stream nodes; accept current values of the others",
            "CONFIG RESETSTAT: reset the counters of INFO",
        ],
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_sorted_and_sizes_parsed_like_redis() {
        assert!(SETTINGS.is_sorted_by(|a, b| a.name < b.name));
        for (text, bytes) in [("4096", Some(4096)), ("4kb", Some(4096)), ("4K", Some(4000)), ("x", None), ("-1", None)]
        {
            assert_eq!(parse_memory(text), bytes, "{text}");
        }
    }
}
