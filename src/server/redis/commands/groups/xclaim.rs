//! `XCLAIM key group consumer min-idle id.. [IDLE ms] [TIME ms] [RETRYCOUNT n] [FORCE] [JUSTID]
//! [LASTID id]`

use super::super::entries::entry;
use super::super::{Refusal, ids};
use super::{found, idle_ms_min, no_key_or_group};
use crate::model::{EntryId, Timestamp};
use crate::tasks::keys::{Claim, KeyReader, Transaction};
use crate::wire::resp::{Reply, Request};

/// Gives a consumer what others were given; answers the entries, or their ids.
pub(in crate::server::redis) fn xclaim(
    keys: &mut Transaction<'_>,
    request: &Request,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    let (key, group, consumer) = (request.arg(1), request.arg(2), request.arg(3));
    let missing = || no_key_or_group(key, group, "");
    found(keys.check_group(key, group), missing)?;
    let idle_ms_min = idle_ms_min(request.arg(4), "XCLAIM")?;
    // The first word that is no id is an option.
    let ids: Vec<EntryId> = request.args().skip(5).map_while(|id| ids::strict_id(id, 0).ok()).collect();
    let claim = parse(request, 5 + ids.len(), keys.now(), Claim { idle_ms_min, ..Claim::default() })?;
    let at = reply.len();
    let claimed = keys.claim(key, group, consumer, &ids, claim, &mut |claimed| {
        if claim.only_ids { reply.id(claimed.id) } else { entry(claimed, reply) }
    });
    reply.array_at(at, found(claimed, missing)?);
    Ok(())
}

fn parse(request: &Request, mut at: usize, now: Timestamp, mut claim: Claim) -> Result<Claim, Refusal> {
    while at < request.len() {
        let (word, value, more) = (request.arg(at), request.arg(at + 1), request.len() - at - 1);
        let is = |name| ids::is_word(word, name);
        let number = |option: &str| {
            let invalid = || Refusal::Text(format!("ERR Invalid {option} option argument for XCLAIM"));
            ids::plain_integer(value).ok_or_else(invalid)
        };
        at += 2;
        if is("FORCE") {
            claim.force = true;
            at -= 1;
        } else if is("JUSTID") {
            claim.only_ids = true;
            at -= 1;
        } else if is("IDLE") && more > 0 {
            let idle_ms = u64::try_from(number("IDLE")?).unwrap_or(0);
            claim.delivered = now.as_millis().checked_sub(idle_ms).map(Timestamp::from_millis);
        } else if is("TIME") && more > 0 {
            let ms = u64::try_from(number("TIME")?).ok().filter(|ms| *ms <= now.as_millis());
            claim.delivered = ms.map(Timestamp::from_millis);
        } else if is("RETRYCOUNT") && more > 0 {
            claim.count = u64::try_from(number("RETRYCOUNT")?).ok();
        } else if is("LASTID") && more > 0 {
            claim.last_id = Some(ids::strict_id(value, 0)?);
        } else {
            let text = [&b"ERR Unrecognized XCLAIM option '"[..], ids::until_nul(word), b"'"];
            return Err(Refusal::Bytes(text.concat()));
        }
    }
    Ok(claim)
}
