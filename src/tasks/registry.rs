//! All tasks of a store: found, made, removed.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use ulid::Ulid;

use super::budget::Budget;
use super::eventful::Waiting;
use super::integrity::IntegrityCounts;
use super::record::TaskRecord;
use super::task::{Inner as TaskInner, TaskHandle};
use super::{TasksError, TasksOpenError, TasksOptions, clock, keeper};
use crate::archive::Archives;
use crate::journal::{Journal, JournalOptions};
use crate::model::limits::Limit;
use crate::model::{Clock, TaskId, TaskStatus, Timestamp};

/// What a worker says of the task it begins with.
#[derive(Clone, Debug)]
pub struct TaskFacts {
    /// The task.
    pub id: TaskId,
    /// Names one life of one worker.
    pub session: String,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// The machine.
    pub host: Option<String>,
    /// Any words.
    pub labels: BTreeMap<String, String>,
    /// When the command started.
    pub started: Option<Timestamp>,
}

/// Counters since the start, and gauges of now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Lines made durable.
    pub lines_stored: u64,
    /// When the last of them was.
    pub last_stored: Option<Timestamp>,
    /// Group commits.
    pub commits: u64,
    /// Repeated lines of a session that were dropped.
    pub repeats_dropped: u64,
    /// Bytes that wait to be written.
    pub queued_bytes: u64,
    /// Bytes of the journals on disk.
    pub journal_bytes: u64,
    /// Bytes of the archives on disk.
    pub archive_bytes: u64,
    /// Free bytes of the file system that the data folder is on.
    pub disk_free_bytes: u64,
    /// All tasks.
    pub tasks: u64,
    /// Tasks that are not sealed yet.
    pub tasks_open: u64,
    /// Seals that failed and are tried again.
    pub seal_failures: u64,
    /// Tasks that became `lost`.
    pub tasks_lost: u64,
    /// Lines that were dropped out of the middle of logs over their limit.
    pub quota_lines: u64,
    /// How often every open task was looked at.
    pub keeper_sweeps: u64,
    /// By how many seconds the system's clock is ahead of the one that things expire by.
    pub clock_ahead_s: i64,
    /// Logs that ended with all that their workers had counted.
    pub logs_complete: u64,
    /// Logs that ended with lines missing.
    pub logs_incomplete: u64,
    /// Logs that ended and are not what their workers sent.
    pub logs_mismatch: u64,
    /// Logs that ended without a word of how many lines there were.
    pub logs_unknown: u64,
    /// Finished tasks that were removed to keep to `disk_max`, and the bytes of their archives.
    pub evicted: (u64, u64),
}

/// All tasks of a store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tasks {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) journal: Journal,
    pub(super) archives: Archives,
    pub(super) options: TasksOptions,
    /// Tasks that are not sealed. Held for a look-up; never across a read of the disk.
    pub(super) open: Mutex<HashMap<TaskId, TaskHandle>>,
    /// Sealed tasks that somebody reads, so that two readers share one.
    pub(super) sealed: Mutex<HashMap<TaskId, Weak<TaskInner>>>,
    /// Every task in the order of its making.
    pub(super) index: Mutex<BTreeMap<(Timestamp, TaskId), TaskStatus>>,
    /// Moves when a task that a list shows has changed.
    pub(super) changes: watch::Sender<u64>,
    /// Wakes the keeper for one task. Unbounded, but holds each task once at most per reason.
    pub(super) wake: mpsc::Sender<keeper::Wake>,
    /// What is given up for its age is that by this clock.
    pub(super) clock: Arc<Clock>,
    pub(super) clock_file: PathBuf,
    /// How often the keeper looked at every open task.
    pub(super) sweeps: AtomicU64,
    pub(super) closing: CancellationToken,
    pub(super) tracker: TaskTracker,
    pub(super) seal_failures: AtomicU64,
    pub(super) tasks_lost: AtomicU64,
    /// Lines dropped out of the middle of logs.
    pub(super) quota_lines: AtomicU64,
    pub(super) integrity: IntegrityCounts,
    pub(super) budget: Arc<Budget>,
    /// Tasks with events that nobody has taken yet.
    pub(super) eventful: Waiting,
    /// One task is made or loaded at a time.
    pub(super) making: tokio::sync::Mutex<()>,
}

