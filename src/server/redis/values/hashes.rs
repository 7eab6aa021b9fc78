//! Hashes: reading, setting and deleting fields.

use super::data::{HashValue, KeyType};
use super::strings::write_or_null;
use super::{CommandError, CommandResult, ValueContext, check_reply};
use crate::wire::resp::{Reply, Request};

/// `HSET key field value ..`: replies with the number of new fields.
pub(super) fn hset(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let added = set_fields(context, request, "hset")?;
    reply.integer(added);
    Ok(())
}

/// `HMSET key field value ..`
pub(super) fn hmset(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    set_fields(context, request, "hmset")?;
    reply.simple("OK");
    Ok(())
}

fn set_fields(context: &mut ValueContext<'_, '_>, request: &Request, command: &str) -> CommandResult<i64> {
    if !request.len().is_multiple_of(2) {
        return Err(CommandError::wrong_arity(command));
    }
    let key = request.arg(1);
    let added = context.change_hash(key, |hash| {
        let (mut words, mut added) = (request.args().skip(2), 0);
        while let (Some(field), Some(value)) = (words.next(), words.next()) {
            added += i64::from(hash.set(field, value.to_vec()));
        }
        added
    })?;
    context.touch(key);
    Ok(added)
}

/// `HSETNX key field value`: replies with 1 if the field did not exist.
pub(super) fn hsetnx(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let (key, field) = (request.arg(1), request.arg(2));
    let is_new = context.hash(key)?.is_none_or(|hash| hash.get(field).is_none());
    if is_new {
        context.change_hash(key, |hash| hash.set(field, request.arg(3).to_vec()))?;
        context.touch(key);
    }
    reply.integer(i64::from(is_new));
    Ok(())
}

/// `HGET key field`
pub(super) fn hget(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    write_or_null(context.hash(request.arg(1))?.and_then(|hash| hash.get(request.arg(2))), reply);
    Ok(())
}

/// `HMGET key field..`
pub(super) fn hmget(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let hash = context.hash(request.arg(1))?;
    reply.array(request.len() - 2);
    for field in request.args().skip(2) {
        write_or_null(hash.and_then(|hash| hash.get(field)), reply);
        check_reply(reply)?;
    }
    Ok(())
}

/// `HDEL key field..`: replies with the number of fields deleted.
pub(super) fn hdel(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let key = request.arg(1);
    let mut deleted = 0;
    if context.exists_as(key, KeyType::Hash)? {
        deleted = context.change_hash(key, |hash| request.args().skip(2).filter(|field| hash.remove(field)).count())?;
    }
    if deleted > 0 {
        context.touch(key);
    }
    reply.unsigned(deleted as u64);
    Ok(())
}

/// `HLEN key`
pub(super) fn hlen(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    reply.unsigned(context.hash(request.arg(1))?.map_or(0, HashValue::len) as u64);
    Ok(())
}

/// `HSTRLEN key field`
pub(super) fn hstrlen(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let value = context.hash(request.arg(1))?.and_then(|hash| hash.get(request.arg(2)));
    reply.unsigned(value.map_or(0, <[u8]>::len) as u64);
    Ok(())
}

/// `HEXISTS key field`
pub(super) fn hexists(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let value = context.hash(request.arg(1))?.and_then(|hash| hash.get(request.arg(2)));
    reply.integer(i64::from(value.is_some()));
    Ok(())
}

/// `HGETALL key`
pub(super) fn hgetall(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let hash = context.hash(request.arg(1))?;
    reply.map(hash.map_or(0, HashValue::len));
    for (field, value) in hash.into_iter().flat_map(HashValue::iter) {
        reply.bulk(field);
        reply.bulk(value);
        check_reply(reply)?;
    }
    Ok(())
}

/// Returns the name or the value of a field.
type FieldPart = for<'h> fn((&'h [u8], &'h [u8])) -> &'h [u8];

/// `HKEYS key`
pub(super) fn hkeys(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    write_part(context, request, reply, |(field, _)| field)
}

/// `HVALS key`
pub(super) fn hvals(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    write_part(context, request, reply, |(_, value)| value)
}

fn write_part(
    context: &mut ValueContext<'_, '_>,
    request: &Request,
    reply: &mut Reply,
    part: FieldPart,
) -> CommandResult {
    let hash = context.hash(request.arg(1))?;
    reply.array(hash.map_or(0, HashValue::len));
    for pair in hash.into_iter().flat_map(HashValue::iter) {
        reply.bulk(part(pair));
        check_reply(reply)?;
    }
    Ok(())
}
