//! Copying tasks into the journal of this server.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::TasksError;
use super::super::record::TaskRecord;
use super::super::registry::Tasks;
use super::super::task::TaskHandle;
use super::record::RecordFields;
use super::{SharedHandle, SharedStore};
use crate::home::redis::{SharedEntry, SharedEvent, SharedStatus, SharedTask, Tail};
use crate::journal::{JournalError, ReplicaBatch, Stream};
use crate::model::{ByteStr, EntryBody, EntryId, LineText, Origin, TaskId};

/// Pause after a failed read.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long an announced worker counts as attached.
pub(super) const WORKER_TTL: Duration = Duration::from_secs(30);
/// Interval between two announcements.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(10);

/// Returns the body of an entry as a journal stores it.
pub(super) fn body_of(entry: &SharedEntry) -> EntryBody<'_> {
    let fields = || entry.fields.iter().map(|(name, value)| (ByteStr::from(name), ByteStr::from(value))).collect();
    if !entry.own {
        return EntryBody::Fields(fields());
    }
    let as_fields = EntryBody::Fields(fields());
    let line = as_fields.to_line(entry.id);
    let (timestamp, channel, text) = (line.timestamp, line.channel, line.text.into_owned().into());
    EntryBody::Line(LineText { timestamp, channel, partial: entry.partial, lossy: entry.lossy, text })
}

/// Returns the origin of an entry.
pub(super) fn origin_of(entry: &SharedEntry) -> Origin<'_> {
    match &entry.origin {
        Some(origin) => Origin::Numbered { session: &origin.session, seq: origin.seq, piece: origin.piece },
        None => Origin::Unnumbered,
    }
}

impl Tasks {
    /// Returns a task of the shared store that this server does not know yet.
    pub(in crate::tasks) async fn find_shared(&self, id: &TaskId) -> Result<Option<TaskHandle>, TasksError> {
        let Some(shared) = self.shared().cloned() else { return Ok(None) };
        let Some(state) = shared.engine.open(id).await? else { return Ok(None) };
        self.adopt_state(id, state).await?;
        let _creating = self.inner.create_lock.lock().await;
        self.load(id).await
    }

    /// Adds a task with this state to those of this server, or replaces an earlier task of the same id.
    pub(in crate::tasks) async fn adopt_state(&self, id: &TaskId, state: SharedTask) -> Result<(), TasksError> {
        let _creating = self.inner.create_lock.lock().await;
        self.insert_state(id, state).await
    }

    async fn insert_state(&self, id: &TaskId, state: SharedTask) -> Result<(), TasksError> {
        // The record of a task that was just created is still being written.
        if self.cached(id).is_some_and(|task| task.birth() == state.birth) {
            return Ok(());
        }
        match self.stored_record(id)? {
            Some(record) if record.incarnation == state.birth => return Ok(()),
            Some(_) => self.remove_copy(id).await?,
            None => {}
        }
        let blank = TaskRecord::new(state.birth);
        let record = RecordFields::from_pairs(&state.record).record(&blank)?;
        let bytes = record.encode().map_err(JournalError::from)?;
        self.inner.journal.put_task(id.as_str().as_bytes(), Some(bytes)).await?;
        self.inner.index.lock().insert((record.created, id.clone()), record.status, &record.labels);
        self.inner.attempts.lock().insert(id, &record);
        if state.status != SharedStatus::Sealed {
            self.load_with_state(id, record, state).await?;
        }
        self.notify_changed();
        Ok(())
    }

    /// Loads a task that is not sealed, and copies it from now on. The caller holds the `create_lock`.
    pub(in crate::tasks) async fn load_with_state(
        &self,
        id: &TaskId,
        record: TaskRecord,
        state: SharedTask,
    ) -> Result<TaskHandle, TasksError> {
        if let Some(shared) = self.shared() {
            self.fetch_segments(shared, id, &state).await?;
        }
        let task = TaskHandle::load_with(self, id, record, true)?;
        if let Some(shared) = &task.inner.shared {
            shared.read_state(&state);
        }
        self.cache(&task);
        self.inner.new_tasks.push(&task);
        self.start_mirror(&task);
        Ok(task)
    }

    /// Returns a task of the shared store that exists. The caller holds the `create_lock`.
    pub(in crate::tasks) async fn load_existing(
        &self,
        id: &TaskId,
        state: SharedTask,
    ) -> Result<TaskHandle, TasksError> {
        self.insert_state(id, state).await?;
        self.load(id).await?.ok_or_else(|| TasksError::Removed(id.clone()))
    }

    /// Starts the copying of a task, once.
    pub(in crate::tasks) fn start_mirror(&self, task: &TaskHandle) {
        let Some(shared) = &task.inner.shared else { return };
        if task.is_sealed() || shared.mirrored.swap(true, Ordering::AcqRel) {
            return;
        }
        let (tasks, task, closing) = (self.clone(), task.clone(), self.inner.closing.clone());
        self.inner.tracker.spawn(async move {
            tokio::select! {
                () = closing.cancelled() => {}
                () = Box::pin(mirror(tasks, task)) => {}
            }
        });
    }

