//! The state of a connection: its identity, open transaction and watched keys. It moves with the
//! commands to the thread that runs them, and back with the replies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::clients::RedisClient;
use super::commands::CommandResult;
use super::table::CommandSpec;
use super::{RedisPort, access};
use crate::auth::{AuthError, Caller};
use crate::tasks::keys::Database;
use crate::wire::resp::Request;

/// Bytes of a command's name that the log quotes.
const NAME_BYTES_LOGGED: usize = 64;

/// The state of a connection.
pub(super) struct RedisSession {
    pub(super) port: Arc<RedisPort>,
    pub(super) client: Arc<RedisClient>,
    /// Identity of the client, if authenticated; anonymous in a store without tokens.
    caller: Option<Caller>,
    /// Set after too many failed logins: the reply is delayed.
    pub(super) delay_login: bool,
    /// Set between MULTI and EXEC.
    pub(super) transaction: Option<MultiState>,
    pub(super) watched: WatchedNames,
    /// The selected database.
    pub(super) database: Database,
    pub(super) reply_mode: ReplyMode,
    /// Set once the log has reported a command that this port does not have.
    refusal_logged: bool,
    /// Set to close the connection after the replies.
    pub(super) closing: bool,
}

/// The queued commands of a transaction.
#[derive(Default)]
pub(super) struct MultiState {
    pub(super) queue: Vec<(&'static CommandSpec, Request)>,
    pub(super) bytes: usize,
    /// The database that a queued SELECT selects.
    pub(super) database: Option<Database>,
    /// Set if a command could not be queued: EXEC will fail.
    pub(super) aborted: bool,
}

/// The keys of WATCH.
#[derive(Default)]
pub(super) struct WatchedNames {
    pub(super) names: Vec<(Database, Box<[u8]>)>,
    /// Set by the writer when one of the keys changes.
    pub(super) dirty: Arc<AtomicBool>,
}

/// Which commands get a reply (CLIENT REPLY).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ReplyMode {
    /// All commands.
    #[default]
    On,
    /// No command.
    Off,
    /// All but the current and the next command.
    SkipNext,
    /// All but the current command.
    Skip,
}

impl RedisSession {
    pub(super) fn new(port: Arc<RedisPort>, client: Arc<RedisClient>) -> Self {
        let mut session = Self {
            port,
            client,
            caller: None,
            delay_login: false,
            transaction: None,
            watched: WatchedNames::default(),
            database: Database::default(),
            reply_mode: ReplyMode::default(),
            refusal_logged: false,
            closing: false,
        };
        session.sign_out();
        session
    }

    /// Returns the identity of the client, if authenticated.
    pub(super) fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    /// Reports in the log, once, that the client sent a command that this port does not have.
    pub(super) fn log_refusal(&mut self, request: &Request) {
        if std::mem::replace(&mut self.refusal_logged, true) {
            return;
        }
        let name = request.arg(0);
        let name = String::from_utf8_lossy(name.get(..NAME_BYTES_LOGGED).unwrap_or(name)).into_owned();
        let served = match self.port.values {
            Some(_) => "streams, strings, hashes and lists; connect the program to a Redis for other types",
            None => {
                "streams; start the server with --ephemeral for strings, hashes and lists in memory, or connect the \
                 program to a Redis for them"
            }
        };
        tracing::warn!(client = self.client.id, command = ?name, "rejected a command: the Redis port serves {served}");
    }

    /// Selects a database.
    pub(super) fn select(&mut self, database: Database) {
        self.database = database;
        self.client.status.lock().database = database.number();
    }

    /// Returns the database that the next command will use when it runs.
    pub(super) fn next_database(&self) -> Database {
        let queued = self.transaction.as_ref().and_then(|transaction| transaction.database);
        queued.unwrap_or(self.database)
    }

    /// Checks that the client may run this command in this database.
    pub(super) fn authorize(&self, database: Database, command: &CommandSpec, request: &Request) -> CommandResult {
        access::check(self.caller.as_ref(), database, command, request)
    }

    /// Authenticates with a token. On failure the identity stays unchanged.
    pub(super) fn sign_in(&mut self, token: &[u8]) -> Result<(), AuthError> {
        let state = &self.port.state;
        let text = std::str::from_utf8(token).ok();
        let result = text.ok_or(AuthError::Unknown).and_then(|text| state.auth.check(Some(text)));
        match result {
            Ok(caller) => {
                self.set_caller(Some(caller));
                Ok(())
            }
            Err(error) => {
                state.login_attempts.count("redis", error.reason());
                self.delay_login |= state.record_login_failure(self.client.peer.ip(), &error, text);
                Err(error)
            }
        }
    }

    /// Resets the identity: anonymous in a store without tokens, else unauthenticated.
    pub(super) fn sign_out(&mut self) {
        let anonymous = self.port.state.auth.check(None).ok();
        self.set_caller(anonymous);
    }

    fn set_caller(&mut self, caller: Option<Caller>) {
        self.client.caller.lock().clone_from(&caller);
        self.caller = caller;
    }

    /// Ends the transaction and forgets all watched keys.
    pub(super) fn end_transaction(&mut self) {
        self.transaction = None;
        self.watched.clear();
        self.update_client_status();
    }

    /// Publishes the numbers of queued commands and watched keys.
    pub(super) fn update_client_status(&self) {
        let mut status = self.client.status.lock();
        status.queued = self.transaction.as_ref().map(|transaction| transaction.queue.len());
        status.watched = self.watched.names.len();
    }
}

impl WatchedNames {
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Acquire)
    }

    pub(super) fn clear(&mut self) {
        if !self.names.is_empty() {
            *self = Self::default();
        }
    }
}

impl ReplyMode {
    /// Reports whether the current command gets a reply, and moves on to the next one.
    pub(super) fn advance(&mut self) -> bool {
        let send = *self == Self::On;
        *self = match *self {
            Self::SkipNext => Self::Skip,
            Self::Skip => Self::On,
            other => other,
        };
        send
    }
}
