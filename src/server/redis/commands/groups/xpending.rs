//! `XPENDING key group [[IDLE ms] start end count [consumer]]`

use super::super::{Refusal, ids};
use super::{found, no_key_or_group};
use crate::tasks::keys::{PendingQuery, Transaction};
use crate::wire::resp::{Reply, Request};

/// What waits for an ack: in sum, or one by one.
pub(in crate::server::redis) fn xpending(
    keys: &mut Transaction<'_>,
    request: &Request,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    match request.len() {
        3 => summary(keys, request, reply),
        6..=9 => list(keys, request, reply),
        _ => Err(Refusal::SYNTAX),
    }
}

fn summary(keys: &mut Transaction<'_>, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let (key, group) = (request.arg(1), request.arg(2));
    let pending = found(keys.pending_summary(key, group), || no_key_or_group(key, group, ""))?;
    reply.array(4);
    reply.unsigned(pending.count);
    let Some((first, last)) = pending.span else {
        reply.null();
        reply.null();
        reply.null_array();
        return Ok(());
    };
    reply.id(first);
    reply.id(last);
    reply.array(pending.consumers.len());
    for (consumer, count) in &pending.consumers {
        reply.array(2);
        reply.bulk(consumer);
        reply.bulk_display(count);
    }
    Ok(())
}

fn list(keys: &mut Transaction<'_>, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let (key, group) = (request.arg(1), request.arg(2));
    let (mut at, mut idle_ms_min) = (3, 0);
    if ids::is_word(request.arg(3), "IDLE") {
        idle_ms_min = u64::try_from(ids::integer(request.arg(4))?).unwrap_or(0);
        if request.len() < 8 {
            return Err(Refusal::SYNTAX);
        }
        at = 5;
    }
    let count = ids::count(request.arg(at + 2))?;
    let (start, end) = (ids::range_start(request.arg(at))?, ids::range_end(request.arg(at + 1))?);
    let query = PendingQuery { start, end, count, consumer: request.get(at + 3), idle_ms_min };
    let pending = found(keys.pending(key, group, query), || no_key_or_group(key, group, ""))?;
    reply.array(pending.len());
    for entry in &pending {
        reply.array(4);
        reply.id(entry.id);
        reply.bulk(&entry.consumer);
        reply.unsigned(entry.idle_ms);
        reply.unsigned(entry.count);
    }
    Ok(())
}
