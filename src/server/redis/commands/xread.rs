//! `XREAD [COUNT n] [BLOCK ms] STREAMS key.. id..`
//!
//! If nothing is found and `BLOCK` is given, the whole command runs again whenever one of its keys
//! changes. `$` is resolved once, at the start: after a DEL, a new key of the same name wakes the
//! client only with IDs above it. `+` is resolved again on each attempt.

use std::time::Duration;

use super::entries::{ALL, entries};
use super::{BlockingCommand, CommandError, CommandOutcome, CommandResult, ids};
use crate::model::EntryId;
use crate::tasks::keys::{IdRange, JournalError, KeyReader};
use crate::wire::resp::{Protocol, Reply, Request};

/// The arguments before the keys.
#[derive(Debug)]
pub(in super::super) struct ReadArgs {
    /// Index of the first key.
    pub(in super::super) keys: usize,
    /// Number of keys, followed by as many IDs.
    pub(in super::super) streams: usize,
    /// Maximum number of entries per key.
    pub(super) count: usize,
    /// The time to block; zero is unlimited.
    pub(super) block: Option<Duration>,
    /// Indexes of the group and the consumer.
    pub(super) group: Option<(usize, usize)>,
    /// Set if delivered entries need no XACK.
    pub(super) no_ack: bool,
}

/// A key and the position to read from.
#[derive(Clone, Debug)]
struct StreamPosition {
    key: Box<[u8]>,
    start: ReadStart,
}

#[derive(Clone, Copy, Debug)]
enum ReadStart {
    /// Entries after this ID.
    After(EntryId),
    /// The last existing entry, as in Redis 8. Valkey returns nothing if the newest one was deleted.
    Last,
}

/// Replies with entries after the given IDs. `may_block` is false inside a transaction.
pub(in super::super) fn xread<L: KeyReader + ?Sized>(
    reader: &mut L,
    request: &Request,
    reply: &mut Reply,
    may_block: bool,
) -> CommandResult<CommandOutcome> {
    let args = ReadArgs::parse(request, reader.now().as_millis(), false)?;
    let mut positions = Vec::with_capacity(args.streams);
    for at in args.keys..args.keys + args.streams {
        let key = request.arg(at);
        // Like Redis, fails for a key of another type even if its ID reads nothing.
        reader.metadata(key)?;
        let start = read_start(reader, key, request.arg(at + args.streams))?;
        positions.push(StreamPosition { key: key.into(), start });
    }
    if write_entries(reader, &positions, args.count, reply)? {
        return Ok(CommandOutcome::Done);
    }
    let Some(block) = args.block.filter(|_| may_block) else {
        reply.null_array();
        return Ok(CommandOutcome::Done);
    };
    Ok(CommandOutcome::Block(block_until_changed(positions, args.count, block)))
}

fn block_until_changed(positions: Vec<StreamPosition>, count: usize, block: Duration) -> BlockingCommand {
    let keys = positions.iter().map(|position| position.key.clone()).collect();
    BlockingCommand::until(keys, block, move |keys, reply| match write_entries(keys, &positions, count, reply) {
        // Waits on, like Redis, while a key has another type.
        Err(CommandError::Journal(JournalError::WrongType)) => Ok(false),
        written => written,
    })
}

fn read_start<L: KeyReader + ?Sized>(reader: &mut L, key: &[u8], id: &[u8]) -> CommandResult<ReadStart> {
    match ids::until_nul(id) {
        b"$" => Ok(ReadStart::After(last_id(reader, key)?)),
        b"+" => Ok(ReadStart::Last),
        b">" => Err(CommandError::Static(
            "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
        )),
        _ => ids::strict_id(id, 0).map(ReadStart::After),
    }
}

/// Returns the last ID of a key, or `0-0` if it is missing.
fn last_id<L: KeyReader + ?Sized>(reader: &mut L, key: &[u8]) -> CommandResult<EntryId> {
    Ok(reader.metadata(key)?.map_or(EntryId::MIN, |metadata| metadata.last_id))
}

