//! Lists: moving an item to another list, and waiting for one.

use std::sync::Arc;
use std::time::Duration;

use super::data::KeyType;
use super::ids::is_word;
use super::{CommandError, CommandResult, ValueContext, ValueStore};
use crate::server::redis::commands::{BlockingCommand, CommandOutcome};
use crate::wire::resp::{Reply, Request};

/// An item to move: the ends of the source and of the destination, `true` for the first item.
#[derive(Clone, Copy)]
struct Ends {
    from_first: bool,
    to_first: bool,
}

/// `LMOVE source destination LEFT|RIGHT LEFT|RIGHT`
pub(super) fn lmove(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let ends = Ends { from_first: end(request.arg(3))?, to_first: end(request.arg(4))? };
    if !move_item(context, request.arg(1), request.arg(2), ends, reply)? {
        reply.null();
    }
    Ok(())
}

/// `RPOPLPUSH source destination`
pub(super) fn rpoplpush(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let ends = Ends { from_first: false, to_first: true };
    if !move_item(context, request.arg(1), request.arg(2), ends, reply)? {
        reply.null();
    }
    Ok(())
}

/// `BLMOVE source destination LEFT|RIGHT LEFT|RIGHT timeout`
pub(super) fn blmove(
    context: &mut ValueContext<'_, '_>,
    request: &Request,
    reply: &mut Reply,
    may_block: bool,
) -> CommandResult<CommandOutcome> {
    let ends = Ends { from_first: end(request.arg(3))?, to_first: end(request.arg(4))? };
    let wait = timeout(request.arg(5))?;
    move_or_block(context, request, ends, wait.filter(|_| may_block), reply)
}

/// `BRPOPLPUSH source destination timeout`
pub(super) fn brpoplpush(
    context: &mut ValueContext<'_, '_>,
    request: &Request,
    reply: &mut Reply,
    may_block: bool,
) -> CommandResult<CommandOutcome> {
    let wait = timeout(request.arg(3))?;
    move_or_block(context, request, Ends { from_first: false, to_first: true }, wait.filter(|_| may_block), reply)
}

/// `BLPOP key.. timeout`
pub(super) fn blpop(
    context: &mut ValueContext<'_, '_>,
    request: &Request,
    reply: &mut Reply,
    may_block: bool,
) -> CommandResult<CommandOutcome> {
    pop_or_block(context, request, reply, may_block, true)
}

/// `BRPOP key.. timeout`
pub(super) fn brpop(
    context: &mut ValueContext<'_, '_>,
    request: &Request,
    reply: &mut Reply,
    may_block: bool,
) -> CommandResult<CommandOutcome> {
    pop_or_block(context, request, reply, may_block, false)
}

/// Reports whether a word names the first end of a list.
fn end(word: &[u8]) -> CommandResult<bool> {
    if is_word(word, "LEFT") {
        Ok(true)
    } else if is_word(word, "RIGHT") {
        Ok(false)
    } else {
        Err(CommandError::SYNTAX)
    }
}

/// Parses a timeout in seconds, with decimals. Zero is unlimited, as for [`BlockingCommand::until`].
fn timeout(text: &[u8]) -> CommandResult<Option<Duration>> {
    let seconds = std::str::from_utf8(text).ok().filter(|text| !text.starts_with(char::is_whitespace));
    let seconds: f64 = seconds
        .and_then(|text| text.parse().ok())
        .filter(|seconds: &f64| !seconds.is_nan())
        .ok_or(CommandError::Static("ERR timeout is not a float or out of range"))?;
    let ms = (seconds * 1_000.0).ceil();
    if ms < 0.0 {
        return Err(CommandError::Static("ERR timeout is negative"));
    }
    match Duration::try_from_secs_f64(ms / 1_000.0) {
        // Redis adds it to its clock.
        Ok(wait) if wait.as_millis() < u128::from(i64::MAX.unsigned_abs() / 2) => Ok(Some(wait)),
        _ => Err(CommandError::Static("ERR timeout is out of range")),
    }
}

