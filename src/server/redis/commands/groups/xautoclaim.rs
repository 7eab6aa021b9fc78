//! `XAUTOCLAIM key group consumer min-idle start [COUNT n] [JUSTID]`

use super::super::entries::entry;
use super::super::{CommandError, CommandResult, ids};
use super::{idle_ms_min, map_group_error, no_key_or_group};
use crate::tasks::keys::{AutoClaim, Transaction};
use crate::wire::resp::{Reply, Request};

/// Default number of entries.
const COUNT_DEFAULT: usize = 100;
/// Larger counts are rejected, as in Redis.
const COUNT_MAX: i64 = i64::MAX / 16;

/// Claims entries that have been idle for a minimum time. Replies with the ID to continue from, the
/// entries or their IDs, and the IDs of deleted entries.
pub(in crate::server::redis) fn xautoclaim(
    keys: &mut Transaction<'_>,
    request: &Request,
    reply: &mut Reply,
) -> CommandResult {
    let (key, group, consumer) = (request.arg(1), request.arg(2), request.arg(3));
    let idle_ms_min = idle_ms_min(request.arg(4), "XAUTOCLAIM")?;
    let start = ids::range_start(request.arg(5))?;
    let mut options = AutoClaim { start, count: COUNT_DEFAULT, idle_ms_min, only_ids: false };
    let mut at = 6;
    while at < request.len() {
        if ids::is_word(request.arg(at), "COUNT") && at + 1 < request.len() {
            let count = ids::plain_integer(request.arg(at + 1)).filter(|count| (1..=COUNT_MAX).contains(count));
            let count = count.and_then(|count| usize::try_from(count).ok());
            options.count = count.ok_or(CommandError::Static("ERR COUNT must be > 0"))?;
            at += 2;
        } else if ids::is_word(request.arg(at), "JUSTID") {
            options.only_ids = true;
            at += 1;
        } else {
            return Err(CommandError::SYNTAX);
        }
    }
    let start_len = reply.len();
    let claimed = keys.auto_claim(key, group, consumer, options, &mut |claimed| {
        if options.only_ids { reply.id(claimed.id) } else { entry(claimed, reply) }
    });
    let claimed = map_group_error(claimed, || no_key_or_group(key, group, ""))?;
    reply.array_at(start_len, claimed.claimed);
    // The first element is known last.
    let items = reply.bytes().get(start_len..).unwrap_or_default().to_vec();
    reply.truncate(start_len);
    reply.array(3);
    reply.id(claimed.next);
    reply.raw(&items);
    reply.array(claimed.deleted.len());
    claimed.deleted.iter().for_each(|id| reply.id(*id));
    Ok(())
}
