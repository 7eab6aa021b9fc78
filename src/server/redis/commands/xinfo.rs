//! `XINFO STREAM key [FULL [COUNT n]]`, `XINFO GROUPS key`, `XINFO CONSUMERS key group`, `XINFO HELP`

use super::entries::{ALL, entries, entry};
use super::groups::no_group;
use super::{Refusal, help_lines, ids, unknown_subcommand, wrong_subcommand};
use crate::model::EntryId;
use crate::tasks::keys::{GroupError, GroupInfo, IdRange, KeyReader, PendingQuery, StreamInfo, Transaction};
use crate::wire::resp::{Reply, Request};

/// Entries of a FULL answer unless said otherwise.
const FULL_COUNT: usize = 10;

/// A time that never was: it is replied as -1.
const NEVER: u64 = u64::MAX;

const HELP: &[&str] = &[
    "XINFO STREAM key [FULL [COUNT n]]: its length, its ids and its ends; FULL: entries and groups too",
    "XINFO GROUPS key: how far each group of it is",
    "XINFO CONSUMERS key group: who reads for the group, and what each has not acknowledged",
];

/// What there is to say of a stream.
pub(in super::super) fn xinfo(keys: &mut Transaction<'_>, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let subcommand = request.arg(1);
    let is = |name| ids::is_word(subcommand, name);
    if is("STREAM") {
        stream(keys, request, reply)
    } else if is("GROUPS") {
        groups(keys, request, reply)
    } else if is("CONSUMERS") {
        consumers(keys, request, reply)
    } else if is("HELP") {
        help_lines(reply, HELP);
        Ok(())
    } else {
        Err(unknown_subcommand(request))
    }
}

fn stream(keys: &mut Transaction<'_>, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let key = request.arg(2);
    let info = keys.info(key)?.ok_or(Refusal::NO_SUCH_KEY)?;
    let full = match request.len() {
        3 => return summary(keys, key, &info, reply),
        4 | 6 => ids::is_word(request.arg(3), "FULL"),
        _ => false,
    };
    let counted = request.len() == 6;
    if !full || (counted && !ids::is_word(request.arg(4), "COUNT")) {
        return Err(wrong_subcommand(request));
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
    entries(keys, key, IdRange { count, ..ALL }, reply)?;
    reply.bulk(b"groups");
    full_groups(keys, key, count, reply)
}

fn full_groups(keys: &mut Transaction<'_>, key: &[u8], count: usize, reply: &mut Reply) -> Result<(), Refusal> {
    let groups = keys.groups(key)?.ok_or(Refusal::NO_SUCH_KEY)?;
    reply.array(groups.len());
    for group in &groups {
        reply.map(7);
        reply.bulk(b"name");
        reply.bulk(&group.name);
        progress(group, reply);
        reply.bulk(b"pel-count");
        reply.unsigned(group.pending);
        let query = PendingQuery { start: EntryId::MIN, end: EntryId::MAX, count, consumer: None, idle_ms_min: 0 };
        let pending = keys.pending(key, &group.name, query)?.unwrap_or_default();
        reply.bulk(b"pending");
        reply.array(pending.len());
        for entry in &pending {
            reply.array(4);
            reply.id(entry.id);
            reply.bulk(&entry.consumer);
            reply.unsigned(entry.delivered_ms);
            reply.unsigned(entry.count);
        }
        reply.bulk(b"consumers");
        full_consumers(keys, key, &group.name, count, reply)?;
    }
    Ok(())
}

fn full_consumers(
    keys: &mut Transaction<'_>,
    key: &[u8],
    group: &[u8],
    count: usize,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    let consumers = keys.consumers(key, group)?.unwrap_or_default();
    reply.array(consumers.len());
    for consumer in &consumers {
        reply.map(5);
        reply.bulk(b"name");
        reply.bulk(&consumer.name);
        reply.bulk(b"seen-time");
        reply.unsigned(consumer.seen_ms);
        reply.bulk(b"active-time");
        reply.unsigned(consumer.active_ms.unwrap_or(NEVER));
        reply.bulk(b"pel-count");
        reply.unsigned(consumer.pending);
        let pending = keys.consumer_pending(key, group, &consumer.name, count)?.unwrap_or_default();
        reply.bulk(b"pending");
        reply.array(pending.len());
        for entry in &pending {
            reply.array(3);
            reply.id(entry.id);
            reply.unsigned(entry.delivered_ms);
            reply.unsigned(entry.count);
        }
    }
    Ok(())
}

/// How far a group is: three pairs.
fn progress(group: &GroupInfo, reply: &mut Reply) {
    reply.bulk(b"last-delivered-id");
    reply.id(group.last_id);
    for (name, value) in [("entries-read", group.entries_read), ("lag", group.lag)] {
        reply.bulk(name.as_bytes());
        match value {
            Some(value) => reply.unsigned(value),
            None => reply.null(),
        }
    }
}

fn summary(keys: &mut Transaction<'_>, key: &[u8], info: &StreamInfo, reply: &mut Reply) -> Result<(), Refusal> {
    reply.map(10);
    numbers(info, reply);
    reply.bulk(b"groups");
    reply.unsigned(info.groups);
    for (name, reverse) in [("first-entry", false), ("last-entry", true)] {
        reply.bulk(name.as_bytes());
        if keys.range(key, IdRange { count: 1, reverse, ..ALL }, &mut |found| entry(found, reply))? == 0 {
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

fn groups(keys: &mut Transaction<'_>, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let groups = keys.groups(request.arg(2))?.ok_or(Refusal::NO_SUCH_KEY)?;
    reply.array(groups.len());
    for group in &groups {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(&group.name);
        reply.bulk(b"consumers");
        reply.unsigned(group.consumers);
        reply.bulk(b"pending");
        reply.unsigned(group.pending);
        progress(group, reply);
    }
    Ok(())
}

fn consumers(keys: &mut Transaction<'_>, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let (key, group) = (request.arg(2), request.arg(3));
    let now = keys.now().as_millis();
    let consumers = match keys.consumers(key, group)? {
        Ok(consumers) => consumers,
        Err(GroupError::NoKey) => return Err(Refusal::NO_SUCH_KEY),
        Err(_) => return Err(no_group(key, group)),
    };
    reply.array(consumers.len());
    for consumer in &consumers {
        reply.map(4);
        reply.bulk(b"name");
        reply.bulk(&consumer.name);
        reply.bulk(b"pending");
        reply.unsigned(consumer.pending);
        reply.bulk(b"idle");
        reply.unsigned(now.saturating_sub(consumer.seen_ms));
        reply.bulk(b"inactive");
        reply.unsigned(consumer.active_ms.map_or(NEVER, |active| now.saturating_sub(active)));
    }
    Ok(())
}
