//! Commands of one connection: what has come of a pipeline, where it has to run, and its replies.
//!
//! A batch runs as a whole: among the writes if any of its commands needs that, else on what is
//! published. It is handed to where it runs and comes back from there, with the session in it, so
//! that nothing of a connection is ever shared.

use std::collections::VecDeque;
use std::time::Instant;

use tokio::sync::oneshot;

use super::commands::{Outcome, Refusal, Wait, command, unwritten};
use super::exec_context::{Place, see};
use super::pending_add::{self, Adding};
use super::plan::Plan;
use super::session::Session;
use super::table::{Command, Misfit, Run, resolve};
use super::transaction::ends_transaction;
use crate::model::RunId;
use crate::model::limits::Limit;
use crate::tasks::Tasks;
use crate::tasks::keys::{BlockedClient, CommitCallback, JournalError, KeyReader as _, KeyTask, Transaction};
use crate::wire::resp::{Protocol, Reply, Request};

/// Commands in one batch.
const REQUESTS_MAX: usize = 4096;
/// Bytes of requests in one batch; one request may be larger.
const REQUESTS_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of replies from where on they are sent before more commands run.
const REPLIES_BYTES_MAX: usize = 1024 * 1024;

/// Commands on their way.
pub(super) struct Batch {
    pub(super) session: Session,
    pub(super) reply: Reply,
    requests: VecDeque<Planned>,
    requests_bytes: usize,
    adding: Vec<Adding>,
    /// Replies written since they were last taken.
    replies: usize,
    /// What was done since it was last asked.
    pub(super) done: Counts,
}

/// What a batch has done.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) commands: u64,
    pub(super) errors: u64,
    /// Entries that were to be added, and those that were.
    pub(super) adds: u64,
    pub(super) added: u64,
    /// Whether some of them are events of runs.
    pub(super) of_runs: bool,
    /// The last command.
    pub(super) last: Option<&'static str>,
}

struct Planned {
    request: Request,
    command: Result<&'static Command, Misfit>,
}

/// A command that waits; those behind it wait with it.
pub(super) struct Waits {
    pub(super) answer: oneshot::Receiver<Waited>,
    /// When the client gives up.
    pub(super) deadline: Option<Instant>,
    /// Whether the answer is to be sent.
    pub(super) wanted: bool,
}

/// The reply of a command that has waited, or why it is not durable.
pub(super) type Waited = Result<Reply, JournalError>;

impl Batch {
    pub(super) fn new(session: Session) -> Self {
        Self {
            reply: Reply::limited(Protocol::default(), session.port.reply_bytes_max()),
            session,
            requests: VecDeque::new(),
            requests_bytes: 0,
            adding: Vec::new(),
            replies: 0,
            done: Counts::default(),
        }
    }

    /// Adds a request.
    pub(super) fn push(&mut self, request: Request) {
        self.requests_bytes += request.bytes();
        let command = resolve(&request);
        self.requests.push_back(Planned { request, command });
    }

    /// Whether it takes more requests now.
    pub(super) fn has_room(&self) -> bool {
        self.requests.len() < REQUESTS_MAX && self.requests_bytes < REQUESTS_BYTES_MAX
    }

    /// Whether no request is left to be run.
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// What the requests need, as far as can be seen from here.
    pub(super) fn plan(&self, tasks: &Tasks) -> Plan {
        let mut plan = Plan::default();
        let mut queued = self.session.transaction.as_ref().map(|transaction| &transaction.queue[..]);
        let mut pending: Option<Vec<(&Command, &Request)>> =
            queued.take().map(|queue| queue.iter().map(|(command, request)| (*command, request)).collect());
        for planned in &self.requests {
            let Ok(command) = planned.command else { continue };
            // What is refused needs nothing, above all no task that it would have written to.
            if self.session.permit(command, &planned.request).is_err() {
                continue;
            }
            let signs = match &pending {
                Some(queue) if command.name == "exec" => queue.iter().any(|(command, _)| signs_in(command)),
                Some(_) => command.name == "reset",
                None => signs_in(command),
            };
            match (&mut pending, command.name) {
                (Some(queue), "exec") => {
                    plan.keys = true;
                    for (command, request) in queue.drain(..) {
                        plan.add(tasks, command, request);
                    }
                    pending = None;
                }
                (Some(_), "discard" | "reset") => pending = None,
                (Some(queue), _) => queue.push((command, &planned.request)),
                (None, "multi") => pending = Some(Vec::new()),
                (None, _) => plan.add(tasks, command, &planned.request),
            }
            if signs {
                // See `run`: what follows is planned when it is known who asks.
                break;
            }
        }
        plan.bytes = self.requests_bytes;
        plan
    }

