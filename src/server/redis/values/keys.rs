//! Keys of any type: renaming, copying and moving them. Streams keep their names.

use super::ids::{integer, is_word};
use super::{CommandError, CommandResult, KeyReader as _, KeyWriter as _, StoredValue, ValueContext};
use crate::tasks::keys::Database;
use crate::wire::resp::{Reply, Request};

const STREAM: CommandError = CommandError::Static(
    "ERR a stream of this server keeps its name and database; copy its entries with XRANGE and XADD",
);
const SAME: CommandError = CommandError::Static("ERR source and destination objects are the same");

/// Returns the value of a key, or `None` if the key does not exist. Fails for a stream.
fn movable(context: &mut ValueContext<'_, '_>, key: &[u8]) -> CommandResult<Option<StoredValue>> {
    match context.value(key).cloned() {
        Some(value) => Ok(Some(value)),
        None if context.metadata(key)?.is_some() => Err(STREAM),
        None => Ok(None),
    }
}

/// `RENAME key new-key`
pub(super) fn rename(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    rename_key(context, request, false)?;
    reply.simple("OK");
    Ok(())
}

/// `RENAMENX key new-key`: replies with 0 if the new key exists.
pub(super) fn renamenx(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let renamed = rename_key(context, request, true)?;
    reply.integer(i64::from(renamed));
    Ok(())
}

fn rename_key(context: &mut ValueContext<'_, '_>, request: &Request, only_new: bool) -> CommandResult<bool> {
    let (from, to) = (request.arg(1), request.arg(2));
    if from == to {
        let exists = context.metadata(from)?.is_some();
        return if exists { Ok(!only_new) } else { Err(CommandError::NO_SUCH_KEY) };
    }
    let value = movable(context, from)?.ok_or(CommandError::NO_SUCH_KEY)?;
    if only_new && context.metadata(to)?.is_some() {
        return Ok(false);
    }
    context.remove(from)?;
    put(context, to, value)?;
    Ok(true)
}

/// Sets a key of the selected database to a value, whatever it was.
fn put(context: &mut ValueContext<'_, '_>, key: &[u8], value: StoredValue) -> CommandResult {
    context.remove(key)?;
    let database = context.selected();
    context.values.insert(database, key, value);
    context.touch(key);
    Ok(())
}

/// Runs `change` in another database.
fn in_database<T>(
    context: &mut ValueContext<'_, '_>,
    database: Database,
    change: impl FnOnce(&mut ValueContext<'_, '_>) -> CommandResult<T>,
) -> CommandResult<T> {
    let selected = context.selected();
    context.select(database);
    let result = change(context);
    context.select(selected);
    result
}

/// `COPY source destination [DB number] [REPLACE]`: replies with 1 if the key was copied.
pub(super) fn copy(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let (from, to, selected) = (request.arg(1), request.arg(2), context.selected());
    let (mut database, mut replace, mut at) = (selected, false, 3);
    while at < request.len() {
        let (word, next) = (request.arg(at), request.get(at + 1));
        match next {
            _ if is_word(word, "REPLACE") => replace = true,
            Some(number) if is_word(word, "DB") => {
                let number = Database::new(integer(number)?);
                database = number.ok_or(CommandError::Static("ERR DB index is out of range"))?;
                at += 1;
            }
            _ => return Err(CommandError::SYNTAX),
        }
        at += 1;
    }
    if from == to && database == selected {
        return Err(SAME);
    }
    let copied = match movable(context, from)? {
        Some(value) => {
            context.check_room(value.data.bytes())?;
            in_database(context, database, |context| put_unless_exists(context, to, value, replace))?
        }
        None => false,
    };
    reply.integer(i64::from(copied));
    Ok(())
}

fn put_unless_exists(
    context: &mut ValueContext<'_, '_>,
    key: &[u8],
    value: StoredValue,
    replace: bool,
) -> CommandResult<bool> {
    if !replace && context.metadata(key)?.is_some() {
        return Ok(false);
    }
    put(context, key, value)?;
    Ok(true)
}

/// `MOVE key database`: replies with 1 if the key was moved.
pub(super) fn move_key(context: &mut ValueContext<'_, '_>, request: &Request, reply: &mut Reply) -> CommandResult {
    let key = request.arg(1);
    let database = Database::new(integer(request.arg(2))?);
    let database = database.ok_or(CommandError::Static("ERR DB index is out of range"))?;
    if database == context.selected() {
        return Err(SAME);
    }
    let moved = match movable(context, key)? {
        Some(value) => in_database(context, database, |context| put_unless_exists(context, key, value, false))?,
        None => false,
    };
    if moved {
        context.remove(key)?;
    }
    reply.integer(i64::from(moved));
    Ok(())
}
