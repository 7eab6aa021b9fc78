//! Journals as keys of the Redis port: how a task behaves as a key, and what deleting the key does to the
//! task.
//!
//! A task's journal is a key like any other, with three additions: an entry creates the task, an ended task
//! rejects entries, and entries removed from the key remain in the task's log. A client that uses only Redis
//! can end a task only with DEL (blueprint, "Log Archival"), so a task without a worker ends with its key. A
//! later entry reopens it.

use std::time::{Duration, Instant};

use super::TasksError;
use super::end::EndRequest;
use super::record::TaskRecord;
use super::registry::Tasks;
use super::task::{TaskHandle, TaskState};
use crate::journal::Journal;
use crate::model::{TaskId, TaskStatus};

pub use crate::journal::{
    AddError, AutoClaim, AutoClaimed, BlockedClient, Claim, CommitCallback, ConsumerInfo, Database, ForeignKeys,
    GROUP_NAME_BYTES_MAX, GroupError, GroupInfo, GroupResult, GroupStart, IdRange, JournalError, KeyDescription,
    KeyMetadata, KeyReader, NewId, NodeLimits, PendingEntry, PendingQuery, PendingSummary, PreparedTransaction,
    QueuePermit, RetryFn, SetIdArgs, SetIdError, Snapshot, StreamInfo, Transaction, Trim, WakeReason,
};

/// Maximum time that an entry waits for the seal of a task that it reopens.
const SEAL_TIMEOUT: Duration = Duration::from_secs(10);

/// A task that is written through its key. Neither the deletion nor the expiry of the key ends an open task before
/// this is dropped.
#[derive(Debug)]
pub struct KeyTask {
    task: TaskHandle,
}

impl Drop for KeyTask {
    fn drop(&mut self) {
        self.task.inner.state.lock().key_writers -= 1;
    }
}

/// The state of a task whose key is about to get an entry.
enum KeyState {
    /// It accepts entries, or rejects them for good.
    Decided(KeyTask),
    /// An end or a seal is being committed.
    Ending,
    /// It ended with its key: an entry reopens it.
    EndedWithKey,
}

impl KeyTask {
    /// Checks whether the key accepts an entry of `bytes` bytes now. Called within the transaction that adds it.
    pub fn admit(&self, bytes: u64) -> Result<(), TasksError> {
        let mut state = self.task.inner.state.lock();
        if state.removed {
            Err(TasksError::Removed(self.task.id().clone()))
        } else if state.ending || state.record.is_closed() {
            Err(TasksError::Ended(self.task.id().clone()))
        } else if let Some(Err(limited)) = state.rate_limiter.as_mut().map(|limiter| limiter.try_acquire(bytes)) {
            self.task.count_excess(limited.reached, 1);
            Err(limited.error(self.task.id()))
        } else {
            Ok(())
        }
    }

    /// Looks for events in an entry that is being added.
    pub fn detect_events(&self, bytes: &[u8]) {
        self.task.detect_events(bytes);
    }

    /// Marks the task as running after entries were added, and requests archiving if it is due.
    pub fn mark_active(&self) {
        self.task.heartbeat();
        let resumed = {
            let mut state = self.task.inner.state.lock();
            if !state.ending {
                state.pending_end = None;
            }
            state.record.status == TaskStatus::Lost && {
                state.record.status = TaskStatus::Running;
                state.record.ended = None;
                true
            }
        };
        if resumed {
            if let Err(error) = self.task.queue_record() {
                tracing::warn!(task = %self.task.id(), %error, "failed to write a task's record");
            }
            self.task.notify();
        }
        if let Some(stream) = self.task.stream() {
            self.task.archive_if_due(&stream);
        }
    }
}

impl Tasks {
    /// Returns the journal, which also stores the events of runs.
    pub fn journal(&self) -> &Journal {
        &self.inner.journal
    }

