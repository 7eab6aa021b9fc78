//! Batches: the pipelined commands of one connection and their replies.
//!
//! A batch runs as a whole: in a write transaction if any of its commands needs one, else on a
//! snapshot. It owns the session and moves to the thread that runs it and back, so connection
//! state is never shared.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::commands::connection::selected_database;
use super::commands::{BlockingCommand, CommandError, CommandOutcome, CommandResult, command, misconf};
use super::exec_context::{ExecContext, with_visible_keys};
use super::pending_add::{self, PendingAdd};
use super::plan::BatchPlan;
use super::session::RedisSession;
use super::table::{CommandFn, CommandSpec, ResolveError};
use super::transaction::ends_transaction;
use super::values;
use crate::model::RunId;
use crate::tasks::Tasks;
use crate::tasks::keys::{
    BlockedClient, CommitCallback, ForeignKeys, JournalError, KeyReader as _, KeyTask, Transaction,
};
use crate::wire::resp::{Protocol, Reply, Request};

/// Maximum number of commands in a batch.
const REQUESTS_MAX: usize = 4096;
/// Maximum size of the requests in a batch; a single request may be larger.
const REQUESTS_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Reply bytes above which replies are sent before more commands run.
const REPLIES_BYTES_MAX: usize = 1024 * 1024;

/// Commands to run, with the session they belong to.
pub(super) struct CommandBatch {
    pub(super) session: RedisSession,
    pub(super) reply: Reply,
    requests: VecDeque<ResolvedRequest>,
    requests_bytes: usize,
    pending_adds: Vec<PendingAdd>,
    /// Replies written since the last commit.
    replies: usize,
    /// Counters since the connection last recorded them.
    pub(super) stats: BatchStats,
}

/// Counters of the commands that a batch ran.
#[derive(Debug, Default)]
pub(super) struct BatchStats {
    pub(super) commands: u64,
    pub(super) errors: u64,
    /// Entries to append, and entries appended.
    pub(super) adds: u64,
    pub(super) added: u64,
    /// Set when an event was appended to a run.
    pub(super) runs_changed: bool,
    /// Name of the last command.
    pub(super) last: Option<&'static str>,
}

struct ResolvedRequest {
    request: Request,
    command: Result<&'static CommandSpec, ResolveError>,
}

/// The pending reply of a blocked command. Later commands of the connection wait for it.
pub(super) struct PendingReply {
    pub(super) reply: oneshot::Receiver<BlockedReply>,
    /// When the command times out.
    pub(super) deadline: Option<Instant>,
    /// False if the client disabled the reply (CLIENT REPLY).
    pub(super) send_reply: bool,
}

/// The reply of a formerly blocked command, or the reason it is not durable.
pub(super) type BlockedReply = Result<Reply, JournalError>;

impl CommandBatch {
    pub(super) fn new(session: RedisSession) -> Self {
        Self {
            reply: Reply::limited(Protocol::default(), session.port.reply_bytes_max()),
            session,
            requests: VecDeque::new(),
            requests_bytes: 0,
            pending_adds: Vec::new(),
            replies: 0,
            stats: BatchStats::default(),
        }
    }

    /// Appends a request.
    pub(super) fn push(&mut self, request: Request) {
        self.requests_bytes += request.bytes();
        let command = self.session.port.commands().resolve(&request);
        self.requests.push_back(ResolvedRequest { request, command });
    }

    /// Reports whether the batch accepts more requests.
    pub(super) fn has_room(&self) -> bool {
        self.requests.len() < REQUESTS_MAX && self.requests_bytes < REQUESTS_BYTES_MAX
    }

    /// Reports whether all requests have run.
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Determines what the requests need, as far as their arguments show.
    pub(super) fn plan(&self, tasks: &Tasks) -> BatchPlan {
        let has_values = self.session.port.values.is_some();
        let mut plan = BatchPlan { has_values, ..BatchPlan::default() };
        let mut queued = self.session.transaction.as_ref().map(|transaction| &transaction.queue[..]);
        let mut pending: Option<Vec<(&CommandSpec, &Request)>> =
            queued.take().map(|queue| queue.iter().map(|(command, request)| (*command, request)).collect());
        let mut database = self.session.next_database();
        for request in &self.requests {
            let Ok(command) = request.command else { continue };
            // A rejected command needs nothing; above all, no task may be created for it.
            if self.session.authorize(database, command, &request.request).is_err() {
                continue;
            }
            if command.name == "select" {
                database = selected_database(&request.request).unwrap_or(database);
            }
            let changes = match &pending {
                Some(queue) if command.name == "exec" => queue.iter().any(|(command, _)| changes_identity(command)),
                Some(_) => command.name == "reset",
                None => changes_identity(command),
            };
            match (&mut pending, command.name) {
                (Some(queue), "exec") => {
                    plan.writes = true;
                    let mut database = self.session.database;
                    for (command, request) in queue.drain(..) {
                        plan.add(tasks, database, command, request);
                        if command.name == "select" {
                            database = selected_database(request).unwrap_or(database);
                        }
                    }
                    pending = None;
                }
                (Some(_), "discard" | "reset") => (pending, database) = (None, self.session.database),
                (Some(queue), _) => queue.push((command, &request.request)),
                (None, "multi") => pending = Some(Vec::new()),
                (None, _) => plan.add(tasks, database, command, &request.request),
            }
            if changes {
                // Like `run`: later commands are planned once the new identity is known.
                break;
            }
        }
        plan.bytes = self.requests_bytes;
        plan
    }

