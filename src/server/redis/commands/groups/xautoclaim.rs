//! `XAUTOCLAIM key group consumer min-idle start [COUNT n] [JUSTID]`

use super::super::entries::entry;
use super::super::{Refusal, ids};
use super::{found, idle_ms_min, no_key_or_group};
use crate::tasks::keys::{AutoClaim, Transaction};
use crate::wire::resp::{Reply, Request};

/// Entries unless said otherwise.
const COUNT_DEFAULT: usize = 100;
/// More are refused, as in Redis.
const COUNT_MAX: i64 = i64::MAX / 16;

/// Gives a consumer what others have been holding for long; answers where to go on, the entries or
/// their ids, and the ids of those that are deleted.
pub(in crate::server::redis) fn xautoclaim(
    keys: &mut Transaction<'_>,
    request: &Request,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    let (key, group, consumer) = (request.arg(1), request.arg(2), request.arg(3));
    let idle_ms_min = idle_ms_min(request.arg(4), "XAUTOCLAIM")?;
    let start = ids::range_start(request.arg(5))?;
    let mut wanted = AutoClaim { start, count: COUNT_DEFAULT, idle_ms_min, only_ids: false };
    let mut at = 6;
    while at < request.len() {
        if ids::is_word(request.arg(at), "COUNT") && at + 1 < request.len() {
            let count = ids::plain_integer(request.arg(at + 1)).filter(|count| (1..=COUNT_MAX).contains(count));
            let count = count.and_then(|count| usize::try_from(count).ok());
            wanted.count = count.ok_or(Refusal::Static("ERR COUNT must be > 0"))?;
            at += 2;
        } else if ids::is_word(request.arg(at), "JUSTID") {
            wanted.only_ids = true;
            at += 1;
        } else {
            return Err(Refusal::SYNTAX);
        }
    }
    let whole = reply.len();
    let claimed = keys.auto_claim(key, group, consumer, wanted, &mut |claimed| {
        if wanted.only_ids { reply.id(claimed.id) } else { entry(claimed, reply) }
    });
    let claimed = found(claimed, || no_key_or_group(key, group, ""))?;
    reply.array_at(whole, claimed.claimed);
    // What comes first is known last.
    let items = reply.bytes().get(whole..).unwrap_or_default().to_vec();
    reply.truncate(whole);
    reply.array(3);
    reply.id(claimed.next);
    reply.raw(&items);
    reply.array(claimed.deleted.len());
    claimed.deleted.iter().for_each(|id| reply.id(*id));
    Ok(())
}
