//! The tasks of a store: lookup and creation.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use ulid::Ulid;

use super::attempts::AttemptIndex;
use super::backup::{self, BackupLocks};
use super::budget::DiskBudget;
use super::event_queue::EventQueue;
use super::index::TaskIndex;
use super::integrity::IntegrityCounts;
use super::maintenance::MaintenanceRequest;
use super::new_tasks::NewTaskQueue;
use super::record::TaskRecord;
use super::task::{TaskHandle, TaskInner};
use super::{TasksError, TasksOpenError, TasksOptions, clock, maintenance};
use crate::archive::{Archives, FoundArchives};
use crate::journal::{Journal, JournalError, JournalOptions};
use crate::model::limits::{Limit, Limits};
use crate::model::{AttemptMode, Clock, TaskId, TaskStatus, Timestamp};
use crate::store::make_private;

/// A task as its worker describes it at the start.
#[derive(Clone, Debug)]
pub struct TaskDescription {
    /// Task id.
    pub id: TaskId,
    /// Session of the worker; unique to one worker process.
    pub session: String,
    /// Command and its arguments.
    pub command: Vec<String>,
    /// Host name.
    pub host: Option<String>,
    /// Labels, freely chosen.
    pub labels: BTreeMap<String, String>,
    /// Start time of the command.
    pub started: Option<Timestamp>,
}

/// All tasks of a store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tasks {
    pub(super) inner: Arc<TasksInner>,
}

#[derive(Debug)]
pub(super) struct TasksInner {
    pub(super) journal: Journal,
    pub(super) archives: Archives,
    pub(super) options: TasksOptions,
    /// Limits in force: those of the options, as far as they were not changed since.
    limits: RwLock<Arc<Limits>>,
    /// Tasks that are not sealed. Locked for a lookup only, never across a disk read.
    pub(super) open: Mutex<HashMap<TaskId, TaskHandle>>,
    /// Sealed tasks in use, so that all their readers share one.
    pub(super) sealed: Mutex<HashMap<TaskId, Weak<TaskInner>>>,
    /// Every task. Locked only briefly.
    pub(super) index: Mutex<TaskIndex>,
    pub(super) attempts: Mutex<AttemptIndex>,
    /// Changes with the listed details of any task.
    pub(super) changes: watch::Sender<u64>,
    /// Requests to the maintenance loop. When full, requests are dropped: the next sweep finds the task.
    pub(super) maintenance: mpsc::Sender<MaintenanceRequest>,
    /// Clock that expiry and retention use.
    pub(super) clock: Arc<Clock>,
    pub(super) clock_file: PathBuf,
    /// Completed sweeps of the maintenance loop.
    pub(super) sweeps: AtomicU64,
    pub(super) closing: CancellationToken,
    pub(super) tracker: TaskTracker,
    pub(super) seal_failures: AtomicU64,
    /// Room for ended tasks that wait for their archive.
    pub(super) seal_backlog: Arc<Semaphore>,
    /// Set when an end has waited too long for room there, until the next seal.
    pub(super) seals_stalled: AtomicBool,
    /// Completed steps of all archivers.
    pub(super) archive_steps: AtomicU64,
    /// Appends that waited for the archive.
    pub(super) archive_waits: AtomicU64,
    pub(super) tasks_lost: AtomicU64,
    /// Lines truncated from the middle of logs.
    pub(super) quota_lines: AtomicU64,
    pub(super) integrity: IntegrityCounts,
    pub(super) budget: Arc<DiskBudget>,
    /// Tasks with events that wait for a reader.
    pub(super) event_queue: EventQueue,
    /// New tasks that wait for their reader.
    pub(super) new_tasks: NewTaskQueue,
    /// Locked while a task is created, loaded or removed: one at a time.
    pub(super) create_lock: tokio::sync::Mutex<()>,
    pub(super) backup: BackupLocks,
}

impl TasksInner {
    pub(super) fn limits(&self) -> Arc<Limits> {
        self.limits.read().clone()
    }
}

