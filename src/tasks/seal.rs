//! Moving lines from the journal to the archive, and sealing the archive at the end.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use tokio::sync::MutexGuard;

use super::TasksError;
use super::backup::ArchiveChange;
use super::record::TaskRecord;
use super::task::TaskHandle;
use crate::archive::ArchiveError;
use crate::journal::Trim;
use crate::model::limits::Limit;
use crate::model::{Artifact, GapReason, Integrity};

/// Maximum lines archived between two syncs.
const SYNC_LINES: u64 = 50_000;
/// Maximum bytes of text between two syncs; for a log with a limit at most a quarter of that limit.
const SYNC_BYTES: u64 = 32 * 1024 * 1024;
const SYNC_BYTES_MIN: u64 = 64 * 1024;
/// Maximum bytes of an archive's next frame, which is written by its next sync.
const UNWRITTEN_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The steps of archiving that sync the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StepSync {
    All,
    /// The seal syncs the last one.
    AllButLast,
}

impl TaskHandle {
    /// Archives lines older than the live window, at most as many as are synced at once, then trims them from the
    /// journal. Writers that wait for room continue after each such step.
    pub(super) async fn archive_older(&self, window_lines: u64) -> Result<(), TasksError> {
        let _archive_guard = self.lock_archive().await?;
        let Some(stream) = self.stream() else { return Ok(()) };
        let tip = stream.tip();
        let step_end = tip.first_line.max(self.archived_through() + 1) + SYNC_LINES - 1;
        let to = tip.last_line.saturating_sub(window_lines).min(step_end);
        let task = self.clone();
        blocking(move || {
            task.archive_through(to, StepSync::All)?;
            // A seal that failed has published lines without it.
            Ok(task.archive().sync_file_name()?)
        })
        .await?;
        let through = self.archived_through();
        if through >= stream.tip().first_line {
            self.journal().trim(&stream, Trim::ThroughLine(through.min(to))).await?;
        }
        Ok(())
    }

    /// Archives the rest, seals, records the seal, and removes the journal. Each step is durable before the
    /// next. Does nothing if the task has not ended and is no longer expired.
    pub(super) async fn seal(&self) -> Result<(), TasksError> {
        let _archive_guard = self.lock_archive().await?;
        let has_ended = self.with_record(TaskRecord::is_closed);
        let hold = if has_ended { None } else { self.hold_expired().await? };
        if !has_ended && hold.is_none() {
            return Ok(());
        }
        let task = self.clone();
        let tip = self.stream().map(|stream| stream.tip());
        let (artifact, verdict) = blocking(move || task.seal_now()).await?;
        let first_line = self.archive().first_line();
        let sessions = self.stream().map(|stream| stream.sessions()).unwrap_or_default();
        let own_lines = self.own_lines();
        self.update_record(|record| {
            record.artifact = Some(artifact);
            record.integrity = verdict;
            record.first_line = first_line;
            if let Some(tip) = tip {
                (record.lines, record.bytes, record.skipped_lines) =
                    (tip.last_line, tip.total_bytes, tip.total_skipped);
                record.own_lines = own_lines;
            }
            for (session, seq) in sessions {
                if record.seq_of(&session) < seq {
                    record.set_session_seq(session, seq);
                }
            }
        })
        .await?;
        self.remove_journal().await?;
        self.inner.pages.lock().clear();
        self.archive().drop_cache();
        if let Some(tasks) = self.registry() {
            tasks.cache(self);
        }
        drop(hold);
        self.notify();
        Ok(())
    }

    /// Locks the archive against a removal. A removed archive must not be written again.
    ///
    /// # Errors
    /// The task was removed.
    async fn lock_archive(&self) -> Result<(Option<ArchiveChange>, MutexGuard<'_, ()>), TasksError> {
        // No backup may copy a record and an archive of different moments.
        let change = match self.registry() {
            Some(tasks) => Some(tasks.begin_archive_change().await),
            None => None,
        };
        let guard = self.inner.archive_lock.lock().await;
        if self.is_removed() { Err(TasksError::Removed(self.id().clone())) } else { Ok((change, guard)) }
    }

