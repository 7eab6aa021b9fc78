//! Strings: reading them, and changing a part.

use super::data::ValueData;
use super::ids::integer;
use super::{CommandError, CommandResult, ValueContext, check_reply};
use crate::wire::resp::{Reply, Request, RequestLimits};

/// `GET key`
pub(super) fn get(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    write_or_null(context.string(request.arg(1))?, reply);
    Ok(())
}

/// Writes a string, or null.
pub(super) fn write_or_null(text: Option<&[u8]>, reply: &mut Reply) {
    match text {
        Some(text) => reply.bulk(text),
        None => reply.null(),
    }
}

/// `MGET key..`: a key of another type counts as missing.
pub(super) fn mget(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    reply.array(request.len() - 1);
    for key in request.args().skip(1) {
        match context.value(key).map(|value| &value.data) {
            Some(ValueData::String(string)) => reply.bulk(&string.text),
            _ => reply.null(),
        }
        check_reply(reply)?;
    }
    Ok(())
}

/// `GETDEL key`
pub(super) fn getdel(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let key = request.arg(1);
    let text = context.string(key)?;
    let exists = text.is_some();
    write_or_null(text, reply);
    if exists {
        let database = context.selected();
        context.values.remove(database, key);
        context.touch(key);
    }
    Ok(())
}

/// `STRLEN key`
pub(super) fn strlen(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    reply.unsigned(context.string(request.arg(1))?.map_or(0, <[u8]>::len) as u64);
    Ok(())
}

/// `APPEND key text`: replies with the new length.
pub(super) fn append(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let (key, more) = (request.arg(1), request.arg(2));
    let Some(len) = context.string(key)?.map(<[u8]>::len) else {
        context.set_string(key, more.to_vec(), None)?;
        reply.unsigned(more.len() as u64);
        return Ok(());
    };
    check_length(len + more.len())?;
    edit(context, key, |text| text.extend_from_slice(more));
    reply.unsigned((len + more.len()) as u64);
    Ok(())
}

/// `SETRANGE key offset text`: replies with the new length.
pub(super) fn setrange(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let (key, part) = (request.arg(1), request.arg(3));
    let offset = integer(request.arg(2))?;
    let offset = usize::try_from(offset).map_err(|_| CommandError::Static("ERR offset is out of range"))?;
    let len = context.string(key)?.map(<[u8]>::len);
    if part.is_empty() {
        reply.unsigned(len.unwrap_or(0) as u64);
        return Ok(());
    }
    let end = offset.saturating_add(part.len());
    check_length(end)?;
    context.check_room(end.saturating_sub(len.unwrap_or(0)))?;
    if len.is_none() {
        context.set_string(key, Vec::new(), None)?;
    }
    edit(context, key, |text| {
        if text.len() < end {
            text.resize(end, 0);
        }
        text[offset..end].copy_from_slice(part);
    });
    reply.unsigned(len.unwrap_or(0).max(end) as u64);
    Ok(())
}

/// Changes a string in place.
fn edit(context: &mut ValueContext<'_, '_>, key: &[u8], change: impl FnOnce(&mut Vec<u8>)) {
    let database = context.selected();
    context.values.change(database, key, |data| {
        if let ValueData::String(string) = data {
            string.edited = true;
            change(&mut string.text);
        }
    });
    context.touch(key);
}

fn check_length(len: usize) -> CommandResult {
    if len <= RequestLimits::BULK_BYTES_MAX {
        return Ok(());
    }
    Err(CommandError::Static("ERR string exceeds maximum allowed size (proto-max-bulk-len)"))
}

/// `GETRANGE key start end`, `SUBSTR key start end`: negative positions count from the end.
pub(super) fn getrange(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let (start, end) = (integer(request.arg(2))?, integer(request.arg(3))?);
    let text = context.string(request.arg(1))?.unwrap_or_default();
    if start < 0 && end < 0 && start > end {
        reply.bulk(b"");
        return Ok(());
    }
    let len = i64::try_from(text.len()).unwrap_or(i64::MAX);
    let at = |position: i64| if position < 0 { len.saturating_add(position).max(0) } else { position };
    let (start, end) = (at(start), at(end).min(len - 1));
    let part = match (usize::try_from(start), usize::try_from(end)) {
        (Ok(start), Ok(end)) if start <= end => text.get(start..=end).unwrap_or_default(),
        _ => b"",
    };
    reply.bulk(part);
    Ok(())
}
