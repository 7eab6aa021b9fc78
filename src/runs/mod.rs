//! Runs: the events of a workflow, stored permanently, each once, and the state computed from them.
//!
//! ```text
//! POST, a task's output, a folder of runs ──> RunHandle::append (new? one at a time) ──> journal run:events:{id}
//! XADD run:events:{id} ────────────────────────────────────────────────────────────────────┘   │
//!          state of a run <── catch_up (reads what is durable) <────────────────────────────────┤
//!          RunTail, pages <── events for clients      <────────────────────────────────────────┘
//! ```
//!
//! - A run's journal is never trimmed and never expires by itself: events are stored permanently.
//! - Two events are the same if they have the same `event_id`, however far apart they arrived. The ids of a
//!   run in use are in memory, [`SEEN_BYTES_EACH`] bytes per event. A run that is idle for [`IDLE_MAX`] is
//!   evicted from memory and read again on its next use.
//! - The state of a run is always read from its journal, whatever the source of an event: visible events are
//!   durable, and an entry that a Redis client adds counts like any other.
//!
//! Not here: finding events in text ([`crate::events`]) and routes ([`crate::server`]).

mod bridge;
mod count;
mod folder;
mod follow;
mod found;
mod handle;
mod incoming;
mod line_events;
mod list;
mod meters;
mod page;
mod shared;
mod state;
mod summary;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::journal::{Journal, JournalError};
use crate::model::{EventError, RunId, Stage, StageCounters, TaskEventCounts, TaskId};
use crate::tasks::{Tasks, TasksError};
pub use bridge::RunIsolation;
pub use follow::{RunEvent, RunFollowStart, RunTail};
use handle::RunInner;
pub use handle::{AppendedEvents, RunHandle};
pub use incoming::{EventSource, IncomingEvent};
pub use list::RunQuery;
pub use meters::{RunMeters, RunStage};
pub use page::{EventFilter, EventPage, StoredEvent};

/// Idle time after which a run is evicted from memory.
pub const IDLE_MAX: Duration = Duration::from_secs(10 * 60);
/// Maximum memory per event of a run in use, in bytes: the hash of its id, its line number, and its share of a
/// hash table that has just grown (half of that when the table is full).
pub const SEEN_BYTES_EACH: usize = 57;
/// Interval between two evictions of idle runs, and between two writes of changed summaries.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(60);

/// An error of a run.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RunsError {
    /// Error of the journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The run was removed repeatedly during the append.
    #[error("run {0} was removed during the append")]
    Removed(RunId),
    /// The number of runs is at its maximum.
    #[error("run limit reached ({0}); remove runs or raise runs_max")]
    TooMany(u64),
    /// Events cannot be added now.
    #[error(transparent)]
    Refused(#[from] TasksError),
    /// The cursor belongs to another log of this run, or is after its end.
    #[error("the cursor belongs to an earlier log of run {0}")]
    Reset(RunId),
}

/// A rejected event, by its position in the append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedEvent {
    /// Index in the append, from 0.
    pub index: usize,
    /// Reason for the rejection.
    pub fault: EventError,
}

/// All runs of a store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Runs {
    inner: Arc<RunsInner>,
}

#[derive(Debug)]
struct RunsInner {
    tasks: Tasks,
    journal: Journal,
    meters: Arc<RunMeters>,
    /// Runs in use. Locked for a lookup only.
    used: Mutex<HashMap<RunId, Arc<RunInner>>>,
    /// Results of the search in the output of tasks. Locked for a lookup only.
    found: Mutex<found::FoundEvents>,
    /// The number of runs. Locked for a scan of all streams now and then.
    count: tokio::sync::Mutex<count::RunCount>,
    /// Summary of each run when it was last read. Locked for a lookup only.
    summaries: Mutex<HashMap<RunId, summary::CachedSummary>>,
    /// Changes when a run has new events or is removed.
    changes: watch::Sender<u64>,
}

impl Runs {
    /// Returns the runs stored in the same journal as `tasks`.
    pub fn new(tasks: &Tasks, meters: Arc<RunMeters>) -> Self {
        let inner = RunsInner {
            tasks: tasks.clone(),
            journal: tasks.journal().clone(),
            meters,
            used: Mutex::default(),
            found: Mutex::default(),
            count: tokio::sync::Mutex::default(),
            summaries: Mutex::default(),
            changes: watch::Sender::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Returns the run with this id, if it exists.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn get(&self, id: &RunId) -> Result<Option<RunHandle>, RunsError> {
        let found = self.inner.journal.stream(id.stream_key().as_bytes())?.filter(|stream| stream.tip().last_line > 0);
        Ok(found.map(|_| self.get_or_new(id)))
    }

    /// Returns the run with this id. It is created by its first event.
    pub fn get_or_new(&self, id: &RunId) -> RunHandle {
        let mut used = self.inner.used.lock();
        let run = used.entry(id.clone()).or_insert_with(|| Arc::new(RunInner::new(id.clone())));
        RunHandle::new(self.inner.clone(), run.clone())
    }

    /// Removes a run and its events. Returns whether it existed. Its readers receive `reset`.
    ///
    /// # Errors
    /// The journal is not writable.
    pub async fn remove(&self, id: &RunId) -> Result<bool, RunsError> {
        let Some(stream) = self.inner.journal.stream(id.stream_key().as_bytes())? else { return Ok(false) };
        self.remove_shared(id, stream.incarnation()).await?;
        match self.inner.journal.remove(&stream).await {
            Ok(()) => {}
            Err(JournalError::Removed) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        self.inner.summaries.lock().remove(id);
        self.inner.count.lock().await.remove();
        self.notify_changed();
        Ok(true)
    }

    /// Returns a receiver that changes when a run has new events or is removed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Notifies followers after a write to a run's journal that bypassed this module.
    pub fn notify_changed(&self) {
        self.inner.changes.send_modify(|version| *version += 1);
    }

    /// Returns the stage counters.
    pub fn meters(&self) -> &Arc<RunMeters> {
        &self.inner.meters
    }

    /// Returns the counters of a run's own stages; `None` if there is no such run. They count from the time since
    /// which the run is in use.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn stages(&self, id: &RunId) -> Result<Option<Vec<Stage>>, RunsError> {
        let is_used = self.inner.used.lock().contains_key(id);
        if !is_used && self.get(id)?.is_none() {
            return Ok(None);
        }
        let run = self.get_or_new(id);
        Ok(Some(run.own_meters().all().into_iter().map(StageCounters::snapshot).collect()))
    }

    /// Returns what was found in the output of a task; nothing if the server has not read it.
    pub fn task_events(&self, task: &TaskId) -> TaskEventCounts {
        self.inner.found.lock().get(task).cloned().unwrap_or_default()
    }

    /// Evicts idle runs and stores the summaries of changed ones, periodically. Never returns; cancel it to stop.
    pub async fn run_maintenance(&self) {
        let mut sweep = tokio::time::interval(MAINTENANCE_INTERVAL);
        loop {
            sweep.tick().await;
            self.evict_idle(IDLE_MAX);
            if let Err(error) = self.store_summaries().await {
                tracing::warn!(%error, "failed to store the summaries of runs; will retry");
            }
        }
    }

    /// Evicts runs that have been idle for at least `idle`. Returns how many remain in memory.
    pub fn evict_idle(&self, idle: Duration) -> usize {
        let mut used = self.inner.used.lock();
        used.retain(|_, run| Arc::strong_count(run) > 1 || run.idle() < idle);
        used.len()
    }
}
