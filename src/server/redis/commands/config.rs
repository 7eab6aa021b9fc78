//! `CONFIG`: the settings that Redis clients and tools query. They are fixed while the server runs,
//! so CONFIG SET accepts only the current value.

use super::ids::{plain_integer, until_nul};
use super::{CommandError, CommandResult, write_help};
use crate::model::glob;
use crate::server::redis::RedisPort;
use crate::server::redis::session::RedisSession;
use crate::tasks::Durability;
use crate::tasks::keys::NODE_ENTRIES_MAX;
use crate::wire::resp::{Reply, Request};

/// Bytes of a stream node in Redis; approximate trimming depends on it.
const NODE_BYTES_MAX: u64 = 4096;
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

/// A Redis setting.
struct ConfigSetting {
    name: &'static str,
    kind: ConfigKind,
    value: fn(&RedisPort) -> String,
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
    ConfigSetting {
        name: "appendfsync",
        kind: ConfigKind::OneOf(&["everysec", "always", "no"]),
        value: |port| appendfsync(port),
    },
    ConfigSetting { name: "appendonly", kind: ConfigKind::YesOrNo, value: |_| "yes".to_owned() },
    ConfigSetting { name: "bind", kind: ConfigKind::Text, value: |port| port.addr.ip().to_string() },
    ConfigSetting { name: "databases", kind: ConfigKind::Immutable, value: |_| "1".to_owned() },
    ConfigSetting {
        name: "dir",
        kind: ConfigKind::Immutable,
        value: |port| port.state.options.data.display().to_string(),
    },
    ConfigSetting {
        name: "maxclients",
        kind: ConfigKind::Number(1, u32::MAX as i64),
        value: |port| port.limits().resp_connections_max.to_string(),
    },
    ConfigSetting { name: "maxmemory", kind: ConfigKind::Memory, value: |_| "0".to_owned() },
    ConfigSetting {
        name: "maxmemory-policy",
        kind: ConfigKind::OneOf(EVICTION_POLICIES),
        value: |_| "noeviction".to_owned(),
    },
    ConfigSetting { name: "notify-keyspace-events", kind: ConfigKind::Text, value: |_| String::new() },
    ConfigSetting { name: "port", kind: ConfigKind::Number(0, 65_535), value: |port| port.addr.port().to_string() },
    ConfigSetting { name: "proto-max-bulk-len", kind: ConfigKind::Memory, value: |_| bulk_bytes_max().to_string() },
    ConfigSetting { name: "requirepass", kind: ConfigKind::Text, value: |_| String::new() },
    ConfigSetting { name: "save", kind: ConfigKind::Text, value: |_| String::new() },
    ConfigSetting { name: "stream-node-max-bytes", kind: ConfigKind::Memory, value: |_| NODE_BYTES_MAX.to_string() },
    ConfigSetting {
        name: "stream-node-max-entries",
        kind: ConfigKind::Number(0, i64::MAX),
        value: |_| NODE_ENTRIES_MAX.to_string(),
    },
    ConfigSetting {
        name: "tcp-keepalive",
        kind: ConfigKind::Number(0, i32::MAX as i64),
        value: |port| port.limits().heartbeat.as_secs().to_string(),
    },
    ConfigSetting {
        name: "timeout",
        kind: ConfigKind::Number(0, i32::MAX as i64),
        value: |port| port.limits().resp_idle_timeout.map_or(0, |idle| idle.as_secs()).to_string(),
    },
];

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
    for at in (2..request.len()).step_by(2) {
        let (name, value) = (request.arg(at), request.arg(at + 1));
        let Some(setting) = SETTINGS.iter().find(|setting| name.eq_ignore_ascii_case(setting.name.as_bytes())) else {
            let text =
                [b"ERR Unknown option or number of arguments for CONFIG SET - '", until_nul(name), b"'"].concat();
            return Err(CommandError::Bytes(text));
        };
        let reason = match seen.contains(&setting.name) {
            true => Err("duplicate parameter".to_owned()),
            false => setting.check_unchanged(value, &(setting.value)(&session.port)),
        };
        if let Err(reason) = reason {
            let name = setting.name;
            return Err(CommandError::Text(format!(
                "ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"
            )));
        }
        seen.push(setting.name);
    }
    reply.simple("OK");
    Ok(())
}

impl ConfigSetting {
    /// Checks that the value is valid and equals the current one. Errors use Redis' texts.
    fn check_unchanged(&self, value: &[u8], now: &str) -> Result<(), String> {
        let text = String::from_utf8_lossy(value);
        let same = match self.kind {
            ConfigKind::Immutable => return Err("can't set immutable config".to_owned()),
            ConfigKind::Number(least, greatest) => {
                let number = plain_integer(value).ok_or("argument couldn't be parsed into an integer")?;
                if !(least..=greatest).contains(&number) {
                    return Err(format!("argument must be between {least} and {greatest} inclusive"));
                }
                number.to_string() == now
            }
            ConfigKind::Memory => parse_memory(&text).ok_or("argument must be a memory value")?.to_string() == now,
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
        if same { Ok(()) } else { Err(format!("the setting cannot be changed at runtime (current value: `{now}`)")) }
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
            "CONFIG SET name value [name value..]: accept current values; settings cannot be changed at runtime",
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