impl Tasks {
    /// Opens the store in a data folder and starts the maintenance of its tasks.
    pub async fn open(data: &Path, options: TasksOptions) -> Result<Self, TasksOpenError> {
        if data.exists() && !data.is_dir() {
            return Err(TasksOpenError::NotAFolder(data.to_owned()));
        }
        let (clock, last_open) = clock::open(data, options.limits.clock_hold);
        let journal_options = JournalOptions {
            durability: options.durability,
            limits: options.limits.clone(),
            hits: options.hits.clone(),
            clock: clock.clone(),
            archived: Some(|name| TaskId::from_stream_key(name).is_some()),
        };
        let journal = Journal::open_with(&data.join("journal"), journal_options)?;
        // sled creates its files with the umask.
        if let Err(error) = make_private(&data.join("journal")) {
            tracing::debug!(%error, "cannot restrict the journal's files");
        }
        backup::remove_stale_snapshot(data);
        let archives = Archives::open(&data.join("archive"))?;
        let mut found = archives.scan()?;
        let (maintenance, requests) = mpsc::channel(maintenance::REQUESTS_MAX);
        let seal_backlog =
            usize::try_from(options.limits.seal_backlog_max).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let inner = TasksInner {
            journal,
            archives,
            event_queue: EventQueue::new(options.events),
            new_tasks: NewTaskQueue::default(),
            limits: RwLock::new(Arc::new(options.limits.clone())),
            options,
            open: Mutex::default(),
            sealed: Mutex::default(),
            index: Mutex::default(),
            attempts: Mutex::default(),
            changes: watch::Sender::new(0),
            maintenance,
            clock,
            clock_file: clock::file(data),
            sweeps: AtomicU64::new(0),
            closing: CancellationToken::new(),
            tracker: TaskTracker::new(),
            seal_failures: AtomicU64::new(0),
            seal_backlog: Arc::new(Semaphore::new(seal_backlog)),
            seals_stalled: AtomicBool::new(false),
            archive_steps: AtomicU64::new(0),
            archive_waits: AtomicU64::new(0),
            tasks_lost: AtomicU64::new(0),
            quota_lines: AtomicU64::new(0),
            integrity: IntegrityCounts::default(),
            budget: Arc::new(DiskBudget::new(data.join("journal"))),
            create_lock: tokio::sync::Mutex::default(),
            backup: BackupLocks::default(),
        };
        let tasks = Self { inner: Arc::new(inner) };
        tasks.load_all(&mut found)?;
        tasks.open_shared(data.join("keep")).await?;
        tasks.adopt_orphans(found).await?;
        tasks.remove_sealed_journals().await?;
        tasks.resume_workers(last_open).await;
        if tasks.inner.options.events {
            tasks.open_tasks().iter().for_each(TaskHandle::set_unscanned);
        }
        tasks.inner.tracker.spawn(maintenance::run(tasks.clone(), requests));
        Ok(tasks)
    }

    /// Loads the records of all tasks, and removes their archives from those that were found.
    fn load_all(&self, found: &mut FoundArchives) -> Result<(), TasksOpenError> {
        for row in self.inner.journal.store().tasks() {
            let (id, bytes) = row.map_err(|e| TasksOpenError::Journal(e.into()))?;
            let parsed = std::str::from_utf8(&id).ok().and_then(|id| id.parse::<TaskId>().ok());
            let (Some(id), Ok(record)) = (parsed, TaskRecord::decode(&bytes)) else {
                tracing::error!(id = %String::from_utf8_lossy(&id), "failed to read a task's record; the task is skipped");
                continue;
            };
            // Sealed, but the record has no end: it was lost with a damaged store. `adopt_orphans` restores it.
            if !record.is_closed() && found.sealed.contains(&id) {
                continue;
            }
            found.growing.remove(&id);
            if found.sealed.remove(&id) {
                self.inner.archives.count_sealed(&id, record.artifact.as_ref().map(|artifact| artifact.bytes));
            }
            self.inner.index.lock().insert((record.created, id.clone()), record.status, &record.labels);
            self.inner.attempts.lock().insert(&id, &record);
            if record.artifact.is_none() {
                match TaskHandle::load(self, &id, record) {
                    Ok(task) => {
                        self.inner.open.lock().insert(id, task);
                    }
                    Err(error) => tracing::error!(task = %id, %error, "failed to load a task; it is skipped"),
                }
            }
        }
        Ok(())
    }

    /// Returns the task with this id, if it exists.
    pub async fn get(&self, id: &TaskId) -> Result<Option<TaskHandle>, TasksError> {
        if let Some(task) = self.cached(id) {
            return Ok(Some(task));
        }
        let stored = self.inner.journal.store().task(id.as_str().as_bytes()).map_err(JournalError::from)?;
        if stored.is_none() {
            return self.find_shared(id).await;
        }
        let _creating = self.inner.create_lock.lock().await;
        self.load(id).await
    }

    /// Returns the task with this id, if it exists. The caller holds the `create_lock`.
    pub(super) async fn load(&self, id: &TaskId) -> Result<Option<TaskHandle>, TasksError> {
        if let Some(task) = self.cached(id) {
            return Ok(Some(task));
        }
        let stored = self.inner.journal.store().task(id.as_str().as_bytes()).map_err(JournalError::from)?;
        let Some(bytes) = stored else { return Ok(None) };
        let record = TaskRecord::decode(&bytes).map_err(JournalError::from)?;
        self.fetch_sealed(id, &record).await?;
        let (tasks, of) = (self.clone(), id.clone());
        let loaded = tokio::task::spawn_blocking(move || TaskHandle::load(&tasks, &of, record)).await;
        let task = loaded.map_err(|_| TasksError::Closed)??;
        self.cache(&task);
        self.start_mirror(&task);
        Ok(Some(task))
    }

    /// Returns the task if it is in memory.
    pub(super) fn cached(&self, id: &TaskId) -> Option<TaskHandle> {
        if let Some(task) = self.inner.open.lock().get(id) {
            return Some(task.clone());
        }
        self.inner.sealed.lock().get(id).and_then(Weak::upgrade).map(TaskHandle::from_inner)
    }

