//! Verification at the end of a task: the stored lines against the totals reported by the worker.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use super::record::SessionSeq;
use super::task::TaskHandle;
use super::{LineBatch, TasksError};
use crate::model::{Channel, GapReason, Integrity, IntegrityState, LineText, LogTotals, ReportedTotals, Timestamp};

/// Verification results since the start.
#[derive(Debug, Default)]
pub(super) struct IntegrityCounts {
    pub(super) complete: AtomicU64,
    pub(super) incomplete: AtomicU64,
    pub(super) mismatch: AtomicU64,
    pub(super) unknown: AtomicU64,
}

impl TaskHandle {
    /// Compares the stored lines with the totals reported by the session that ends the task. Lines that never
    /// arrived are marked, and a mismatch is noted in the log before its end.
    pub(super) async fn check_integrity(
        &self,
        session: Option<&SessionSeq>,
        reported: ReportedTotals,
    ) -> Result<Integrity, TasksError> {
        if let Some(end) = session
            && end.seq.saturating_sub(1) > self.acked_seq(&end.session)
        {
            self.append_at_end(LineBatch::end_of_session(&end.session, end.seq)).await?;
        }
        let task = self.clone();
        let tally = tokio::task::spawn_blocking(move || task.tally()).await.map_err(|_| TasksError::Closed)??;
        // Lines without numbers cannot be assigned to one of several workers.
        let is_only_worker = self.with_record(|record| record.other_workers == 0);
        let integrity = Integrity::compare(&tally, session.map(|end| end.session.as_str()), reported, is_only_worker);
        if let Some(fault) = integrity.mismatch() {
            self.append_note(format!("tasktail: this log is not what the worker sent: {fault}")).await?;
        }
        self.count_integrity(&integrity);
        Ok(integrity)
    }

    /// Returns a description of what is wrong with an ended log, if anything.
    pub fn integrity_fault(&self) -> Option<String> {
        self.with_record(|record| record.integrity.as_ref().and_then(Integrity::mismatch))
    }

    /// Returns the totals of all lines, in the archive and in the journal.
    fn tally(&self) -> Result<LogTotals, TasksError> {
        loop {
            let (archived, mut tally) = self.archive().totals();
            if let Some(stream) = self.stream() {
                let mut summed = Vec::new();
                let mut next = archived + 1;
                self.journal().scan(&stream, next, stream.tip().last_line, |line, origin| {
                    if line.n > next {
                        tally.add_hole(next, line.n - 1, GapReason::Trimmed);
                    }
                    next = line.n + 1;
                    tally.add(origin, &line, &mut summed);
                    ControlFlow::<()>::Continue(())
                })?;
            }
            // Lines archived meanwhile were counted in neither or in both.
            if self.archived_through() == archived {
                return Ok(tally);
            }
        }
    }

    /// Appends an internal line while the end is being committed.
    async fn append_note(&self, text: String) -> Result<(), TasksError> {
        let mut batch = LineBatch::new();
        let (timestamp, channel) = (Timestamp::now(), Channel::Internal);
        batch.push(&LineText { timestamp, channel, text: text.into(), ..LineText::default() });
        self.append_at_end(batch).await
    }

    async fn append_at_end(&self, batch: LineBatch) -> Result<(), TasksError> {
        if let Some(stream) = self.stream() {
            self.journal().append(&stream, batch, None).await?.await?;
        }
        Ok(())
    }

    pub(super) fn count_integrity(&self, integrity: &Integrity) {
        let Some(tasks) = self.registry() else { return };
        let counts = &tasks.inner.integrity;
        let count = match integrity.state {
            IntegrityState::Complete => &counts.complete,
            IntegrityState::Incomplete => &counts.incomplete,
            IntegrityState::Mismatch => &counts.mismatch,
            IntegrityState::Unknown => &counts.unknown,
        };
        count.fetch_add(1, Ordering::Relaxed);
        if let Some(fault) = integrity.mismatch() {
            tracing::error!(task = %self.id(), fault, "log differs from what its worker sent");
        }
    }
}