/// Moves an item and writes it. Returns `false`, having written nothing, without a source.
fn move_item(
    context: &mut ValueContext<'_, '_>,
    from: &[u8],
    to: &[u8],
    ends: Ends,
    reply: &mut Reply,
) -> CommandResult<bool> {
    if !context.exists_as(from, KeyType::List)? {
        return Ok(false);
    }
    context.exists_as(to, KeyType::List)?;
    let database = context.selected();
    // Its expiration time remains if it is moved within the only item of one list.
    let expires = context.value(from).and_then(|value| value.expires).filter(|_| from == to);
    let Some(item) = context.change_list(from, |list| list.pop(ends.from_first))? else { return Ok(false) };
    reply.bulk(&item);
    context.change_list(to, |list| list.push(ends.to_first, item))?;
    if expires.is_some() {
        context.values.expire(database, to, expires);
    }
    context.touch(from);
    context.touch(to);
    Ok(true)
}

fn move_or_block(
    context: &mut ValueContext<'_, '_>,
    request: &Request,
    ends: Ends,
    wait: Option<Duration>,
    reply: &mut Reply,
) -> CommandResult<CommandOutcome> {
    let (from, to) = (request.arg(1), request.arg(2));
    if move_item(context, from, to, ends, reply)? {
        return Ok(CommandOutcome::Done);
    }
    let Some(wait) = wait else {
        reply.null();
        return Ok(CommandOutcome::Done);
    };
    let (store, from, to) = (Arc::clone(context.store), from.to_vec(), to.to_vec());
    Ok(CommandOutcome::Block(block(store, vec![from.clone().into()], wait, move |context, reply| {
        Ok(context.holds_list(&from) && move_item(context, &from, &to, ends, reply)?)
    })))
}

/// Removes and writes the item of the first list that has one. Returns `false`, having written nothing,
/// if there is none.
fn pop_item(
    context: &mut ValueContext<'_, '_>,
    keys: &[Box<[u8]>],
    first: bool,
    reply: &mut Reply,
) -> CommandResult<bool> {
    for key in keys {
        if context.exists_as(key, KeyType::List)?
            && let Some(item) = context.change_list(key, |list| list.pop(first))?
        {
            reply.array(2);
            reply.bulk(key);
            reply.bulk(&item);
            context.touch(key);
            return Ok(true);
        }
    }
    Ok(false)
}

fn pop_or_block(
    context: &mut ValueContext<'_, '_>,
    request: &Request,
    reply: &mut Reply,
    may_block: bool,
    first: bool,
) -> CommandResult<CommandOutcome> {
    let last = request.len() - 1;
    let wait = timeout(request.arg(last))?;
    let keys: Vec<Box<[u8]>> = request.args().skip(1).take(last - 1).map(Into::into).collect();
    if pop_item(context, &keys, first, reply)? {
        return Ok(CommandOutcome::Done);
    }
    let Some(wait) = wait.filter(|_| may_block) else {
        reply.null_array();
        return Ok(CommandOutcome::Done);
    };
    let store = Arc::clone(context.store);
    Ok(CommandOutcome::Block(block(store, keys.clone(), wait, move |context, reply| {
        // Like Valkey, runs the whole command again once one of the keys is a list.
        Ok(keys.iter().any(|key| context.holds_list(key)) && pop_item(context, &keys, first, reply)?)
    })))
}

/// Waits until `take` finds an item.
fn block(
    store: Arc<ValueStore>,
    keys: Vec<Box<[u8]>>,
    wait: Duration,
    mut take: impl FnMut(&mut ValueContext<'_, '_>, &mut Reply) -> CommandResult<bool> + Send + 'static,
) -> BlockingCommand {
    BlockingCommand::until(keys, wait, move |keys, reply| store.run(keys, None, |context| take(context, reply)))
}
