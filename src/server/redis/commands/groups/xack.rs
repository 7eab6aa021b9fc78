//! `XACK key group id ..`

use super::super::{CommandResult, ids};
use crate::tasks::keys::Transaction;
use crate::wire::resp::{Reply, Request};

/// Acknowledges entries and replies with the number that were pending.
pub(in crate::server::redis) fn xack(
    keys: &mut Transaction<'_>,
    request: &Request,
    reply: &mut Reply,
) -> CommandResult {
    let (key, group) = (request.arg(1), request.arg(2));
    // Checked before the IDs: without a group they are not even parsed.
    if keys.check_group(key, group)?.is_err() {
        reply.integer(0);
        return Ok(());
    }
    let ids = request.args().skip(3).map(|id| ids::strict_id(id, 0)).collect::<Result<Vec<_>, _>>()?;
    let acked = keys.ack(key, group, &ids)?.unwrap_or(0);
    reply.unsigned(acked);
    Ok(())
}
