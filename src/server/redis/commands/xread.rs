//! `XREAD [COUNT n] [BLOCK ms] STREAMS key.. id..`
//!
//! Where nothing is found and `BLOCK` is given, the whole command is looked at again with each
//! change of one of its keys. `$` is a number from the first look on: what comes of DEL and a new
//! key of the same name below that number is not seen. `+` is whatever is last at each look.

use std::time::Duration;

use super::entries::{ALL, entries};
use super::{Outcome, Refusal, Wait, ids};
use crate::model::EntryId;
use crate::tasks::keys::{IdRange, KeyReader};
use crate::wire::resp::{Protocol, Reply, Request};

/// What comes before the keys.
#[derive(Debug)]
pub(in super::super) struct ReadArgs {
    /// The first key's argument.
    pub(in super::super) keys: usize,
    /// Keys; as many ids follow them.
    pub(in super::super) streams: usize,
    /// Entries of each key at most.
    pub(super) count: usize,
    /// How long to wait; 0 for ever.
    pub(super) block: Option<Duration>,
    /// The arguments of a group and a consumer.
    pub(super) group: Option<(usize, usize)>,
    /// What is read needs no XACK.
    pub(super) no_ack: bool,
}

/// Where one key is read from.
#[derive(Clone, Debug)]
struct Place {
    key: Box<[u8]>,
    since: Since,
}

#[derive(Clone, Copy, Debug)]
enum Since {
    /// Entries above this id.
    After(EntryId),
    /// The last entry that is there (Redis 8; Valkey gives nothing once the newest one was deleted).
    Last,
}

/// Entries after the ids given. `may_block` is false inside a transaction.
pub(in super::super) fn xread<L: KeyReader + ?Sized>(
    look: &mut L,
    request: &Request,
    reply: &mut Reply,
    may_block: bool,
) -> Result<Outcome, Refusal> {
    let args = ReadArgs::parse(request, look.now().as_millis(), false)?;
    let mut places = Vec::with_capacity(args.streams);
    for at in args.keys..args.keys + args.streams {
        let key = request.arg(at);
        places.push(Place { key: key.into(), since: since(look, key, request.arg(at + args.streams))? });
    }
    if serve(look, &places, args.count, reply)? {
        return Ok(Outcome::Done);
    }
    let Some(block) = args.block.filter(|_| may_block) else {
        reply.null_array();
        return Ok(Outcome::Done);
    };
    Ok(Outcome::Wait(wait(places, args.count, block)))
}

fn wait(places: Vec<Place>, count: usize, block: Duration) -> Wait {
    let keys = places.iter().map(|place| place.key.clone()).collect();
    Wait::until(keys, block, move |keys, reply| serve(keys, &places, count, reply))
}

fn since<L: KeyReader + ?Sized>(look: &mut L, key: &[u8], id: &[u8]) -> Result<Since, Refusal> {
    match ids::until_nul(id) {
        b"$" => Ok(Since::After(last_id(look, key)?)),
        b"+" => Ok(Since::Last),
        b">" => Err(Refusal::Static(
            "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
        )),
        _ => ids::strict_id(id, 0).map(Since::After),
    }
}

/// `0-0` where there is no key.
fn last_id<L: KeyReader + ?Sized>(look: &mut L, key: &[u8]) -> Result<EntryId, Refusal> {
    Ok(look.metadata(key)?.map_or(EntryId::MIN, |facts| facts.last_id))
}

/// Writes what is there of each key; `false`, and nothing is written, if that is nothing.
fn serve<L: KeyReader + ?Sized>(
    look: &mut L,
    places: &[Place],
    count: usize,
    reply: &mut Reply,
) -> Result<bool, Refusal> {
    let whole = reply.len();
    let mut served = 0;
    for Place { key, since } in places {
        let range = match since {
            Since::After(id) => id.next().map(|start| IdRange { start, count, ..ALL }),
            Since::Last => Some(IdRange { count: 1, reverse: true, ..ALL }),
        };
        let Some(range) = range else { continue };
        let before = reply.len();
        key_header(key, reply);
        if entries(look, key, range, reply)? == 0 {
            reply.truncate(before);
        } else {
            served += 1;
        }
    }
    if served > 0 {
        keys_header(whole, served, reply);
    }
    Ok(served > 0)
}

/// What stands before the entries of a key: a pair in RESP2, a key of a map in RESP3.
pub(super) fn key_header(key: &[u8], reply: &mut Reply) {
    if reply.protocol() == Protocol::Resp2 {
        reply.array(2);
    }
    reply.bulk(key);
}

/// What stands before all keys, which were written since `start`.
pub(super) fn keys_header(start: usize, keys: usize, reply: &mut Reply) {
    match reply.protocol() {
        Protocol::Resp2 => reply.array_at(start, keys),
        Protocol::Resp3 => reply.map_at(start, keys),
    }
}

impl ReadArgs {
    /// Reads the options up to the keys. `now_ms` bounds the time there is to wait.
    pub(in super::super) fn parse(request: &Request, now_ms: u64, of_group: bool) -> Result<Self, Refusal> {
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
                return Err(Refusal::SYNTAX);
            }
            at += 1;
        }
        Err(Refusal::SYNTAX)
    }

    fn with_streams(mut self, request: &Request, keys: usize, of_group: bool) -> Result<Self, Refusal> {
        let words = request.len() - keys;
        if !words.is_multiple_of(2) {
            let (command, ids) =
                if of_group { ("xreadgroup", "an ID or '>'") } else { ("xread", "an ID, '+', or '$'") };
            return Err(Refusal::Text(format!(
                "ERR Unbalanced '{command}' list of streams: for each stream key {ids} must be specified."
            )));
        }
        (self.keys, self.streams) = (keys, words / 2);
        Ok(self)
    }
}

fn only_of_group(option: &str, of_group: bool) -> Result<(), Refusal> {
    if of_group {
        return Ok(());
    }
    Err(Refusal::Text(format!("ERR The {option} option is only supported by XREADGROUP. You called XREAD instead.")))
}

/// A timeout in milliseconds.
fn timeout(text: &[u8], now_ms: u64) -> Result<Duration, Refusal> {
    let ms = ids::plain_integer(text).ok_or(Refusal::Static("ERR timeout is not an integer or out of range"))?;
    let ms = u64::try_from(ms).map_err(|_| Refusal::Static("ERR timeout is negative"))?;
    if ms > i64::MAX.unsigned_abs().saturating_sub(now_ms) {
        return Err(Refusal::Static("ERR timeout is out of range"));
    }
    Ok(Duration::from_millis(ms))
}
