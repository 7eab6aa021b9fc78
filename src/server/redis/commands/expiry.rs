//! Key expiration: the `EXPIRE` and `TTL` families, and `PERSIST`.

use super::ids::{integer, is_word, until_nul};
use super::keys::KeyWriter;
use super::{CommandError, CommandResult};
use crate::model::Timestamp;
use crate::tasks::keys::KeyReader;
use crate::wire::resp::{Reply, Request};

/// The unit and base of a time argument.
#[derive(Clone, Copy)]
struct ExpireUnit {
    /// Command name, for errors.
    command: &'static str,
    ms: i64,
    from_now: bool,
}

/// The conditions NX, XX, GT and LT on the current expiration time.
#[derive(Clone, Copy, Default)]
struct ExpireCondition {
    none: bool,
    some: bool,
    later: bool,
    earlier: bool,
}

/// `EXPIRE key seconds [NX|XX|GT|LT]`
pub(in super::super) fn expire(keys: &mut dyn KeyWriter, request: &Request, reply: &mut Reply) -> CommandResult {
    set_expiry(keys, request, reply, ExpireUnit { command: "expire", ms: 1_000, from_now: true })
}

/// `PEXPIRE key milliseconds [NX|XX|GT|LT]`
pub(in super::super) fn pexpire(keys: &mut dyn KeyWriter, request: &Request, reply: &mut Reply) -> CommandResult {
    set_expiry(keys, request, reply, ExpireUnit { command: "pexpire", ms: 1, from_now: true })
}

/// `EXPIREAT key time-in-seconds [NX|XX|GT|LT]`
pub(in super::super) fn expireat(keys: &mut dyn KeyWriter, request: &Request, reply: &mut Reply) -> CommandResult {
    set_expiry(keys, request, reply, ExpireUnit { command: "expireat", ms: 1_000, from_now: false })
}

/// `PEXPIREAT key time-in-milliseconds [NX|XX|GT|LT]`
pub(in super::super) fn pexpireat(keys: &mut dyn KeyWriter, request: &Request, reply: &mut Reply) -> CommandResult {
    set_expiry(keys, request, reply, ExpireUnit { command: "pexpireat", ms: 1, from_now: false })
}

/// `PERSIST key`: replies with 1 if the key had an expiration time.
pub(in super::super) fn persist(keys: &mut dyn KeyWriter, request: &Request, reply: &mut Reply) -> CommandResult {
    let name = request.arg(1);
    let persisted = keys.metadata(name)?.is_some_and(|metadata| metadata.expires.is_some());
    if persisted {
        keys.expire(name, None)?;
    }
    reply.integer(i64::from(persisted));
    Ok(())
}

/// `TTL key`: replies with rounded seconds, -1 without an expiration time, -2 without a key.
pub(in super::super) fn ttl(reader: &mut dyn KeyReader, request: &Request, reply: &mut Reply) -> CommandResult {
    reply_expiry(reader, request, reply, |at, now| at.saturating_sub(now).saturating_add(500) / 1_000)
}

/// `PTTL key`: like `TTL`, in milliseconds.
pub(in super::super) fn pttl(reader: &mut dyn KeyReader, request: &Request, reply: &mut Reply) -> CommandResult {
    reply_expiry(reader, request, reply, u64::saturating_sub)
}

/// `EXPIRETIME key`: replies with rounded seconds, -1 without an expiration time, -2 without a key.
pub(in super::super) fn expiretime(reader: &mut dyn KeyReader, request: &Request, reply: &mut Reply) -> CommandResult {
    reply_expiry(reader, request, reply, |at, _| at.saturating_add(500) / 1_000)
}

/// `PEXPIRETIME key`: like `EXPIRETIME`, in milliseconds.
pub(in super::super) fn pexpiretime(reader: &mut dyn KeyReader, request: &Request, reply: &mut Reply) -> CommandResult {
    reply_expiry(reader, request, reply, |at, _| at)
}

fn reply_expiry(
    reader: &mut dyn KeyReader,
    request: &Request,
    reply: &mut Reply,
    convert: impl Fn(u64, u64) -> u64,
) -> CommandResult {
    let now = reader.now().as_millis();
    match reader.metadata(request.arg(1))?.map(|metadata| metadata.expires) {
        None => reply.integer(-2),
        Some(None) => reply.integer(-1),
        Some(Some(at)) => reply.unsigned(convert(at.as_millis(), now)),
    }
    Ok(())
}

fn set_expiry(keys: &mut dyn KeyWriter, request: &Request, reply: &mut Reply, unit: ExpireUnit) -> CommandResult {
    let condition = ExpireCondition::parse(request)?;
    let at = parse_time(request.arg(2), unit, keys.now())?;
    let name = request.arg(1);
    let allowed = match keys.metadata(name)? {
        Some(metadata) => condition.allows(metadata.expires.map(Timestamp::as_millis), at),
        None => false,
    };
    if allowed {
        // A time before 1970 has passed just like 1970 itself.
        let at = Timestamp::from_millis(u64::try_from(at).unwrap_or(0));
        keys.expire(name, Some(at))?;
    }
    reply.integer(i64::from(allowed));
    Ok(())
}

/// Returns the time in milliseconds since 1970; may be negative.
fn parse_time(text: &[u8], unit: ExpireUnit, now: Timestamp) -> CommandResult<i64> {
    let value = integer(text)?;
    let base = if unit.from_now { i64::try_from(now.as_millis()).unwrap_or(i64::MAX) } else { 0 };
    let at = value.checked_mul(unit.ms).and_then(|ms| ms.checked_add(base));
    at.ok_or_else(|| CommandError::Text(format!("ERR invalid expire time in '{}' command", unit.command)))
}

impl ExpireCondition {
    fn parse(request: &Request) -> CommandResult<Self> {
        let mut condition = Self::default();
        for word in request.args().skip(3) {
            let option = [
                ("NX", &mut condition.none),
                ("XX", &mut condition.some),
                ("GT", &mut condition.later),
                ("LT", &mut condition.earlier),
            ];
            match option.into_iter().find(|(name, _)| is_word(word, name)) {
                Some((_, set)) => *set = true,
                None => return Err(CommandError::Bytes([b"ERR Unsupported option ", until_nul(word)].concat())),
            }
        }
        if condition.none && (condition.some || condition.later || condition.earlier) {
            let text = "ERR NX and XX, GT or LT options at the same time are not compatible";
            return Err(CommandError::Static(text));
        }
        if condition.later && condition.earlier {
            return Err(CommandError::Static("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(condition)
    }

    /// Reports whether a key may change from `current` to `at`. No expiration counts as the latest time.
    fn allows(self, current: Option<u64>, at: i64) -> bool {
        let current = current.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
        let rejected = (self.none && current.is_some())
            || (self.some && current.is_none())
            || (self.later && current.is_none_or(|current| at <= current))
            || (self.earlier && current.is_some_and(|current| at >= current));
        !rejected
    }
}
