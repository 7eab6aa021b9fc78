//! One task: its state, its details and its workers.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::budget::DiskBudget;
use super::end::EndRequest;
use super::event_queue::EventState;
use super::follow::SharedPages;
use super::partial::PartialLines;
use super::presence::Silence;
use super::rate_limit::RateLimiter;
use super::record::TaskRecord;
use super::registry::{Tasks, TasksInner};
use super::shared::SharedHandle;
use super::{TaskDescription, TasksError};
use crate::archive::Archive;
use crate::journal::{Journal, JournalError, Stream};
use crate::model::{Channel, Cursor, EntryId, Epoch, TaskId, TaskStatus, Timestamp};

/// A task that can be written, read and followed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TaskHandle {
    pub(super) inner: Arc<TaskInner>,
}

#[derive(Debug)]
pub(super) struct TaskInner {
    id: TaskId,
    pub(super) journal: Journal,
    registry: Weak<TasksInner>,
    pub(super) window_lines: u64,
    /// Maximum size of the archive, in bytes.
    pub(super) bytes_max: Option<u64>,
    pub(super) budget: Arc<DiskBudget>,
    archive: Archive,
    /// Lines of tasktail itself when the task was loaded, less those in the journal's tip.
    own_lines_loaded: u64,
    /// The journal; `None` once the archive is sealed and holds everything.
    pub(super) stream: RwLock<Option<Arc<Stream>>>,
    /// Locked only briefly. Appends are queued under this lock, so that none follows the end.
    pub(super) state: Mutex<TaskState>,
    /// Changes with the details, except for the growth of the log.
    pub(super) changed: watch::Sender<u64>,
    pub(super) workers: AtomicUsize,
    pub(super) silence: Mutex<Silence>,
    pub(super) followers: AtomicUsize,
    /// Recent pages at the live tail, shared by all followers.
    pub(super) pages: Mutex<SharedPages>,
    pub(super) archiving: AtomicBool,
    /// Place in the backlog of seals, from the end to the seal.
    pub(super) seal_place: Mutex<Option<OwnedSemaphorePermit>>,
    /// The last attempt to archive lines failed.
    pub(super) archive_failed: AtomicBool,
    pub(super) events: EventState,
    /// The current unterminated lines.
    pub(super) partials: PartialLines,
    /// Locked while lines move to the archive, and during removal, so that the two never overlap.
    pub(super) archive_lock: tokio::sync::Mutex<()>,
    /// The side of the task that several servers share; `None` if this server alone has it.
    pub(super) shared: Option<SharedHandle>,
}

#[derive(Debug)]
pub(super) struct TaskState {
    pub(super) record: TaskRecord,
    /// Set while the end is being committed, or an expired log is being sealed: appends wait.
    pub(super) ending: bool,
    /// Transactions that may add an entry to the task's key; see [`super::keys::KeyTask`].
    pub(super) key_writers: usize,
    /// The record with the end, while its write is queued. Later writes of the record must use it, or they
    /// would reopen the task.
    pub(super) end_queued: Option<Box<TaskRecord>>,
    /// Rate limiter, if there is a limit.
    pub(super) rate_limiter: Option<Box<RateLimiter>>,
    /// The announced end, while it waits for the task's events.
    pub(super) pending_end: Option<EndRequest>,
    pub(super) removed: bool,
}

impl TaskHandle {
    pub(super) fn load(tasks: &Tasks, id: &TaskId, record: TaskRecord) -> Result<Self, TasksError> {
        Self::load_with(tasks, id, record, false)
    }