impl Tasks {
    /// Opens the store in a data folder and begins to keep its tasks.
    pub async fn open(data: &Path, options: TasksOptions) -> Result<Self, TasksOpenError> {
        if data.exists() && !data.is_dir() {
            return Err(TasksOpenError::NotAFolder(data.to_owned()));
        }
        let clock = clock::open(data, options.limits.clock_hold);
        let journal_options = JournalOptions {
            durability: options.durability,
            limits: options.limits.clone(),
            hits: options.hits.clone(),
            clock: clock.clone(),
            archived: Some(|name| TaskId::from_stream_key(name).is_some()),
        };
        let journal = Journal::open_with(&data.join("journal"), journal_options)?;
        let archives = Archives::open(&data.join("archive"))?;
        archives.scan_usage()?;
        let (wake, woken) = mpsc::channel(keeper::WAKES_MAX);
        let inner = Inner {
            journal,
            archives,
            eventful: Waiting::new(options.events),
            options,
            open: Mutex::default(),
            sealed: Mutex::default(),
            index: Mutex::default(),
            changes: watch::Sender::new(0),
            wake,
            clock,
            clock_file: clock::file(data),
            sweeps: AtomicU64::new(0),
            closing: CancellationToken::new(),
            tracker: TaskTracker::new(),
            seal_failures: AtomicU64::new(0),
            tasks_lost: AtomicU64::new(0),
            quota_lines: AtomicU64::new(0),
            integrity: IntegrityCounts::default(),
            budget: Arc::new(Budget::new(data.join("journal"))),
            making: tokio::sync::Mutex::default(),
        };
        let tasks = Self { inner: Arc::new(inner) };
        tasks.load_all()?;
        tasks.adopt_all().await?;
        tasks.drop_leftovers().await?;
        if tasks.inner.options.events {
            tasks.open_tasks().iter().for_each(TaskHandle::is_to_be_looked_at);
        }
        tasks.inner.tracker.spawn(keeper::keep(tasks.clone(), woken));
        Ok(tasks)
    }

    fn load_all(&self) -> Result<(), TasksOpenError> {
        for row in self.inner.journal.store().tasks() {
            let (id, bytes) = row.map_err(|e| TasksOpenError::Journal(e.into()))?;
            let parsed = std::str::from_utf8(&id).ok().and_then(|id| id.parse::<TaskId>().ok());
            let (Some(id), Ok(record)) = (parsed, TaskRecord::decode(&bytes)) else {
                tracing::error!(id = %String::from_utf8_lossy(&id), "a task's record cannot be read and is passed over");
                continue;
            };
            // A log that is sealed though its end is not known: a damaged store has forgotten it.
            if !record.takes_no_more() && self.inner.archives.sealed_path(&id).is_file() {
                continue;
            }
            self.inner.index.lock().insert((record.created, id.clone()), record.status);
            if record.artifact.is_none() {
                match TaskHandle::load(self, &id, record) {
                    Ok(task) => {
                        self.inner.open.lock().insert(id, task);
                    }
                    Err(error) => tracing::error!(task = %id, %error, "a task cannot be loaded and is passed over"),
                }
            }
        }
        Ok(())
    }

    /// The task of this id.
    pub async fn get(&self, id: &TaskId) -> Result<Option<TaskHandle>, TasksError> {
        if let Some(task) = self.at_hand(id) {
            return Ok(Some(task));
        }
        if self
            .inner
            .journal
            .store()
            .task(id.as_str().as_bytes())
            .map_err(crate::journal::JournalError::from)?
            .is_none()
        {
            return Ok(None);
        }
        let _making = self.inner.making.lock().await;
        if let Some(task) = self.at_hand(id) {
            return Ok(Some(task));
        }
        let stored =
            self.inner.journal.store().task(id.as_str().as_bytes()).map_err(crate::journal::JournalError::from)?;
        let Some(bytes) = stored else { return Ok(None) };
        let record = TaskRecord::decode(&bytes).map_err(crate::journal::JournalError::from)?;
        let (tasks, of) = (self.clone(), id.clone());
        let loaded = tokio::task::spawn_blocking(move || TaskHandle::load(&tasks, &of, record)).await;
        let task = loaded.map_err(|_| TasksError::Closed)??;
        self.remember(&task);
        Ok(Some(task))
    }

    pub(super) fn at_hand(&self, id: &TaskId) -> Option<TaskHandle> {
        if let Some(task) = self.inner.open.lock().get(id) {
            return Some(task.clone());
        }
        self.inner.sealed.lock().get(id).and_then(Weak::upgrade).map(TaskHandle::from_inner)
    }

