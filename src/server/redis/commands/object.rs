//! `OBJECT` and `MEMORY`: the encoding and the memory of a key.

use super::ids::{integer, is_word};
use super::{CommandError, CommandResult, write_help};
use crate::server::redis::session::RedisSession;
use crate::tasks::keys::{KeyDescription, KeyReader};
use crate::wire::resp::{Reply, Request};

/// Bytes that Redis needs for a key beside its name and value, about.
const KEY_BYTES: u64 = 64;

fn described(reader: &mut dyn KeyReader, request: &Request) -> CommandResult<Option<KeyDescription>> {
    Ok(reader.describe(request.arg(2))?)
}

/// `OBJECT ENCODING key`
pub(in super::super) fn encoding(reader: &mut dyn KeyReader, request: &Request, reply: &mut Reply) -> CommandResult {
    match described(reader, request)? {
        Some(key) => reply.bulk(key.encoding.as_bytes()),
        None => reply.null(),
    }
    Ok(())
}

/// `OBJECT REFCOUNT key`: always 1 for an existing key.
pub(in super::super) fn refcount(reader: &mut dyn KeyReader, request: &Request, reply: &mut Reply) -> CommandResult {
    match described(reader, request)? {
        Some(_) => reply.integer(1),
        None => reply.null(),
    }
    Ok(())
}

/// `OBJECT IDLETIME key`: always 0 for an existing key, since no key is ever evicted.
pub(in super::super) fn idletime(reader: &mut dyn KeyReader, request: &Request, reply: &mut Reply) -> CommandResult {
    match described(reader, request)? {
        Some(_) => reply.integer(0),
        None => reply.null(),
    }
    Ok(())
}

/// `OBJECT FREQ key`: fails for an existing key, as without an LFU policy.
pub(in super::super) fn freq(reader: &mut dyn KeyReader, request: &Request, reply: &mut Reply) -> CommandResult {
    if described(reader, request)?.is_some() {
        return Err(CommandError::Static(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
             switching between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    reply.null();
    Ok(())
}

/// `OBJECT HELP`
pub(in super::super) fn object_help(_: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    let lines = [
        "OBJECT ENCODING key: show how the value is stored",
        "OBJECT FREQ key: not tracked",
        "OBJECT IDLETIME key: always 0",
        "OBJECT REFCOUNT key: always 1",
    ];
    write_help(reply, &lines);
    Ok(())
}

/// `MEMORY USAGE key [SAMPLES n]`: an estimate from the size of the stored value.
pub(in super::super) fn usage(reader: &mut dyn KeyReader, request: &Request, reply: &mut Reply) -> CommandResult {
    let mut at = 3;
    while at < request.len() {
        let samples = request.get(at + 1).filter(|_| is_word(request.arg(at), "SAMPLES"));
        if integer(samples.ok_or(CommandError::SYNTAX)?)? < 0 {
            return Err(CommandError::SYNTAX);
        }
        at += 2;
    }
    match described(reader, request)? {
        Some(key) => reply.unsigned(key.bytes + KEY_BYTES),
        None => reply.null(),
    }
    Ok(())
}

/// `MEMORY DOCTOR`
pub(in super::super) fn doctor(_: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    reply.verbatim("Nothing to report: no key is evicted.");
    Ok(())
}

/// `MEMORY PURGE`: has no effect.
pub(in super::super) fn purge(_: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    reply.simple("OK");
    Ok(())
}

/// `MEMORY HELP`
pub(in super::super) fn memory_help(_: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    let lines = [
        "MEMORY DOCTOR: report problems",
        "MEMORY PURGE: accepted, without effect",
        "MEMORY USAGE key [SAMPLES n]: estimate the memory of a key",
    ];
    write_help(reply, &lines);
    Ok(())
}
