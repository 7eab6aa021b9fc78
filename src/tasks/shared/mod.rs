//! Tasks of several servers: their truth is in Redis and in an object store, and each server has a copy of them.
//!
//! ```text
//! TaskHandle::append ──> writes (one queue per task) ──EVALSHA──> Redis ──tail──> mirror ──> journal of this server ──> readers
//!                                                                  │
//!                     keeper (holds the lease of the task's bucket) ┴──> segments, sealed log ──> object store ──> mirror
//! ```
//!
//! - `writes`: every change of a task is a script that runs in Redis. Its reply is the acknowledgement.
//! - `mirror`: copies lines and records of running tasks into the journal of this server, with the same line numbers and
//!   ids, and fetches sealed logs when they are read. All reading code works on the copy.
//! - `keeper`: archives, seals, loses and expires tasks. One server does so for a bucket of tasks, under a lease. The
//!   lease only saves work: each step is a compare-and-set, so that two servers at once do no harm.
//! - `publish`: how a sealed log becomes the only one of its task, whichever servers sealed it.
//! - `index`: the records of all tasks.
//! - `changes`: what this server does to a task.
//! - `record`: a record as fields of the task's hash.
//! - `adopt`: lists the tasks of the object store again in a Redis that has lost them; `check`: verifies all objects.
//!
//! The copy is in a folder that is emptied at the start: a server holds nothing that cannot be read again.

mod adopt;
mod changes;
mod check;
mod index;
mod keeper;
mod leases;
mod mirror;
mod publish;
mod record;
mod writes;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::record::TaskRecord;
use super::registry::Tasks;
use super::task::TaskHandle;
use super::{TasksError, TasksOpenError};
use crate::home::redis::{SharedStatus, SharedTask};
use crate::home::{Engine, EngineError, ObjectError, ObjectStore};
use crate::model::{TaskId, Timestamp};
pub use adopt::{AdoptReport, adopt_archive};
pub use check::verify_objects;
use record::RecordFields;
use writes::TaskWriteQueue;
pub(super) use writes::{AppendReceiver, WritePermit};

/// Interval between two checks of Redis, and the longest wait for its answer.
const HEALTH_INTERVAL: Duration = Duration::from_millis(500);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait until the copy of a task has the lines that Redis has.
const CATCH_UP_MAX: Duration = Duration::from_secs(10);

/// The store that several servers share.
#[derive(Clone, Debug)]
pub struct SharedStore {
    /// Tasks and their live lines.
    pub engine: Engine,
    /// Archives.
    pub objects: ObjectStore,
    health: Arc<Mutex<Result<(), String>>>,
    /// Milliseconds by which the clock of Redis is ahead of this server's.
    clock_offset: Arc<AtomicI64>,
}

impl SharedStore {
    /// Returns the store with these parts.
    pub fn new(engine: Engine, objects: ObjectStore) -> Self {
        Self { engine, objects, health: Arc::new(Mutex::new(Ok(()))), clock_offset: Arc::default() }
    }

    /// Returns the time by the clock of Redis, in milliseconds, as far as it is known.
    pub(super) fn now_ms(&self) -> u64 {
        Timestamp::now().as_millis().saturating_add_signed(self.clock_offset.load(Ordering::Relaxed))
    }

    /// Returns the reason if Redis does not respond.
    pub(super) fn health(&self) -> Result<(), String> {
        self.health.lock().clone()
    }

    /// Checks Redis again and again, until the store closes.
    async fn watch_health(self, tasks: Tasks) {
        let mut tick = tokio::time::interval(HEALTH_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = tasks.inner.closing.cancelled() => return,
                _ = tick.tick() => {}
            }
            let health = match tokio::time::timeout(HEALTH_TIMEOUT, self.engine.now_ms()).await {
                Ok(Ok(now)) => {
                    let offset = i128::from(now) - i128::from(Timestamp::now().as_millis());
                    self.clock_offset.store(i64::try_from(offset).unwrap_or(0), Ordering::Relaxed);
                    Ok(())
                }
                Ok(Err(error)) => Err(format!("the shared Redis is not available: {error}")),
                Err(_) => Err(format!("the shared Redis does not respond within {HEALTH_TIMEOUT:?}")),
            };
            let before = std::mem::replace(&mut *self.health.lock(), health.clone());
            match (before, health) {
                (Ok(()), Err(why)) => tracing::error!("{why}; lines are not acknowledged, and workers keep them"),
                (Err(_), Ok(())) => tracing::info!("the shared Redis is available again"),
                _ => {}
            }
        }
    }
}

/// The shared side of a task.
#[derive(Debug)]
pub(super) struct SharedHandle {
    store: SharedStore,
    writes: TaskWriteQueue,
    /// The record as it was last written or read.
    known: Mutex<RecordFields>,
    /// The state as last read.
    state: watch::Sender<Option<SharedTask>>,
    /// Set once the copying has started.
    mirrored: AtomicBool,
    /// Number of times that the copy was cut because a failover had lost lines, and its last line then.
    truncated: Mutex<(u64, u64)>,
}