    /// Takes in the task of a key that gets an entry, or why there is none.
    pub(super) fn add_task(&mut self, key: Box<[u8]>, task: Result<KeyTask, String>) {
        self.adding.push(Adding::new(key, task));
    }

    /// Runs what there is, up to a command that waits or that signs in or out, or until there is much to send.
    pub(super) fn run(&mut self, place: &mut Place<'_, '_>) -> Option<Waits> {
        while self.reply.len() < REPLIES_BYTES_MAX && !self.session.closing {
            let Some(Planned { request, command }) = self.requests.pop_front() else { break };
            self.requests_bytes = self.requests_bytes.saturating_sub(request.bytes());
            place.tick();
            let signs = command.as_ref().is_ok_and(|command| self.signs(command));
            let waits = self.step(place, command, &request);
            place.settle();
            if waits.is_some() {
                return waits;
            }
            if signs {
                break;
            }
        }
        None
    }

    /// Whether somebody else may ask after this command.
    fn signs(&self, command: &Command) -> bool {
        match &self.session.transaction {
            Some(transaction) if command.name == "exec" => {
                transaction.queue.iter().any(|(command, _)| signs_in(command))
            }
            Some(_) => command.name == "reset",
            None => signs_in(command),
        }
    }

    fn step(
        &mut self,
        place: &mut Place<'_, '_>,
        command: Result<&'static Command, Misfit>,
        request: &Request,
    ) -> Option<Waits> {
        let start = self.reply.len();
        self.done.commands += 1;
        let outcome = match command {
            Err(misfit) => Err(self.misfit(misfit)),
            Ok(command) => {
                self.done.last = Some(command.name);
                let permitted = self.session.permit(command, request);
                match (permitted, &mut self.session.transaction) {
                    (Err(refusal), transaction) => {
                        transaction.iter_mut().for_each(|transaction| transaction.aborted = true);
                        Err(refusal)
                    }
                    (Ok(()), Some(transaction)) if !ends_transaction(command) => {
                        transaction.queue(command, request, &mut self.reply).map(|()| Outcome::Done)
                    }
                    _ => self.run_one(place, command, request, true),
                }
            }
        };
        let outcome = match (outcome, place) {
            (Ok(Outcome::Wait(wait)), Place::Keys(keys)) => return Some(self.wait(keys, wait)),
            (Ok(_), _) => Ok(()),
            (Err(refusal), _) => Err(refusal),
        };
        if let Err(refusal) = outcome {
            self.refuse(&refusal, start);
        }
        if self.session.replies.take() {
            self.replies += 1;
        } else {
            self.reply.truncate(start);
        }
        None
    }

    /// What fits no command spoils a transaction.
    fn misfit(&mut self, misfit: Misfit) -> Refusal {
        if misfit.command.is_some_and(|command| matches!(command.run, Run::Exec)) {
            self.session.end_transaction();
        } else if let Some(transaction) = &mut self.session.transaction {
            transaction.aborted = true;
        }
        misfit.refusal
    }

    fn refuse(&mut self, refusal: &Refusal, start: usize) {
        self.done.errors += 1;
        if let Refusal::TooLarge(_) = refusal {
            self.session.port.state.limit_counters.count(Limit::resp_reply_bytes_max);
        }
        self.reply.truncate(start);
        refusal.write(&mut self.reply);
    }

