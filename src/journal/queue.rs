//! The queue in front of the writer, and the threads that drain it.
//!
//! Under [`Durability::Commit`] a dedicated thread drains the queue: it runs everything that is queued,
//! and while it syncs, commands for the next commit gather. Under [`Durability::Interval`] a commit is
//! one short write, so the thread that submits a transaction drains the queue itself if no other thread
//! is doing so (flat combining); this saves a thread switch per transaction. The dedicated thread then
//! runs all other commands and the timers. Transactions that a caller queues together share a commit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::{Semaphore, oneshot};

use super::command::{PreparedTransaction, WriteCommand};
use super::commit::QueuePermit;
use super::nodes::SharedNodeLimits;
use super::streams::Streams;
use super::writer::Writer;
use super::{Durability, JournalCounters, JournalError, JournalOptions};
use crate::store::{Store, StoreError, Unavailable};

/// Bytes that may be queued; appending more waits.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Number of commits that a submitting thread runs before it leaves the rest to the dedicated thread.
const BATCHES_MAX: usize = 16;

/// The queue in front of the writer. Appends and transactions are bounded by bytes; the other commands
/// are small and rare.
#[derive(Debug)]
pub(super) struct WriteQueue {
    shared: Arc<QueueShared>,
    durability: Durability,
    /// Longest wait for capacity: as long as for a commit, which frees it.
    timeout: Duration,
    capacity: Arc<Semaphore>,
}

struct QueueShared {
    /// Commands in order. Locked only briefly.
    commands: Mutex<VecDeque<WriteCommand>>,
    /// Notifies the dedicated thread of a command, or that the journal is closed.
    arrived: Condvar,
    /// The thread that holds this lock drains the queue. `None` once the journal is closed.
    writer: Mutex<Option<Writer>>,
    /// Set, under the lock of `commands`, if the dedicated thread must recompute its timer.
    timer_changed: AtomicBool,
    closed: AtomicBool,
    /// Minimum time between the starts of two commits of the dedicated thread.
    commit_interval: Option<Duration>,
}

impl std::fmt::Debug for QueueShared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueShared").field("closed", &self.closed).finish_non_exhaustive()
    }
}

impl WriteQueue {
    /// Creates the queue and starts the dedicated thread.
    pub(super) fn start(
        store: Arc<Store>,
        options: &JournalOptions,
        counters: Arc<JournalCounters>,
        streams: Arc<Streams>,
        node_limits: Arc<SharedNodeLimits>,
    ) -> Self {
        let writer = Writer::new(store, options, counters, streams, node_limits);
        let shared = Arc::new(QueueShared {
            commands: Mutex::default(),
            arrived: Condvar::new(),
            writer: Mutex::new(Some(writer)),
            timer_changed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            commit_interval: options.limits.commit_interval_min.filter(|_| options.durability == Durability::Commit),
        });
        let thread = std::thread::Builder::new().name("journal-writer".into());
        let of_thread = shared.clone();
        if let Err(error) = thread.spawn(move || of_thread.run()) {
            tracing::error!(%error, "failed to start the journal writer thread");
        }
        Self {
            shared,
            durability: options.durability,
            timeout: options.limits.commit_timeout,
            capacity: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
        }
    }

    /// Queues a command for the dedicated thread. A closed journal drops the command and its reply
    /// channel, which the caller sees as `Closed`.
    pub(super) fn send(&self, command: WriteCommand) {
        if self.shared.push([command]) {
            self.shared.arrived.notify_one();
        }
    }

    /// Queues transactions, and under [`Durability::Interval`] drains the queue. The caller must not
    /// hold a lock that a transaction may acquire.
    pub(super) fn submit(&self, transactions: impl IntoIterator<Item = PreparedTransaction>) {
        if !self.shared.push(transactions.into_iter().map(WriteCommand::Transaction)) {
            return;
        }
        match self.durability {
            Durability::Commit => {
                self.shared.arrived.notify_one();
            }
            Durability::Interval => self.shared.drain(),
        }
    }

    /// Waits for capacity and reserves it.
    pub(super) async fn reserve(&self, bytes: usize) -> Result<QueuePermit, JournalError> {
        let permits = u32::try_from(bytes.min(QUEUE_BYTES_MAX)).unwrap_or(u32::MAX);
        match tokio::time::timeout(self.timeout, self.capacity.clone().acquire_many_owned(permits)).await {
            Ok(permit) => Ok(QueuePermit { _permit: permit.map_err(|_| JournalError::Closed)? }),
            Err(_) => Err(StoreError::Unavailable(Unavailable::Hung(self.timeout)).into()),
        }
    }

