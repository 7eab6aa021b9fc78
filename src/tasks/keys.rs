//! Journals as keys of the Redis port: what a task adds to a key, and what becomes of a task whose
//! key goes.
//!
//! A task's journal is a key like any other, with three additions: an entry makes the task, an
//! ended task takes none, and what leaves the key stays in the task's log. There is no other way for
//! a client that only speaks Redis to say that a task is over than DEL (blueprint, "Log Archival"), so
//! a task without a worker ends with its key; an entry that comes later opens it again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::TasksError;
use super::record::TaskRecord;
use super::registry::Tasks;
use super::task::TaskHandle;
use crate::journal::Journal;
use crate::model::{TaskId, TaskStatus};

pub use crate::journal::{
    AddError, AutoClaim, AutoClaimed, BlockedClient, Claim, CommitCallback, ConsumerInfo, GROUP_NAME_BYTES_MAX,
    GroupError, GroupInfo, GroupResult, GroupStart, IdRange, JournalError, KeyMetadata, KeyReader, NODE_ENTRIES_MAX,
    NewId, PendingEntry, PendingQuery, PendingSummary, QueuePermit, RetryFn, SetIdArgs, SetIdError, Snapshot,
    StreamInfo, Transaction, Trim, WakeReason,
};

/// How long an entry waits for the seal of a task that it opens again.
const SEAL_TIMEOUT: Duration = Duration::from_secs(10);

/// The task behind a key.
#[derive(Clone, Debug)]
pub struct KeyTask(TaskHandle);

impl KeyTask {
    /// Whether its key takes an entry of so many bytes now. Asked within the job that adds it.
    pub fn admit(&self, bytes: u64) -> Result<(), TasksError> {
        let mut state = self.0.inner.state.lock();
        if state.removed {
            Err(TasksError::Removed(self.0.id().clone()))
        } else if state.ending || state.record.takes_no_more() {
            Err(TasksError::Ended(self.0.id().clone()))
        } else if let Some(over) = state.gate.as_mut().and_then(|gate| gate.refuse(bytes)) {
            self.0.count_over(over.reached, 1);
            Err(over.error(self.0.id()))
        } else {
            Ok(())
        }
    }

    /// This is being added.
    pub fn note(&self, bytes: &[u8]) {
        self.0.note_events(bytes);
    }

    /// Entries were added: the task is alive, and older lines may be due for its archive.
    pub fn added(&self) {
        self.0.heartbeat();
        let resumed = {
            let mut state = self.0.inner.state.lock();
            if !state.ending {
                state.closing = None;
            }
            state.record.status == TaskStatus::Lost && {
                state.record.status = TaskStatus::Running;
                state.record.ended = None;
                true
            }
        };
        if resumed {
            if let Err(error) = self.0.queue_record() {
                tracing::warn!(task = %self.0.id(), %error, "a task's record could not be written");
            }
            self.0.notify();
        }
        if let Some(stream) = self.0.stream() {
            self.0.archive_if_due(&stream);
        }
    }
}

impl Tasks {
    /// The journal itself: runs keep their events in it, beside the tasks' lines.
    pub fn journal(&self) -> &Journal {
        &self.inner.journal
    }

    /// The published keys, as they are now.
    pub fn snapshot(&self) -> Snapshot<'_> {
        self.inner.journal.snapshot()
    }

    /// Waits until the queue has room for a job of so many bytes.
    pub async fn reserve(&self, bytes: usize) -> Result<QueuePermit, TasksError> {
        Ok(self.inner.journal.reserve(bytes).await?)
    }

    /// Queues a job on keys; see [`crate::journal::Journal::submit`].
    pub fn submit(&self, room: QueuePermit, job: impl FnOnce(&mut Transaction<'_>) -> CommitCallback + Send + 'static) {
        self.inner.journal.submit(room, job);
    }

    /// Ends the wait of a client that gave up.
    pub fn unblock(&self, client: u64, why: WakeReason) {
        self.inner.journal.unblock(client, why);
    }

    /// The task of a key that is about to be written, made if it is not there; `None` if the key is no
    /// task's. Waits while the archive lags behind.
    pub async fn key_task(&self, key: &[u8]) -> Result<Option<KeyTask>, TasksError> {
        let Some(id) = TaskId::from_stream_key(key) else { return Ok(None) };
        self.inner.journal.check_can_grow()?;
        self.has_budget()?;
        let mut task = self.get_or_create(&id).await?;
        if task.with_record(TaskRecord::ended_with_its_key) {
            task = self.open_again(task).await?;
        }
        task.wait_for_archive().await?;
        Ok(Some(KeyTask(task)))
    }

    /// A task that ended with its key goes on: its sealed archive grows again.
    async fn open_again(&self, task: TaskHandle) -> Result<TaskHandle, TasksError> {
        let mut changed = task.inner.changed.subscribe();
        let sealed = tokio::time::timeout(SEAL_TIMEOUT, changed.wait_for(|_| task.is_sealed() || task.is_removed()));
        if !matches!(sealed.await, Ok(Ok(_))) {
            return Err(TasksError::Ended(task.id().clone()));
        }
        let id = task.id().clone();
        let _making = self.inner.making.lock().await;
        let _settling = task.inner.settling.lock().await;
        match self.at_hand(&id) {
            Some(now) if !now.with_record(TaskRecord::ended_with_its_key) => return Ok(now),
            _ => {}
        }
        let mut record = task.with_record(TaskRecord::clone);
        (record.status, record.ended, record.artifact) = (TaskStatus::Running, None, None);
        record.integrity = None;
        let created = record.created;
        let bytes = record.encode().map_err(JournalError::from)?;
        // The record first: after a kill in between the sealed archive is taken in again.
        self.inner.journal.put_task(id.as_str().as_bytes(), Some(bytes)).await?;
        let (tasks, archives, of) = (self.clone(), self.inner.archives.clone(), id.clone());
        let opened = tokio::task::spawn_blocking(move || {
            archives.reopen(&of)?;
            TaskHandle::load_with(&tasks, &of, record, true)
        });
        let task = opened.await.map_err(|_| TasksError::Closed)??;
        self.remember(&task);
        self.inner.sealed.lock().remove(&id);
        self.inner.index.lock().insert((created, id), TaskStatus::Running);
        self.changed();
        Ok(task)
    }
}

impl TaskRecord {
    /// It ended because its key went: nobody said how.
    pub(super) fn ended_with_its_key(&self) -> bool {
        let over = self.status == TaskStatus::Completed || self.artifact.is_some();
        over && !self.worker && self.exit_code.is_none() && self.signal.is_none() && self.status != TaskStatus::Aborted
    }
}

impl TaskHandle {
    /// Whether its key went, and nobody else speaks for it.
    pub(super) fn is_over_with_its_key(&self) -> bool {
        let Some(stream) = self.stream() else { return false };
        let tip = stream.tip();
        let alone = self.inner.workers.load(Ordering::Acquire) == 0 && !self.with_record(|record| record.worker);
        alone && tip.last_line > 0 && !tip.exists && stream.expires().is_none()
    }
}
