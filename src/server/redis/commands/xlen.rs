//! `XLEN key`.

use super::CommandResult;
use crate::tasks::keys::KeyReader;
use crate::wire::resp::{Reply, Request};

/// Replies with the number of entries, or 0 for a missing key.
pub(in super::super) fn xlen<L: KeyReader + ?Sized>(
    reader: &mut L,
    request: &Request,
    reply: &mut Reply,
) -> CommandResult {
    let len = reader.metadata(request.arg(1))?.map_or(0, |metadata| metadata.len);
    reply.unsigned(len);
    Ok(())
}
