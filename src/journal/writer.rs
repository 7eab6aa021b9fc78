//! The only writer. For each commit it numbers, packs, writes, syncs, publishes and replies, in this
//! order.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::blocked::{BlockedClients, EXPIRY_INTERVAL};
use super::checkpoints::CheckpointThread;
use super::command::WriteCommand;
use super::commit::PendingCommit;
use super::nodes::SharedNodeLimits;
use super::stream_state::{StreamState, WriteContext};
use super::streams::Streams;
use super::transaction::Transaction;
use super::watched::WatchedKeys;
use super::{Durability, JournalCounters, JournalError, JournalOptions, SYNC_INTERVAL};
use crate::model::Clock;
use crate::model::limits::{Limit, LimitCounters};
use crate::store::{Store, StoreError, Unavailable};

/// Bytes of one group commit; further commands wait for the next.
const COMMIT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Interval between two attempts to reopen a failed store.
const RECOVERY_INTERVAL: Duration = Duration::from_millis(500);
/// Longest wait of the writer when no timer is pending.
const IDLE_WAIT: Duration = Duration::from_secs(3600);

/// A lookup by name, which is valid until another stream is loaded.
pub(super) struct FoundStream {
    pub(super) name: Box<[u8]>,
    pub(super) number: u64,
    pub(super) loads: u64,
}

pub(super) struct Writer {
    /// First, so that the store is released last.
    checkpoints: CheckpointThread,
    pub(super) store: Arc<Store>,
    durability: Durability,
    pub(super) counters: Arc<JournalCounters>,
    pub(super) streams: Arc<Streams>,
    pub(super) node_limits: Arc<SharedNodeLimits>,
    pub(super) clock: Arc<Clock>,
    hits: Arc<LimitCounters>,
    /// An error if this commit must not add data.
    can_grow: Result<(), JournalError>,
    /// Buffer in which an entry is encoded.
    pub(super) encoded: Vec<u8>,
    /// Stream found last.
    pub(super) last_found: Option<FoundStream>,
    /// Streams that were written to, by number; dropped when the stream is removed.
    pub(super) states: HashMap<u64, StreamState>,
    pub(super) pending: PendingCommit,
    pub(super) watched: WatchedKeys,
    pub(super) blocked: BlockedClients,
    /// Time of the first commit since the last sync (only under [`Durability::Interval`]).
    unsynced_since: Option<Instant>,
}

impl Writer {
    pub(super) fn new(
        store: Arc<Store>,
        options: &JournalOptions,
        counters: Arc<JournalCounters>,
        streams: Arc<Streams>,
        node_limits: Arc<SharedNodeLimits>,
    ) -> Self {
        Self {
            checkpoints: CheckpointThread::start(store.clone()),
            clock: options.clock.clone(),
            store,
            durability: options.durability,
            counters,
            streams,
            node_limits,
            hits: options.hits.clone(),
            can_grow: Ok(()),
            encoded: Vec::new(),
            last_found: None,
            states: HashMap::new(),
            pending: PendingCommit::default(),
            watched: WatchedKeys::default(),
            blocked: BlockedClients::new(),
            unsynced_since: None,
        }
    }

    /// Runs the queued commands, up to the size of a commit, and commits them. Returns the channel to
    /// notify when the writer has stopped, if a command asked it to stop.
    pub(super) fn run_batch(&mut self, mut next: impl FnMut() -> Option<WriteCommand>) -> Option<oneshot::Sender<()>> {
        let mut stop = None;
        self.can_grow = self.store.check_can_grow().map_err(JournalError::from);
        while self.pending.bytes < COMMIT_BYTES_MAX {
            match next() {
                Some(WriteCommand::Stop { reply }) => {
                    stop = Some(reply);
                    break;
                }
                Some(command) => self.catch_panic(|writer| writer.execute(command)),
                None => break,
            }
        }
        self.catch_panic(Self::expire_blocking_keys);
        self.catch_panic(Self::finish_commit);
        stop
    }

