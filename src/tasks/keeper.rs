//! What happens without being asked: old lines to the archive, seals, lost workers, expiry,
//! packing, retention.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};

use super::clock;
use super::record::TaskRecord;
use super::registry::Tasks;
use super::task::TaskHandle;
use super::{End, LineBatch, TasksError};
use crate::journal::JournalError;
use crate::model::{Channel, LineText, TaskId, TaskStatus, Timestamp};

/// Lines over the live window before a step of archiving is worth it.
pub(super) const ARCHIVE_STEP_LINES: u64 = 2_000;
/// Between two looks at every open task.
const SWEEP: Duration = Duration::from_millis(500);
/// Between two looks for small blocks, and at what retention says.
const CLEAN: Duration = Duration::from_secs(30);
/// Before a seal that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Requests that wait for the keeper; the task of one more is found at the next look.
pub(super) const WAKES_MAX: usize = 1024;
/// Archives that are written at the same time.
const ARCHIVERS: usize = 2;

/// What the keeper is asked to do at once.
#[derive(Debug)]
pub(super) enum Wake {
    /// The live window is over its size.
    Archive(TaskHandle),
    /// The task has ended.
    Seal(TaskHandle),
}

/// Runs until the store closes; archiving that has begun is waited for.
pub(super) async fn keep(tasks: Tasks, mut woken: mpsc::Receiver<Wake>) {
    let mut keeper =
        Keeper { archivers: Arc::new(Semaphore::new(ARCHIVERS)), retry: HashMap::new(), cleaned: None, tasks };
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let closing = keeper.tasks.inner.closing.clone();
    loop {
        tokio::select! {
            biased;
            () = closing.cancelled() => return,
            wake = woken.recv() => match wake {
                Some(Wake::Archive(task)) => keeper.archive(task),
                Some(Wake::Seal(task)) => keeper.seal(task),
                None => return,
            },
            _ = sweep.tick() => keeper.sweep().await,
        }
    }
}

struct Keeper {
    tasks: Tasks,
    archivers: Arc<Semaphore>,
    /// Tasks whose seal failed, or is under way: not before this moment again.
    retry: HashMap<TaskId, Instant>,
    /// When small blocks and retention were last looked at; at once after the start.
    cleaned: Option<Instant>,
}

impl Keeper {
    fn archive(&self, task: TaskHandle) {
        if self.tasks.inner.journal.check_can_grow().is_err() {
            task.inner.archiving.store(false, Ordering::Release);
            return;
        }
        let (archivers, window) = (self.archivers.clone(), self.tasks.inner.options.limits.live_window_lines);
        self.tasks.inner.tracker.spawn(async move {
            let Ok(_permit) = archivers.acquire().await else { return };
            let done = task.archive_older(window).await;
            task.inner.archiving.store(false, Ordering::Release);
            match (done, task.stream()) {
                (Ok(()), Some(stream)) => task.archive_if_due(&stream),
                (Ok(()), None) => {}
                (Err(_), _) if task.is_removed() => {}
                (Err(error), _) => tracing::warn!(task = %task.id(), %error, "older lines could not be archived; they stay in the journal and it is tried again"),
            }
        });
    }

    fn seal(&mut self, task: TaskHandle) {
        // An archive is written before a journal goes: on a full disk that waits for room.
        if self.tasks.inner.journal.check_can_grow().is_err() {
            return;
        }
        let now = Instant::now();
        // Sealed it would not be found again after a kill.
        let owes = task.owes_events() && task.with_record(|record| record.status.is_final());
        if task.is_sealed()
            || owes
            || self.retry.get(task.id()).is_some_and(|at| *at > now)
            || task.inner.archiving.swap(true, Ordering::AcqRel)
        {
            return;
        }
        self.retry.insert(task.id().clone(), now + RETRY);
        let (archivers, tasks) = (self.archivers.clone(), self.tasks.clone());
        self.tasks.inner.tracker.spawn(async move {
            let Ok(_permit) = archivers.acquire().await else { return };
            let done = task.seal().await;
            task.inner.archiving.store(false, Ordering::Release);
            if let Err(error) = done
                && !task.is_removed()
            {
                tasks.inner.seal_failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(task = %task.id(), %error, "a finished log could not be sealed; its journal stays and it is tried again");
            }
        });
    }

