//! `XSETID key last-id [ENTRIESADDED n] [MAXDELETEDID id]`

use super::{Refusal, ids};
use crate::model::EntryId;
use crate::tasks::keys::{SetIdArgs, Transaction};
use crate::wire::resp::{Reply, Request};

/// Sets where a stream goes on.
pub(in super::super) fn xsetid(
    keys: &mut Transaction<'_>,
    request: &Request,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    let last_id = ids::strict_id(request.arg(2), 0)?;
    let mut tip = SetIdArgs { last_id, entries_added: None, max_deleted_id: None };
    let mut at = 3;
    while at < request.len() {
        let (word, more) = (request.arg(at), request.len() - at - 1);
        if ids::is_word(word, "ENTRIESADDED") && more > 0 {
            let added = u64::try_from(ids::integer(request.arg(at + 1))?);
            tip.entries_added = Some(added.map_err(|_| Refusal::Static("ERR entries_added must be positive"))?);
        } else if ids::is_word(word, "MAXDELETEDID") && more > 0 {
            let deleted = ids::strict_id(request.arg(at + 1), 0)?;
            if last_id < deleted {
                return Err(Refusal::Static(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
            // `0-0` says nothing, here as in Redis.
            tip.max_deleted_id = Some(deleted).filter(|deleted| *deleted != EntryId::MIN);
        } else {
            return Err(Refusal::SYNTAX);
        }
        at += 2;
    }
    match keys.set_id(request.arg(1), tip)? {
        None => Err(Refusal::NO_SUCH_KEY),
        Some(Err(error)) => Err(Refusal::Text(format!("ERR {error}"))),
        Some(Ok(())) => {
            reply.simple("OK");
            Ok(())
        }
    }
}