/// Writes the entries of each key. Returns `false`, having written nothing, if there are none.
fn write_entries<L: KeyReader + ?Sized>(
    reader: &mut L,
    positions: &[StreamPosition],
    count: usize,
    reply: &mut Reply,
) -> CommandResult<bool> {
    let start_len = reply.len();
    let mut served = 0;
    for StreamPosition { key, start } in positions {
        let range = match start {
            ReadStart::After(id) => id.next().map(|start| IdRange { start, count, ..ALL }),
            ReadStart::Last => Some(IdRange { count: 1, reverse: true, ..ALL }),
        };
        let Some(range) = range else { continue };
        let before = reply.len();
        key_header(key, reply);
        if entries(reader, key, range, reply)? == 0 {
            reply.truncate(before);
        } else {
            served += 1;
        }
    }
    if served > 0 {
        keys_header(start_len, served, reply);
    }
    Ok(served > 0)
}

/// Writes the header of a key's entries: a pair in RESP2, a map key in RESP3.
pub(super) fn key_header(key: &[u8], reply: &mut Reply) {
    if reply.protocol() == Protocol::Resp2 {
        reply.array(2);
    }
    reply.bulk(key);
}

/// Inserts the header of all keys before the reply that began at `start`.
pub(super) fn keys_header(start: usize, keys: usize, reply: &mut Reply) {
    match reply.protocol() {
        Protocol::Resp2 => reply.array_at(start, keys),
        Protocol::Resp3 => reply.map_at(start, keys),
    }
}

impl ReadArgs {
    /// Parses the options before the keys. `now_ms` limits the timeout, which must not overflow.
    pub(in super::super) fn parse(request: &Request, now_ms: u64, of_group: bool) -> CommandResult<Self> {
        let mut args = Self { keys: 0, streams: 0, count: usize::MAX, block: None, group: None, no_ack: false };
        let mut at = 1;
        while at < request.len() {
            let (word, more) = (request.arg(at), request.len() - at - 1);
            let is = |name| ids::is_word(word, name);
            if is("BLOCK") && more > 0 {
                args.block = Some(timeout(request.arg(at + 1), now_ms)?);
                at += 1;
            } else if is("COUNT") && more > 0 {
                args.count = Some(ids::count(request.arg(at + 1))?).filter(|count| *count > 0).unwrap_or(usize::MAX);
                at += 1;
            } else if is("STREAMS") && more > 0 {
                return args.with_streams(request, at + 1, of_group);
            } else if is("GROUP") && more >= 2 {
                only_of_group("GROUP", of_group)?;
                args.group = Some((at + 1, at + 2));
                at += 2;
            } else if is("NOACK") {
                only_of_group("NOACK", of_group)?;
                args.no_ack = true;
            } else {
                return Err(CommandError::SYNTAX);
            }
            at += 1;
        }
        Err(CommandError::SYNTAX)
    }

    fn with_streams(mut self, request: &Request, keys: usize, of_group: bool) -> CommandResult<Self> {
        let words = request.len() - keys;
        if !words.is_multiple_of(2) {
            let (command, ids) =
                if of_group { ("xreadgroup", "an ID or '>'") } else { ("xread", "an ID, '+', or '$'") };
            return Err(CommandError::Text(format!(
                "ERR Unbalanced '{command}' list of streams: for each stream key {ids} must be specified."
            )));
        }
        (self.keys, self.streams) = (keys, words / 2);
        Ok(self)
    }
}

fn only_of_group(option: &str, of_group: bool) -> CommandResult {
    if of_group {
        return Ok(());
    }
    Err(CommandError::Text(format!(
        "ERR The {option} option is only supported by XREADGROUP. You called XREAD instead."
    )))
}

/// Parses a timeout in milliseconds.
fn timeout(text: &[u8], now_ms: u64) -> CommandResult<Duration> {
    let ms = ids::plain_integer(text).ok_or(CommandError::Static("ERR timeout is not an integer or out of range"))?;
    let ms = u64::try_from(ms).map_err(|_| CommandError::Static("ERR timeout is negative"))?;
    if ms > i64::MAX.unsigned_abs().saturating_sub(now_ms) {
        return Err(CommandError::Static("ERR timeout is out of range"));
    }
    Ok(Duration::from_millis(ms))
}
