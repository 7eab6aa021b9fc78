//! `XACK key group id ..`

use super::super::{Refusal, ids};
use crate::tasks::keys::Transaction;
use crate::wire::resp::{Reply, Request};

/// Acknowledges entries; answers how many waited for it.
pub(in crate::server::redis) fn xack(
    keys: &mut Transaction<'_>,
    request: &Request,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    let (key, group) = (request.arg(1), request.arg(2));
    // Before the ids: those of a group that is not there are not read.
    if keys.check_group(key, group)?.is_err() {
        reply.integer(0);
        return Ok(());
    }
    let ids = request.args().skip(3).map(|id| ids::strict_id(id, 0)).collect::<Result<Vec<_>, _>>()?;
    let acked = keys.ack(key, group, &ids)?.unwrap_or(0);
    reply.unsigned(acked);
    Ok(())
}
