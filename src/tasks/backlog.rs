//! Back-pressure: an append and an end wait while the archive lags.
//!
//! Nothing is trimmed from the journal before it is archived, so without this wait the journal of a flood would
//! grow without bound. A writer that waits reads no further input, and its sender keeps the lines.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::TasksError;
use super::registry::Tasks;
use super::task::TaskHandle;
use crate::model::limits::Limit;

/// Default of [`ArchiveBacklog::lines_max`].
const LINES_MAX: u64 = 500_000;
/// Maximum time for which an append waits without progress, and an end for its place in the backlog.
pub(super) const BACKLOG_TIMEOUT: Duration = Duration::from_secs(10);

/// The lines that wait for their archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveBacklog {
    /// Lines of a task beyond its live window from which appends wait.
    pub lines_max: u64,
}

impl Default for ArchiveBacklog {
    fn default() -> Self {
        Self { lines_max: LINES_MAX }
    }
}

/// The progress of the archives: an append waits for as long as this changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ArchiveProgress {
    /// Last archived line of this task.
    own: u64,
    /// Completed steps of all tasks, which share the archivers. Does not change for a task whose last step failed:
    /// it is not waiting for its turn.
    all: Option<u64>,
}

impl TaskHandle {
    /// Waits while too many lines wait for the archive, as long as it makes progress.
    ///
    /// # Errors
    /// The archive made no progress for [`BACKLOG_TIMEOUT`], or the store is closing.
    pub(super) async fn wait_for_archive(&self) -> Result<(), TasksError> {
        let Some(stream) = self.stream() else { return Ok(()) };
        let Some(tasks) = self.registry() else { return Err(TasksError::Closed) };
        let lines_max = self.inner.window_lines + tasks.inner.options.backlog.lines_max;
        if stream.tip().len() <= lines_max {
            return Ok(());
        }
        tasks.inner.archive_waits.fetch_add(1, Ordering::Relaxed);
        let (mut tip, closing) = (stream.watch(), tasks.inner.closing.clone());
        let mut before = self.archive_progress();
        loop {
            let caught_up = tip.wait_for(|tip| tip.removed || tip.len() <= lines_max);
            let waited = tokio::select! {
                () = closing.cancelled() => return Err(TasksError::Closed),
                waited = timeout(BACKLOG_TIMEOUT, caught_up) => waited,
            };
            let now = self.archive_progress();
            if waited.is_ok() {
                return Ok(());
            }
            if now == before {
                let seconds = BACKLOG_TIMEOUT.as_secs();
                let why = format!("nothing of task {} was archived for {seconds} s; see the server's log", self.id());
                return Err(TasksError::ReadOnly(why));
            }
            // The sender is not silent, it is not read.
            self.heartbeat();
            before = now;
        }
    }

    /// Waits until there is room for this ended task among those that wait for their archive, at most
    /// [`BACKLOG_TIMEOUT`]. Without this wait tasks that end faster than they are sealed would fill the memory.
    /// After a wait that long, no end waits until a seal has been tried again.
    pub(super) async fn wait_for_seals(&self) {
        let Some(tasks) = self.registry() else { return };
        // Seals wait for space on a full disk, and for a reader of the task's events. Other ends do not wait for those.
        if self.has_pending_events() || self.inner.journal.check_can_grow().is_err() {
            return;
        }
        let place = match tasks.inner.seal_backlog.clone().try_acquire_owned() {
            Ok(place) => Some(place),
            Err(_) => {
                tasks.inner.options.hits.count(Limit::seal_backlog_max);
                tasks.wait_for_seal_place().await
            }
        };
        *self.inner.seal_place.lock() = place;
        if self.is_sealed() || self.is_removed() {
            self.leave_seal_backlog();
        }
    }

    /// Makes room for another ended task, after an attempt to seal this one. The attempt may have failed, which is not
    /// a reason to delay other tasks.
    pub(super) fn seal_was_tried(&self, tasks: &Tasks) {
        tasks.inner.seals_stalled.store(false, Ordering::Release);
        self.leave_seal_backlog();
    }

    /// Makes room for another ended task.
    pub(super) fn leave_seal_backlog(&self) {
        drop(self.inner.seal_place.lock().take());
    }

    fn archive_progress(&self) -> ArchiveProgress {
        let failed = self.inner.archive_failed.load(Ordering::Acquire);
        let tasks = self.registry().filter(|_| !failed);
        ArchiveProgress {
            own: self.archived_through(),
            all: tasks.map(|tasks| tasks.inner.archive_steps.load(Ordering::Acquire)),
        }
    }
}

impl Tasks {
    async fn wait_for_seal_place(&self) -> Option<OwnedSemaphorePermit> {
        if self.inner.seals_stalled.load(Ordering::Acquire) {
            return None;
        }
        let place = tokio::select! {
            () = self.inner.closing.cancelled() => return None,
            place = timeout(BACKLOG_TIMEOUT, self.inner.seal_backlog.clone().acquire_owned()) => place,
        };
        self.inner.seals_stalled.fetch_or(place.is_err(), Ordering::AcqRel);
        place.ok()?.ok()
    }
}

#[cfg(test)]
#[path = "backlog_tests.rs"]
mod tests;
