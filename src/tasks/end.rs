//! Ending a task, after every line appended before.

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::TasksError;
use super::maintenance::MaintenanceRequest;
use super::record::{SessionSeq, TaskRecord};
use super::task::{TaskHandle, TaskState};
use crate::journal::{self, JournalError};
use crate::model::{ReportedTotals, TaskStatus, Timestamp};

/// The end of a task, as its worker or client reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndRequest {
    /// Exit code of the command.
    pub exit_code: Option<i32>,
    /// Signal that ended the command.
    pub signal: Option<i32>,
    /// Set if the task was ended from outside.
    pub aborted: bool,
    /// Time of the end; defaults to now.
    pub at: Option<Timestamp>,
    /// Session that sent the end, and the number of that message.
    pub session: Option<SessionSeq>,
    /// Line count and checksum reported by the worker.
    pub reported: ReportedTotals,
}

/// The outcome of an [`EndRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOutcome {
    /// It ended the task.
    Ended,
    /// The same message ended the task before.
    Repeated,
    /// Another end came first and remains.
    AlreadyEnded,
}

/// The outcome of one attempt to start an end.
enum EndAttempt {
    /// Started, with the record to commit.
    Started(Box<TaskRecord>),
    /// The task has ended already.
    Ended(EndOutcome),
    /// Dropped lines must be reported first.
    HasUnreportedDrops,
    /// Another end is being committed. Whether it is the same one is known once it is durable.
    InProgress,
    /// The condition of this end does not hold.
    NotDue,
}

impl TaskHandle {
    /// Ends the task after every line appended before. The first end remains. Waits while too many ended tasks wait
    /// for their archive.
    pub async fn end(&self, end: EndRequest) -> Result<EndOutcome, TasksError> {
        if self.inner.shared.is_some() {
            return self.end_shared(end).await;
        }
        let outcome = self.end_if(end, |_, _| true).await?.unwrap_or(EndOutcome::AlreadyEnded);
        if outcome == EndOutcome::Ended {
            self.wait_for_seals().await;
        }
        Ok(outcome)
    }

    /// Ends the task if `is_due` holds, without waiting for the archives of other tasks. It is called under the state
    /// lock, so that what it has checked cannot change before the end. Returns `None` if it does not hold.
    pub(super) async fn end_if(
        &self,
        end: EndRequest,
        is_due: impl Fn(&Self, &TaskState) -> bool,
    ) -> Result<Option<EndOutcome>, TasksError> {
        let next = loop {
            // The marker lines of dropped lines belong before the end.
            self.report_drops().await;
            match self.try_start_end(&end, &is_due)? {
                EndAttempt::Started(next) => break *next,
                EndAttempt::Ended(outcome) => return Ok(Some(outcome)),
                EndAttempt::NotDue => return Ok(None),
                EndAttempt::HasUnreportedDrops => {}
                EndAttempt::InProgress => self.wait_end_decided().await?,
            }
        };
        // Spawned: an end that has started is completed even if the caller is cancelled.
        let (task, (reply, done)) = (self.clone(), oneshot::channel());
        let end = EndRequest { at: next.ended, ..end };
        tokio::spawn(async move {
            reply.send(task.finish_end(next, end).await).ok();
        });
        done.await.map_err(|_| TasksError::Closed)??;
        Ok(Some(EndOutcome::Ended))
    }

    /// Waits while an end is being committed, until it is durable or has failed.
    ///
    /// # Errors
    /// It takes longer than `commit_timeout`.
    pub(super) async fn wait_end_decided(&self) -> Result<(), TasksError> {
        let limit = self.inner.journal.commit_timeout();
        let mut changed = self.inner.changed.subscribe();
        let decided = changed.wait_for(|_| !self.inner.state.lock().ending);
        let waited = timeout(limit, decided).await.map_err(|_| JournalError::Unconfirmed(limit))?;
        waited.map(|_| ()).map_err(|_| TasksError::Closed)
    }

    fn try_start_end(
        &self,
        end: &EndRequest,
        is_due: impl Fn(&Self, &TaskState) -> bool,
    ) -> Result<EndAttempt, TasksError> {
        let mut state = self.inner.state.lock();
        if state.rate_limiter.as_ref().is_some_and(|limiter| limiter.has_unreported_drops()) {
            return Ok(EndAttempt::HasUnreportedDrops);
        }
        if state.removed {
            return Err(TasksError::Removed(self.id().clone()));
        }
        if state.ending {
            return Ok(EndAttempt::InProgress);
        }
        if state.record.status.is_final() {
            let is_repeat = |message: &SessionSeq| state.record.seq_of(&message.session) >= message.seq;
            let repeated = end.session.as_ref().is_some_and(is_repeat);
            return Ok(EndAttempt::Ended(if repeated { EndOutcome::Repeated } else { EndOutcome::AlreadyEnded }));
        }
        if !is_due(self, &state) {
            return Ok(EndAttempt::NotDue);
        }
        state.ending = true;
        self.inner.partials.clear();
        let mut next = state.record.clone();
        next.status = if end.aborted { TaskStatus::Aborted } else { TaskStatus::Completed };
        (next.exit_code, next.signal) = (end.exit_code, end.signal);
        next.ended = Some(end.at.unwrap_or_else(Timestamp::now));
        Ok(EndAttempt::Started(Box::new(next)))
    }

    async fn finish_end(&self, mut next: TaskRecord, end: EndRequest) -> Result<(), TasksError> {
        let done = self.commit_end(&mut next, end).await;
        let is_counted = next.counts.is_some();
        {
            let mut state = self.inner.state.lock();
            (state.ending, state.end_queued) = (false, None);
            if done.is_ok() {
                state.record = next;
            }
        }
        self.notify();
        done?;
        if !is_counted {
            self.count_after_end();
        }
        self.request_maintenance(MaintenanceRequest::Seal(self.clone()));
        Ok(())
    }

    /// Completes the record and waits until it is durable.
    async fn commit_end(&self, next: &mut TaskRecord, end: EndRequest) -> Result<(), TasksError> {
        // Queued after the last lines: once it is done, their session numbers are known.
        let drained = match self.stream() {
            Some(stream) => {
                self.inner.journal.trim(&stream, journal::Trim::ThroughLine(0)).await.map(|_| stream.sessions())
            }
            None => Ok(Vec::new()),
        };
        let (session, reported) = (end.session.clone(), end.reported);
        self.close_events(end).await;
        let sessions = drained?;
        let integrity = self.check_integrity(session.as_ref(), reported).await?;
        next.sessions = sessions.into_iter().map(|(session, seq)| SessionSeq { session, seq }).collect();
        next.integrity = Some(integrity);
        next.counts = self.count_at_end().await;
        if let Some(SessionSeq { session, seq }) = session {
            next.set_session_seq(session, seq);
        }
        let durable = {
            let mut state = self.inner.state.lock();
            state.end_queued = Some(Box::new(next.clone()));
            self.queue(&state, next)?
        };
        durable.await
    }
}

#[cfg(test)]
#[path = "end_tests.rs"]
mod tests;