    /// Returns a permit without capacity, for commands too small to count.
    pub(super) fn empty_permit(&self) -> Result<QueuePermit, JournalError> {
        let permit = self.capacity.clone().try_acquire_many_owned(0).map_err(|_| JournalError::Closed)?;
        Ok(QueuePermit { _permit: permit })
    }

    /// Returns the bytes that are queued or reserved.
    pub(super) fn queued_bytes(&self) -> usize {
        QUEUE_BYTES_MAX - self.capacity.available_permits().min(QUEUE_BYTES_MAX)
    }
}

impl Drop for WriteQueue {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        // The thread checks `closed` under this lock, so it cannot miss the notification.
        drop(self.shared.commands.lock());
        self.shared.arrived.notify_one();
    }
}

impl QueueShared {
    /// Queues commands, all at once. Returns `false` if the journal is closed.
    fn push(&self, commands: impl IntoIterator<Item = WriteCommand>) -> bool {
        let mut queue = self.commands.lock();
        if self.closed.load(Ordering::Acquire) {
            tracing::debug!("dropped a command sent after the journal was closed");
            return false;
        }
        queue.extend(commands);
        true
    }

    fn pop(&self) -> Option<WriteCommand> {
        self.commands.lock().pop_front()
    }

    /// Runs the queued commands, unless another thread is doing so. That thread checks the queue again
    /// after releasing the writer, so no command is left over.
    fn drain(&self) {
        for _ in 0..BATCHES_MAX {
            let Some(mut guard) = self.writer.try_lock() else { return };
            let Some(writer) = guard.as_mut() else { return };
            let had_timer = writer.has_timer();
            let stop = writer.run_batch(|| self.pop());
            let timer_added = !had_timer && writer.has_timer();
            if stop.is_some() {
                return self.close(guard, stop);
            }
            drop(guard);
            let commands = self.commands.lock();
            if timer_added {
                self.timer_changed.store(true, Ordering::Release);
                self.arrived.notify_one();
            }
            if commands.is_empty() {
                return;
            }
        }
        self.arrived.notify_one();
    }

    /// Runs queued commands and timers until the journal is closed. The body of the dedicated thread.
    fn run(&self) {
        let mut last_commit = None;
        loop {
            let Some(wait) = self.writer.lock().as_ref().map(Writer::time_to_next_timer) else { return };
            {
                let mut commands = self.commands.lock();
                let closed = self.closed.load(Ordering::Acquire);
                if commands.is_empty() && closed {
                    drop(commands);
                    return self.close(self.writer.lock(), None);
                }
                if commands.is_empty() && !self.timer_changed.swap(false, Ordering::AcqRel) {
                    self.arrived.wait_for(&mut commands, wait);
                }
                self.gather(&mut commands, &mut last_commit);
            }
            let mut guard = self.writer.lock();
            let Some(writer) = guard.as_mut() else { return };
            let stop = writer.run_batch(|| self.pop());
            if stop.is_some() {
                return self.close(guard, stop);
            }
            let unsynced = writer.take_sync_due();
            let failed = writer.failed_store();
            drop(guard);
            if let Some(store) = failed {
                store.recover();
            }
            // Without the lock, so that other threads can write during the sync.
            if let Some(Err(error)) = unsynced.map(|store| store.sync()) {
                tracing::error!(%error, "failed to sync the store");
            }
        }
    }

    /// Waits while commands arrive until a commit may begin, so that they share it. The first after a pause waits for
    /// nothing.
    fn gather(&self, commands: &mut MutexGuard<'_, VecDeque<WriteCommand>>, last_commit: &mut Option<Instant>) {
        let Some(interval) = self.commit_interval else { return };
        if commands.is_empty() {
            return;
        }
        let begin = last_commit.map_or_else(Instant::now, |last| last + interval);
        let mut may_begin = self.closed.load(Ordering::Acquire);
        while !may_begin {
            may_begin = self.arrived.wait_until(commands, begin).timed_out() || self.closed.load(Ordering::Acquire);
        }
        *last_commit = Some(Instant::now());
    }

    /// Syncs everything, releases the store, then notifies the caller that asked to stop: it may reopen
    /// the store at once. Commands that are still queued are dropped with their reply channels.
    fn close(&self, mut guard: MutexGuard<'_, Option<Writer>>, stop: Option<oneshot::Sender<()>>) {
        if let Some(writer) = guard.take() {
            writer.close();
        }
        let left = {
            let mut commands = self.commands.lock();
            self.closed.store(true, Ordering::Release);
            std::mem::take(&mut *commands)
        };
        drop(guard);
        drop(left);
        self.arrived.notify_one();
        if let Some(reply) = stop {
            // The receiver may have been dropped.
            reply.send(()).unwrap_or_default();
        }
    }
}
