//! Running a command on the values: those on strings, hashes and lists, and those on keys of any type.

use std::sync::Arc;

use super::{CommandError, CommandResult, ValueStore};
use crate::server::redis::commands::CommandOutcome;
use crate::server::redis::session::RedisSession;
use crate::server::redis::table::{CommandFn, CommandGroup, CommandSpec, DENYOOM};
use crate::tasks::keys::Transaction;
use crate::wire::resp::{Reply, Request};

/// Runs a command if it concerns values. Returns `None`, having written nothing, for any other one.
pub(in super::super) fn execute(
    values: &Arc<ValueStore>,
    session: &mut RedisSession,
    keys: &mut Transaction<'_>,
    (command, request): (&CommandSpec, &Request),
    reply: &mut Reply,
    may_block: bool,
) -> Option<CommandResult<CommandOutcome>> {
    if !needs_values(command) {
        values.expire_due(keys);
        return None;
    }
    let grows = matches!(command.run, CommandFn::Value(_) | CommandFn::BlockingValue(_)) && command.is(DENYOOM);
    if grows && !values.has_room(request.bytes()) {
        return Some(Err(CommandError::OutOfMemory));
    }
    let caller = session.caller().cloned();
    Some(values.run(keys, caller.as_ref(), |context| {
        match &command.run {
            CommandFn::BlockingValue(run) => return run(context, request, reply, may_block),
            CommandFn::Value(run) => run(context, request, reply)?,
            CommandFn::KeyWrite(run) => run(context, request, reply)?,
            CommandFn::Read(run) => run(context, request, reply)?,
            CommandFn::SessionRead(run) => run(session, context, request, reply)?,
            _ => {}
        }
        Ok(CommandOutcome::Done)
    }))
}

/// Reports whether a command concerns values; on a server that has them it then runs on the writer.
pub(in super::super) fn needs_values(command: &CommandSpec) -> bool {
    match command.run {
        CommandFn::Value(_) | CommandFn::BlockingValue(_) | CommandFn::KeyWrite(_) | CommandFn::SessionRead(_) => true,
        CommandFn::Read(_) => command.group != CommandGroup::Stream,
        _ => false,
    }
}
