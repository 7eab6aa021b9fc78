//! `XRANGE key start end [COUNT n]`, `XREVRANGE key end start [COUNT n]`.

use super::entries::entries;
use super::{Refusal, ids};
use crate::tasks::keys::{IdRange, KeyReader};
use crate::wire::resp::{Reply, Request};

/// Entries from the least id on.
pub(in super::super) fn xrange<L: KeyReader + ?Sized>(
    look: &mut L,
    request: &Request,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    answer(look, request, false, reply)
}

/// Entries from the greatest id on.
pub(in super::super) fn xrevrange<L: KeyReader + ?Sized>(
    look: &mut L,
    request: &Request,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    answer(look, request, true, reply)
}

fn answer<L: KeyReader + ?Sized>(
    look: &mut L,
    request: &Request,
    reverse: bool,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    let (first, second) = (request.arg(2), request.arg(3));
    let (start, end) = if reverse { (second, first) } else { (first, second) };
    let (start, end) = (ids::range_start(start)?, ids::range_end(end)?);
    let mut count = None;
    let mut at = 4;
    while at < request.len() {
        if !ids::is_word(request.arg(at), "COUNT") || at + 1 == request.len() {
            return Err(Refusal::SYNTAX);
        }
        count = Some(ids::count(request.arg(at + 1))?);
        at += 2;
    }
    let key = request.arg(1);
    if count == Some(0) {
        match look.metadata(key)? {
            Some(_) => reply.null_array(),
            None => reply.array(0),
        }
        return Ok(());
    }
    entries(look, key, IdRange { start, end, count: count.unwrap_or(usize::MAX), reverse }, reply)?;
    Ok(())
}