    /// Registers the task of a key that will get an entry, or the error to reply.
    pub(super) fn add_task(&mut self, key: Box<[u8]>, task: Result<KeyTask, String>) {
        self.pending_adds.push(PendingAdd::new(key, task));
    }

    /// Runs requests until one blocks, one changes the client's identity, or many replies are ready.
    pub(super) fn run(&mut self, context: &mut ExecContext<'_, '_>) -> Option<PendingReply> {
        while self.reply.len() < REPLIES_BYTES_MAX && !self.session.closing {
            let Some(ResolvedRequest { request, command }) = self.requests.pop_front() else { break };
            self.requests_bytes = self.requests_bytes.saturating_sub(request.bytes());
            context.refresh();
            let changes = command.as_ref().is_ok_and(|command| self.changes_identity(command));
            let pending = self.run_request(context, command, &request);
            context.serve_blocked();
            if pending.is_some() {
                return pending;
            }
            if changes {
                break;
            }
        }
        None
    }

    /// Reports whether the client may have another identity or database after this command.
    fn changes_identity(&self, command: &CommandSpec) -> bool {
        match &self.session.transaction {
            Some(transaction) if command.name == "exec" => {
                transaction.queue.iter().any(|(command, _)| changes_identity(command))
            }
            Some(_) => command.name == "reset",
            None => changes_identity(command),
        }
    }

    fn run_request(
        &mut self,
        context: &mut ExecContext<'_, '_>,
        command: Result<&'static CommandSpec, ResolveError>,
        request: &Request,
    ) -> Option<PendingReply> {
        let start = self.reply.len();
        self.stats.commands += 1;
        let outcome = match command {
            Err(resolve_error) => {
                if resolve_error.command.is_none() {
                    self.session.log_refusal(request);
                }
                Err(self.fail_resolve(resolve_error))
            }
            Ok(command) => {
                self.stats.last = Some(command.name);
                let permitted = self.session.authorize(self.session.next_database(), command, request);
                match (permitted, &mut self.session.transaction) {
                    (Err(error), transaction) => {
                        transaction.iter_mut().for_each(|transaction| transaction.aborted = true);
                        Err(error)
                    }
                    (Ok(()), Some(transaction)) if !ends_transaction(command) => {
                        transaction.queue(command, request, &mut self.reply).map(|()| CommandOutcome::Done)
                    }
                    _ => self.execute(context, command, request, true),
                }
            }
        };
        let outcome = match (outcome, context) {
            (Ok(CommandOutcome::Block(blocking)), ExecContext::Write(keys)) => return Some(self.block(keys, blocking)),
            (Ok(_), _) => Ok(()),
            (Err(error), _) => Err(error),
        };
        if let Err(error) = outcome {
            self.write_error(&error, start);
        }
        if self.session.reply_mode.advance() {
            self.replies += 1;
        } else {
            self.reply.truncate(start);
        }
        None
    }

    /// Aborts the waiting transaction, as Redis does after an invalid command.
    fn fail_resolve(&mut self, resolve_error: ResolveError) -> CommandError {
        if resolve_error.command.is_some_and(|command| matches!(command.run, CommandFn::Exec)) {
            self.session.end_transaction();
        } else if let Some(transaction) = &mut self.session.transaction {
            transaction.aborted = true;
        }
        resolve_error.error
    }

    fn write_error(&mut self, error: &CommandError, start: usize) {
        self.stats.errors += 1;
        if let Some(limit) = error.limit_reached() {
            self.session.port.state.limit_counters.count(limit);
        }
        self.reply.truncate(start);
        error.write(&mut self.reply);
    }