    /// Writes the archived lines of a running task to its growing archive.
    async fn fetch_segments(&self, shared: &SharedStore, id: &TaskId, state: &SharedTask) -> Result<(), TasksError> {
        if state.segments.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        for segment in &state.segments {
            let name = segment.parse().map_err(|_| damaged(id, segment))?;
            bytes.extend_from_slice(&shared.objects.get(&name).await?);
        }
        let (archives, id) = (self.inner.archives.clone(), id.clone());
        let written = tokio::task::spawn_blocking(move || archives.write_growing(&id, &bytes)).await;
        Ok(written.map_err(|_| TasksError::Closed)??)
    }

    /// Fetches the sealed log of a task unless this server has it.
    pub(in crate::tasks) async fn fetch_sealed(&self, id: &TaskId, record: &TaskRecord) -> Result<(), TasksError> {
        let Some(shared) = self.shared().cloned() else { return Ok(()) };
        let path = self.inner.archives.sealed_path(id);
        let Some(artifact) = record.artifact.as_ref().filter(|_| !path.is_file()) else { return Ok(()) };
        let state = shared.engine.open(id).await?.filter(|state| state.birth == record.incarnation);
        let state = state.ok_or_else(|| TasksError::Removed(id.clone()))?;
        let object = RecordFields::from_pairs(&state.record).object().unwrap_or_default();
        let name = object.parse().map_err(|_| damaged(id, &object))?;
        shared.objects.get_to_file(&name, &path).await?;
        self.inner.archives.count_sealed(id, Some(artifact.bytes));
        Ok(())
    }

    /// Removes a task from this server alone.
    pub(in crate::tasks) async fn remove_copy(&self, id: &TaskId) -> Result<(), TasksError> {
        let (task, record) = (self.cached(id), self.stored_record(id)?);
        if let Some(task) = task {
            task.remove_content().await?;
            task.leave_seal_backlog();
        } else {
            self.inner.archives.remove(id)?;
        }
        self.inner.journal.put_task(id.as_str().as_bytes(), None).await?;
        self.inner.open.lock().remove(id);
        self.inner.sealed.lock().remove(id);
        if let Some(record) = record {
            self.inner.index.lock().remove(&(record.created, id.clone()), &record.labels);
        }
        self.inner.attempts.lock().remove(id);
        self.notify_changed();
        Ok(())
    }
}

pub(super) fn damaged(id: &TaskId, object: &str) -> TasksError {
    TasksError::ReadOnly(format!(
        "task {id} refers to the object `{object}`, which is not a log; run `tasktail verify --archive`"
    ))
}

impl SharedHandle {
    /// Takes over a state as the last one that was read.
    fn read_state(&self, state: &SharedTask) {
        *self.known.lock() = RecordFields::from_pairs(&state.record);
        self.state.send_replace(Some(state.clone()));
    }
}

/// How the copying of a task ended.
enum MirrorEnd {
    /// The task is sealed.
    Sealed,
    /// The task was removed.
    Removed,
    /// The copy must be made again.
    Restart,
}