    /// Caches a task in memory for [`Tasks::get`].
    pub(super) fn cache(&self, task: &TaskHandle) {
        if task.is_sealed() {
            let mut sealed = self.inner.sealed.lock();
            sealed.retain(|_, task| task.strong_count() > 0);
            sealed.insert(task.id().clone(), task.downgrade());
            drop(sealed);
            self.inner.open.lock().remove(task.id());
        } else {
            self.inner.open.lock().insert(task.id().clone(), task.clone());
        }
    }

    /// Returns the task with this id, and creates it if it does not exist. Its record is queued before
    /// anything the caller appends, so every task with a line has a record.
    pub async fn get_or_create(&self, id: &TaskId) -> Result<TaskHandle, TasksError> {
        if let Some(task) = self.get(id).await? {
            return Ok(task);
        }
        let _creating = self.inner.create_lock.lock().await;
        if let Some(task) = self.cached(id) {
            return Ok(task);
        }
        self.create(id, TaskRecord::new(new_incarnation())).await
    }

    /// Creates a task that does not exist. The caller holds the `create_lock`.
    pub(super) async fn create(&self, id: &TaskId, record: TaskRecord) -> Result<TaskHandle, TasksError> {
        self.inner.journal.check_can_grow()?;
        self.has_budget()?;
        let (count, limits) = (self.inner.index.lock().len() as u64, &self.inner.options.limits);
        if count >= limits.tasks_max {
            self.inner.options.hits.count(Limit::tasks_max);
            return Err(TasksError::TooManyTasks(count));
        }
        if let Some(existing) = self.create_shared(id, &record).await? {
            return Ok(existing);
        }
        let task = TaskHandle::load(self, id, record)?;
        drop(task.queue_record()?);
        task.with_record(|record| {
            self.inner.attempts.lock().insert(id, record);
            self.inner.index.lock().insert((record.created, id.clone()), TaskStatus::Running, &record.labels);
        });
        self.cache(&task);
        self.start_mirror(&task);
        self.inner.new_tasks.push(&task);
        self.notify_changed();
        Ok(task)
    }

    /// Starts or resumes a task for a worker (`task_start`). Returns the last durable number of its session.
    pub async fn start(&self, description: TaskDescription) -> Result<(TaskHandle, u64), TasksError> {
        self.start_with(description, AttemptMode::Join).await
    }

    /// Starts or resumes a task like [`Tasks::start`], or starts an attempt of its name.
    pub async fn start_with(
        &self,
        description: TaskDescription,
        mode: AttemptMode,
    ) -> Result<(TaskHandle, u64), TasksError> {
        self.inner.journal.check_can_grow()?;
        let task = match mode {
            AttemptMode::Join => self.find_or_create(&description.id, Some(&description.session)).await?,
            AttemptMode::New | AttemptMode::Replace => self.start_attempt(&description, mode).await?,
        };
        let session = description.session.clone();
        task.describe(description).await?;
        // After the wait for an end in progress: its lines need not be sent again.
        let acked = task.shared_acked_seq(&session).await?;
        Ok((task, acked))
    }

    /// Returns a receiver that changes with the listed details of any task.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    pub(super) fn notify_changed(&self) {
        self.inner.changes.send_modify(|version| *version += 1);
    }

    /// Returns the limits in force.
    pub fn limits(&self) -> Arc<Limits> {
        self.inner.limits()
    }

    /// Changes the limits of background work: grace, expiry, retention and `disk_max`.
    pub fn set_limits(&self, limits: Limits) {
        *self.inner.limits.write() = Arc::new(limits);
    }

    /// Returns the options the store was opened with.
    pub fn options(&self) -> &TasksOptions {
        &self.inner.options
    }

    /// Returns an error with the reason if lines cannot be written.
    pub fn health(&self) -> Result<(), String> {
        if self.inner.closing.is_cancelled() {
            return Err("server shutting down".to_owned());
        }
        if let Some(shared) = self.shared() {
            shared.health()?;
        }
        self.has_budget().map_err(|error| error.to_string())?;
        self.inner.journal.check_can_grow().map_err(|error| error.to_string())
    }

    /// Returns the reason if lines cannot be written until the store is opened again.
    pub fn needs_restart(&self) -> Option<String> {
        self.inner.journal.store().needs_restart()
    }

    /// Stops the maintenance, flushes everything, and closes the store.
    pub async fn close(&self) {
        self.inner.closing.cancel();
        self.inner.tracker.close();
        self.inner.tracker.wait().await;
        clock::save(&self.inner.clock, &self.inner.clock_file).await;
        self.inner.journal.close().await;
        self.inner.open.lock().clear();
    }
}

/// Returns a random number that distinguishes a task from an earlier one with the same id.
pub(super) fn new_incarnation() -> u64 {
    u64::try_from(Ulid::generate().random() & u128::from(u64::MAX)).unwrap_or_default()
}
