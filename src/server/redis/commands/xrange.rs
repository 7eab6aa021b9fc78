//! `XRANGE key start end [COUNT n]`, `XREVRANGE key end start [COUNT n]`.

use super::entries::entries;
use super::{CommandError, CommandResult, ids};
use crate::tasks::keys::{IdRange, KeyReader};
use crate::wire::resp::{Reply, Request};

/// Replies with entries in ascending order of IDs.
pub(in super::super) fn xrange<L: KeyReader + ?Sized>(
    reader: &mut L,
    request: &Request,
    reply: &mut Reply,
) -> CommandResult {
    write_range(reader, request, false, reply)
}

/// Replies with entries in descending order of IDs.
pub(in super::super) fn xrevrange<L: KeyReader + ?Sized>(
    reader: &mut L,
    request: &Request,
    reply: &mut Reply,
) -> CommandResult {
    write_range(reader, request, true, reply)
}

fn write_range<L: KeyReader + ?Sized>(
    reader: &mut L,
    request: &Request,
    reverse: bool,
    reply: &mut Reply,
) -> CommandResult {
    let (first, second) = (request.arg(2), request.arg(3));
    let (start, end) = if reverse { (second, first) } else { (first, second) };
    let (start, end) = (ids::range_start(start)?, ids::range_end(end)?);
    let mut count = None;
    let mut at = 4;
    while at < request.len() {
        if !ids::is_word(request.arg(at), "COUNT") || at + 1 == request.len() {
            return Err(CommandError::SYNTAX);
        }
        count = Some(ids::count(request.arg(at + 1))?);
        at += 2;
    }
    let key = request.arg(1);
    if count == Some(0) {
        match reader.metadata(key)? {
            Some(_) => reply.null_array(),
            None => reply.array(0),
        }
        return Ok(());
    }
    entries(reader, key, IdRange { start, end, count: count.unwrap_or(usize::MAX), reverse }, reply)?;
    Ok(())
}