    fn seal_now(&self) -> Result<(Artifact, Option<Integrity>), TasksError> {
        if !self.archive().is_sealed()
            && let Some(stream) = self.stream()
        {
            self.archive_through(stream.tip().last_line, StepSync::AllButLast)?;
        }
        self.truncate_middle();
        let mut verdict = self.with_record(|record| record.integrity.clone());
        if let Some(verdict) = &mut verdict {
            for hole in self.archive().holes() {
                verdict.add_hole(hole.from, hole.to, GapReason::Quota);
            }
        }
        Ok((self.archive().seal(verdict.as_ref())?, verdict))
    }

    /// Appends lines up to `to` to the archive, syncing in steps. On an error the lines that were not synced
    /// are discarded there; the journal still has them.
    fn archive_through(&self, to: u64, sync: StepSync) -> Result<(), TasksError> {
        let Some(stream) = self.stream() else { return Ok(()) };
        let archive = self.archive();
        let step_bytes = self.inner.bytes_max.map_or(SYNC_BYTES, |max| (max / 4).clamp(SYNC_BYTES_MIN, SYNC_BYTES));
        while archive.last_line() < to {
            let from = archive.last_line() + 1;
            let end = to.min(from.max(stream.tip().first_line) + SYNC_LINES - 1);
            let (mut bytes, mut pushed) = (0, 0u64);
            let stopped = self.journal().scan(&stream, from, end, |line, origin| {
                bytes += line.line.len() as u64;
                pushed += 1;
                match archive.push(&line, origin) {
                    Ok(()) if bytes < step_bytes => ControlFlow::Continue(()),
                    Ok(()) => ControlFlow::Break(None),
                    Err(error) => ControlFlow::<Option<ArchiveError>>::Break(Some(error)),
                }
            });
            // Without a gap: the verdict lists gaps between published frames.
            let is_complete = matches!(stopped, Ok(None)) && pushed == to + 1 - from;
            if sync == StepSync::AllButLast && is_complete && self.fits_unsynced() {
                return Ok(());
            }
            let synced = match stopped {
                Ok(None | Some(None)) => archive.sync().map_err(TasksError::from),
                Ok(Some(Some(error))) => Err(error.into()),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = synced {
                archive.discard_unsynced();
                return Err(error);
            }
            if archive.last_line() < from {
                // The journal no longer has any of these lines.
                break;
            }
            self.truncate_middle();
        }
        Ok(())
    }

    /// Reports whether the log with the lines that are not synced is below its limit, so that its middle stays.
    fn fits_unsynced(&self) -> bool {
        self.inner.bytes_max.is_none_or(|max| self.archive().bytes() + UNWRITTEN_BYTES_MAX <= max)
    }

    /// Truncates the middle of a log that exceeds its limit. On an error the log stays complete and durable,
    /// and the next lines retry it.
    fn truncate_middle(&self) {
        let Some(max) = self.inner.bytes_max else { return };
        match self.archive().truncate_middle(max) {
            Ok(0) => {}
            Ok(lines) => {
                tracing::info!(task = %self.id(), lines, bytes_max = max, "truncated the middle of a log that exceeded its limit");
                if let Some(tasks) = self.registry() {
                    tasks.inner.quota_lines.fetch_add(lines, Ordering::Relaxed);
                    tasks.inner.options.hits.count(Limit::task_bytes_max);
                }
                self.notify();
            }
            Err(error) => {
                tracing::warn!(task = %self.id(), %error, "failed to truncate a log that exceeds its limit; will retry");
            }
        }
    }
}

/// Runs `work` on a thread for blocking operations.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TasksError> + Send + 'static,
) -> Result<T, TasksError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| TasksError::Closed)?
}
