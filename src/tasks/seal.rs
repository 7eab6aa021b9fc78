//! Lines on their way from the journal to the archive, and the seal at the end.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use super::TasksError;
use super::task::TaskHandle;
use crate::archive::ArchiveError;
use crate::journal::Trim;
use crate::model::limits::Limit;
use crate::model::{Artifact, GapReason, Integrity};

/// Lines that are archived between two syncs at most.
const SYNC_LINES: u64 = 50_000;
/// Bytes of their text at most; of a log with a limit a quarter of that, if it is less.
const SYNC_BYTES: u64 = 32 * 1024 * 1024;
const SYNC_BYTES_MIN: u64 = 64 * 1024;

impl TaskHandle {
    /// Archives everything older than the live window, then lets the journal forget it.
    pub(super) async fn archive_older(&self, window_lines: u64) -> Result<(), TasksError> {
        let _settling = self.settle().await?;
        let Some(stream) = self.stream() else { return Ok(()) };
        let to = stream.tip().last_line.saturating_sub(window_lines);
        let task = self.clone();
        blocking(move || task.archive_through(to)).await?;
        let through = self.archived_through();
        if through >= stream.tip().first_line {
            self.journal().trim(&stream, Trim::ThroughLine(through.min(to))).await?;
        }
        Ok(())
    }

    /// Archives the rest, seals, records the seal, and removes the journal: each step is durable
    /// before the next.
    pub(super) async fn seal(&self) -> Result<(), TasksError> {
        let _settling = self.settle().await?;
        let task = self.clone();
        let tip = self.stream().map(|stream| stream.tip());
        let (artifact, verdict) = blocking(move || task.seal_now()).await?;
        let first_line = self.archive().first_line();
        let sessions = self.stream().map(|stream| stream.sessions()).unwrap_or_default();
        self.change(|record| {
            record.artifact = Some(artifact);
            record.integrity = verdict;
            record.first_line = first_line;
            if let Some(tip) = tip {
                (record.lines, record.bytes, record.skipped_lines) =
                    (tip.last_line, tip.total_bytes, tip.total_skipped);
            }
            for (session, seq) in sessions {
                if record.seq_of(&session) < seq {
                    record.sessions.retain(|(name, _)| *name != session);
                    record.sessions.push((session, seq));
                }
            }
        })
        .await?;
        self.drop_stream().await?;
        self.inner.pages.lock().clear();
        self.archive().drop_cache();
        if let Some(tasks) = self.registry() {
            tasks.remember(self);
        }
        self.notify();
        Ok(())
    }

    /// Keeps a removal waiting, or answers that it came first: its archive must not come back.
    async fn settle(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, TasksError> {
        let settling = self.inner.settling.lock().await;
        if self.is_removed() { Err(TasksError::Removed(self.id().clone())) } else { Ok(settling) }
    }

    fn seal_now(&self) -> Result<(Artifact, Option<Integrity>), TasksError> {
        if !self.archive().is_sealed()
            && let Some(stream) = self.stream()
        {
            self.archive_through(stream.tip().last_line)?;
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

    /// Appends lines up to `to` to the archive, durable in steps. On an error what was not made
    /// durable is forgotten there and still in the journal.
    fn archive_through(&self, to: u64) -> Result<(), TasksError> {
        let Some(stream) = self.stream() else { return Ok(()) };
        let archive = self.archive();
        let step_bytes = self.inner.bytes_max.map_or(SYNC_BYTES, |max| (max / 4).clamp(SYNC_BYTES_MIN, SYNC_BYTES));
        while archive.last_line() < to {
            let from = archive.last_line() + 1;
            let end = to.min(from.max(stream.tip().first_line) + SYNC_LINES - 1);
            let mut bytes = 0;
            let stopped = self.journal().scan(&stream, from, end, |line, origin| {
                bytes += line.line.len() as u64;
                match archive.push(&line, origin) {
                    Ok(()) if bytes < step_bytes => ControlFlow::Continue(()),
                    Ok(()) => ControlFlow::Break(None),
                    Err(error) => ControlFlow::<Option<ArchiveError>>::Break(Some(error)),
                }
            });
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
                // Nothing of it is in the journal any more.
                break;
            }
            self.truncate_middle();
        }
        Ok(())
    }

    /// A log over its limit loses its middle. Where that fails it stays as it is, whole and durable,
    /// and it is tried again with the next lines.
    fn truncate_middle(&self) {
        let Some(max) = self.inner.bytes_max else { return };
        match self.archive().truncate_middle(max) {
            Ok(0) => {}
            Ok(lines) => {
                tracing::info!(task = %self.id(), lines, bytes_max = max, "the middle of a log over its limit was dropped");
                if let Some(tasks) = self.registry() {
                    tasks.inner.quota_lines.fetch_add(lines, Ordering::Relaxed);
                    tasks.inner.options.hits.count(Limit::task_bytes_max);
                }
                self.notify();
            }
            Err(error) => {
                tracing::warn!(task = %self.id(), %error, "a log over its limit could not be made smaller; it is tried again");
            }
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TasksError> + Send + 'static,
) -> Result<T, TasksError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| TasksError::Closed)?
}
