//! One task: lines in, its end, its facts.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::budget::Budget;
use super::eventful::Events;
use super::follow::SharedPages;
use super::gate::Gate;
use super::record::TaskRecord;
use super::registry::{self, Tasks};
use super::{End, TaskFacts, TasksError};
use crate::archive::Archive;
use crate::journal::{Journal, JournalError, Stream};
use crate::model::{Cursor, EntryId, Epoch, GapReason, Integrity, Task, TaskId, TaskStatus, Timestamp};

/// A task that can be written, read and followed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TaskHandle {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    id: TaskId,
    pub(super) journal: Journal,
    registry: Weak<registry::Inner>,
    pub(super) window_lines: u64,
    /// Bytes that its archive may have.
    pub(super) bytes_max: Option<u64>,
    pub(super) budget: Arc<Budget>,
    archive: Archive,
    /// Gone once the archive is sealed and holds everything.
    stream: RwLock<Option<Arc<Stream>>>,
    /// Held for a moment; an append is queued under it, so that none comes behind the end.
    pub(super) state: Mutex<State>,
    /// Moves with every change of the facts but the growth of the log.
    pub(super) changed: watch::Sender<u64>,
    pub(super) workers: AtomicUsize,
    heard: Mutex<Instant>,
    pub(super) followers: AtomicUsize,
    /// Recent pages at the live end, shared by all followers.
    pub(super) pages: Mutex<SharedPages>,
    pub(super) archiving: AtomicBool,
    pub(super) events: Events,
    /// Held while lines go to the archive, and while everything goes: never both.
    pub(super) settling: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) record: TaskRecord,
    /// The end was said and is not durable yet.
    pub(super) ending: bool,
    /// What the record will be, while it is on its way to the disk: what is queued behind it must not bring
    /// the open task back.
    pub(super) end_queued: Option<Box<TaskRecord>>,
    /// What may come in a second, if there is a limit.
    pub(super) gate: Option<Box<Gate>>,
    /// How, while the end waits for the task's events.
    pub(super) closing: Option<End>,
    pub(super) removed: bool,
}

/// While it lives, a worker speaks for the task.
#[derive(Debug)]
pub struct WorkerGuard(TaskHandle);

impl Drop for WorkerGuard {
    fn drop(&mut self) {
        self.0.heartbeat();
        self.0.inner.workers.fetch_sub(1, Ordering::AcqRel);
        self.0.notify();
    }
}

impl TaskHandle {
    pub(super) fn load(tasks: &Tasks, id: &TaskId, record: TaskRecord) -> Result<Self, TasksError> {
        Self::load_with(tasks, id, record, false)
    }

