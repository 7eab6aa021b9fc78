//! `XINFO STREAM key [FULL [COUNT n]]`, `XINFO GROUPS key`, `XINFO CONSUMERS key group`, `XINFO HELP`

use super::entries::{ALL, entries, entry};
use super::{Refusal, ids};
use crate::model::EntryId;
use crate::tasks::keys::{Keys, Look, Range, StreamInfo};
use crate::wire::resp::{Reply, Request};

/// Entries of a FULL answer unless said otherwise.
const FULL_COUNT: usize = 10;

const HELP: [&str; 9] = [
    "XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CONSUMERS <key> <groupname>",
    "    Show consumers of <groupname>.",
    "GROUPS <key>",
    "    Show the stream consumer groups.",
    "STREAM <key> [FULL [COUNT <count>]",
    "    Show information about the stream.",
    "HELP",
    "    Print this help.",
];

/// What there is to say of a stream.
pub(in super::super) fn xinfo(keys: &mut Keys<'_>, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let subcommand = request.arg(1);
    let is = |name| ids::is_word(subcommand, name);
    if is("STREAM") {
        stream(keys, request, reply)
    } else if is("GROUPS") {
        groups(keys, request, reply)
    } else if is("CONSUMERS") {
        consumers(keys, request, reply)
    } else if is("HELP") {
        reply.array(HELP.len());
        HELP.iter().for_each(|line| reply.simple(line));
        Ok(())
    } else {
        let shown = ids::until_nul(subcommand);
        let shown = shown.get(..128).unwrap_or(shown);
        Err(Refusal::Bytes([b"ERR unknown subcommand '", shown, b"'. Try XINFO HELP."].concat()))
    }
}

fn stream(keys: &mut Keys<'_>, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let key = request.arg(2);
    let info = keys.info(key)?.ok_or(Refusal::NO_SUCH_KEY)?;
    let full = match request.len() {
        3 => return summary(keys, key, &info, reply),
        4 | 6 => ids::is_word(request.arg(3), "FULL"),
        _ => false,
    };
    let counted = request.len() == 6;
    if !full || (counted && !ids::is_word(request.arg(4), "COUNT")) {
        let text = [
            &b"ERR unknown subcommand or wrong number of arguments for '"[..],
            ids::until_nul(request.arg(1)),
            b"'. Try XINFO HELP.",
        ];
        return Err(Refusal::Bytes(text.concat()));
    }
    let count = if counted {
        match ids::integer(request.arg(5))? {
            0 => usize::MAX,
            count => usize::try_from(count).unwrap_or(FULL_COUNT),
        }
    } else {
        FULL_COUNT
    };
    reply.map(9);
    numbers(&info, reply);
    reply.bulk(b"entries");
    entries(keys, key, Range { count, ..ALL }, reply)?;
    reply.bulk(b"groups");
    reply.array(0);
    Ok(())
}

fn summary(keys: &mut Keys<'_>, key: &[u8], info: &StreamInfo, reply: &mut Reply) -> Result<(), Refusal> {
    reply.map(10);
    numbers(info, reply);
    reply.bulk(b"groups");
    reply.integer(0);
    for (name, reverse) in [("first-entry", false), ("last-entry", true)] {
        reply.bulk(name.as_bytes());
        if keys.range(key, Range { count: 1, reverse, ..ALL }, &mut |found| entry(found, reply))? == 0 {
            reply.null();
        }
    }
    Ok(())
}

/// The seven pairs that both forms begin with.
fn numbers(info: &StreamInfo, reply: &mut Reply) {
    let mut number = |name: &str, value: u64| {
        reply.bulk(name.as_bytes());
        reply.unsigned(value);
    };
    number("length", info.len);
    number("radix-tree-keys", info.nodes);
    number("radix-tree-nodes", info.tree_nodes);
    let mut id = |name: &str, value: EntryId| {
        reply.bulk(name.as_bytes());
        reply.id(value);
    };
    id("last-generated-id", info.last_id);
    id("max-deleted-entry-id", info.max_deleted_id);
    reply.bulk(b"entries-added");
    reply.unsigned(info.entries_added);
    reply.bulk(b"recorded-first-entry-id");
    reply.id(info.first_id);
}

fn groups(keys: &mut Keys<'_>, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    keys.facts(request.arg(2))?.ok_or(Refusal::NO_SUCH_KEY)?;
    reply.array(0);
    Ok(())
}

fn consumers(keys: &mut Keys<'_>, request: &Request, _: &mut Reply) -> Result<(), Refusal> {
    let (key, group) = (request.arg(2), request.arg(3));
    keys.facts(key)?.ok_or(Refusal::NO_SUCH_KEY)?;
    let (group, key) = (ids::until_nul(group), ids::until_nul(key));
    let text = [b"NOGROUP No such consumer group '", group, b"' for key name '", key, b"'"];
    Err(Refusal::Bytes(text.concat()))
}