    /// Returns a snapshot of the published keys.
    pub fn snapshot(&self) -> Snapshot<'_> {
        self.inner.journal.snapshot()
    }

    /// Waits until the queue has room for a transaction of `bytes` bytes.
    pub async fn reserve(&self, bytes: usize) -> Result<QueuePermit, TasksError> {
        Ok(self.inner.journal.reserve(bytes).await?)
    }

    /// Queues a transaction on keys; see [`crate::journal::Journal::submit`].
    pub fn submit(
        &self,
        permit: QueuePermit,
        transaction: impl FnOnce(&mut Transaction<'_>) -> CommitCallback + Send + 'static,
    ) {
        self.inner.journal.submit(permit, transaction);
    }

    /// Queues transactions that share a commit; see [`crate::journal::Journal::submit_all`].
    pub fn submit_all(&self, transactions: impl IntoIterator<Item = PreparedTransaction>) {
        self.inner.journal.submit_all(transactions);
    }

    /// Ends the wait of a blocked client.
    pub fn unblock(&self, client: u64, reason: WakeReason) {
        self.inner.journal.unblock(client, reason);
    }

    /// Returns the task of a key that is about to be written, and creates it if it does not exist; `None` if
    /// the key does not belong to a task. Waits while the archive lags.
    pub async fn key_task(&self, key: &[u8]) -> Result<Option<KeyTask>, TasksError> {
        let Some(id) = TaskId::from_stream_key(key) else { return Ok(None) };
        self.inner.journal.check_can_grow()?;
        self.has_budget()?;
        let deadline = Instant::now() + SEAL_TIMEOUT;
        let writer = loop {
            let task = self.get_or_create(&id).await?;
            match task.begin_key_write() {
                KeyState::Decided(writer) => break writer,
                _ if Instant::now() > deadline => return Err(TasksError::Ended(id)),
                KeyState::Ending => task.wait_end_decided().await?,
                KeyState::EndedWithKey => self.reopen(task).await?,
            }
        };
        writer.task.wait_for_archive().await?;
        Ok(Some(writer))
    }

    /// Reopens a task that ended with its key: its sealed archive becomes a growing one.
    async fn reopen(&self, task: TaskHandle) -> Result<(), TasksError> {
        let mut changed = task.inner.changed.subscribe();
        let sealed = tokio::time::timeout(SEAL_TIMEOUT, changed.wait_for(|_| task.is_sealed() || task.is_removed()));
        if !matches!(sealed.await, Ok(Ok(_))) {
            return Err(TasksError::Ended(task.id().clone()));
        }
        let id = task.id().clone();
        let _creating = self.inner.create_lock.lock().await;
        let _change = self.begin_archive_change().await;
        let _archive_guard = task.inner.archive_lock.lock().await;
        match self.cached(&id) {
            Some(now) if !now.with_record(TaskRecord::ended_with_its_key) => return Ok(()),
            _ => {}
        }
        let mut record = task.with_record(TaskRecord::clone);
        (record.status, record.ended, record.artifact) = (TaskStatus::Running, None, None);
        (record.integrity, record.counts) = (None, None);
        let bytes = record.encode().map_err(JournalError::from)?;
        // The record first: after a kill in between the next start opens the sealed archive.
        self.inner.journal.put_task(id.as_str().as_bytes(), Some(bytes)).await?;
        let (tasks, archives, of) = (self.clone(), self.inner.archives.clone(), id.clone());
        let opened = tokio::task::spawn_blocking(move || {
            archives.reopen(&of)?;
            TaskHandle::load_with(&tasks, &of, record, true)
        });
        let task = opened.await.map_err(|_| TasksError::Closed)??;
        self.cache(&task);
        self.inner.sealed.lock().remove(&id);
        task.with_record(|record| {
            self.inner.index.lock().insert((record.created, id), TaskStatus::Running, &record.labels);
        });
        self.notify_changed();
        Ok(())
    }
}

impl TaskRecord {
    /// Reports whether the task ended because its key was deleted: there is no exit code or signal.
    pub(super) fn ended_with_its_key(&self) -> bool {
        let is_closed = self.status == TaskStatus::Completed || self.artifact.is_some();
        is_closed
            && !self.worker
            && self.exit_code.is_none()
            && self.signal.is_none()
            && self.status != TaskStatus::Aborted
    }
}

impl TaskHandle {
    /// Registers a transaction that may add an entry to the task's key, unless the task is ending or ended with its
    /// key.
    fn begin_key_write(&self) -> KeyState {
        let mut state = self.inner.state.lock();
        if state.ending && !state.removed {
            return KeyState::Ending;
        }
        if state.record.ended_with_its_key() {
            return KeyState::EndedWithKey;
        }
        state.key_writers += 1;
        KeyState::Decided(KeyTask { task: self.clone() })
    }

    /// Reports whether the key had entries and was deleted.
    pub(super) fn is_key_deleted(&self) -> bool {
        let Some(stream) = self.stream() else { return false };
        let tip = stream.tip();
        tip.last_line > 0 && !tip.exists && stream.expires().is_none()
    }

    /// Ends the task if its key was deleted, it has no worker, and no entry is being added.
    pub(super) async fn end_with_key(&self) -> Result<(), TasksError> {
        let is_due = |task: &Self, state: &TaskState| {
            state.key_writers == 0 && !state.record.worker && !task.has_worker() && task.is_key_deleted()
        };
        self.end_if(EndRequest::default(), is_due).await.map(|_| ())
    }
}
