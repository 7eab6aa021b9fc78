//! The way to the writer: what is asked of it, in order, and who carries it out.
//!
//! Under [`Durability::Commit`] a thread of its own does: it takes everything that waits, and while
//! it syncs the next commit gathers. Under [`Durability::Interval`] a commit is one short write, so
//! whoever brings a job carries out what is queued himself if nobody else is at it: a job then costs
//! no change of threads. The thread is there too, for everything else and for what falls due.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::append::{AppendAck, LineBatch};
use super::keys::Job;
use super::stream::Stream;
use super::trim::Trim;
use super::waiting::WakeReason;
use super::writer::Writer;
use super::{Durability, JournalCounters, JournalError, JournalOptions, Streams};
use crate::model::Timestamp;
use crate::store::{Refusal, Store, StoreError};

/// Bytes that may wait to be written; whoever appends more waits.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Commits that one bringer of a job carries out for others before he leaves the rest to the thread.
const TURNS_MAX: usize = 16;

pub(super) type Reply<T> = oneshot::Sender<Result<T, JournalError>>;

/// What the writer is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    Append { stream: Arc<Stream>, batch: LineBatch, trim: Option<Trim>, room: QueuePermit, reply: Reply<AppendAck> },
    Trim { stream: Arc<Stream>, trim: Trim, reply: Reply<u64> },
    Remove { stream: Arc<Stream>, reply: Reply<()> },
    Expire { stream: Arc<Stream>, at: Option<Timestamp>, reply: Reply<()> },
    Compact { stream: Arc<Stream>, reply: Reply<u64> },
    Job { job: Job, room: QueuePermit },
    Unblock { client: u64, why: WakeReason },
    PutTask { id: Box<[u8]>, record: Option<Vec<u8>>, reply: Reply<()> },
    Stop { reply: oneshot::Sender<()> },
}

/// Room in the queue, given back when dropped: after the commit, or unused.
#[derive(Debug)]
pub struct QueuePermit {
    _permit: OwnedSemaphorePermit,
}

/// The way to the writer. Appends and jobs are bounded by bytes; the other commands are small and few.
#[derive(Debug)]
pub(super) struct Queue {
    shared: Arc<Shared>,
    durability: Durability,
    /// How long is waited for room: as long as for a commit, which gives it.
    timeout: Duration,
    room: Arc<Semaphore>,
}

struct Shared {
    /// In order. Held for a moment.
    commands: Mutex<VecDeque<Command>>,
    /// Tells the thread that there is something, or that the end has come.
    arrived: Condvar,
    /// Whoever holds it carries out what is queued; gone once the journal is closed.
    writer: Mutex<Option<Writer>>,
    /// Something falls due sooner than the thread expects. Set under the lock of the commands.
    due: AtomicBool,
    closed: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("closed", &self.closed).finish_non_exhaustive()
    }
}

impl Queue {
    pub(super) fn start(
        store: Arc<Store>,
        options: &JournalOptions,
        counters: Arc<JournalCounters>,
        streams: Arc<Streams>,
    ) -> Self {
        let writer = Writer::new(store, options, counters, streams);
        let shared = Arc::new(Shared {
            commands: Mutex::default(),
            arrived: Condvar::new(),
            writer: Mutex::new(Some(writer)),
            due: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        });
        let thread = std::thread::Builder::new().name("journal-writer".into());
        let run = shared.clone();
        if let Err(error) = thread.spawn(move || run.run()) {
            tracing::error!(%error, "the journal's writer could not be started");
        }
        Self {
            shared,
            durability: options.durability,
            timeout: options.limits.commit_timeout,
            room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
        }
    }

    /// Queues a command for the thread. A closed journal drops it, and with it the reply: the caller
    /// reads `Closed`.
    pub(super) fn send(&self, command: Command) {
        if self.shared.push(command) {
            self.shared.arrived.notify_one();
        }
    }

    /// Queues a job, and under [`Durability::Interval`] carries out what is queued. Not to be called
    /// under a lock that a job may want.
    pub(super) fn run(&self, command: Command) {
        match self.durability {
            Durability::Commit => self.send(command),
            Durability::Interval => {
                if self.shared.push(command) {
                    self.shared.carry_out();
                }
            }
        }
    }