impl SharedHandle {
    /// Creates the shared side of a task with this record.
    pub(super) fn new(store: &SharedStore, id: &TaskId, record: &TaskRecord) -> Self {
        Self {
            store: store.clone(),
            writes: TaskWriteQueue::new(store.engine.clone(), id.clone(), record.incarnation),
            known: Mutex::new(RecordFields::of(record)),
            state: watch::Sender::new(None),
            mirrored: AtomicBool::new(false),
            truncated: Mutex::default(),
        }
    }

    /// Reports whether a worker is attached to another server.
    pub(super) fn has_remote_worker(&self) -> bool {
        let (own, now) = (self.store.engine.server(), self.store.now_ms());
        let state = self.state.borrow();
        let workers = state.iter().flat_map(|state| &state.workers);
        workers.into_iter().any(|(server, until)| server != own && *until > now)
    }

    /// Returns the number of times that the copy was cut, and its last line then.
    pub(super) fn truncated(&self) -> (u64, u64) {
        *self.truncated.lock()
    }

    /// Returns the epoch of the task's shard.
    pub(super) fn epoch(&self) -> u64 {
        self.state.borrow().as_ref().map_or(0, |state| state.epoch)
    }

    /// Returns the state as last read.
    fn state(&self) -> Option<SharedTask> {
        self.state.borrow().clone()
    }
}

impl TaskHandle {
    /// Returns the last number of a session, read from Redis. The copy of this server may be older.
    pub(super) async fn shared_acked_seq(&self, session: &str) -> Result<u64, TasksError> {
        let Some(shared) = &self.inner.shared else { return Ok(self.acked_seq(session)) };
        shared.writes.resume(session);
        let state = shared.store.engine.open(self.id()).await?;
        let own = || self.acked_seq(session);
        let Some(state) = state.filter(|state| state.birth == self.birth()) else { return Ok(own()) };
        let stored = state.sessions.iter().find(|(name, _)| name == session).map(|(_, seq)| *seq);
        Ok(match (stored, state.status) {
            // The copy may have lines that Redis lost in a failover: they must be sent again.
            (Some(seq), _) => seq,
            (None, SharedStatus::Sealed) => own(),
            // The session made room for newer ones, unless it was lost.
            (None, _) if state.epoch == shared.epoch() => own(),
            (None, _) => 0,
        })
    }

    /// Waits until the copy of this server has the lines that the task has now. Does nothing without a shared store.
    pub(super) async fn catch_up(&self) -> Result<(), TasksError> {
        let Some(shared) = &self.inner.shared else { return Ok(()) };
        let Some(stream) = self.stream() else { return Ok(()) };
        match shared.store.engine.open(self.id()).await?.filter(|state| state.birth == self.birth()) {
            Some(state) if state.status != SharedStatus::Sealed => self.wait_mirrored(&stream, state.last_line).await,
            _ => Ok(()),
        }
    }

    /// Waits until the copy has a line.
    async fn wait_mirrored(&self, stream: &crate::journal::Stream, line: u64) -> Result<(), TasksError> {
        let mut tip = stream.watch();
        let arrived = tip.wait_for(|tip| tip.removed || tip.last_line >= line);
        match tokio::time::timeout(CATCH_UP_MAX, arrived).await {
            Ok(_) => Ok(()),
            Err(_) => {
                let why = format!("this server is {CATCH_UP_MAX:?} late with the lines of task {}; retry", self.id());
                Err(TasksError::ReadOnly(why))
            }
        }
    }

    /// Returns the number that distinguishes this task from earlier ones with the same id.
    fn birth(&self) -> u64 {
        self.with_record(|record| record.incarnation)
    }
}

impl Tasks {
    /// Returns the shared store, if there is one.
    pub fn shared(&self) -> Option<&SharedStore> {
        self.inner.options.shared.as_ref()
    }

    /// Reads the index of the shared store, and starts what keeps the copy current.
    pub(super) async fn open_shared(&self, keep: PathBuf) -> Result<(), TasksOpenError> {
        let Some(shared) = self.shared().cloned() else { return Ok(()) };
        let watch = index::load(self, &shared).await?;
        let keeper = keeper::Keeper::open(self.clone(), shared.clone(), keep)?;
        self.inner.tracker.spawn(index::follow(self.clone(), shared.clone(), watch));
        self.inner.tracker.spawn(keeper.run());
        self.inner.tracker.spawn(shared.watch_health(self.clone()));
        self.inner.tracker.spawn(mirror::announce_workers(self.clone()));
        Ok(())
    }
}

impl From<EngineError> for TasksError {
    fn from(error: EngineError) -> Self {
        TasksError::ReadOnly(error.to_string())
    }
}

impl From<ObjectError> for TasksError {
    fn from(error: ObjectError) -> Self {
        TasksError::Objects(Arc::new(error))
    }
}