    fn run_one(
        &mut self,
        place: &mut Place<'_, '_>,
        command: &'static Command,
        request: &Request,
        may_wait: bool,
    ) -> Result<Outcome, Refusal> {
        let Self { session, reply, .. } = self;
        match (&command.run, place) {
            (Run::Session(run), _) => run(session, request, reply)?,
            (Run::Report(run), place) => {
                let caller = session.caller().cloned();
                see(place.look(), caller.as_ref(), |look| run(session, look, request, reply))?;
            }
            (Run::Look(run), place) => see(place.look(), session.caller(), |look| run(look, request, reply))?,
            (Run::LookOrWait(run), Place::Published(_, look)) => return run(look, request, reply, false),
            (Run::LookOrWait(run), Place::Keys(keys)) => return run(*keys, request, reply, may_wait),
            (Run::Keys(run), Place::Keys(keys)) => run(keys, request, reply)?,
            (Run::KeysOrWait(run), Place::Keys(keys)) => return run(keys, request, reply, may_wait),
            (Run::Link(run), Place::Keys(keys)) => run(session, keys, request, reply)?,
            (Run::Exec, Place::Keys(keys)) => self.exec(keys)?,
            (Run::Add(run, _), Place::Keys(keys)) => {
                let key = request.arg(command.first_key());
                self.done.adds += 1;
                let adding = self.adding.iter_mut().find(|adding| *adding.key == *key);
                if let Some(adding) = adding {
                    adding.admit(request)?;
                    run(keys, request, &mut self.reply)?;
                    adding.note(request);
                    adding.added = true;
                } else {
                    pending_add::may_add(&self.session.port.state, keys, key)?;
                    run(keys, request, &mut self.reply)?;
                    self.done.of_runs |= RunId::from_stream_key(key).is_some();
                }
                self.done.added += 1;
            }
            (Run::Container(_), _) => command::all(reply),
            // The plan sends them elsewhere.
            (_, Place::Published(..)) => {
                return Err(Refusal::Static("ERR this command needs a place among the writes"));
            }
        }
        Ok(Outcome::Done)
    }

    fn exec(&mut self, keys: &mut Transaction<'_>) -> Result<(), Refusal> {
        let Some(transaction) = self.session.transaction.take() else {
            return Err(Refusal::Static("ERR EXEC without MULTI"));
        };
        let watched = std::mem::take(&mut self.session.watched);
        self.session.note();
        if transaction.aborted {
            return Err(Refusal::Static("EXECABORT Transaction discarded because of previous errors."));
        }
        // A look removes a key whose time is over, which marks those who watch it.
        for name in &watched.names {
            keys.metadata(name)?;
        }
        if watched.is_dirty() {
            self.reply.null_array();
            return Ok(());
        }
        self.reply.array(transaction.queue.len());
        let place = &mut Place::Keys(keys);
        for (command, request) in &transaction.queue {
            let start = self.reply.len();
            self.done.commands += 1;
            if let Err(refusal) = self.run_one(place, command, request, false) {
                self.refuse(&refusal, start);
            }
        }
        Ok(())
    }

    fn wait(&mut self, keys: &mut Transaction<'_>, wait: Wait) -> Waits {
        let wanted = self.session.replies.take();
        let (sender, answer) = oneshot::channel();
        let deadline = wait.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let client = &self.session.client;
        client.facts.lock().command = self.done.last.unwrap_or_default();
        let (empty, mut again) = (self.reply.emptied(), wait.again);
        let mut open = Some((sender, self.session.port.clients.block(client)));
        let serve = move |keys: &mut Transaction<'_>, why| {
            let mut reply = empty.emptied();
            if let Err(refusal) = again(keys, why, &mut reply)? {
                reply.truncate(0);
                refusal.write(&mut reply);
            }
            // Not blocked any more, from here on for everyone.
            let sender = open.take().map(|(sender, _)| sender)?;
            let answer: CommitCallback = Box::new(move |failed| {
                // A client that has gone wants none.
                sender.send(failed.map_or(Ok(reply), |error| Err(error.clone()))).ok();
            });
            Some(answer)
        };
        keys.block(BlockedClient { client: client.id, keys: wait.keys, retry: Box::new(serve) });
        Waits { answer, deadline, wanted }
    }

    /// The commit failed: what was answered is not so.
    pub(super) fn fail(&mut self, error: &JournalError) {
        self.reply.truncate(0);
        for _ in 0..std::mem::take(&mut self.replies) {
            self.reply.error(unwritten(error));
        }
        self.adding.clear();
        self.done.added = 0;
        self.session.closing = true;
    }

    /// What was answered is durable: the tasks are told.
    pub(super) fn settle(&mut self) {
        self.replies = 0;
        for adding in self.adding.drain(..).filter(|adding| adding.added) {
            if let Ok(task) = adding.task {
                task.mark_active();
            }
        }
    }
}

/// Whether a client may be somebody else after it.
fn signs_in(command: &Command) -> bool {
    matches!(command.name, "auth" | "hello" | "reset")
}
