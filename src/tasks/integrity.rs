//! At the end of a task: is what is stored what its worker says it sent?

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use super::task::TaskHandle;
use super::{LineBatch, TasksError};
use crate::model::{Channel, GapReason, Integrity, IntegrityState, LineText, LogTotals, ReportedTotals, Timestamp};

/// What came of the comparisons since the start.
#[derive(Debug, Default)]
pub(super) struct IntegrityCounts {
    pub(super) complete: AtomicU64,
    pub(super) incomplete: AtomicU64,
    pub(super) mismatch: AtomicU64,
    pub(super) unknown: AtomicU64,
}

impl TaskHandle {
    /// Compares what is stored with what the session that ends the task says of it. What never came is
    /// marked, and what is not right is said in the log, before its end.
    pub(super) async fn compare(
        &self,
        session: Option<(String, u64)>,
        said: ReportedTotals,
    ) -> Result<Integrity, TasksError> {
        if let Some((name, end_seq)) = &session
            && end_seq.saturating_sub(1) > self.acked_seq(name)
        {
            self.append_at_end(LineBatch::end_of_session(name, *end_seq)).await?;
        }
        let task = self.clone();
        let tally = tokio::task::spawn_blocking(move || task.tally()).await.map_err(|_| TasksError::Closed)??;
        let alone = self.with_record(|record| record.other_workers == 0);
        // Of lines without numbers nobody can tell whose they are.
        let session = session.map(|(name, _)| name);
        let integrity = Integrity::compare(&tally, session.as_deref(), said, alone);
        if let Some(fault) = integrity.mismatch() {
            self.say_at_end(format!("tasktail: this log is not what the worker sent: {fault}")).await?;
        }
        self.count(&integrity);
        Ok(integrity)
    }

    /// What is not right with a log that has ended, in words.
    pub fn integrity_fault(&self) -> Option<String> {
        self.with_record(|record| record.integrity.as_ref().and_then(Integrity::mismatch))
    }

    /// What all lines add up to: those of the archive, and those still in the journal.
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
            // Lines that went to the archive meanwhile were seen in neither, or in both.
            if self.archived_through() == archived {
                return Ok(tally);
            }
        }
    }

    /// A line of the server's own while the end is under way.
    async fn say_at_end(&self, text: String) -> Result<(), TasksError> {
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

    fn count(&self, integrity: &Integrity) {
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
            tracing::error!(task = %self.id(), fault, "a log is not what its worker sent");
        }
    }
}