/// Copies a task until it is sealed or removed.
async fn mirror(tasks: Tasks, task: TaskHandle) {
    loop {
        match mirror_from_tip(&tasks, &task).await {
            Ok(MirrorEnd::Sealed) => return,
            Ok(MirrorEnd::Removed) => {
                let _creating = tasks.inner.create_lock.lock().await;
                let is_current = tasks.cached(task.id()).is_some_and(|current| current.is_same(&task));
                if is_current && let Err(error) = tasks.remove_copy(task.id()).await {
                    tracing::warn!(task = %task.id(), %error, "failed to remove the copy of a removed task");
                }
                return;
            }
            Ok(MirrorEnd::Restart) => {}
            Err(_) if task.is_removed() => return,
            Err(error) => {
                tracing::warn!(task = %task.id(), %error, "failed to copy a task from the shared store; will retry");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

async fn mirror_from_tip(tasks: &Tasks, task: &TaskHandle) -> Result<MirrorEnd, TasksError> {
    let (Some(shared), Some(stream)) = (&task.inner.shared, task.stream()) else { return Ok(MirrorEnd::Sealed) };
    let tip = stream.tip();
    let mut tail: Tail = shared.store.engine.tail(task.id(), task.birth(), tip.last_id, tip.last_line);
    loop {
        match tail.next().await? {
            SharedEvent::Entries(entries) => copy_entries(task, &entries).await?,
            SharedEvent::State(state) if state.birth != task.birth() => return Ok(MirrorEnd::Removed),
            SharedEvent::State(state) => {
                if task.apply_state(tasks, *state).await? {
                    return Ok(MirrorEnd::Sealed);
                }
            }
            SharedEvent::Truncated { last_line } => {
                task.truncate_copy(last_line).await?;
                return Ok(MirrorEnd::Restart);
            }
            SharedEvent::Gone => return Ok(MirrorEnd::Removed),
        }
    }
}

/// Appends entries to the copy.
async fn copy_entries(task: &TaskHandle, entries: &[SharedEntry]) -> Result<(), TasksError> {
    let Some(first) = entries.first() else { return Ok(()) };
    let stream = task.stream_for(first).await?;
    let mut batch = ReplicaBatch::new();
    for entry in entries {
        let body = body_of(entry);
        if let EntryBody::Line(line) = &body {
            task.detect_events(line.text.as_bytes());
        }
        batch.push(entry.id, entry.n, &body, origin_of(entry))?;
    }
    task.journal().replicate(&stream, batch).await?;
    task.archive_if_due(&stream);
    Ok(())
}

impl TaskHandle {
    /// Returns the stream for an entry. If the lines between the archive and the entry were trimmed, the copy continues
    /// after them.
    async fn stream_for(&self, entry: &SharedEntry) -> Result<Arc<Stream>, TasksError> {
        let stream = self.stream().ok_or_else(|| TasksError::Removed(self.id().clone()))?;
        let tip = stream.tip();
        if !tip.is_empty() || entry.n <= tip.last_line.max(self.archived_through()) + 1 {
            return Ok(stream);
        }
        let before = EntryId::new(entry.id.ms, entry.id.seq.saturating_sub(1));
        let name = self.id().stream_key();
        let moved = self.journal().resume_stream(name.as_bytes(), entry.n - 1, before, true)?;
        *self.inner.stream.write() = Some(moved.clone());
        Ok(moved)
    }

    /// Takes over a state. Returns whether the task is sealed and this server has what it needs of it.
    async fn apply_state(&self, tasks: &Tasks, state: SharedTask) -> Result<bool, TasksError> {
        let Some(shared) = &self.inner.shared else { return Ok(true) };
        shared.read_state(&state);
        let record = {
            let mut own = self.inner.state.lock();
            let before = own.record.labels.clone();
            let record = RecordFields::from_pairs(&state.record).record(&own.record)?;
            let record =
                if state.status == SharedStatus::Sealed { record } else { TaskRecord { artifact: None, ..record } };
            tasks.inner.index.lock().set_labels(&(record.created, self.id().clone()), &before, &record.labels);
            if state.status != SharedStatus::Sealed {
                own.record = record.clone();
            }
            record
        };
        let bytes = record.encode().map_err(JournalError::from)?;
        self.journal().put_task(self.id().as_str().as_bytes(), Some(bytes)).await?;
        if state.status == SharedStatus::Sealed {
            self.become_sealed(tasks, record).await?;
        }
        self.notify();
        Ok(state.status == SharedStatus::Sealed)
    }

    /// Replaces the copy of a running task by its sealed log. Without readers it is fetched when one comes.
    async fn become_sealed(&self, tasks: &Tasks, record: TaskRecord) -> Result<(), TasksError> {
        let _guard = self.inner.archive_lock.lock().await;
        tasks.fetch_sealed(self.id(), &record).await?;
        let task = self.clone();
        let installed = tokio::task::spawn_blocking(move || task.archive().become_sealed()).await;
        installed.map_err(|_| TasksError::Closed)??;
        self.inner.state.lock().record = record;
        self.remove_journal().await?;
        self.inner.pages.lock().clear();
        tasks.cache(self);
        Ok(())
    }

    /// Removes lines that the shared store has lost from the copy.
    async fn truncate_copy(&self, last_line: u64) -> Result<(), TasksError> {
        tracing::warn!(task = %self.id(), last_line, "the shared store lost lines in a failover; readers restart after the last one that it has");
        self.remove_journal().await?;
        if self.archived_through() > last_line
            && let Some(tasks) = self.registry()
        {
            tasks.inner.archives.remove(self.id())?;
            self.archive().clear();
        }
        let name = self.id().stream_key();
        let (line, id) = (self.archived_through(), self.archive().id_range().map_or(EntryId::MIN, |(_, last)| last));
        let stream = match line {
            0 => self.journal().stream_or_new(name.as_bytes())?,
            _ => self.journal().resume_stream(name.as_bytes(), line, id, true)?,
        };
        *self.inner.stream.write() = Some(stream);
        self.inner.pages.lock().clear();
        if let Some(shared) = &self.inner.shared {
            let mut truncated = shared.truncated.lock();
            *truncated = (truncated.0 + 1, last_line);
        }
        self.notify();
        Ok(())
    }

    /// Reports whether both are the same task in memory.
    fn is_same(&self, other: &TaskHandle) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

/// Announces the workers that are attached to this server, until the store closes.
pub(super) async fn announce_workers(tasks: Tasks) {
    let mut tick = tokio::time::interval(ANNOUNCE_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = tasks.inner.closing.cancelled() => return,
            _ = tick.tick() => {}
        }
        let has_worker = |task: &&TaskHandle| task.inner.workers.load(Ordering::Acquire) > 0;
        tasks.inner.open.lock().values().filter(has_worker).for_each(|task| task.announce_worker(true));
    }
}

impl TaskHandle {
    /// Announces a worker that is attached, or withdraws the last one. Does nothing without a shared store.
    pub(in crate::tasks) fn announce_worker(&self, attached: bool) {
        if let Some(shared) = &self.inner.shared {
            shared.writes.announce_worker(attached.then_some(WORKER_TTL));
        }
    }
}
