//! `CONFIG`: the settings that Redis' clients and tools ask for. None of them changes while the
//! server runs: one may be set to what it is.

use super::ids::{plain_integer, until_nul};
use super::{Refusal, help_lines};
use crate::model::glob;
use crate::server::redis::Port;
use crate::server::redis::session::Session;
use crate::tasks::Durability;
use crate::tasks::keys::NODE_ENTRIES_MAX;
use crate::wire::resp::{Reply, Request};

/// Bytes of a node of a stream in Redis; what trimming goes by.
const NODE_BYTES_MAX: u64 = 4096;
const EVICTIONS: &[&str] = &[
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "noeviction",
];

/// A setting of Redis.
struct Setting {
    name: &'static str,
    kind: Kind,
    value: fn(&Port) -> String,
}

/// What its values look like.
enum Kind {
    /// Set at the start.
    Immutable,
    /// A number from this to that.
    Number(i64, i64),
    /// Bytes, also as `4kb`.
    Memory,
    YesOrNo,
    OneOf(&'static [&'static str]),
    Text,
}

/// Sorted by name.
const SETTINGS: &[Setting] = &[
    Setting { name: "appendfsync", kind: Kind::OneOf(&["everysec", "always", "no"]), value: |port| appendfsync(port) },
    Setting { name: "appendonly", kind: Kind::YesOrNo, value: |_| "yes".to_owned() },
    Setting { name: "bind", kind: Kind::Text, value: |port| port.addr.ip().to_string() },
    Setting { name: "databases", kind: Kind::Immutable, value: |_| "1".to_owned() },
    Setting { name: "dir", kind: Kind::Immutable, value: |port| port.state.options.data.display().to_string() },
    Setting {
        name: "maxclients",
        kind: Kind::Number(1, u32::MAX as i64),
        value: |port| port.limits().resp_connections_max.to_string(),
    },
    Setting { name: "maxmemory", kind: Kind::Memory, value: |_| "0".to_owned() },
    Setting { name: "maxmemory-policy", kind: Kind::OneOf(EVICTIONS), value: |_| "noeviction".to_owned() },
    Setting { name: "notify-keyspace-events", kind: Kind::Text, value: |_| String::new() },
    Setting { name: "port", kind: Kind::Number(0, 65_535), value: |port| port.addr.port().to_string() },
    Setting { name: "proto-max-bulk-len", kind: Kind::Memory, value: |_| bulk_bytes_max().to_string() },
    Setting { name: "requirepass", kind: Kind::Text, value: |_| String::new() },
    Setting { name: "save", kind: Kind::Text, value: |_| String::new() },
    Setting { name: "stream-node-max-bytes", kind: Kind::Memory, value: |_| NODE_BYTES_MAX.to_string() },
    Setting {
        name: "stream-node-max-entries",
        kind: Kind::Number(0, i64::MAX),
        value: |_| NODE_ENTRIES_MAX.to_string(),
    },
    Setting {
        name: "tcp-keepalive",
        kind: Kind::Number(0, i32::MAX as i64),
        value: |port| port.limits().heartbeat.as_secs().to_string(),
    },
    Setting {
        name: "timeout",
        kind: Kind::Number(0, i32::MAX as i64),
        value: |port| port.limits().resp_idle_timeout.map_or(0, |idle| idle.as_secs()).to_string(),
    },
];

fn bulk_bytes_max() -> usize {
    crate::wire::resp::RequestLimits::BULK_BYTES_MAX
}

fn appendfsync(port: &Port) -> String {
    match port.state.options.durability {
        Durability::Commit => "always",
        Durability::Interval => "everysec",
    }
    .to_owned()
}

