//! `disk_max`: the maximum size of the data folder. Beyond it the tasks that ended first are removed, as by
//! `rm`, until a tenth of it is free. Running tasks are never removed, and tasks with readers only if the
//! others were not enough. With no finished task left, free space within the journal's files is returned to the file
//! system, and if that is not enough, writes are rejected until there is space.
//!
//! The oldest is removed first, whatever its size, so that the next removal is predictable. To keep one
//! noisy task from evicting all others, set `task_bytes_max`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::TasksError;
use super::record::TaskRecord;
use super::registry::Tasks;
use super::task::TaskHandle;
use crate::journal::JournalError;
use crate::model::limits::Limit;
use crate::model::{TaskId, Timestamp, units};

/// The disk budget and what was evicted for it.
#[derive(Debug)]
pub(super) struct DiskBudget {
    journal: PathBuf,
    over: AtomicBool,
    evicted: AtomicU64,
    evicted_bytes: AtomicU64,
}

/// A sealed task with the time of its end and the size of its archive, ordered by its end.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct FinishedTask {
    ended: Timestamp,
    id: TaskId,
    bytes: u64,
}

/// Finished tasks removed to stay within `disk_max`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Number of tasks.
    pub tasks: u64,
    /// Bytes of their archives.
    pub bytes: u64,
}

impl DiskBudget {
    pub(super) fn new(journal: PathBuf) -> Self {
        Self { journal, over: AtomicBool::new(false), evicted: AtomicU64::new(0), evicted_bytes: AtomicU64::new(0) }
    }

    /// Reports whether writes that grow the folder must be rejected.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Returns the tasks removed since the start.
    pub(super) fn evicted(&self) -> Evicted {
        Evicted { tasks: self.evicted.load(Ordering::Relaxed), bytes: self.evicted_bytes.load(Ordering::Relaxed) }
    }
}

impl Tasks {
    /// Checks that lines, tasks and events may be added.
    ///
    /// # Errors
    /// The data folder exceeds its budget, and no finished task is left to remove.
    pub fn has_budget(&self) -> Result<(), TasksError> {
        match self.inner.limits().disk_max.filter(|_| self.inner.budget.is_over()) {
            Some(max) => Err(TasksError::OverBudget(units::show_size(max))),
            None => Ok(()),
        }
    }

    /// Removes finished tasks while the folder exceeds its budget, in the order of their ends.
    pub(super) async fn enforce_budget(&self) -> Result<(), TasksError> {
        let Some(max) = self.inner.limits().disk_max else { return Ok(()) };
        let budget = &self.inner.budget;
        let used = || self.inner.archives.bytes() + folder_bytes(&budget.journal);
        // No task is removed for what is dead in the journal.
        if used() > max
            && self.inner.journal.check_can_grow().is_ok()
            && let Err(error) = self.inner.journal.reclaim(true).await
        {
            tracing::warn!(%error, "failed to free space of the journal; will retry");
        }
        if used() > max {
            self.inner.options.hits.count(Limit::disk_max);
            let finished = self.finished_tasks()?;
            for skip_in_use in [true, false] {
                for FinishedTask { id, bytes, .. } in &finished {
                    if used() <= max - max / 10 {
                        break;
                    }
                    if skip_in_use && self.cached(id).is_some() {
                        continue;
                    }
                    if self.remove(id).await? {
                        tracing::info!(task = %id, bytes, "task removed to stay within disk_max");
                        budget.evicted.fetch_add(1, Ordering::Relaxed);
                        budget.evicted_bytes.fetch_add(*bytes, Ordering::Relaxed);
                    }
                }
                if used() <= max {
                    break;
                }
            }
        }
        if used() > max {
            self.rebuild_journal_files().await;
        }
        let is_over = used() > max;
        if budget.over.swap(is_over, Ordering::Relaxed) != is_over {
            match is_over {
                true => tracing::error!(
                    max,
                    "data folder exceeds disk_max and no finished task is left to remove; rejecting writes"
                ),
                false => tracing::info!("data folder is within disk_max again; accepting writes"),
            }
        }
        Ok(())
    }

    /// Returns free space of the journal's files to the file system. Deleted tasks may have left much of it, and
    /// while writes are rejected nothing reuses it.
    async fn rebuild_journal_files(&self) {
        let journal = self.inner.journal.clone();
        if journal.check_can_grow().is_err() {
            return;
        }
        // The removal of tasks has left more.
        if let Err(error) = journal.reclaim(true).await {
            tracing::warn!(%error, "failed to free space of the journal; will retry");
        }
        match tokio::task::spawn_blocking(move || journal.store().rebuild_if_mostly_free()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "failed to rebuild the journal's files"),
            Err(error) => tracing::warn!(%error, "failed to rebuild the journal's files"),
        }
    }

    /// Returns the sealed tasks, the earliest end first.
    fn finished_tasks(&self) -> Result<Vec<FinishedTask>, TasksError> {
        let ids: Vec<TaskId> = self.inner.index.lock().ids().cloned().collect();
        let mut finished = Vec::new();
        for id in ids {
            let stored = self.inner.journal.store().task(id.as_str().as_bytes()).map_err(JournalError::from)?;
            let Some(Ok(record)) = stored.map(|bytes| TaskRecord::decode(&bytes)) else { continue };
            if let Some(artifact) = &record.artifact {
                let ended = record.ended.unwrap_or(record.created);
                finished.push(FinishedTask { ended, id, bytes: artifact.bytes });
            }
        }
        finished.sort_unstable();
        Ok(finished)
    }
}

impl TaskHandle {
    /// Checks like [`Tasks::has_budget`], for one task.
    pub(super) fn has_budget(&self) -> Result<(), TasksError> {
        if self.inner.budget.is_over() { self.registry().map_or(Ok(()), |tasks| tasks.has_budget()) } else { Ok(()) }
    }
}

/// Returns the size of the files in a folder, in bytes. Files removed meanwhile count as 0.
fn folder_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, metadata)| if metadata.is_dir() { folder_bytes(&path) } else { metadata.len() })
        .sum()
}
