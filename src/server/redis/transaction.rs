//! MULTI, DISCARD, WATCH and UNWATCH. EXEC is where commands run, in `batch`.

use super::commands::Refusal;
use super::session::{MultiState, Session};
use super::table::{Command, Done, NO_MULTI};
use crate::tasks::keys::{KeyReader, Transaction};
use crate::wire::resp::{Reply, Request};

/// Keys that one client may watch.
const WATCHED_MAX: usize = 64 * 1024;
/// Bytes of the commands in a transaction.
const TRANSACTION_BYTES_MAX: usize = 64 * 1024 * 1024;

/// `MULTI`: what comes is queued.
pub(super) fn multi(session: &mut Session, _: &Request, reply: &mut Reply) -> Done {
    session.transaction = Some(MultiState::default());
    session.note();
    reply.simple("OK");
    Ok(())
}

/// `DISCARD`: what was queued is forgotten, and so is what was watched.
pub(super) fn discard(session: &mut Session, _: &Request, reply: &mut Reply) -> Done {
    if session.transaction.is_none() {
        return Err(Refusal::Static("ERR DISCARD without MULTI"));
    }
    session.end_transaction();
    reply.simple("OK");
    Ok(())
}

/// `WATCH key..`
pub(super) fn watch(session: &mut Session, keys: &mut Transaction<'_>, request: &Request, reply: &mut Reply) -> Done {
    for name in request.args().skip(1) {
        let watched = &mut session.watched;
        if watched.names.iter().any(|known| **known == *name) {
            continue;
        }
        if watched.names.len() == WATCHED_MAX {
            return Err(Refusal::Text(format!("ERR a client watches at most {WATCHED_MAX} keys")));
        }
        // A key whose time is over already goes before it is watched: that is no change.
        keys.metadata(name)?;
        keys.watch(name, &watched.dirty);
        watched.names.push(name.into());
    }
    session.note();
    reply.simple("OK");
    Ok(())
}

/// `UNWATCH`
pub(super) fn unwatch(session: &mut Session, _: &Request, reply: &mut Reply) -> Done {
    session.watched.clear();
    session.note();
    reply.simple("OK");
    Ok(())
}

impl MultiState {
    /// Keeps a command for EXEC.
    pub(super) fn queue(
        &mut self,
        command: &'static Command,
        request: &Request,
        reply: &mut Reply,
    ) -> Result<(), Refusal> {
        if command.is(NO_MULTI) {
            self.aborted = true;
            return Err(Refusal::Text(format!("ERR Command '{}' not allowed inside a transaction", command.name)));
        }
        // Nothing of a transaction that will not run is kept.
        if !self.aborted {
            self.bytes += request.bytes();
            if self.bytes > TRANSACTION_BYTES_MAX {
                (self.aborted, self.queue) = (true, Vec::new());
                return Err(Refusal::Text(format!("ERR a transaction has at most {TRANSACTION_BYTES_MAX} bytes")));
            }
            self.queue.push((command, request.detached()));
        }
        reply.simple("QUEUED");
        Ok(())
    }
}

/// What is not queued within MULTI.
pub(super) fn ends_transaction(command: &Command) -> bool {
    matches!(command.name, "exec" | "discard" | "quit" | "reset")
}