/// `CONFIG GET pattern..`
pub(in super::super) fn get(session: &mut Session, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let mut found: Vec<(Vec<u8>, &Setting)> = Vec::new();
    for pattern in request.args().skip(2) {
        let lower = pattern.to_ascii_lowercase();
        // A plain name comes back as it was typed.
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
pub(in super::super) fn set(session: &mut Session, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    if !request.len().is_multiple_of(2) {
        return Err(Refusal::SYNTAX);
    }
    let mut seen: Vec<&str> = Vec::new();
    for at in (2..request.len()).step_by(2) {
        let (name, value) = (request.arg(at), request.arg(at + 1));
        let Some(setting) = SETTINGS.iter().find(|setting| name.eq_ignore_ascii_case(setting.name.as_bytes())) else {
            let text =
                [b"ERR Unknown option or number of arguments for CONFIG SET - '", until_nul(name), b"'"].concat();
            return Err(Refusal::Bytes(text));
        };
        let why = match seen.contains(&setting.name) {
            true => Err("duplicate parameter".to_owned()),
            false => setting.accepts(value, &(setting.value)(&session.port)),
        };
        if let Err(why) = why {
            let name = setting.name;
            return Err(Refusal::Text(format!(
                "ERR CONFIG SET failed (possibly related to argument '{name}') - {why}"
            )));
        }
        seen.push(setting.name);
    }
    reply.simple("OK");
    Ok(())
}

impl Setting {
    /// Whether it may be set to this, or what is wrong: Redis' words where the value is.
    fn accepts(&self, value: &[u8], now: &str) -> Result<(), String> {
        let text = String::from_utf8_lossy(value);
        let same = match self.kind {
            Kind::Immutable => return Err("can't set immutable config".to_owned()),
            Kind::Number(least, greatest) => {
                let number = plain_integer(value).ok_or("argument couldn't be parsed into an integer")?;
                if !(least..=greatest).contains(&number) {
                    return Err(format!("argument must be between {least} and {greatest} inclusive"));
                }
                number.to_string() == now
            }
            Kind::Memory => memory(&text).ok_or("argument must be a memory value")?.to_string() == now,
            Kind::YesOrNo => {
                let known = ["yes", "no"].iter().any(|word| text.eq_ignore_ascii_case(word));
                known.then_some(()).ok_or("argument must be 'yes' or 'no'")?;
                text.eq_ignore_ascii_case(now)
            }
            Kind::OneOf(words) => {
                if !words.iter().any(|word| text.eq_ignore_ascii_case(word)) {
                    return Err(format!("argument(s) must be one of the following: {}", words.join(", ")));
                }
                text.eq_ignore_ascii_case(now)
            }
            Kind::Text => text == now,
        };
        if same { Ok(()) } else { Err(format!("it is `{now}`, which does not change while the server runs")) }
    }
}

/// Bytes, with Redis' units: `k` is 1000 and `kb` is 1024.
fn memory(text: &str) -> Option<u64> {
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

/// `CONFIG RESETSTAT`: what INFO counts begins anew; `/metrics` goes on.
pub(in super::super) fn resetstat(session: &mut Session, _: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    session.port.reset_counts();
    reply.simple("OK");
    Ok(())
}

/// `CONFIG REWRITE`: there is no file that would be rewritten.
pub(in super::super) fn rewrite(_: &mut Session, _: &Request, _: &mut Reply) -> Result<(), Refusal> {
    Err(Refusal::Static("ERR The server is running without a config file"))
}

/// `CONFIG HELP`
pub(in super::super) fn help(_: &mut Session, _: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    help_lines(
        reply,
        &[
            "CONFIG GET pattern..: settings, by name",
            "CONFIG SET name value [name value..]: to what they are; no setting changes while the server runs",
            "CONFIG RESETSTAT: what INFO counts begins anew",
        ],
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_sorted_and_values_read_as_in_redis() {
        assert!(SETTINGS.is_sorted_by(|a, b| a.name < b.name));
        for (text, bytes) in [("4096", Some(4096)), ("4kb", Some(4096)), ("4K", Some(4000)), ("x", None), ("-1", None)]
        {
            assert_eq!(memory(text), bytes, "{text}");
        }
    }
}