    /// `key_went`: its key is known to be gone.
    pub(super) fn load_with(
        tasks: &Tasks,
        id: &TaskId,
        record: TaskRecord,
        key_went: bool,
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
                Some(registry.journal.resume_stream(name.as_bytes(), archive.last_line(), last, key_went)?)
            }
            None => Some(registry.journal.stream_or_new(name.as_bytes())?),
        };
        let inner = Inner {
            id: id.clone(),
            journal: registry.journal.clone(),
            registry: Arc::downgrade(registry),
            window_lines: registry.options.limits.live_window_lines,
            bytes_max: registry.options.limits.task_bytes_max,
            budget: registry.budget.clone(),
            archive,
            stream: RwLock::new(stream),
            state: Mutex::new(State {
                record,
                ending: false,
                end_queued: None,
                gate: Gate::new(&registry.options.limits),
                closing: None,
                removed: false,
            }),
            changed: watch::Sender::new(0),
            workers: AtomicUsize::new(0),
            heard: Mutex::new(Instant::now()),
            followers: AtomicUsize::new(0),
            pages: Mutex::default(),
            archiving: AtomicBool::new(false),
            events: Events::default(),
            settling: tokio::sync::Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(super) fn from_inner(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    pub(super) fn downgrade(&self) -> Weak<Inner> {
        Arc::downgrade(&self.inner)
    }

    /// Its id.
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

    pub(super) fn is_sealed(&self) -> bool {
        self.inner.state.lock().record.artifact.is_some()
    }

    pub(super) fn is_removed(&self) -> bool {
        self.inner.state.lock().removed
    }

    pub(super) fn created(&self) -> Timestamp {
        self.inner.state.lock().record.created
    }

    pub(super) fn with_record<T>(&self, look: impl FnOnce(&TaskRecord) -> T) -> T {
        look(&self.inner.state.lock().record)
    }

    pub(super) fn registry(&self) -> Option<Tasks> {
        self.inner.registry.upgrade().map(|inner| Tasks { inner })
    }

    /// Tells followers and lists that the facts have changed.
    pub(super) fn notify(&self) {
        self.inner.changed.send_modify(|version| *version += 1);
        if let Some(tasks) = self.registry() {
            let (created, status) = self.with_record(|record| (record.created, record.status));
            if let Some(listed) = tasks.inner.index.lock().get_mut(&(created, self.id().clone())) {
                *listed = status;
            }
            tasks.changed();
        }
    }

    /// The first and the last line that can be read; zeros if there is none.
    pub(super) fn readable(&self) -> (u64, u64) {
        let archive = &self.inner.archive;
        let (first, last) = (archive.first_line(), archive.last_line());
        match self.stream().map(|stream| stream.tip()).filter(|tip| !tip.is_empty()) {
            Some(tip) => (if first == 0 { tip.first_line } else { first }, tip.last_line.max(last)),
            None => (first, last),
        }
    }

    /// Its facts now.
    pub fn facts(&self) -> Task {
        let (first_line, last_line) = self.readable();
        let tip = self.stream().map(|stream| stream.tip());
        let state = self.inner.state.lock();
        let mut task = facts_of_sealed(&self.inner.id, &state.record);
        if let Some(tip) = tip {
            task.lines = tip.last_line;
            task.bytes = tip.total_bytes;
            task.skipped_lines = tip.total_skipped;
        }
        task.integrity = integrity_of(&state.record, first_line);
        task.first_line = first_line;
        task.last_line = last_line;
        task.trimmed_lines = match last_line {
            0 => task.lines,
            _ => first_line - 1 + self.inner.archive.missing_lines(),
        };
        task.live = self.inner.workers.load(Ordering::Acquire) > 0 && !state.record.status.is_final();
        task
    }

    /// Which log this is.
    pub fn epoch(&self) -> Epoch {
        Epoch {
            incarnation: self.with_record(|record| record.birth),
            generation: self.inner.journal.store().open_count(),
        }
    }

    /// A cursor behind line `n`.
    pub fn cursor_at(&self, n: u64) -> Cursor {
        Cursor { epoch: self.epoch(), n, id: EntryId::MIN }
    }

    /// The last durable number of a session; 0 if nothing of it is known.
    pub fn acked_seq(&self, session: &str) -> u64 {
        let recorded = self.with_record(|record| record.seq_of(session));
        self.stream().map_or(0, |stream| stream.acked_seq(session)).max(recorded)
    }

    /// A worker speaks for this task while the guard lives.
    pub fn attach(&self) -> WorkerGuard {
        self.inner.workers.fetch_add(1, Ordering::AcqRel);
        self.heartbeat();
        let first = {
            let mut state = self.inner.state.lock();
            !std::mem::replace(&mut state.record.worker, true)
        };
        if first && let Err(error) = self.queue_record() {
            tracing::warn!(task = %self.id(), %error, "a task's record could not be written");
        }
        self.notify();
        WorkerGuard(self.clone())
    }

    /// The worker was heard.
    pub fn heartbeat(&self) {
        *self.inner.heard.lock() = Instant::now();
    }

    /// How long no worker has been there; `None` while one is, or if there never was one.
    pub(super) fn silence(&self) -> Option<Duration> {
        let away = self.inner.workers.load(Ordering::Acquire) == 0 && self.with_record(|record| record.worker);
        away.then(|| self.inner.heard.lock().elapsed())
    }

    pub(super) fn has_worker(&self) -> bool {
        self.inner.workers.load(Ordering::Acquire) > 0
    }

    /// Queues the record as it is; what is queued after it is durable after it.
    pub(super) fn queue_record(
        &self,
    ) -> Result<impl Future<Output = Result<(), JournalError>> + Send + 'static + use<>, TasksError> {
        let state = self.inner.state.lock();
        self.queue(&state, state.end_queued.as_deref().unwrap_or(&state.record))
    }

    /// Queues a record while the state is held: one behind the removal would bring the task back.
    pub(super) fn queue(
        &self,
        state: &State,
        record: &TaskRecord,
    ) -> Result<impl Future<Output = Result<(), JournalError>> + Send + 'static + use<>, TasksError> {
        if state.removed {
            return Err(TasksError::Removed(self.id().clone()));
        }
        let bytes = record.encode().map_err(JournalError::from)?;
        Ok(self.inner.journal.put_task(self.inner.id.as_str().as_bytes(), Some(bytes)))
    }

    pub(super) async fn describe(&self, facts: TaskFacts) -> Result<(), TasksError> {
        {
            let mut state = self.inner.state.lock();
            if state.record.takes_no_more() || state.ending {
                return Ok(());
            }
            state.record.describe(facts.command, facts.host, facts.labels, facts.started);
            state.record.spoken_for_by(facts.session);
            state.record.status = TaskStatus::Running;
            state.record.ended = None;
        }
        self.heartbeat();
        self.queue_record()?.await?;
        self.notify();
        self.note_label();
        Ok(())
    }

    /// Changes the record, makes that durable, tells everyone.
    pub(super) async fn change(&self, change: impl FnOnce(&mut TaskRecord)) -> Result<(), TasksError> {
        change(&mut self.inner.state.lock().record);
        self.queue_record()?.await?;
        self.notify();
        Ok(())
    }

    /// The archive holds everything: the journal goes.
    pub(super) async fn drop_stream(&self) -> Result<(), TasksError> {
        let stream = self.inner.stream.write().take();
        let Some(stream) = stream else { return Ok(()) };
        match self.inner.journal.remove(&stream).await {
            Ok(()) => Ok(()),
            Err(error) => {
                // It is still there, for those who read.
                *self.inner.stream.write() = Some(stream);
                Err(error.into())
            }
        }
    }

    /// Removes what it holds, or nothing of it if nothing can be written.
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
        // A seal that is under way comes to its end, and no other begins.
        let _settling = self.inner.settling.lock().await;
        self.drop_stream().await?;
        if let Some(tasks) = self.registry() {
            tasks.inner.archives.remove(self.id())?;
        }
        self.inner.changed.send_modify(|version| *version += 1);
        Ok(())
    }
}