    /// Loads a task; with `key_deleted` its Redis key is known to be deleted.
    pub(super) fn load_with(
        tasks: &Tasks,
        id: &TaskId,
        record: TaskRecord,
        key_deleted: bool,
    ) -> Result<Self, TasksError> {
        let registry = &tasks.inner;
        let sealed = record.artifact.is_some();
        let name = id.stream_key();
        let kept = if sealed { None } else { registry.journal.stream(name.as_bytes())?.map(|stream| stream.tip()) };
        let kept_from = kept.filter(|tip| !tip.is_empty()).map(|tip| tip.first_line);
        let archive = registry.archives.archive(id, kept_from)?;
        let stream = match archive.id_range() {
            _ if sealed => None,
            Some((_, last)) => {
                Some(registry.journal.resume_stream(name.as_bytes(), archive.last_line(), last, key_deleted)?)
            }
            None => Some(registry.journal.stream_or_new(name.as_bytes())?),
        };
        let own_lines_loaded = match &stream {
            Some(stream) => own_lines(&registry.journal, stream, &archive)?,
            None => 0,
        };
        let shared = registry.options.shared.as_ref().map(|store| SharedHandle::new(store, id, &record));
        let inner = TaskInner {
            id: id.clone(),
            journal: registry.journal.clone(),
            registry: Arc::downgrade(registry),
            window_lines: registry.options.limits.live_window_lines,
            bytes_max: registry.options.limits.task_bytes_max,
            budget: registry.budget.clone(),
            archive,
            own_lines_loaded,
            stream: RwLock::new(stream),
            state: Mutex::new(TaskState {
                record,
                ending: false,
                key_writers: 0,
                end_queued: None,
                rate_limiter: RateLimiter::new(&registry.options.limits),
                pending_end: None,
                removed: false,
            }),
            changed: watch::Sender::new(0),
            workers: AtomicUsize::new(0),
            silence: Mutex::default(),
            followers: AtomicUsize::new(0),
            pages: Mutex::default(),
            archiving: AtomicBool::new(false),
            seal_place: Mutex::default(),
            archive_failed: AtomicBool::new(false),
            events: EventState::default(),
            partials: PartialLines::default(),
            archive_lock: tokio::sync::Mutex::default(),
            shared,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(super) fn from_inner(inner: Arc<TaskInner>) -> Self {
        Self { inner }
    }

    pub(super) fn downgrade(&self) -> Weak<TaskInner> {
        Arc::downgrade(&self.inner)
    }

    /// Returns the task id.
    pub fn id(&self) -> &TaskId {
        &self.inner.id
    }

    pub(super) fn journal(&self) -> &Journal {
        &self.inner.journal
    }

    pub(super) fn archive(&self) -> &Archive {
        &self.inner.archive
    }

    pub(super) fn stream(&self) -> Option<Arc<Stream>> {
        self.inner.stream.read().clone()
    }

    pub(super) fn archived_through(&self) -> u64 {
        self.inner.archive.last_line()
    }

    /// Returns the number of lines of tasktail itself.
    pub(super) fn own_lines(&self) -> u64 {
        match self.stream() {
            Some(stream) => self.inner.own_lines_loaded + stream.tip().own_lines,
            None => self.with_record(|record| record.own_lines),
        }
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.inner.state.lock().record.artifact.is_some()
    }

    pub(super) fn is_removed(&self) -> bool {
        self.inner.state.lock().removed
    }

    pub(super) fn created(&self) -> Timestamp {
        self.inner.state.lock().record.created
    }

    pub(super) fn with_record<T>(&self, read: impl FnOnce(&TaskRecord) -> T) -> T {
        read(&self.inner.state.lock().record)
    }

    pub(super) fn registry(&self) -> Option<Tasks> {
        self.inner.registry.upgrade().map(|inner| Tasks { inner })
    }

    /// Notifies followers and lists of changed details.
    pub(super) fn notify(&self) {
        self.inner.changed.send_modify(|version| *version += 1);
        if let Some(tasks) = self.registry() {
            let (created, status) = self.with_record(|record| (record.created, record.status));
            tasks.inner.index.lock().set_status(&(created, self.id().clone()), status);
            tasks.notify_changed();
        }
    }

    /// Returns the first and the last readable line; zeros if there is none.
    pub(super) fn readable(&self) -> (u64, u64) {
        let archive = &self.inner.archive;
        let (first, last) = (archive.first_line(), archive.last_line());
        match self.stream().map(|stream| stream.tip()).filter(|tip| !tip.is_empty()) {
            Some(tip) => (if first == 0 { tip.first_line } else { first }, tip.last_line.max(last)),
            None => (first, last),
        }
    }

    /// Returns the epoch of the log.
    pub fn epoch(&self) -> Epoch {
        Epoch {
            incarnation: self.with_record(|record| record.incarnation),
            generation: match &self.inner.shared {
                Some(shared) => shared.epoch(),
                None => self.inner.journal.store().open_count(),
            },
        }
    }

    /// Returns a cursor after line `n`.
    pub fn cursor_at(&self, n: u64) -> Cursor {
        Cursor { epoch: self.epoch(), n, id: EntryId::MIN }
    }

    /// Returns the last durable number of a session, or 0 if the session is unknown.
    pub fn acked_seq(&self, session: &str) -> u64 {
        let recorded = self.with_record(|record| record.seq_of(session));
        self.stream().map_or(0, |stream| stream.acked_seq(session)).max(recorded)
    }

    /// Queues a write of the current record. Anything queued later becomes durable later.
    pub(super) fn queue_record(
        &self,
    ) -> Result<impl Future<Output = Result<(), TasksError>> + Send + 'static + use<>, TasksError> {
        let state = self.inner.state.lock();
        self.queue(&state, state.end_queued.as_deref().unwrap_or(&state.record))
    }

    /// Queues a write of `record`. The caller holds the state lock: a write queued after the removal would
    /// restore the task.
    pub(super) fn queue(
        &self,
        state: &TaskState,
        record: &TaskRecord,
    ) -> Result<impl Future<Output = Result<(), TasksError>> + Send + 'static + use<>, TasksError> {
        if state.removed {
            return Err(TasksError::Removed(self.id().clone()));
        }
        let bytes = record.encode().map_err(JournalError::from)?;
        let written = self.inner.shared.as_ref().map(|shared| shared.write_record(record));
        let stored = self.inner.journal.put_task(self.inner.id.as_str().as_bytes(), Some(bytes));
        Ok(async move {
            if let Some(written) = written {
                written.await.map_err(|_| TasksError::Closed)??;
            }
            Ok(stored.await?)
        })
    }

