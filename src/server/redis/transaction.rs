//! MULTI, DISCARD, WATCH and UNWATCH. EXEC is in `batch`.

use super::commands::connection::selected_database;
use super::commands::{CommandError, CommandResult};
use super::session::{MultiState, RedisSession};
use super::table::{CommandSpec, NO_MULTI};
use crate::tasks::keys::{KeyReader, Transaction};
use crate::wire::resp::{Reply, Request};

/// Maximum number of keys that a client may watch.
const WATCHED_MAX: usize = 64 * 1024;
/// Maximum size of the commands in a transaction.
const TRANSACTION_BYTES_MAX: usize = 64 * 1024 * 1024;

/// `MULTI`: starts queueing commands.
pub(super) fn multi(session: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    session.transaction = Some(MultiState::default());
    session.update_client_status();
    reply.simple("OK");
    Ok(())
}

/// `DISCARD`: drops the queued commands and forgets the watched keys.
pub(super) fn discard(session: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    if session.transaction.is_none() {
        return Err(CommandError::Static("ERR DISCARD without MULTI"));
    }
    session.end_transaction();
    reply.simple("OK");
    Ok(())
}

/// `WATCH key..`
pub(super) fn watch(
    session: &mut RedisSession,
    keys: &mut Transaction<'_>,
    request: &Request,
    reply: &mut Reply,
) -> CommandResult {
    // A key of any type may be watched.
    keys.set_foreign(None);
    for name in request.args().skip(1) {
        let (watched, database) = (&mut session.watched, session.database);
        if watched.names.iter().any(|(of, known)| *of == database && **known == *name) {
            continue;
        }
        if watched.names.len() == WATCHED_MAX {
            return Err(CommandError::Text(format!("ERR too many watched keys (maximum {WATCHED_MAX})")));
        }
        // Removes an expired key first, so that its removal does not count as a change.
        keys.metadata(name)?;
        keys.watch(name, &watched.dirty);
        watched.names.push((database, name.into()));
    }
    session.update_client_status();
    reply.simple("OK");
    Ok(())
}

/// `UNWATCH`
pub(super) fn unwatch(session: &mut RedisSession, _: &Request, reply: &mut Reply) -> CommandResult {
    session.watched.clear();
    session.update_client_status();
    reply.simple("OK");
    Ok(())
}

impl MultiState {
    /// Queues a command for EXEC.
    pub(super) fn queue(
        &mut self,
        command: &'static CommandSpec,
        request: &Request,
        reply: &mut Reply,
    ) -> CommandResult {
        if command.is(NO_MULTI) {
            self.aborted = true;
            return Err(CommandError::Text(format!("ERR Command '{}' not allowed inside a transaction", command.name)));
        }
        // An aborted transaction never runs, so nothing more is queued.
        if !self.aborted {
            self.bytes += request.bytes();
            if self.bytes > TRANSACTION_BYTES_MAX {
                (self.aborted, self.queue) = (true, Vec::new());
                return Err(CommandError::Text(format!(
                    "ERR transaction too large (maximum {TRANSACTION_BYTES_MAX} bytes)"
                )));
            }
            if command.name == "select" {
                // A rejected SELECT changes nothing when it runs either.
                self.database = selected_database(request).ok().or(self.database);
            }
            self.queue.push((command, request.detached()));
        }
        reply.simple("QUEUED");
        Ok(())
    }
}

/// Reports whether the command runs at once inside MULTI.
pub(super) fn ends_transaction(command: &CommandSpec) -> bool {
    matches!(command.name, "exec" | "discard" | "quit" | "reset")
}