/// The facts of a task whose record tells all.
pub(super) fn facts_of_sealed(id: &TaskId, record: &TaskRecord) -> Task {
    let none = record.first_line == 0;
    let dropped = record.integrity.as_ref().map_or(0, Integrity::dropped_lines);
    Task {
        id: id.clone(),
        status: record.status,
        exit_code: record.exit_code,
        signal: record.signal,
        command: record.command.clone(),
        labels: record.labels.clone(),
        host: record.host.clone(),
        created: record.created,
        started: record.started,
        ended: record.ended,
        lines: record.lines,
        bytes: record.bytes,
        first_line: record.first_line,
        last_line: if none { 0 } else { record.lines },
        skipped_lines: record.skipped_lines,
        trimmed_lines: if none { record.lines } else { record.first_line - 1 + dropped },
        live: false,
        artifact: record.artifact.clone(),
        integrity: integrity_of(record, record.first_line),
    }
}

/// What is known of a log that has come to its end, now that it begins with `first_line`.
fn integrity_of(record: &TaskRecord, first_line: u64) -> Option<Integrity> {
    if !record.takes_no_more() {
        return None;
    }
    let mut integrity = record.integrity.clone().unwrap_or_default();
    if first_line > 1 {
        integrity.add_hole(1, first_line - 1, GapReason::Trimmed);
    }
    Some(integrity)
}
