//! A connection's side of the conversation: who it is, and what it has begun. Goes with the
//! commands to wherever they run, and comes back with their replies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::clients::Client;
use super::commands::Refusal;
use super::table::Command;
use super::{Port, access};
use crate::auth::{AuthError, Caller};
use crate::server::http::auth::record_failure;
use crate::wire::resp::Request;

/// What a connection is.
pub(super) struct Session {
    pub(super) port: Arc<Port>,
    pub(super) client: Arc<Client>,
    /// Who it is, if it has signed in; anyone, in a store without tokens.
    caller: Option<Caller>,
    /// Its token was wrong once too often: the answer waits.
    pub(super) slow: bool,
    /// Between MULTI and EXEC.
    pub(super) transaction: Option<MultiState>,
    pub(super) watched: Watched,
    pub(super) replies: Replies,
    /// To be closed once the replies are sent.
    pub(super) closing: bool,
}

/// The commands of a transaction.
#[derive(Default)]
pub(super) struct MultiState {
    pub(super) queue: Vec<(&'static Command, Request)>,
    pub(super) bytes: usize,
    /// A command could not be queued: EXEC will refuse.
    pub(super) aborted: bool,
}

/// The keys of WATCH.
#[derive(Default)]
pub(super) struct Watched {
    pub(super) names: Vec<Box<[u8]>>,
    /// Set by the writer when one of them changes.
    pub(super) dirty: Arc<AtomicBool>,
}

/// Which commands are answered (CLIENT REPLY).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Replies {
    /// All.
    #[default]
    On,
    /// None.
    Off,
    /// Not this one, nor the next.
    SkipNext,
    /// Not this one.
    Skip,
}

impl Session {
    pub(super) fn new(port: Arc<Port>, client: Arc<Client>) -> Self {
        let mut session = Self {
            port,
            client,
            caller: None,
            slow: false,
            transaction: None,
            watched: Watched::default(),
            replies: Replies::default(),
            closing: false,
        };
        session.sign_out();
        session
    }

    /// Who it is, if it has signed in.
    pub(super) fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    /// Whether it may run this.
    pub(super) fn permit(&self, command: &Command, request: &Request) -> Result<(), Refusal> {
        access::check(self.caller.as_ref(), command, request)
    }

    /// Signs in with a token; without success it stays who it was.
    pub(super) fn sign_in(&mut self, token: &[u8]) -> Result<(), AuthError> {
        let state = &self.port.state;
        let shown = std::str::from_utf8(token).ok();
        let checked = shown.ok_or(AuthError::Unknown).and_then(|shown| state.auth.check(Some(shown)));
        match checked {
            Ok(caller) => {
                self.become_caller(Some(caller));
                Ok(())
            }
            Err(denied) => {
                state.login_attempts.count("redis", denied.reason());
                self.slow |= record_failure(state, self.client.peer.ip(), &denied, shown);
                Err(denied)
            }
        }
    }

    /// Is nobody from now on; anyone, in a store without tokens.
    pub(super) fn sign_out(&mut self) {
        let anyone = self.port.state.auth.check(None).ok();
        self.become_caller(anyone);
    }

    fn become_caller(&mut self, caller: Option<Caller>) {
        self.client.caller.lock().clone_from(&caller);
        self.caller = caller;
    }

    /// Ends what MULTI and WATCH began.
    pub(super) fn end_transaction(&mut self) {
        self.transaction = None;
        self.watched.clear();
        self.note();
    }

    /// Lets the others see how far it is.
    pub(super) fn note(&self) {
        let mut facts = self.client.facts.lock();
        facts.queued = self.transaction.as_ref().map(|transaction| transaction.queue.len());
        facts.watched = self.watched.names.len();
    }
}

impl Watched {
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Acquire)
    }

    pub(super) fn clear(&mut self) {
        if !self.names.is_empty() {
            *self = Self::default();
        }
    }
}

impl Replies {
    /// Whether the command that ran is answered; moves on to the next one.
    pub(super) fn take(&mut self) -> bool {
        let answered = *self == Self::On;
        *self = match *self {
            Self::SkipNext => Self::Skip,
            Self::Skip => Self::On,
            other => other,
        };
        answered
    }
}
