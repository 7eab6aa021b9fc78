//! The changes of a task by this server: creation, lines, record, end and removal.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::end::{EndOutcome, EndRequest};
use super::super::record::{SessionSeq, TaskRecord};
use super::super::registry::Tasks;
use super::super::task::TaskHandle;
use super::super::{LineBatch, TasksError};
use super::SharedHandle;
use super::record::{EndReport, RecordFields, report_field};
use super::writes::{AppendReceiver, EndWritten, WritePermit, shared_batch};
use crate::home::ObjectPrefix;
use crate::home::redis::CreateReply;
use crate::model::{TaskId, TaskStatus, Timestamp};

/// Longest wait of an end for the seal.
const SEAL_WAIT: Duration = Duration::from_secs(5);

impl SharedHandle {
    /// Queues the fields of a record that have changed.
    pub(in crate::tasks) fn write_record(&self, record: &TaskRecord) -> oneshot::Receiver<Result<(), TasksError>> {
        let changed = self.known.lock().update(&RecordFields::of(record));
        self.writes.patch(changed)
    }

    /// Waits for room in the queue of lines.
    pub(in crate::tasks) async fn reserve(&self, bytes: usize) -> Result<WritePermit, TasksError> {
        self.writes.reserve(bytes).await
    }
}

impl Tasks {
    /// Reports whether several servers share the tasks.
    pub(in crate::tasks) fn is_shared(&self) -> bool {
        self.shared().is_some()
    }

    /// Creates a task in the shared store. Returns the task if another server has created it before. The caller holds the
    /// `create_lock`.
    pub(in crate::tasks) async fn create_shared(
        &self,
        id: &TaskId,
        record: &TaskRecord,
    ) -> Result<Option<TaskHandle>, TasksError> {
        let Some(shared) = self.shared().cloned() else { return Ok(None) };
        let fields = RecordFields::of(record).pairs();
        match shared.engine.create(id, record.created.as_millis(), record.incarnation, &fields).await? {
            CreateReply::Created(_) => Ok(None),
            CreateReply::Exists(state) => Ok(Some(self.load_existing(id, *state).await?)),
        }
    }

    /// Removes a task from the shared store.
    pub(in crate::tasks) async fn remove_shared(&self, task: &TaskHandle) -> Result<(), TasksError> {
        let Some(shared) = self.shared() else { return Ok(()) };
        let (id, birth) = (task.id(), task.birth());
        shared.engine.remove(id, birth).await?;
        // A server that seals it meanwhile is refused, and deletes its object itself.
        shared.objects.delete_prefix(&ObjectPrefix::Birth(id.clone(), birth)).await?;
        Ok(())
    }
}

impl TaskHandle {
    /// Queues lines for the shared store.
    pub(in crate::tasks) fn append_shared(
        &self,
        batch: &LineBatch,
        permit: WritePermit,
    ) -> Result<AppendReceiver, TasksError> {
        let Some(shared) = &self.inner.shared else { return Err(TasksError::Closed) };
        let receiver = shared.writes.append(shared_batch(batch)?, permit);
        Ok(if batch.session().is_none() { self.when_copied(receiver) } else { receiver })
    }

    /// Queues a marker line for the shared store, without waiting for room.
    pub(in crate::tasks) fn append_marker_shared(&self, marker: &LineBatch) -> Result<AppendReceiver, TasksError> {
        let Some(shared) = &self.inner.shared else { return Err(TasksError::Closed) };
        let permit = shared.writes.empty_permit()?;
        Ok(shared.writes.append(shared_batch(marker)?, permit))
    }

    /// Returns a receiver that resolves when this server has the lines as well, so that their sender can read them here.
    fn when_copied(&self, stored: AppendReceiver) -> AppendReceiver {
        let (reply, receiver) = oneshot::channel();
        let task = self.clone();
        tokio::spawn(async move {
            let done = stored.await.unwrap_or(Err(TasksError::Closed));
            if let (Ok(lines), Some(stream)) = (&done, task.stream())
                && let Err(error) = task.wait_mirrored(&stream, lines.last_line).await
            {
                tracing::debug!(task = %task.id(), %error, "lines are stored, but not yet in the copy of this server");
            }
            reply.send(done).ok();
        });
        receiver
    }

    /// Ends the task, and waits a while for its seal: then its log does not depend on Redis any more.
    pub(in crate::tasks) async fn end_shared(&self, end: EndRequest) -> Result<EndOutcome, TasksError> {
        let Some(shared) = &self.inner.shared else { return Err(TasksError::Closed) };
        if let Some(last) = &end.session
            && !self.has_ended()
        {
            // Marks lines that never arrived.
            let batch = LineBatch::end_of_session(&last.session, last.seq);
            let permit = shared.writes.reserve(batch.bytes()).await?;
            match shared.writes.append(shared_batch(&batch)?, permit).await.map_err(|_| TasksError::Closed)? {
                Ok(_) | Err(TasksError::Ended(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let report = EndReport { session: end.session.clone(), totals: end.reported };
        let mut fields = {
            let record = &self.inner.state.lock().record;
            let status = if end.aborted { TaskStatus::Aborted } else { TaskStatus::Completed };
            let ended = Some(end.at.unwrap_or_else(Timestamp::now));
            let (exit_code, signal) = (end.exit_code, end.signal);
            RecordFields::of(record).changed(&TaskRecord { status, ended, exit_code, signal, ..record.clone() })
        };
        fields.push(report_field(&report));
        let session = end.session.as_ref().map(|last| (last.session.clone(), last.seq));
        match shared.writes.end(fields, session).await? {
            EndWritten::Ended => {
                self.wait_sealed().await;
                Ok(EndOutcome::Ended)
            }
            EndWritten::Before(state) => {
                let ended_by = RecordFields::from_pairs(&state.record).report().session;
                let is_repeat = |last: &SessionSeq| ended_by.as_ref() == Some(last);
                let repeated = end.session.as_ref().is_some_and(is_repeat);
                Ok(if repeated { EndOutcome::Repeated } else { EndOutcome::AlreadyEnded })
            }
        }
    }

    /// Waits until the log is sealed, at most [`SEAL_WAIT`].
    async fn wait_sealed(&self) {
        let mut changed = self.inner.changed.subscribe();
        let sealed = changed.wait_for(|_| self.is_sealed() || self.is_removed());
        if timeout(SEAL_WAIT, sealed).await.is_err() {
            tracing::debug!(task = %self.id(), workers = self.inner.workers.load(Ordering::Acquire), "an end is acknowledged before the seal");
        }
    }
}
