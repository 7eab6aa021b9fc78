//! When keys go: `EXPIRE` and its kin, `TTL` and its kin, `PERSIST`.

use super::Refusal;
use super::ids::{integer, is_word, until_nul};
use crate::model::Timestamp;
use crate::tasks::keys::{KeyReader, Transaction};
use crate::wire::resp::{Reply, Request};

/// How a time is given.
#[derive(Clone, Copy)]
struct Unit {
    /// The command, as its error names it.
    command: &'static str,
    ms: i64,
    from_now: bool,
}

/// Only if the key has no time yet, or has one, or an earlier or later one.
#[derive(Clone, Copy, Default)]
struct Only {
    none: bool,
    some: bool,
    later: bool,
    earlier: bool,
}

/// `EXPIRE key seconds [NX|XX|GT|LT]`
pub(in super::super) fn expire(
    keys: &mut Transaction<'_>,
    request: &Request,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    set(keys, request, reply, Unit { command: "expire", ms: 1_000, from_now: true })
}

/// `PEXPIRE key milliseconds [NX|XX|GT|LT]`
pub(in super::super) fn pexpire(
    keys: &mut Transaction<'_>,
    request: &Request,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    set(keys, request, reply, Unit { command: "pexpire", ms: 1, from_now: true })
}

/// `EXPIREAT key time-in-seconds [NX|XX|GT|LT]`
pub(in super::super) fn expireat(
    keys: &mut Transaction<'_>,
    request: &Request,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    set(keys, request, reply, Unit { command: "expireat", ms: 1_000, from_now: false })
}

/// `PEXPIREAT key time-in-milliseconds [NX|XX|GT|LT]`
pub(in super::super) fn pexpireat(
    keys: &mut Transaction<'_>,
    request: &Request,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    set(keys, request, reply, Unit { command: "pexpireat", ms: 1, from_now: false })
}

/// `PERSIST key`: whether it had a time.
pub(in super::super) fn persist(
    keys: &mut Transaction<'_>,
    request: &Request,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    let name = request.arg(1);
    let had = keys.metadata(name)?.is_some_and(|facts| facts.expires.is_some());
    if had {
        keys.expire(name, None)?;
    }
    reply.integer(i64::from(had));
    Ok(())
}

/// `TTL key`: seconds, rounded; -1 for ever, -2 for no key.
pub(in super::super) fn ttl(look: &mut dyn KeyReader, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    tell(look, request, reply, |at, now| at.saturating_sub(now).saturating_add(500) / 1_000)
}

/// `PTTL key`: the same in milliseconds.
pub(in super::super) fn pttl(look: &mut dyn KeyReader, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    tell(look, request, reply, u64::saturating_sub)
}

/// `EXPIRETIME key`: the time in seconds, rounded; -1 for never, -2 for no key.
pub(in super::super) fn expiretime(
    look: &mut dyn KeyReader,
    request: &Request,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    tell(look, request, reply, |at, _| at.saturating_add(500) / 1_000)
}

/// `PEXPIRETIME key`: the same in milliseconds.
pub(in super::super) fn pexpiretime(
    look: &mut dyn KeyReader,
    request: &Request,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    tell(look, request, reply, |at, _| at)
}

fn tell(
    look: &mut dyn KeyReader,
    request: &Request,
    reply: &mut Reply,
    read: impl Fn(u64, u64) -> u64,
) -> Result<(), Refusal> {
    let now = look.now().as_millis();
    match look.metadata(request.arg(1))?.map(|facts| facts.expires) {
        None => reply.integer(-2),
        Some(None) => reply.integer(-1),
        Some(Some(at)) => reply.unsigned(read(at.as_millis(), now)),
    }
    Ok(())
}

fn set(keys: &mut Transaction<'_>, request: &Request, reply: &mut Reply, unit: Unit) -> Result<(), Refusal> {
    let only = Only::parse(request)?;
    let at = time(request.arg(2), unit, keys.now())?;
    let name = request.arg(1);
    let allowed = match keys.metadata(name)? {
        Some(facts) => only.allows(facts.expires.map(Timestamp::as_millis), at),
        None => false,
    };
    if allowed {
        // A time before 1970 is as over as 1970.
        let at = Timestamp::from_millis(u64::try_from(at).unwrap_or(0));
        keys.expire(name, Some(at))?;
    }
    reply.integer(i64::from(allowed));
    Ok(())
}

/// The time in milliseconds since 1970, below 0 too.
fn time(text: &[u8], unit: Unit, now: Timestamp) -> Result<i64, Refusal> {
    let value = integer(text)?;
    let base = if unit.from_now { i64::try_from(now.as_millis()).unwrap_or(i64::MAX) } else { 0 };
    let at = value.checked_mul(unit.ms).and_then(|ms| ms.checked_add(base));
    at.ok_or_else(|| Refusal::Text(format!("ERR invalid expire time in '{}' command", unit.command)))
}

impl Only {
    fn parse(request: &Request) -> Result<Self, Refusal> {
        let mut only = Self::default();
        for word in request.args().skip(3) {
            let option =
                [("NX", &mut only.none), ("XX", &mut only.some), ("GT", &mut only.later), ("LT", &mut only.earlier)];
            match option.into_iter().find(|(name, _)| is_word(word, name)) {
                Some((_, set)) => *set = true,
                None => return Err(Refusal::Bytes([b"ERR Unsupported option ", until_nul(word)].concat())),
            }
        }
        if only.none && (only.some || only.later || only.earlier) {
            let text = "ERR NX and XX, GT or LT options at the same time are not compatible";
            return Err(Refusal::Static(text));
        }
        if only.later && only.earlier {
            return Err(Refusal::Static("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(only)
    }

    /// Whether a key with this time may get that one; no time is later than any.
    fn allows(self, current: Option<u64>, at: i64) -> bool {
        let current = current.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
        let refused = (self.none && current.is_some())
            || (self.some && current.is_none())
            || (self.later && current.is_none_or(|current| at <= current))
            || (self.earlier && current.is_some_and(|current| at >= current));
        !refused
    }
}