    pub(super) async fn reserve(&self, bytes: usize) -> Result<QueuePermit, JournalError> {
        let permits = u32::try_from(bytes.min(QUEUE_BYTES_MAX)).unwrap_or(u32::MAX);
        match tokio::time::timeout(self.timeout, self.room.clone().acquire_many_owned(permits)).await {
            Ok(permit) => Ok(QueuePermit { _permit: permit.map_err(|_| JournalError::Closed)? }),
            Err(_) => Err(StoreError::Refused(Refusal::Hung(self.timeout)).into()),
        }
    }

    /// Room for what is too small to be counted.
    pub(super) fn no_room(&self) -> Result<QueuePermit, JournalError> {
        let permit = self.room.clone().try_acquire_many_owned(0).map_err(|_| JournalError::Closed)?;
        Ok(QueuePermit { _permit: permit })
    }

    pub(super) fn queued_bytes(&self) -> usize {
        QUEUE_BYTES_MAX - self.room.available_permits().min(QUEUE_BYTES_MAX)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        // The thread looks at `closed` under this lock: it cannot miss the call.
        drop(self.shared.commands.lock());
        self.shared.arrived.notify_one();
    }
}

impl Shared {
    fn push(&self, command: Command) -> bool {
        let mut commands = self.commands.lock();
        if self.closed.load(Ordering::Acquire) {
            tracing::debug!("a command came after the journal was closed");
            return false;
        }
        commands.push_back(command);
        true
    }

    fn next(&self) -> Option<Command> {
        self.commands.lock().pop_front()
    }

    /// Carries out what is queued, if nobody else is at it. Whoever is looks again after he has let
    /// go, so nothing stays behind.
    fn carry_out(&self) {
        for _ in 0..TURNS_MAX {
            let Some(mut writer) = self.writer.try_lock() else { return };
            let Some(at_work) = writer.as_mut() else { return };
            let before = at_work.expects_to_wake();
            let stop = at_work.turn(|| self.next());
            let sooner = !before && at_work.expects_to_wake();
            if stop.is_some() {
                return self.end(writer, stop);
            }
            drop(writer);
            let commands = self.commands.lock();
            if sooner {
                self.due.store(true, Ordering::Release);
                self.arrived.notify_one();
            }
            if commands.is_empty() {
                return;
            }
        }
        self.arrived.notify_one();
    }

    /// The thread: what is queued, and what falls due.
    fn run(&self) {
        loop {
            let Some(wait) = self.writer.lock().as_ref().map(Writer::idle) else { return };
            {
                let mut commands = self.commands.lock();
                let closed = self.closed.load(Ordering::Acquire);
                if commands.is_empty() && closed {
                    drop(commands);
                    return self.end(self.writer.lock(), None);
                }
                if commands.is_empty() && !self.due.swap(false, Ordering::AcqRel) {
                    self.arrived.wait_for(&mut commands, wait);
                }
            }
            let mut writer = self.writer.lock();
            let Some(at_work) = writer.as_mut() else { return };
            let stop = at_work.turn(|| self.next());
            if stop.is_some() {
                return self.end(writer, stop);
            }
            let unsynced = at_work.take_sync_due();
            let failed = at_work.failed_store();
            drop(writer);
            if let Some(store) = failed {
                store.recover();
            }
            // Not under the lock: others go on writing meanwhile.
            if let Some(Err(error)) = unsynced.map(|store| store.sync()) {
                tracing::error!(%error, "a sync failed");
            }
        }
    }

    /// Makes everything durable and lets the store go, before whoever asked is told: he may open it
    /// again at once. What is still queued is dropped, and with it its replies.
    fn end(&self, mut writer: MutexGuard<'_, Option<Writer>>, stop: Option<oneshot::Sender<()>>) {
        if let Some(writer) = writer.take() {
            writer.end();
        }
        let left = {
            let mut commands = self.commands.lock();
            self.closed.store(true, Ordering::Release);
            std::mem::take(&mut *commands)
        };
        drop(writer);
        drop(left);
        self.arrived.notify_one();
        if let Some(reply) = stop {
            // Whoever asked may have stopped waiting.
            reply.send(()).unwrap_or_default();
        }
    }
}
