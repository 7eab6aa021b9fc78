//! `XDEL key id ..`

use super::{CommandResult, ids};
use crate::tasks::keys::{KeyReader, Transaction};
use crate::wire::resp::{Reply, Request};

/// Deletes entries and replies with the number that existed.
pub(in super::super) fn xdel(keys: &mut Transaction<'_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let key = request.arg(1);
    // Checked before the IDs: without a key they are not even parsed.
    if keys.metadata(key)?.is_none() {
        reply.integer(0);
        return Ok(());
    }
    let ids = request.args().skip(2).map(|id| ids::strict_id(id, 0)).collect::<Result<Vec<_>, _>>()?;
    reply.unsigned(keys.delete(key, &ids)?);
    Ok(())
}
