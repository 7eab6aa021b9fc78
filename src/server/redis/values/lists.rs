//! Lists: adding and removing at the ends, and reading ranges.

use super::data::{KeyType, ListValue};
use super::ids::{integer, plain_integer};
use super::{CommandError, CommandResult, ValueContext, check_reply};
use crate::wire::resp::{Reply, Request};

/// `LPUSH key item..`: replies with the new length.
pub(super) fn lpush(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    push(context, request, reply, true)
}

/// `RPUSH key item..`: replies with the new length.
pub(super) fn rpush(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    push(context, request, reply, false)
}

/// `LPUSHX key item..`: like `LPUSH`, but only to an existing list.
pub(super) fn lpushx(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    push_existing(context, request, reply, true)
}

/// `RPUSHX key item..`: like `RPUSH`, but only to an existing list.
pub(super) fn rpushx(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    push_existing(context, request, reply, false)
}

fn push_existing(
    context: &mut ValueContext<'_, '_>,
    request: &Request,
    reply: &mut Reply,
    first: bool,
) -> CommandResult {
    if context.exists_as(request.arg(1), KeyType::List)? {
        return push(context, request, reply, first);
    }
    reply.integer(0);
    Ok(())
}

fn push(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply, first: bool) -> CommandResult {
    let key = request.arg(1);
    let len = context.change_list(key, |list| {
        request.args().skip(2).for_each(|item| list.push(first, item.to_vec()));
        list.len()
    })?;
    context.touch(key);
    reply.unsigned(len as u64);
    Ok(())
}

/// `LPOP key [count]`
pub(super) fn lpop(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    pop(context, request, reply, "lpop", true)
}

/// `RPOP key [count]`
pub(super) fn rpop(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    pop(context, request, reply, "rpop", false)
}

fn pop(
    context: &mut ValueContext<'_, '_>,
    request: &Request,
    reply: &mut Reply,
    command: &str,
    first: bool,
) -> CommandResult {
    if request.len() > 3 {
        return Err(CommandError::wrong_arity(command));
    }
    let out_of_range = CommandError::Static("ERR value is out of range, must be positive");
    let count = match request.get(2) {
        Some(text) => Some(plain_integer(text).and_then(|count| usize::try_from(count).ok()).ok_or(out_of_range)?),
        None => None,
    };
    let key = request.arg(1);
    let Some(len) = context.list(key)?.map(ListValue::len) else {
        match count {
            Some(_) => reply.null_array(),
            None => reply.null(),
        }
        return Ok(());
    };
    let taken = count.unwrap_or(1).min(len);
    let items: Vec<Vec<u8>> = context.change_list(key, |list| (0..taken).filter_map(|_| list.pop(first)).collect())?;
    if count.is_some() {
        reply.array(items.len());
    }
    items.iter().for_each(|item| reply.bulk(item));
    if taken > 0 {
        context.touch(key);
    }
    Ok(())
}

/// `LLEN key`
pub(super) fn llen(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    reply.unsigned(context.list(request.arg(1))?.map_or(0, ListValue::len) as u64);
    Ok(())
}

/// `LRANGE key first last`: negative indexes count from the end.
pub(super) fn lrange(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let (first, last) = (integer(request.arg(2))?, integer(request.arg(3))?);
    let list = context.list(request.arg(1))?;
    let (from, to) = bounds(list.map_or(0, ListValue::len), first, last);
    reply.array(to - from);
    for item in list.into_iter().flat_map(|list| list.iter().skip(from).take(to - from)) {
        reply.bulk(item);
        check_reply(reply)?;
    }
    Ok(())
}

/// `LTRIM key first last`: keeps the items of this range.
pub(super) fn ltrim(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let (first, last) = (integer(request.arg(2))?, integer(request.arg(3))?);
    let key = request.arg(1);
    if let Some(len) = context.list(key)?.map(ListValue::len) {
        let (from, to) = bounds(len, first, last);
        context.change_list(key, |list| list.keep(from, to))?;
        context.touch(key);
    }
    reply.simple("OK");
    Ok(())
}

/// Returns the range of indexes from `first` up to and including `last`; negative ones count from the end.
fn bounds(len: usize, first: i64, last: i64) -> (usize, usize) {
    let count = i64::try_from(len).unwrap_or(i64::MAX);
    let at = |index: i64| if index < 0 { count.saturating_add(index) } else { index };
    let from = at(first).clamp(0, count);
    let to = at(last).saturating_add(1).clamp(from, count);
    (usize::try_from(from).unwrap_or(len), usize::try_from(to).unwrap_or(len))
}

#[cfg(test)]
mod tests {
    use super::bounds;

    #[test]
    fn indexes_count_from_either_end() {
        for (first, last, range) in [
            (0, -1, (0, 5)),
            (-2, -1, (3, 5)),
            (3, 1, (3, 3)),
            (9, 9, (5, 5)),
            (-100, 2, (0, 3)),
            (0, i64::MAX, (0, 5)),
        ] {
            assert_eq!(bounds(5, first, last), range, "{first} {last}");
        }
    }
}
