//! Background work on all tasks: archives old lines, seals, detects lost workers, expires, compacts and
//! applies retention.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};

use super::TasksError;
use super::clock;
use super::end::EndRequest;
use super::record::TaskRecord;
use super::registry::Tasks;
use super::task::TaskHandle;
use crate::journal::JournalError;
use crate::model::{TaskId, TaskStatus};

/// Lines beyond the live window that make archiving worthwhile.
pub(super) const ARCHIVE_STEP_LINES: u64 = 2_000;
/// Interval between two sweeps over all open tasks.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);
/// Interval between two compactions and checks of retention.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(30);
/// Delay before a failed seal is retried.
const SEAL_RETRY_DELAY: Duration = Duration::from_secs(5);
/// Maximum number of queued requests. The task of a request beyond it is found by the next sweep.
pub(super) const REQUESTS_MAX: usize = 1024;
/// Maximum number of archives written concurrently.
const ARCHIVERS: usize = 2;
/// Maximum number of short logs sealed concurrently: these wait for syncs, which they share.
const SEALERS: usize = 16;

/// A request for work that should not wait for the next sweep.
#[derive(Debug)]
pub(super) enum MaintenanceRequest {
    /// The live window exceeds its size.
    Archive(TaskHandle),
    /// The task has ended.
    Seal(TaskHandle),
}

/// Runs until the store closes.
pub(super) async fn run(tasks: Tasks, mut requests: mpsc::Receiver<MaintenanceRequest>) {
    let [archivers, sealers] = [ARCHIVERS, SEALERS].map(|count| Arc::new(Semaphore::new(count)));
    let mut maintenance = Maintenance { archivers, sealers, seal_retry: HashMap::new(), last_cleanup: None, tasks };
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let closing = maintenance.tasks.inner.closing.clone();
    loop {
        tokio::select! {
            biased;
            () = closing.cancelled() => return,
            request = requests.recv() => match request {
                Some(MaintenanceRequest::Archive(task)) => maintenance.archive(task),
                Some(MaintenanceRequest::Seal(task)) => maintenance.seal(task),
                None => return,
            },
            _ = sweep.tick() => maintenance.sweep().await,
        }
    }
}

struct Maintenance {
    tasks: Tasks,
    archivers: Arc<Semaphore>,
    sealers: Arc<Semaphore>,
    /// Tasks whose seal failed or is in progress, with the earliest time for another attempt.
    seal_retry: HashMap<TaskId, Instant>,
    /// Time of the last cleanup; none yet after the start, so the first sweep includes one.
    last_cleanup: Option<Instant>,
}

impl Maintenance {
    fn archive(&self, task: TaskHandle) {
        if self.tasks.inner.journal.check_can_grow().is_err() {
            task.inner.archiving.store(false, Ordering::Release);
            return;
        }
        let (archivers, window) = (self.archivers.clone(), self.tasks.inner.options.limits.live_window_lines);
        self.tasks.inner.tracker.spawn(async move {
            let Ok(_permit) = archivers.acquire().await else { return };
            let done = task.archive_older(window).await;
            task.inner.archive_failed.store(done.is_err(), Ordering::Release);
            if done.is_ok()
                && let Some(tasks) = task.registry()
            {
                tasks.inner.archive_steps.fetch_add(1, Ordering::AcqRel);
            }
            task.inner.archiving.store(false, Ordering::Release);
            match (done, task.stream()) {
                (Ok(()), Some(stream)) => task.archive_if_due(&stream),
                (Ok(()), None) => {}
                (Err(_), _) if task.is_removed() => {}
                (Err(error), _) => {
                    tracing::warn!(task = %task.id(), %error, "failed to archive older lines; they stay in the journal; will retry");
                }
            }
        });
    }

    fn seal(&mut self, task: TaskHandle) {
        if self.tasks.is_shared() {
            return;
        }
        // An archive is written before its journal is removed, so on a full disk the seal waits.
        if self.tasks.inner.journal.check_can_grow().is_err() {
            return;
        }
        let now = Instant::now();
        // A sealed task would not be found again after a kill.
        let events_pending = task.has_pending_events() && task.with_record(|record| record.status.is_final());
        if task.is_sealed()
            || events_pending
            || self.seal_retry.get(task.id()).is_some_and(|at| *at > now)
            || task.inner.archiving.swap(true, Ordering::AcqRel)
        {
            return;
        }
        self.seal_retry.insert(task.id().clone(), now + SEAL_RETRY_DELAY);
        let is_short = task.stream().is_none_or(|stream| stream.tip().len() <= ARCHIVE_STEP_LINES);
        let (workers, tasks) = (if is_short { &self.sealers } else { &self.archivers }.clone(), self.tasks.clone());
        self.tasks.inner.tracker.spawn(async move {
            let Ok(_permit) = workers.acquire().await else { return };
            let done = task.seal().await;
            task.inner.archiving.store(false, Ordering::Release);
            task.seal_was_tried(&tasks);
            if let Err(error) = done
                && !task.is_removed()
            {
                tasks.inner.seal_failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(task = %task.id(), %error, "failed to seal a finished log; its journal stays; will retry");
            }
        });
    }

