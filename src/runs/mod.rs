//! Runs: the events of a workflow, kept for good, each once, and what they add up to.
//!
//! ```text
//! POST, a task's output, a folder of runs ──> RunHandle::append (new? one at a time) ──> journal run:events:{id}
//! XADD run:events:{id} ────────────────────────────────────────────────────────────────────┘   │
//!          state of a run <── catch_up (reads what is durable) <────────────────────────────────┤
//!          RunTail, pages <── events as they are shown <────────────────────────────────────────┘
//! ```
//!
//! - A run's journal is never trimmed and never expires by itself: an event is told for ever.
//! - An event is the same as another if it has the same `event_id`, however far apart they came. The
//!   ids of a run in use are in memory, [`SEEN_BYTES_EACH`] bytes an event; a run that nobody uses for
//!   [`IDLE_MAX`] is let go, and read again when it is asked for.
//! - What is known of a run is read from its journal, whichever way an event came into it: what is
//!   shown is durable, and an entry that a Redis client adds counts like any other.
//!
//! Not here: how events are found in a text ([`crate::events`]), and routes ([`crate::server`]).

mod bridge;
mod folder;
mod follow;
mod handle;
mod keep;
mod list;
mod meters;
mod page;
mod state;
mod wrap;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::journal::{Journal, JournalError};
use crate::model::{EventError, RunId};
use crate::tasks::{Tasks, TasksError};
pub use bridge::KeptApart;
pub use follow::{RunNews, RunStart, RunTail};
use handle::Inner as RunInner;
pub use handle::{Appended, RunHandle};
pub use keep::{Incoming, Source};
pub use list::RunQuery;
pub use meters::RunMeters;
pub use page::{EventFilter, EventPage, Stored};

/// A run that nobody uses for this long is let go from memory.
pub const IDLE_MAX: Duration = Duration::from_secs(10 * 60);
/// Bytes that an event of a run in use takes in memory at most: the print of its id, its line number,
/// and the share of a hash table that has just grown (half of that when it is full).
pub const SEEN_BYTES_EACH: usize = 57;
/// Between two looks for runs that nobody uses.
const SWEEP: Duration = Duration::from_secs(60);

/// What can go wrong with a run.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RunsError {
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The run was removed again and again while it was written.
    #[error("run {0} was removed while its events were written")]
    Removed(RunId),
    /// There are as many runs as there may be.
    #[error("there are {0} runs, as many as runs_max allows: remove some, or raise it")]
    TooMany(u64),
    /// No event can be added now.
    #[error(transparent)]
    Refused(#[from] TasksError),
    /// The place is of another log of this run, or behind its end.
    #[error("the cursor is of an earlier log of run {0}")]
    Reset(RunId),
}

/// An event that is not taken, by its place among those that came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its place, from 0.
    pub index: usize,
    /// Why.
    pub fault: EventError,
}

/// All runs of a store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Runs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    tasks: Tasks,
    journal: Journal,
    meters: Arc<RunMeters>,
    /// Runs in use. Held for a look-up.
    used: Mutex<HashMap<RunId, Arc<RunInner>>>,
    /// What was known of each run when it was last looked at. Held for a look-up.
    known: Mutex<HashMap<RunId, list::Known>>,
    /// Moves when a run has got events, or went.
    changes: watch::Sender<u64>,
}

impl Runs {
    /// The runs beside these tasks.
    pub fn new(tasks: &Tasks, meters: Arc<RunMeters>) -> Self {
        let inner = Inner {
            tasks: tasks.clone(),
            journal: tasks.journal().clone(),
            meters,
            used: Mutex::default(),
            known: Mutex::default(),
            changes: watch::Sender::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The run of this id, if there is one.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn get(&self, id: &RunId) -> Result<Option<RunHandle>, RunsError> {
        let there = self.inner.journal.stream(id.stream_key().as_bytes())?.filter(|stream| stream.tip().last_line > 0);
        Ok(there.map(|_| self.get_or_new(id)))
    }

    /// The run of this id; it comes into being with its first event.
    pub fn get_or_new(&self, id: &RunId) -> RunHandle {
        let mut used = self.inner.used.lock();
        let run = used.entry(id.clone()).or_insert_with(|| Arc::new(RunInner::new(id.clone())));
        RunHandle::new(self.inner.clone(), run.clone())
    }

    /// Removes a run and its events. Answers whether there was one; its readers are told `reset`.
    ///
    /// # Errors
    /// The journal takes no writes.
    pub async fn remove(&self, id: &RunId) -> Result<bool, RunsError> {
        let Some(stream) = self.inner.journal.stream(id.stream_key().as_bytes())? else { return Ok(false) };
        match self.inner.journal.remove(&stream).await {
            Ok(()) => {}
            Err(JournalError::Removed) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        self.inner.known.lock().remove(id);
        self.touch();
        Ok(true)
    }

    /// Moves when a run has got events, or went.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Somebody else has written into runs' journals.
    pub fn touch(&self) {
        self.inner.changes.send_modify(|version| *version += 1);
    }

    /// What was counted.
    pub fn meters(&self) -> &Arc<RunMeters> {
        &self.inner.meters
    }

    /// Lets go runs that nobody uses, for ever. To be raced against the end of the server.
    pub async fn keep(&self) {
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            sweep.tick().await;
            self.let_go(IDLE_MAX);
        }
    }

    /// Lets go runs that nobody has used for so long; answers how many stay.
    pub fn let_go(&self, idle: Duration) -> usize {
        let mut used = self.inner.used.lock();
        used.retain(|_, run| Arc::strong_count(run) > 1 || run.idle() < idle);
        used.len()
    }
}
