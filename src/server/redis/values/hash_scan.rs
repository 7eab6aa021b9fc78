//! Hashes: `HSCAN` and `HRANDFIELD`.

use super::ids::{integer, is_word};
use super::{CommandError, CommandResult, ValueContext, check_reply};
use crate::model::glob;
use crate::server::redis::commands::keys::{SCAN_COUNT, cursor, page_of, random_number};
use crate::wire::resp::{Protocol, Reply, Request};

/// `HSCAN key cursor [MATCH pattern] [COUNT n] [NOVALUES]`: a small hash is returned at once.
pub(super) fn hscan(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let cursor = cursor(request.arg(2)).ok_or(CommandError::Static("ERR invalid cursor"))?;
    let Some(hash) = context.hash(request.arg(1))? else {
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
        return Ok(());
    };
    let (mut count, mut pattern, mut values, mut at) = (SCAN_COUNT, None, true, 3);
    while at < request.len() {
        let (word, value) = (request.arg(at), request.get(at + 1));
        match value {
            Some(value) if is_word(word, "COUNT") => {
                count = usize::try_from(integer(value)?).ok().filter(|count| *count > 0).ok_or(CommandError::SYNTAX)?;
                at += 1;
            }
            Some(value) if is_word(word, "MATCH") => {
                pattern = Some(value);
                at += 1;
            }
            _ if is_word(word, "NOVALUES") => values = false,
            _ => return Err(CommandError::SYNTAX),
        }
        at += 1;
    }
    let (next, mut fields): (u64, Vec<Vec<u8>>) = match hash.is_ordered() {
        true => (0, hash.iter().map(|(field, _)| field.to_vec()).collect()),
        false => page_of(hash.iter().map(|(field, _)| field.to_vec()), cursor, count),
    };
    fields.retain(|field| pattern.is_none_or(|pattern| glob::matches(pattern, field)));
    reply.array(2);
    reply.bulk_display(next);
    reply.array(fields.len() * if values { 2 } else { 1 });
    for field in &fields {
        reply.bulk(field);
        if values {
            reply.bulk(hash.get(field).unwrap_or_default());
        }
        check_reply(reply)?;
    }
    Ok(())
}

/// `HRANDFIELD key [count [WITHVALUES]]`: a negative count may return a field several times.
pub(super) fn hrandfield(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    if request.len() > 4 || request.get(3).is_some_and(|word| !is_word(word, "WITHVALUES")) {
        return Err(CommandError::SYNTAX);
    }
    let count = request.get(2).map(integer).transpose()?;
    let with_values = request.len() == 4;
    let most = if with_values { i64::MAX.unsigned_abs() / 2 } else { i64::MAX.unsigned_abs() };
    if count.is_some_and(|count| count.unsigned_abs() > most) {
        return Err(match with_values {
            true => CommandError::Static("ERR value is out of range"),
            false => CommandError::Text(format!("ERR value is out of range, value must between -{most} and {most}")),
        });
    }
    let mut fields: Vec<(&[u8], &[u8])> = Vec::new();
    fields.extend(context.hash(request.arg(1))?.into_iter().flat_map(|hash| hash.iter()));
    let Some(count) = count else {
        match fields.get(random_below(fields.len())) {
            Some((field, _)) => reply.bulk(field),
            None => reply.null(),
        }
        return Ok(());
    };
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let repeats = count < 0;
    let len = match (fields.is_empty(), repeats) {
        (true, _) => 0,
        (false, true) => wanted,
        (false, false) => wanted.min(fields.len()),
    };
    let pairs = with_values && reply.protocol() == Protocol::Resp3;
    reply.array(if with_values && !pairs { len.saturating_mul(2) } else { len });
    for at in 0..len {
        let chosen = if repeats { random_below(fields.len()) } else { at + random_below(fields.len() - at) };
        let Some(&(field, value)) = fields.get(chosen) else { break };
        if !repeats {
            fields.swap(at, chosen);
        }
        if pairs {
            reply.array(2);
        }
        reply.bulk(field);
        if with_values {
            reply.bulk(value);
        }
        check_reply(reply)?;
    }
    Ok(())
}

/// Returns a random number below `end`, or 0.
fn random_below(end: usize) -> usize {
    let random = random_number().checked_rem(end as u64).unwrap_or(0);
    usize::try_from(random).unwrap_or(0)
}
