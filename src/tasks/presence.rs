//! The presence of a task's worker: it is attached, silent, or lost.
//!
//! The time of its last sign of life is stored when it disconnects. If the server is killed before, the next start
//! derives it, so that the grace of a dead worker does not begin again with every start.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::registry::Tasks;
use super::shared::SharedHandle;
use super::task::TaskHandle;
use super::{LineBatch, TasksError};
use crate::model::{Channel, LineText, TaskStatus, Timestamp};

/// The time since the last sign of life of a worker.
#[derive(Debug)]
pub(super) struct Silence {
    since: Instant,
    /// Silence before `since`, in earlier processes.
    before: Duration,
}

impl Default for Silence {
    fn default() -> Self {
        Self { since: Instant::now(), before: Duration::ZERO }
    }
}

/// Held by the worker of a task while it is connected.
#[derive(Debug)]
pub struct WorkerGuard(TaskHandle);

impl Drop for WorkerGuard {
    fn drop(&mut self) {
        let task = &self.0;
        task.heartbeat();
        if task.inner.workers.fetch_sub(1, Ordering::AcqRel) == 1 {
            task.inner.partials.clear();
            task.record_last_seen(Timestamp::now());
            task.announce_worker(false);
        }
        task.notify();
    }
}

impl TaskHandle {
    /// Attaches a worker until the guard is dropped.
    pub fn attach(&self) -> WorkerGuard {
        if self.inner.workers.fetch_add(1, Ordering::AcqRel) == 0 {
            self.announce_worker(true);
        }
        self.heartbeat();
        let changed = {
            let record = &mut self.inner.state.lock().record;
            let first = !std::mem::replace(&mut record.worker, true);
            record.last_seen.take().is_some() || first
        };
        if changed && let Err(error) = self.queue_record() {
            tracing::warn!(task = %self.id(), %error, "failed to write a task's record");
        }
        self.notify();
        WorkerGuard(self.clone())
    }

    /// Records a sign of life of the worker.
    pub fn heartbeat(&self) {
        *self.inner.silence.lock() = Silence::default();
    }

    /// Returns how long the task has been without a worker; `None` while one is attached, or if it never had one.
    pub(super) fn silence(&self) -> Option<Duration> {
        let is_abandoned = !self.has_worker() && self.with_record(|record| record.worker);
        is_abandoned.then(|| {
            let silence = self.inner.silence.lock();
            silence.before.saturating_add(silence.since.elapsed())
        })
    }

    pub(super) fn has_worker(&self) -> bool {
        let is_remote = self.inner.shared.as_ref().is_some_and(SharedHandle::has_remote_worker);
        is_remote || self.inner.workers.load(Ordering::Acquire) > 0
    }

    /// Stores the time of the last sign of life, unless the task has ended.
    fn record_last_seen(&self, at: Timestamp) {
        {
            let mut state = self.inner.state.lock();
            if state.ending || state.removed || state.record.is_closed() {
                return;
            }
            state.record.last_seen = Some(at);
        }
        if let Err(error) = self.queue_record() {
            tracing::debug!(task = %self.id(), %error, "failed to write a task's record");
        }
    }

    /// Continues the silence of a worker that disconnected before this start of the server.
    fn resume_silence(&self, last_open: Option<Timestamp>, now: Timestamp, silence_max: Duration) {
        let Some(seen) = self.with_record(|record| (record.worker && !record.is_closed()).then_some(record.last_seen))
        else {
            return;
        };
        let seen = seen.unwrap_or_else(|| {
            // The server was killed. The worker was connected while lines came, and while the store was open.
            let last_line = self.stream().map(|stream| Timestamp::from_millis(stream.tip().last_id.ms));
            let seen = last_line.max(last_open).unwrap_or_default().max(self.created()).min(Timestamp::now());
            self.record_last_seen(seen);
            seen
        });
        let before = Duration::from_millis(now.as_millis().saturating_sub(seen.as_millis()));
        *self.inner.silence.lock() = Silence { since: Instant::now(), before: before.min(silence_max) };
    }

    /// Marks the task as lost: its worker has been silent for longer than the grace period.
    pub(super) async fn mark_lost(&self, grace: Duration) -> Result<bool, TasksError> {
        let text = format!("the worker has been silent for {grace:?}: the task is lost unless the worker reconnects");
        let mut batch = LineBatch::new();
        batch.push(&LineText {
            timestamp: Timestamp::now(),
            channel: Channel::Internal,
            partial: false,
            lossy: false,
            text: text.into(),
        });
        self.append_unlimited(batch).await?.await?;
        if self.has_worker() {
            return Ok(false);
        }
        self.update_record(|record| record.status = TaskStatus::Lost).await?;
        Ok(true)
    }

    /// Marks the task as lost if its worker has been silent for longer than `grace`.
    pub(super) async fn mark_lost_if_due(&self, tasks: &Tasks, grace: Duration) -> Result<bool, TasksError> {
        let is_running = {
            let state = self.inner.state.lock();
            state.record.status == TaskStatus::Running && !state.ending
        };
        if !is_running || self.silence().is_none_or(|silence| silence <= grace) {
            return Ok(false);
        }
        if self.mark_lost(grace).await? {
            tasks.inner.tasks_lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(true)
    }
}

impl Tasks {
    /// Continues the silence of all workers, and marks tasks as lost whose grace is over. `last_open` is the last time
    /// at which the store is known to have been open.
    pub(super) async fn resume_workers(&self, last_open: Option<Timestamp>) {
        let options = &self.inner.options;
        let grace = self.inner.limits().worker_grace;
        let silence_max = match options.reconnect_window {
            Duration::ZERO => Duration::MAX,
            window => grace.saturating_sub(window),
        };
        let now = self.inner.clock.now();
        for task in self.open_tasks() {
            task.resume_silence(last_open, now, silence_max);
            if let Err(error) = task.mark_lost_if_due(self, grace).await {
                tracing::warn!(task = %task.id(), %error, "failed to mark a task as lost; will retry");
            }
        }
    }
}
