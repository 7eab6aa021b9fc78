//! The expiry of an open task without a worker: its journal has reached its age, or its key has expired.
//!
//! An expired task is lost, and its log is sealed. Lines that arrive meanwhile wait until that is decided: none is
//! accepted that the sealed archive would lack.

use std::time::Duration;

use super::TasksError;
use super::record::TaskRecord;
use super::task::{TaskHandle, TaskState};
use crate::journal::Trim;
use crate::model::{TaskStatus, Timestamp};

/// Holds the appends of a task until dropped.
#[derive(Debug)]
pub(super) struct AppendHold(TaskHandle);

impl Drop for AppendHold {
    fn drop(&mut self) {
        self.0.inner.state.lock().ending = false;
        self.0.inner.changed.send_modify(|version| *version += 1);
    }
}

impl TaskHandle {
    /// Returns the time of the last entry if the task has expired and has no worker.
    pub(super) fn expired_since(&self, now: Timestamp, age_max: Duration) -> Option<Timestamp> {
        let stream = self.stream().filter(|_| !self.has_worker())?;
        let last = Timestamp::from_millis(stream.tip().last_id.ms).max(self.created());
        let age = now.as_millis().saturating_sub(last.as_millis());
        let key_expired = stream.expires().is_some_and(|at| at <= now) && stream.tip().last_line > 0;
        let is_due = u128::from(age) >= age_max.as_millis() || key_expired || self.with_record(is_expired);
        is_due.then_some(last)
    }

    /// Marks the task as lost if it is still expired once every queued line is stored. Returns whether it is.
    pub(super) async fn expire(&self, now: Timestamp, age_max: Duration) -> Result<bool, TasksError> {
        if self.with_record(is_expired) {
            return Ok(true);
        }
        let Some(_hold) = self.hold_appends(|_| true) else { return Ok(false) };
        self.store_queued_lines().await?;
        let Some(last) = self.expired_since(now, age_max) else { return Ok(false) };
        self.update_record(|record| {
            record.status = TaskStatus::Lost;
            record.ended.get_or_insert(last);
        })
        .await?;
        Ok(true)
    }

    /// Holds the appends of an expired task for its seal. Returns `None` if the task has resumed meanwhile.
    pub(super) async fn hold_expired(&self) -> Result<Option<AppendHold>, TasksError> {
        let Some(hold) = self.hold_appends(|state| is_expired(&state.record)) else { return Ok(None) };
        self.store_queued_lines().await?;
        Ok(Some(hold))
    }

    /// Makes appends wait if the task is open and `condition` holds, and nothing is being added to its key.
    pub(super) fn hold_appends(&self, condition: impl Fn(&TaskState) -> bool) -> Option<AppendHold> {
        let mut state = self.inner.state.lock();
        let is_idle = state.key_writers == 0 && !state.ending && !state.removed && !self.has_worker();
        if !is_idle || state.record.is_closed() || !condition(&state) {
            return None;
        }
        state.ending = true;
        drop(state);
        Some(AppendHold(self.clone()))
    }

    async fn store_queued_lines(&self) -> Result<(), TasksError> {
        if let Some(stream) = self.stream() {
            self.inner.journal.trim(&stream, Trim::ThroughLine(0)).await?;
        }
        Ok(())
    }
}

/// Reports whether the task has expired. An internal line renews its age, but does not resume it.
fn is_expired(record: &TaskRecord) -> bool {
    record.status == TaskStatus::Lost && record.ended.is_some()
}
