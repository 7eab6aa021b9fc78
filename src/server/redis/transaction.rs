//! MULTI, DISCARD, WATCH and UNWATCH. EXEC is where commands run, in `batch`.

use super::commands::Refusal;
use super::session::{Session, Transaction};
use super::table::Done;
use crate::tasks::keys::{Keys, Look};
use crate::wire::resp::{Reply, Request};

/// Keys that one client may watch.
const WATCHED_MAX: usize = 64 * 1024;

/// `MULTI`: what comes is queued.
pub(super) fn multi(session: &mut Session, _: &Request, reply: &mut Reply) -> Done {
    session.transaction = Some(Transaction::default());
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
pub(super) fn watch(session: &mut Session, keys: &mut Keys<'_>, request: &Request, reply: &mut Reply) -> Done {
    for name in request.args().skip(1) {
        let watched = &mut session.watched;
        if watched.names.iter().any(|known| **known == *name) {
            continue;
        }
        if watched.names.len() == WATCHED_MAX {
            return Err(Refusal::Text(format!("ERR a client watches at most {WATCHED_MAX} keys")));
        }
        // A key whose time is over already goes before it is watched: that is no change.
        keys.facts(name)?;
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
