//! `XSETID key last-id [ENTRIESADDED n] [MAXDELETEDID id]`

use super::{CommandError, CommandResult, ids};
use crate::model::EntryId;
use crate::tasks::keys::{SetIdArgs, Transaction};
use crate::wire::resp::{Reply, Request};

/// Sets the last ID of a stream.
pub(in super::super) fn xsetid(keys: &mut Transaction<'_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let last_id = ids::strict_id(request.arg(2), 0)?;
    let mut args = SetIdArgs { last_id, entries_added: None, max_deleted_id: None };
    let mut at = 3;
    while at < request.len() {
        let (word, more) = (request.arg(at), request.len() - at - 1);
        if ids::is_word(word, "ENTRIESADDED") && more > 0 {
            let added = u64::try_from(ids::integer(request.arg(at + 1))?);
            args.entries_added = Some(added.map_err(|_| CommandError::Static("ERR entries_added must be positive"))?);
        } else if ids::is_word(word, "MAXDELETEDID") && more > 0 {
            let deleted = ids::strict_id(request.arg(at + 1), 0)?;
            if last_id < deleted {
                return Err(CommandError::Static(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
            // As in Redis, `0-0` leaves it unchanged.
            args.max_deleted_id = Some(deleted).filter(|deleted| *deleted != EntryId::MIN);
        } else {
            return Err(CommandError::SYNTAX);
        }
        at += 2;
    }
    match keys.set_id(request.arg(1), args)? {
        None => Err(CommandError::NO_SUCH_KEY),
        Some(Err(error)) => Err(CommandError::Text(format!("ERR {error}"))),
        Some(Ok(())) => {
            reply.simple("OK");
            Ok(())
        }
    }
}
