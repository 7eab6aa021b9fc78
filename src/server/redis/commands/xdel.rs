//! `XDEL key id ..`

use super::{Refusal, ids};
use crate::tasks::keys::{KeyReader, Transaction};
use crate::wire::resp::{Reply, Request};

/// Deletes entries; answers how many were there.
pub(in super::super) fn xdel(keys: &mut Transaction<'_>, request: &Request, reply: &mut Reply) -> Result<(), Refusal> {
    let key = request.arg(1);
    // Before the ids: those of a key that is not there are not read.
    if keys.metadata(key)?.is_none() {
        reply.integer(0);
        return Ok(());
    }
    let ids = request.args().skip(2).map(|id| ids::strict_id(id, 0)).collect::<Result<Vec<_>, _>>()?;
    reply.unsigned(keys.delete(key, &ids)?);
    Ok(())
}
