//! `disk_max`: what the data folder may take. Beyond it the tasks that ended first are removed, as by
//! `rm`, until a tenth of it is free; a running one never, and one that somebody reads only if the
//! others were not enough. Where nothing finished is left, the free space of the journal's files is given
//! back, and if that is not enough writes are refused until there is room.
//!
//! Oldest first, whatever its size: anyone can foretell which log goes next. That one noisy task does
//! not push out everyone else's is what `task_bytes_max` is for.

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

/// What is known of the budget.
#[derive(Debug)]
pub(super) struct Budget {
    journal: PathBuf,
    over: AtomicBool,
    evicted: AtomicU64,
    evicted_bytes: AtomicU64,
}

impl Budget {
    pub(super) fn new(journal: PathBuf) -> Self {
        Self { journal, over: AtomicBool::new(false), evicted: AtomicU64::new(0), evicted_bytes: AtomicU64::new(0) }
    }

    /// Whether nothing may be written that makes the folder larger.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Tasks that were removed, and the bytes of their archives.
    pub(super) fn evicted(&self) -> (u64, u64) {
        (self.evicted.load(Ordering::Relaxed), self.evicted_bytes.load(Ordering::Relaxed))
    }
}

impl Tasks {
    /// Whether lines, tasks and events may be added.
    ///
    /// # Errors
    /// The data folder is over its budget, and nothing is left to be removed.
    pub fn has_budget(&self) -> Result<(), TasksError> {
        match self.inner.options.limits.disk_max.filter(|_| self.inner.budget.is_over()) {
            Some(max) => Err(TasksError::OverBudget(units::show_size(max))),
            None => Ok(()),
        }
    }

    /// Removes finished tasks, those first that ended first, if the folder is over its budget.
    pub(super) async fn keep_to_budget(&self) -> Result<(), TasksError> {
        let Some(max) = self.inner.options.limits.disk_max else { return Ok(()) };
        let budget = &self.inner.budget;
        let used = || self.inner.archives.bytes() + bytes_of(&budget.journal);
        if used() > max {
            self.inner.options.hits.count(Limit::disk_max);
            let finished = self.finished()?;
            for spare_read in [true, false] {
                for (_, id, bytes) in &finished {
                    if used() <= max - max / 10 {
                        break;
                    }
                    if spare_read && self.at_hand(id).is_some() {
                        continue;
                    }
                    if self.remove(id).await? {
                        tracing::info!(task = %id, bytes, "removed to keep to disk_max");
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
                    "the data folder is over disk_max and no finished task is left to remove: writes are refused"
                ),
                false => tracing::info!("the data folder is within disk_max again: writes are taken"),
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
        match tokio::task::spawn_blocking(move || journal.store().rebuild_if_mostly_free()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "failed to rebuild the journal's files"),
            Err(error) => tracing::warn!(%error, "failed to rebuild the journal's files"),
        }
    }

    /// Every sealed task with its end and the size of its archive, the earliest end first.
    fn finished(&self) -> Result<Vec<(Timestamp, TaskId, u64)>, TasksError> {
        let ids: Vec<TaskId> = self.inner.index.lock().keys().map(|(_, id)| id.clone()).collect();
        let mut finished = Vec::new();
        for id in ids {
            let stored = self.inner.journal.store().task(id.as_str().as_bytes()).map_err(JournalError::from)?;
            let Some(Ok(record)) = stored.map(|bytes| TaskRecord::decode(&bytes)) else { continue };
            if let Some(artifact) = &record.artifact {
                finished.push((record.ended.unwrap_or(record.created), id, artifact.bytes));
            }
        }
        finished.sort_unstable();
        Ok(finished)
    }
}

impl TaskHandle {
    pub(super) fn has_budget(&self) -> Result<(), TasksError> {
        if self.inner.budget.is_over() { self.registry().map_or(Ok(()), |tasks| tasks.has_budget()) } else { Ok(()) }
    }
}

/// Bytes of the files in a folder; what goes while it is looked at counts nothing.
fn bytes_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, facts)| if facts.is_dir() { bytes_of(&path) } else { facts.len() })
        .sum()
}