    fn execute(
        &mut self,
        context: &mut ExecContext<'_, '_>,
        command: &'static CommandSpec,
        request: &Request,
        may_block: bool,
    ) -> CommandResult<CommandOutcome> {
        let Self { session, reply, .. } = self;
        let values = session.port.values.clone();
        context.select(session.database, values.clone().map(|values| values as Arc<dyn ForeignKeys>));
        if let (Some(values), ExecContext::Write(keys)) = (&values, &mut *context)
            && let Some(outcome) = values::execute(values, session, keys, (command, request), reply, may_block)
        {
            return outcome;
        }
        match (&command.run, context) {
            (CommandFn::Session(run), _) => run(session, request, reply)?,
            (CommandFn::SessionRead(run), context) => {
                let caller = session.caller().cloned();
                with_visible_keys(context.reader(), caller.as_ref(), |reader| run(session, reader, request, reply))?;
            }
            (CommandFn::Read(run), context) => {
                with_visible_keys(context.reader(), session.caller(), |reader| run(reader, request, reply))?
            }
            (CommandFn::BlockingRead(run), ExecContext::Read(_, reader)) => return run(reader, request, reply, false),
            (CommandFn::BlockingRead(run), ExecContext::Write(keys)) => return run(*keys, request, reply, may_block),
            (CommandFn::Write(run), ExecContext::Write(keys)) => run(keys, request, reply)?,
            (CommandFn::KeyWrite(run), ExecContext::Write(keys)) => run(*keys, request, reply)?,
            (CommandFn::BlockingWrite(run), ExecContext::Write(keys)) => return run(keys, request, reply, may_block),
            (CommandFn::SessionWrite(run), ExecContext::Write(keys)) => run(session, keys, request, reply)?,
            (CommandFn::Exec, ExecContext::Write(keys)) => self.exec(keys)?,
            (CommandFn::Add(run, _), ExecContext::Write(keys)) => {
                let key = request.arg(command.first_key());
                self.stats.adds += 1;
                let stored_name = self.session.database.stored_name(key);
                let add = self.pending_adds.iter_mut().find(|add| *add.key == *stored_name);
                if let Some(add) = add {
                    add.admit(request)?;
                    run(keys, request, &mut self.reply)?;
                    add.detect_events(request);
                    add.added = true;
                } else {
                    pending_add::check_add_allowed(&self.session.port.state, keys, &stored_name)?;
                    run(keys, request, &mut self.reply)?;
                    self.stats.runs_changed |= RunId::from_stream_key(&stored_name).is_some();
                }
                self.stats.added += 1;
            }
            (CommandFn::Container(_), _) => command::all(session.port.commands(), reply),
            // The plan runs them in a transaction; those on values exist only with values.
            (CommandFn::Value(_) | CommandFn::BlockingValue(_), _) | (_, ExecContext::Read(..)) => {
                return Err(CommandError::Static("ERR this command must run in a transaction"));
            }
        }
        Ok(CommandOutcome::Done)
    }

    fn exec(&mut self, keys: &mut Transaction<'_>) -> CommandResult {
        let Some(transaction) = self.session.transaction.take() else {
            return Err(CommandError::Static("ERR EXEC without MULTI"));
        };
        let watched = std::mem::take(&mut self.session.watched);
        self.session.update_client_status();
        if transaction.aborted {
            return Err(CommandError::Static("EXECABORT Transaction discarded because of previous errors."));
        }
        // Reading a key's metadata removes an expired key, which marks its watchers dirty.
        keys.set_foreign(None);
        for (database, name) in &watched.names {
            keys.select(*database);
            keys.metadata(name)?;
        }
        if watched.is_dirty() {
            self.reply.null_array();
            return Ok(());
        }
        self.reply.array(transaction.queue.len());
        let context = &mut ExecContext::Write(keys);
        for (command, request) in &transaction.queue {
            let start = self.reply.len();
            self.stats.commands += 1;
            if let Err(error) = self.execute(context, command, request, false) {
                self.write_error(&error, start);
            }
        }
        Ok(())
    }

    fn block(&mut self, keys: &mut Transaction<'_>, blocking: BlockingCommand) -> PendingReply {
        let send_reply = self.session.reply_mode.advance();
        let (sender, reply) = oneshot::channel();
        let deadline = blocking.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let client = &self.session.client;
        client.status.lock().command = self.stats.last.unwrap_or_default();
        let (empty, mut retry) = (self.reply.emptied(), blocking.retry);
        let mut waiting = Some((sender, self.session.port.clients.block(client)));
        let retry_command = move |keys: &mut Transaction<'_>, reason| {
            let mut reply = empty.emptied();
            if let Err(error) = retry(keys, reason, &mut reply)? {
                reply.truncate(0);
                error.write(&mut reply);
            }
            // Dropping the guard unblocks the client for all observers.
            let sender = waiting.take().map(|(sender, _)| sender)?;
            let send: CommitCallback = Box::new(move |failed| {
                // Fails only if the client has disconnected.
                sender.send(failed.map_or(Ok(reply), |error| Err(error.clone()))).ok();
            });
            Some(send)
        };
        keys.block(BlockedClient { client: client.id, keys: blocking.keys, retry: Box::new(retry_command) });
        PendingReply { reply, deadline, send_reply }
    }

    /// Replaces the replies with an error, after a failed commit.
    pub(super) fn fail(&mut self, error: &JournalError) {
        self.reply.truncate(0);
        for _ in 0..std::mem::take(&mut self.replies) {
            self.reply.error(misconf(error));
        }
        self.pending_adds.clear();
        self.stats.added = 0;
        self.session.closing = true;
    }

    /// Marks tasks with new entries as active, after the commit is durable.
    pub(super) fn confirm_adds(&mut self) {
        self.replies = 0;
        for add in self.pending_adds.drain(..).filter(|add| add.added) {
            if let Ok(task) = add.task {
                task.mark_active();
            }
        }
    }
}

/// Reports whether a client may have another identity or database after this command.
fn changes_identity(command: &CommandSpec) -> bool {
    matches!(command.name, "auth" | "hello" | "reset" | "select")
}