    async fn sweep(&mut self) {
        self.retry.retain(|_, at| *at > Instant::now());
        self.tasks.inner.clock.update();
        let open: Vec<TaskHandle> = self.tasks.inner.open.lock().values().cloned().collect();
        let clean = self.cleaned.is_none_or(|at| at.elapsed() >= CLEAN);
        let room = self.tasks.inner.journal.check_can_grow().is_ok();
        if let Err(error) = self.tasks.keep_to_budget().await {
            tracing::warn!(%error, "tasks could not be removed to keep to disk_max; it is tried again");
        }
        for task in open {
            let status = task.with_record(|record| record.status);
            if status.is_final() {
                self.seal(task);
                continue;
            }
            if let Some(stream) = task.stream() {
                task.archive_if_due(&stream);
                if clean
                    && room
                    && let Err(error) = self.tasks.inner.journal.compact(&stream).await
                {
                    tracing::warn!(task = %task.id(), %error, "small blocks could not be packed");
                }
            }
            let kept = match status {
                TaskStatus::Running
                    if task.silence().is_some_and(|silence| silence > self.tasks.inner.options.limits.worker_grace) =>
                {
                    self.lose(&task).await
                }
                TaskStatus::Running if task.is_over_with_its_key() => task.end(End::default()).await.map(|_| ()),
                _ => self.expire(task.clone()).await,
            };
            if let Err(error) = kept {
                tracing::warn!(task = %task.id(), %error, "a task could not be looked after; it is tried again");
            }
        }
        if clean {
            self.cleaned = Some(Instant::now());
            if let Err(error) = self.retain().await {
                tracing::warn!(%error, "retention could not be carried out; it is tried again");
            }
            clock::keep(&self.tasks.inner.clock, &self.tasks.inner.clock_file).await;
            let journal = &self.tasks.inner.journal;
            if let Err(error) = journal.expire_due().await {
                tracing::warn!(%error, "keys whose time is over could not be removed; it is tried again");
            }
            match if room { journal.compact_all().await } else { Ok(0) } {
                Ok(_) | Err(JournalError::Removed) => {}
                Err(error) => tracing::warn!(%error, "small blocks could not be packed; it is tried again"),
            }
        }
        self.tasks.inner.sweeps.fetch_add(1, Ordering::Relaxed);
    }

    /// The worker is away for longer than the grace.
    async fn lose(&self, task: &TaskHandle) -> Result<(), TasksError> {
        let grace = self.tasks.inner.options.limits.worker_grace;
        let text = format!("the worker has been silent for {grace:?}: the task is lost, unless its worker comes back");
        let mut batch = LineBatch::new();
        batch.push(&LineText {
            timestamp: Timestamp::now(),
            channel: Channel::Internal,
            partial: false,
            lossy: false,
            text: text.into(),
        });
        task.append_own(batch).await?.await?;
        if task.has_worker() {
            return Ok(());
        }
        task.change(|record| record.status = TaskStatus::Lost).await?;
        self.tasks.inner.tasks_lost.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Nobody finished it: its journal goes, what is in it goes to the archive first.
    async fn expire(&mut self, task: TaskHandle) -> Result<(), TasksError> {
        let Some(stream) = task.stream().filter(|_| !task.has_worker()) else { return Ok(()) };
        let last = Timestamp::from_millis(stream.tip().last_id.ms).max(task.created());
        let now = self.tasks.inner.clock.now();
        let age = now.as_millis().saturating_sub(last.as_millis());
        let expired = stream.expires().is_some_and(|at| at <= now) && stream.tip().last_line > 0;
        // What its reader notes in its log is no sign of life.
        let given_up = task.with_record(|record| record.status == TaskStatus::Lost && record.ended.is_some());
        if u128::from(age) < self.tasks.inner.options.limits.journal_expiry.as_millis() && !expired && !given_up {
            return Ok(());
        }
        let has_reader = task.has_event_reader();
        if task.owes_events() && !has_reader {
            // Sealed it would not be found again.
            return Ok(());
        }
        if !given_up {
            task.change(|record| {
                record.status = TaskStatus::Lost;
                record.ended.get_or_insert(last);
            })
            .await?;
        }
        if has_reader {
            // It comes to its end, and the next look finds it there.
            task.announce_end(End { at: Some(last), ..End::default() });
        } else {
            self.seal(task);
        }
        Ok(())
    }

    /// Removes finished tasks beyond what retention keeps, oldest first.
    async fn retain(&self) -> Result<(), TasksError> {
        let limits = &self.tasks.inner.options.limits;
        let (age_max, count_max, bytes_max) = (limits.retention_age, limits.retention_count, limits.retention_bytes);
        if (age_max, count_max, bytes_max) == (None, None, None) {
            return Ok(());
        }
        let now = self.tasks.inner.clock.now().as_millis();
        let keys: Vec<TaskId> = self.tasks.inner.index.lock().keys().rev().map(|(_, id)| id.clone()).collect();
        let (mut count, mut bytes) = (0, 0);
        for id in keys {
            let stored = self.tasks.inner.journal.store().task(id.as_str().as_bytes()).map_err(JournalError::from)?;
            let Some(Ok(record)) = stored.map(|bytes| TaskRecord::decode(&bytes)) else { continue };
            let Some(artifact) = &record.artifact else { continue };
            count += 1;
            bytes += artifact.bytes;
            let age = now.saturating_sub(record.ended.unwrap_or(record.created).as_millis());
            let old = age_max.is_some_and(|max| u128::from(age) > max.as_millis());
            if old || count_max.is_some_and(|max| count > max) || bytes_max.is_some_and(|max| bytes > max) {
                tracing::info!(task = %id, "removed, as retention says");
                self.tasks.remove(&id).await?;
            }
        }
        Ok(())
    }
}
