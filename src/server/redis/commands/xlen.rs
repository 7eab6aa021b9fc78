//! `XLEN key`.

use super::Refusal;
use crate::tasks::keys::KeyReader;
use crate::wire::resp::{Reply, Request};

/// How many entries there are; 0 where there is no key.
pub(in super::super) fn xlen<L: KeyReader + ?Sized>(
    look: &mut L,
    request: &Request,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    let len = look.metadata(request.arg(1))?.map_or(0, |facts| facts.len);
    reply.unsigned(len);
    Ok(())
}