    /// Runs `work` and turns a panic into a store failure. The store then rejects every write, so that
    /// nothing half written becomes durable, while reads continue.
    fn catch_panic(&mut self, work: impl FnOnce(&mut Self)) {
        let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| work(self))) else { return };
        let message = panic.downcast_ref::<&str>().map(ToString::to_string);
        let message = message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        self.store.poison(&StoreError::Poisoned(format!("the journal writer panicked: {message}")));
        // The commit now fails and reports the error to the waiting callers.
        self.pending.has_writes = true;
    }

    /// Returns an error if this commit must not add data, and counts a full disk.
    pub(super) fn check_can_grow(&self) -> Result<(), JournalError> {
        if let Err(error) = &self.can_grow
            && matches!(error.unavailable(), Some(Unavailable::Full { .. }))
        {
            self.hits.count(Limit::disk_free_min);
        }
        self.can_grow.clone()
    }

    /// Returns an error if this commit must not add data.
    pub(super) fn check_can_rewrite(&self) -> Result<(), JournalError> {
        self.can_grow.clone()
    }

    /// Reports whether a timer is pending, so that the writer must run even without a command.
    pub(super) fn has_timer(&self) -> bool {
        self.unsynced_since.is_some() || !self.blocked.is_empty() || self.store.has_failed()
    }

    /// Returns the time until the next timer.
    pub(super) fn time_to_next_timer(&self) -> Duration {
        let sync = self.unsynced_since.map_or(IDLE_WAIT, |since| SYNC_INTERVAL.saturating_sub(since.elapsed()));
        let expiry = if self.blocked.is_empty() { IDLE_WAIT } else { EXPIRY_INTERVAL };
        let recovery = if self.store.has_failed() { RECOVERY_INTERVAL } else { IDLE_WAIT };
        sync.min(expiry).min(recovery)
    }

    /// Returns the store if it has failed and should be reopened when possible.
    pub(super) fn failed_store(&self) -> Option<Arc<Store>> {
        self.store.has_failed().then(|| self.store.clone())
    }

    /// Returns the store if a sync is due, and restarts the sync timer.
    pub(super) fn take_sync_due(&mut self) -> Option<Arc<Store>> {
        self.unsynced_since.take_if(|since| since.elapsed() >= SYNC_INTERVAL).map(|_| self.store.clone())
    }

    /// Syncs everything and releases the store.
    pub(super) fn close(self) {
        if let Err(error) = self.store.commit() {
            tracing::error!(%error, "failed to sync the store on shutdown");
        }
        drop(self.checkpoints);
    }

    /// Notifies the clients that are blocked on an expired key, which no command may ever touch.
    fn expire_blocking_keys(&mut self) {
        let keys = self.blocked.keys_to_check();
        if keys.is_empty() {
            return;
        }
        let now = self.clock.now();
        for key in keys {
            // Finding an expired key deletes it.
            if let Err(error) = self.find(&key, now) {
                tracing::warn!(%error, "failed to check a blocked client's key; will retry");
            }
        }
        self.serve_blocked();
    }

    /// Retries the clients that are blocked on a changed key.
    pub(super) fn serve_blocked(&mut self) {
        if !self.blocked.is_empty() {
            Transaction::new(self).serve_blocked();
        }
    }

    /// Flushes the streams of this commit: the writes that follow must not become durable before them.
    pub(super) fn flush_streams(&mut self) -> Result<(), JournalError> {
        let cx = WriteContext {
            store: &self.store,
            counters: &self.counters,
            node_limits: &self.node_limits,
            now: self.clock.read(),
        };
        for number in &self.pending.streams {
            if let Some(state) = self.states.get_mut(number) {
                state.flush(&cx)?;
            }
        }
        Ok(())
    }

    /// Commits the pending writes, if any, and runs the callbacks.
    fn finish_commit(&mut self) {
        if self.pending.has_writes || !self.pending.streams.is_empty() {
            self.commit();
        } else {
            self.pending.run_callbacks(None);
        }
        self.pending.release_permits();
    }

    fn commit(&mut self) {
        self.pending.has_writes = false;
        let begun = Instant::now();
        let committed = self.flush_streams().and_then(|()| match self.durability {
            Durability::Commit => Ok(self.store.commit()?),
            Durability::Interval => {
                self.unsynced_since.get_or_insert_with(Instant::now);
                Ok(self.store.flush()?)
            }
        });
        self.counters.commit_seconds.observe(begun.elapsed().as_secs_f64());
        JournalCounters::add(&self.counters.commits, 1);
        let (mut removed_blocks, mut removed_pages) = (Vec::new(), Vec::new());
        match &committed {
            Ok(()) => {
                for number in self.pending.streams.drain(..) {
                    let Some(state) = self.states.get_mut(&number) else { continue };
                    removed_blocks.extend(state.publish(&self.counters).into_iter().map(|row| (number, row)));
                    removed_pages.extend(state.take_trimmed_pages().into_iter().map(|first| (number, first)));
                }
                self.pending.removed.clear();
                self.pending.compacted.clear();
            }
            Err(_) => self.rollback(),
        }
        self.pending.run_callbacks(committed.err().as_ref());
        if self.store.needs_checkpoint() {
            self.checkpoints.wake();
        }
        // After publishing, so that no reader can still find them. If the process is killed first, the
        // next open removes them.
        for (number, row) in removed_blocks {
            if let Err(error) = self.store.remove_block(number, row.first, row.bytes as usize) {
                tracing::warn!(%error, "failed to remove a trimmed block; it will be removed when the store is next opened");
            }
        }
        for (number, first) in removed_pages {
            if let Err(error) = self.store.remove_index_page(number, first) {
                tracing::warn!(%error, "failed to remove a page of the block index; it will be removed when the store is next opened");
            }
        }
    }

    /// Reverts the changes of a failed commit to the stored state. They were never published, so the
    /// next append continues at the published tip.
    fn rollback(&mut self) {
        self.last_found = None;
        let mut changed = std::mem::take(&mut self.pending.compacted);
        for number in self.pending.streams.drain(..) {
            changed.extend(self.states.remove(&number).map(|state| state.stream.clone()));
        }
        for stream in self.pending.removed.drain(..) {
            self.streams.restore(&stream);
            changed.push(stream);
        }
        for stream in changed {
            if let Err(error) = stream.reload(&self.store) {
                tracing::error!(stream = %String::from_utf8_lossy(&stream.name), %error, "failed to reload a stream after a failed commit");
            }
        }
    }
}
