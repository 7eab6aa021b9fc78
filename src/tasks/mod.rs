//! A task's life over journal and archive: it comes into being with its first line, ends once, is
//! sealed, and can be read the same way before, during and after.
//!
//! ```text
//! lines ──> TaskHandle::append ──> journal ──(older than the live window)──> archive
//!                                     │                                         │
//!                                     └──────────── log, joined by line number ─┴──> Follower, export, read
//! end ──> record ──> the rest to the archive ──> seal ──> record ──> journal removed
//! ```
//!
//! The order of the last row is what makes a kill harmless anywhere in it: what was done is found
//! done, what was not is done again.

mod adopt;
mod budget;
mod clock;
mod eventful;
mod follow;
mod gate;
mod integrity;
mod keeper;
pub mod keys;
mod list;
mod log;
mod record;
mod registry;
mod seal;
mod task;
mod verify;
mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::archive::ArchiveError;
use crate::journal::JournalError;
use crate::model::TaskId;
use crate::model::limits::{LimitCounters, Limits};
use crate::store::StoreError;
pub use crate::store::{OpenError, create_folder};

pub use crate::journal::{Durability, LineBatch, PageLimits};
pub use eventful::{EVENTS_LABEL, EventfulTasks, EventsGuard};
pub use follow::{FollowEvent, Follower, Start};
pub use list::{ListQuery, TaskPage};
pub use log::LogPage;
pub use registry::{Stats, TaskFacts, Tasks};
pub use task::{TaskHandle, WorkerGuard};
pub use verify::{VerifyError, VerifyFault, VerifyReport, verify};
pub use write::{Appended, End, EndOutcome, Ticket, Untaken};

/// How tasks are kept.
#[derive(Clone, Debug, Default)]
pub struct TasksOptions {
    /// When a line is acked and shown.
    pub durability: Durability,
    /// The limits in force.
    pub limits: Limits,
    /// Where it is counted that one of them was reached.
    pub hits: Arc<LimitCounters>,
    /// Somebody is to take [`Tasks::eventful`] and to look at all open tasks: until then none that
    /// was open already is sealed.
    pub events: bool,
}

/// What can go wrong with a task.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TasksError {
    /// There is no such task.
    #[error("there is no task {0}")]
    NotFound(TaskId),
    /// Its end was said before.
    #[error("task {0} has ended: it takes no more lines")]
    Ended(TaskId),
    /// It was removed while the call was under way.
    #[error("task {0} was removed")]
    Removed(TaskId),
    /// Writes are not possible now; reads are.
    #[error("nothing can be written: {0}")]
    ReadOnly(String),
    /// The disk is full: nothing was stored, and what is sent again later may be. Reads and removals go on.
    #[error("nothing was stored: {0}")]
    DiskFull(String),
    /// Nothing was heard of the disk in time.
    #[error("{0}")]
    Unconfirmed(JournalError),
    /// More came than the task may get now; what is sent again later may be taken.
    #[error("task {task} is over its limit of {limit}: send the rest in {} s", retry_after.as_secs_f64().ceil())]
    RateLimited {
        /// Which task.
        task: TaskId,
        /// In words.
        limit: String,
        /// When some of it may be taken.
        retry_after: Duration,
    },
    /// There are as many tasks as there may be.
    #[error("there are {0} tasks, as many as tasks_max allows: remove some, or raise it")]
    TooManyTasks(u64),
    /// The data folder is as large as it may be, and nothing finished is left to be removed.
    #[error("nothing can be written: the data folder is over disk_max ({0}), and no finished task is left to remove")]
    OverBudget(String),
    /// The journal failed.
    #[error(transparent)]
    Journal(JournalError),
    /// The archive failed.
    #[error("{0}")]
    Archive(Arc<ArchiveError>),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// Why the tasks could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum TasksOpenError {
    /// The store did not open.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The folder of archives did not.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// What is in the store could not be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The folder is not one that can be used.
    #[error("the data folder {0} cannot be used: it is not a folder")]
    NotAFolder(PathBuf),
}

impl From<JournalError> for TasksError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Closed => TasksError::Closed,
            JournalError::Unconfirmed(_) => TasksError::Unconfirmed(error),
            JournalError::Store(store) => match &*store {
                StoreError::Unavailable(refusal) if refusal.is_full() => TasksError::DiskFull(refusal.to_string()),
                StoreError::Unavailable(refusal) => TasksError::ReadOnly(refusal.to_string()),
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
