//! Lists: items inside of them.

use super::data::{KeyType, ListValue};
use super::ids::{integer, is_word, plain_integer};
use super::strings::write_or_null;
use super::{CommandError, CommandResult, ValueContext};
use crate::wire::resp::{Reply, Request};

/// Returns the index of an item; a negative one counts from the end. It may be outside of the list.
fn position(len: usize, index: i64) -> Option<usize> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    usize::try_from(if index < 0 { len.saturating_add(index) } else { index }).ok()
}

/// `LINDEX key index`
pub(super) fn lindex(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let Some(list) = context.list(request.arg(1))? else {
        reply.null();
        return Ok(());
    };
    let index = integer(request.arg(2))?;
    write_or_null(position(list.len(), index).and_then(|at| list.get(at)), reply);
    Ok(())
}

/// `LSET key index item`
pub(super) fn lset(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let key = request.arg(1);
    let len = context.list(key)?.ok_or(CommandError::NO_SUCH_KEY)?.len();
    let at = position(len, integer(request.arg(2))?).filter(|at| *at < len);
    let at = at.ok_or(CommandError::Static("ERR index out of range"))?;
    context.change_list(key, |list| list.replace(at, request.arg(3).to_vec()))?;
    context.touch(key);
    reply.simple("OK");
    Ok(())
}

/// `LREM key count item`: replies with the number of removed items. A negative count removes from the end.
pub(super) fn lrem(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let (key, count) = (request.arg(1), integer(request.arg(2))?);
    let mut removed = 0;
    if context.exists_as(key, KeyType::List)? {
        let most = if count == 0 { usize::MAX } else { usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) };
        removed = context.change_list(key, |list| list.remove(request.arg(3), most, count < 0))?;
    }
    if removed > 0 {
        context.touch(key);
    }
    reply.unsigned(removed as u64);
    Ok(())
}

/// `LINSERT key BEFORE|AFTER pivot item`: replies with the new length, or -1 without the pivot.
pub(super) fn linsert(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let (key, place, pivot) = (request.arg(1), request.arg(2), request.arg(3));
    let after = is_word(place, "AFTER");
    if !after && !is_word(place, "BEFORE") {
        return Err(CommandError::SYNTAX);
    }
    let Some(list) = context.list(key)? else {
        reply.integer(0);
        return Ok(());
    };
    let Some(at) = list.iter().position(|item| item == pivot) else {
        reply.integer(-1);
        return Ok(());
    };
    let len = context.change_list(key, |list| {
        list.insert(at + usize::from(after), request.arg(4).to_vec());
        list.len()
    })?;
    context.touch(key);
    reply.unsigned(len as u64);
    Ok(())
}

/// The options of `LPOS`.
struct PositionOptions {
    /// The match to start at; negative: counted from the end.
    rank: i64,
    /// Maximum number of matches; `None` replies with one position instead of an array.
    count: Option<usize>,
    /// Maximum number of items to compare.
    compared_max: usize,
}

impl PositionOptions {
    fn parse(request: &Request) -> CommandResult<Self> {
        let mut options = Self { rank: 1, count: None, compared_max: usize::MAX };
        for at in (3..request.len()).step_by(2) {
            let (word, value) = (request.arg(at), request.get(at + 1).ok_or(CommandError::SYNTAX)?);
            if is_word(word, "RANK") {
                options.rank = rank(value)?;
            } else if is_word(word, "COUNT") {
                options.count = Some(maximum(value, "ERR COUNT can't be negative")?);
            } else if is_word(word, "MAXLEN") {
                options.compared_max = maximum(value, "ERR MAXLEN can't be negative")?;
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        Ok(options)
    }
}

/// Parses a maximum number; zero is unlimited.
fn maximum(text: &[u8], error: &'static str) -> CommandResult<usize> {
    let number = plain_integer(text).and_then(|number| usize::try_from(number).ok());
    match number.ok_or(CommandError::Static(error))? {
        0 => Ok(usize::MAX),
        number => Ok(number),
    }
}

fn rank(text: &[u8]) -> CommandResult<i64> {
    match integer(text)? {
        0 => Err(CommandError::Static(
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to \
             start from the end of the list",
        )),
        i64::MIN => Err(CommandError::Static(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        )),
        rank => Ok(rank),
    }
}

/// `LPOS key item [RANK n] [COUNT n] [MAXLEN n]`
pub(super) fn lpos(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let options = PositionOptions::parse(request)?;
    let item = request.arg(2);
    let skipped = usize::try_from(options.rank.unsigned_abs() - 1).unwrap_or(usize::MAX);
    let found: Vec<usize> = match context.list(request.arg(1))? {
        Some(list) => matches(list, item, options.rank < 0, options.compared_max)
            .skip(skipped)
            .take(options.count.unwrap_or(1))
            .collect(),
        None => Vec::new(),
    };
    match (options.count, found.first()) {
        (Some(_), _) => {
            reply.array(found.len());
            found.iter().for_each(|at| reply.unsigned(*at as u64));
        }
        (None, Some(at)) => reply.unsigned(*at as u64),
        (None, None) => reply.null(),
    }
    Ok(())
}

/// Returns the indexes of the items equal to `item`, from either end.
fn matches<'l>(
    list: &'l ListValue,
    item: &'l [u8],
    from_last: bool,
    compared_max: usize,
) -> Box<dyn Iterator<Item = usize> + 'l> {
    let equal = move |(at, known): (usize, &[u8])| (known == item).then_some(at);
    match from_last {
        true => Box::new(list.iter().enumerate().rev().take(compared_max).filter_map(equal)),
        false => Box::new(list.iter().enumerate().take(compared_max).filter_map(equal)),
    }
}