    /// Puts a task where [`Tasks::get`] finds it.
    pub(super) fn remember(&self, task: &TaskHandle) {
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

    /// The task of this id, made if it is not there. Its record is queued before whatever the
    /// caller appends, so a task with a line has a record.
    pub async fn get_or_create(&self, id: &TaskId) -> Result<TaskHandle, TasksError> {
        if let Some(task) = self.get(id).await? {
            return Ok(task);
        }
        let _making = self.inner.making.lock().await;
        if let Some(task) = self.at_hand(id) {
            return Ok(task);
        }
        self.inner.journal.check_can_grow()?;
        self.has_budget()?;
        let (count, limits) = (self.inner.index.lock().len() as u64, &self.inner.options.limits);
        if count >= limits.tasks_max {
            self.inner.options.hits.count(Limit::tasks_max);
            return Err(TasksError::TooManyTasks(count));
        }
        let record = TaskRecord::new(new_birth());
        let created = record.created;
        let task = TaskHandle::load(self, id, record)?;
        drop(task.queue_record()?);
        self.remember(&task);
        self.inner.index.lock().insert((created, id.clone()), TaskStatus::Running);
        self.changed();
        Ok(task)
    }

    /// A worker begins, or comes back (`task_start`). Answers what of its session is durable.
    pub async fn start(&self, facts: TaskFacts) -> Result<(TaskHandle, u64), TasksError> {
        self.inner.journal.check_can_grow()?;
        let task = self.get_or_create(&facts.id).await?;
        let acked = task.acked_seq(&facts.session);
        task.describe(facts).await?;
        Ok((task, acked))
    }

    /// Removes a task, its journal and its archive. Answers whether there was one. The record goes
    /// last: cut short, the task is still there to be removed again.
    pub async fn remove(&self, id: &TaskId) -> Result<bool, TasksError> {
        let Some(task) = self.get(id).await? else { return Ok(false) };
        let _making = self.inner.making.lock().await;
        task.remove_content().await?;
        self.inner.journal.put_task(id.as_str().as_bytes(), None).await?;
        self.inner.open.lock().remove(id);
        self.inner.sealed.lock().remove(id);
        self.inner.index.lock().remove(&(task.created(), id.clone()));
        self.changed();
        Ok(true)
    }

    /// Resolves when there is a task of this id. Cancel-safe.
    pub async fn appeared(&self, id: &TaskId) -> TaskHandle {
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            if let Ok(Some(task)) = self.get(id).await {
                return task;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Moves when a task that a list shows has changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    pub(super) fn changed(&self) {
        self.inner.changes.send_modify(|version| *version += 1);
    }

    /// How tasks are kept.
    pub fn options(&self) -> &TasksOptions {
        &self.inner.options
    }

    /// Whether lines can be written, or why not.
    pub fn health(&self) -> Result<(), String> {
        if self.inner.closing.is_cancelled() {
            return Err("the server is stopping".to_owned());
        }
        self.has_budget().map_err(|error| error.to_string())?;
        self.inner.journal.check_can_grow().map_err(|error| error.to_string())
    }

    /// Counters and gauges.
    pub fn stats(&self) -> Stats {
        let counters = self.inner.journal.counters();
        Stats {
            last_stored: counters.last_entry(),
            lines_stored: counters.entries.load(Ordering::Relaxed),
            commits: counters.commits.load(Ordering::Relaxed),
            repeats_dropped: counters.repeats.load(Ordering::Relaxed),
            queued_bytes: self.inner.journal.queued_bytes() as u64,
            journal_bytes: self.inner.journal.store().size_on_disk(),
            archive_bytes: self.inner.archives.bytes(),
            disk_free_bytes: self.inner.journal.store().free_bytes(),
            tasks: self.inner.index.lock().len() as u64,
            tasks_open: self.inner.open.lock().len() as u64,
            seal_failures: self.inner.seal_failures.load(Ordering::Relaxed),
            tasks_lost: self.inner.tasks_lost.load(Ordering::Relaxed),
            quota_lines: self.inner.quota_lines.load(Ordering::Relaxed),
            keeper_sweeps: self.inner.sweeps.load(Ordering::Relaxed),
            clock_ahead_s: self.inner.clock.offset_s(),
            logs_complete: self.inner.integrity.complete.load(Ordering::Relaxed),
            logs_incomplete: self.inner.integrity.incomplete.load(Ordering::Relaxed),
            logs_mismatch: self.inner.integrity.mismatch.load(Ordering::Relaxed),
            logs_unknown: self.inner.integrity.unknown.load(Ordering::Relaxed),
            evicted: self.inner.budget.evicted(),
        }
    }

    /// Ends the keeping, makes everything durable, closes the store.
    pub async fn close(&self) {
        self.inner.closing.cancel();
        self.inner.tracker.close();
        self.inner.tracker.wait().await;
        clock::keep(&self.inner.clock, &self.inner.clock_file).await;
        self.inner.journal.close().await;
        self.inner.open.lock().clear();
    }
}

/// Tells a task from an earlier one of the same id.
pub(super) fn new_birth() -> u64 {
    u64::try_from(Ulid::generate().random() & u128::from(u64::MAX)).unwrap_or_default()
}