    pub(super) async fn describe(&self, description: TaskDescription) -> Result<(), TasksError> {
        self.wait_end_decided().await?;
        {
            let mut state = self.inner.state.lock();
            if state.record.is_closed() || state.ending {
                return Ok(());
            }
            if state.removed {
                return Err(TasksError::Removed(self.id().clone()));
            }
            state.record.set_worker_session(description.session.clone());
            let labels = state.record.labels.clone();
            state.record.describe(description);
            if let Some(tasks) = self.registry() {
                // Under the state's lock: a removal reads the labels after it has set `removed`.
                let key = (state.record.created, self.id().clone());
                tasks.inner.index.lock().set_labels(&key, &labels, &state.record.labels);
            }
            state.record.status = TaskStatus::Running;
            state.record.ended = None;
        }
        self.heartbeat();
        self.queue_record()?.await?;
        self.notify();
        self.detect_events_label();
        Ok(())
    }

    /// Changes the record, waits until it is durable, and notifies followers.
    pub(super) async fn update_record(&self, update: impl FnOnce(&mut TaskRecord)) -> Result<(), TasksError> {
        update(&mut self.inner.state.lock().record);
        self.queue_record()?.await?;
        self.notify();
        Ok(())
    }

    /// Removes the journal, once the archive holds everything.
    pub(super) async fn remove_journal(&self) -> Result<(), TasksError> {
        let stream = self.inner.stream.write().take();
        let Some(stream) = stream else { return Ok(()) };
        match self.inner.journal.remove(&stream).await {
            Ok(()) => Ok(()),
            Err(error) => {
                // It still exists, and readers need it.
                *self.inner.stream.write() = Some(stream);
                Err(error.into())
            }
        }
    }

    /// Removes the journal and the archive, or neither if the store is not writable.
    pub(super) async fn remove_content(&self) -> Result<(), TasksError> {
        self.inner.journal.store().check_writable().map_err(JournalError::from)?;
        self.inner.state.lock().removed = true;
        let removed = self.try_remove_content().await;
        if removed.is_err() {
            self.inner.state.lock().removed = false;
        }
        removed
    }

    async fn try_remove_content(&self) -> Result<(), TasksError> {
        // Waits for a seal in progress, and keeps another from starting.
        let _archive_guard = self.inner.archive_lock.lock().await;
        self.remove_journal().await?;
        if let Some(tasks) = self.registry() {
            tasks.inner.archives.remove(self.id())?;
        }
        self.inner.changed.send_modify(|version| *version += 1);
        Ok(())
    }
}

/// Returns the number of lines of tasktail itself in a log, less those that the journal's tip counts.
fn own_lines(journal: &Journal, stream: &Arc<Stream>, archive: &Archive) -> Result<u64, TasksError> {
    let (archived, totals) = archive.totals();
    let tip = stream.tip();
    let mut lines = totals.own_lines().unwrap_or(0);
    journal.scan(stream, archived + 1, tip.last_line, |line, _| {
        lines += u64::from(line.channel == Channel::Internal);
        ControlFlow::<()>::Continue(())
    })?;
    Ok(lines.saturating_sub(tip.own_lines))
}