    async fn sweep(&mut self) {
        self.seal_retry.retain(|_, at| *at > Instant::now());
        self.tasks.inner.clock.update();
        let open: Vec<TaskHandle> = self.tasks.inner.open.lock().values().cloned().collect();
        let is_cleanup_due = self.last_cleanup.is_none_or(|at| at.elapsed() >= CLEANUP_INTERVAL);
        let can_compact = is_cleanup_due && self.tasks.inner.journal.check_can_grow().is_ok();
        if !self.tasks.is_shared()
            && let Err(error) = self.tasks.enforce_budget().await
        {
            tracing::warn!(%error, "failed to remove tasks to stay within disk_max; will retry");
        }
        for task in open {
            self.sweep_task(task, can_compact).await;
        }
        if is_cleanup_due {
            self.last_cleanup = Some(Instant::now());
            self.clean_up(can_compact).await;
        }
        self.tasks.inner.sweeps.fetch_add(1, Ordering::Relaxed);
    }

    async fn sweep_task(&mut self, task: TaskHandle, can_compact: bool) {
        let status = task.with_record(|record| record.status);
        if status.is_final() {
            self.seal(task);
            return;
        }
        if let Some(stream) = task.stream() {
            task.archive_if_due(&stream);
            if can_compact && let Err(error) = self.tasks.inner.journal.compact(&stream).await {
                tracing::warn!(task = %task.id(), %error, "failed to compact small blocks");
            }
        }
        if self.tasks.is_shared() {
            return;
        }
        let grace = self.tasks.inner.limits().worker_grace;
        let done = match status {
            TaskStatus::Running if task.silence().is_some_and(|silence| silence > grace) => {
                task.mark_lost_if_due(&self.tasks, grace).await.map(|_| ())
            }
            TaskStatus::Running if task.is_key_deleted() => task.end_with_key().await,
            _ => self.expire_if_due(task.clone()).await,
        };
        if let Err(error) = done {
            tracing::warn!(task = %task.id(), %error, "failed to maintain a task; will retry");
        }
    }

    /// Applies retention, saves the clock, expires keys and compacts the journals of all streams.
    async fn clean_up(&self, can_compact: bool) {
        if !self.tasks.is_shared()
            && let Err(error) = self.tasks.apply_retention().await
        {
            tracing::warn!(%error, "failed to apply retention; will retry");
        }
        clock::save(&self.tasks.inner.clock, &self.tasks.inner.clock_file).await;
        let journal = &self.tasks.inner.journal;
        if let Err(error) = journal.expire_due().await {
            tracing::warn!(%error, "failed to remove expired keys; will retry");
        }
        match if can_compact { journal.compact_all().await } else { Ok(0) } {
            Ok(_) | Err(JournalError::Removed) => {}
            Err(error) => tracing::warn!(%error, "failed to compact small blocks; will retry"),
        }
        // After compaction: the small blocks then never reach the index of the store.
        if can_compact && let Err(error) = journal.reclaim(false).await {
            tracing::warn!(%error, "failed to free space of the journal; will retry");
        }
    }

    /// Expires an unfinished task whose journal has reached its age or whose key has expired. Its lines are
    /// archived first.
    async fn expire_if_due(&mut self, task: TaskHandle) -> Result<(), TasksError> {
        let (now, age_max) = (self.tasks.inner.clock.now(), self.tasks.inner.limits().journal_expiry);
        let Some(last) = task.expired_since(now, age_max) else { return Ok(()) };
        let has_reader = task.has_event_reader();
        if task.has_pending_events() && !has_reader {
            // A sealed task would not be found again.
            return Ok(());
        }
        if !task.expire(now, age_max).await? {
            return Ok(());
        }
        if has_reader {
            // The reader reads to the end; a later sweep then seals the task.
            task.announce_end(EndRequest { at: Some(last), ..EndRequest::default() });
        } else {
            self.seal(task);
        }
        Ok(())
    }
}

impl Tasks {
    /// Removes finished tasks that exceed retention, oldest first.
    pub(super) async fn apply_retention(&self) -> Result<(), TasksError> {
        let limits = self.inner.limits();
        let (age_max, count_max, bytes_max) = (limits.retention_age, limits.retention_count, limits.retention_bytes);
        if (age_max, count_max, bytes_max) == (None, None, None) {
            return Ok(());
        }
        let now = self.inner.clock.now().as_millis();
        let ids: Vec<TaskId> = self.inner.index.lock().ids().rev().cloned().collect();
        let (mut count, mut bytes) = (0, 0);
        for id in ids {
            let stored = self.inner.journal.store().task(id.as_str().as_bytes()).map_err(JournalError::from)?;
            let Some(Ok(record)) = stored.map(|bytes| TaskRecord::decode(&bytes)) else { continue };
            let Some(artifact) = &record.artifact else { continue };
            count += 1;
            bytes += artifact.bytes;
            let age = now.saturating_sub(record.ended.unwrap_or(record.created).as_millis());
            let is_old = age_max.is_some_and(|max| u128::from(age) > max.as_millis());
            if is_old || count_max.is_some_and(|max| count > max) || bytes_max.is_some_and(|max| bytes > max) {
                tracing::info!(task = %id, "task removed by retention");
                self.remove(&id).await?;
            }
        }
        Ok(())
    }
}
