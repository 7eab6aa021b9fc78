//! The life of a task over journal and archive. A task is created by its first line, ends once, is sealed,
//! and is read in the same way before, during and after.
//!
//! ```text
//! lines ──> TaskHandle::append ──> journal ──(older than the live window)──> archive
//!                                     │                                         │
//!                                     └──────────── log, joined by line number ─┴──> TaskFollower, export, read
//! end ──> record ──> the rest to the archive ──> seal ──> record ──> journal removed
//! ```
//!
//! The order of the last row makes a kill harmless at any point: completed steps are recognized, and the
//! others are repeated.
//!
//! `registry` and `task` refer to each other, and to the steps of a task's life: a handle looks up the registry, and
//! the registry drives handles.

mod adopt;
mod append;
mod attempts;
mod backlog;
pub mod backup;
mod budget;
mod clock;
mod count;
mod details;
mod end;
mod event_queue;
mod expire;
mod follow;
mod good_runs;
mod index;
mod integrity;
pub mod keys;
mod list;
mod log;
mod maintenance;
mod new_tasks;
mod partial;
mod presence;
mod private;
mod rate_limit;
mod record;
mod registry;
mod remove;
mod seal;
mod shared;
mod stats;
mod task;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::archive::ArchiveError;
use crate::home::ObjectError;
use crate::journal::JournalError;
use crate::model::TaskId;
use crate::model::limits::{LimitCounters, Limits};
use crate::store::StoreError;
pub use crate::store::codec::STORE_FORMAT;
pub use crate::store::{FILE_MODE, OpenError, create_folder, write_private};

pub use crate::journal::{Durability, LineBatch, PageLimits};
pub use append::{AppendedLines, LineTicket, RejectedLines};
pub use backlog::ArchiveBacklog;
pub use budget::Evicted;
pub use count::LogCounter;
pub use end::{EndOutcome, EndRequest};
pub use event_queue::{EVENTS_LABEL, EventsGuard, TasksWithEvents};
pub use follow::{FollowEvent, FollowStart, TaskFollower};
pub use index::ListQuery;
pub use list::TaskPage;
pub use log::LogPage;
pub use new_tasks::NewTasks;
pub use presence::WorkerGuard;
pub use private::make_data_private;
pub use record::SessionSeq;
pub use registry::{TaskDescription, Tasks};
pub use shared::{AdoptReport, SharedStore, adopt_archive, verify_objects};
pub use stats::Stats;
pub use task::TaskHandle;
pub use verify::{VerifyError, VerifyFault, VerifyReport, verify};

/// Options of a store of tasks.
#[derive(Clone, Debug, Default)]
pub struct TasksOptions {
    /// When a line is acked and visible.
    pub durability: Durability,
    /// Limits in force.
    pub limits: Limits,
    /// Counters of limits that were reached.
    pub hits: Arc<LimitCounters>,
    /// Set if a reader will subscribe to [`Tasks::tasks_with_events`] and scan all open tasks. Tasks open at the
    /// start are not sealed before that.
    pub events: bool,
    /// Time for workers to reconnect after the start, even if their grace is over; zero if none can be waiting.
    pub reconnect_window: Duration,
    /// Lines that may wait for their archive.
    pub backlog: ArchiveBacklog,
    /// Counts the errors of a log at its end, if it is set.
    pub counter: Option<Arc<dyn LogCounter>>,
    /// The store that several servers share; `None` if this server alone has its tasks.
    pub shared: Option<SharedStore>,
}

/// An error of a task operation.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TasksError {
    /// The task does not exist.
    #[error("task {0} not found")]
    NotFound(TaskId),
    /// The task has ended.
    #[error("task {0} has ended and accepts no more lines: use another id, or `run --task` for a new log of this one")]
    Ended(TaskId),
    /// The task was removed during the call.
    #[error("task {0} was removed")]
    Removed(TaskId),
    /// Writes are temporarily unavailable; reads work.
    #[error("writes are unavailable: {0}")]
    ReadOnly(String),
    /// The disk is full and nothing was stored; a retry may succeed. Reads and removals still work.
    #[error("nothing was stored: {0}")]
    DiskFull(String),
    /// The disk did not respond in time.
    #[error("{0}")]
    Unconfirmed(JournalError),
    /// The task exceeds its rate limit; retry later.
    #[error("task {task} exceeds its limit of {limit}; retry in {} s", retry_after.as_secs_f64().ceil())]
    RateLimited {
        /// Task id.
        task: TaskId,
        /// The limit with its unit.
        limit: String,
        /// Delay before a retry can succeed.
        retry_after: Duration,
    },
    /// The number of tasks is at its maximum.
    #[error("task limit reached ({0}); remove tasks or raise tasks_max")]
    TooManyTasks(u64),
    /// The data folder exceeds its maximum size, and no finished task is left to remove.
    #[error("writes are unavailable: the data folder exceeds disk_max ({0}) and no finished task is left to remove")]
    OverBudget(String),
    /// Error of the journal.
    #[error(transparent)]
    Journal(JournalError),
    /// Error of the archive.
    #[error("{0}")]
    Archive(Arc<ArchiveError>),
    /// Error of the object store.
    #[error("{0}")]
    Objects(Arc<ObjectError>),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// An error on opening the tasks.
#[derive(Debug, thiserror::Error)]
pub enum TasksOpenError {
    /// Error on opening the store.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Error on opening the folder of archives.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Error on reading the store.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Error of the shared store.
    #[error(transparent)]
    Shared(#[from] TasksError),
    /// The path of the data folder is not a folder.
    #[error("cannot use {0} as the data folder: not a folder")]
    NotAFolder(PathBuf),
}

impl From<JournalError> for TasksError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Closed => TasksError::Closed,
            JournalError::Unconfirmed(_) => TasksError::Unconfirmed(error),
            JournalError::Store(store) => match &*store {
                StoreError::Unavailable(reason) if reason.is_full() => TasksError::DiskFull(reason.to_string()),
                StoreError::Unavailable(reason) => TasksError::ReadOnly(reason.to_string()),
                StoreError::Poisoned(reason) => TasksError::ReadOnly(reason.clone()),
                _ => TasksError::Journal(JournalError::Store(store)),
            },
            other => TasksError::Journal(other),
        }
    }
}

impl From<ArchiveError> for TasksError {
    fn from(error: ArchiveError) -> Self {
        TasksError::Archive(Arc::new(error))
    }
}
