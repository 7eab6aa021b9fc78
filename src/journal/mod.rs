//! Ordered logs with the semantics of Redis Streams, over [`crate::store`].
//!
//! ```text
//! append ──bytes──> queue ──> the only writer: number, pack, insert, commit, publish ──> tip, reply
//!                                                                       tip ──> tail (reads the page itself)
//! ```
//!
//! - Only one thread writes at a time; `queue` decides which. It runs everything that is queued, commits
//!   once, then publishes. A reader therefore sees only durable data ([`Durability::Commit`]), and load
//!   makes the batch larger, not the wait longer.
//! - IDs and line numbers increase and are never reused, even if the clock jumps back.
//! - A wake-up carries no data: readers watch the [`Tip`] and read the store themselves.
//! - `command`, `transaction`, `writer` and `blocked` refer to each other, because commands and blocked
//!   clients are closures that the writer runs and that receive the writer.
//!
//! ```
//! use tasktail::journal::{Durability, Journal, LineBatch, PageLimits};
//! use tasktail::model::{Channel, LineText, Timestamp};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let journal = Journal::open(folder.path(), Durability::Commit)?;
//! let stream = journal.stream_or_new(b"task:logs:42")?;
//! let mut batch = LineBatch::new();
//! let text = "Building...".into();
//! batch.push(&LineText { timestamp: Timestamp::now(), channel: Channel::Stdout, partial: false, lossy: false, text });
//! let ack = journal.append(&stream, batch, None).await?.await?;   // queued, then durable
//! assert_eq!((ack.first_line, ack.last_line), (1, 1));
//!
//! let page = journal.read(&stream, 1, PageLimits::default())?;
//! assert_eq!(page.lines[0].line, "Building...");
//! journal.close().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })
//! # }
//! ```

mod append;
mod batch;
mod blocked;
mod checkpoints;
mod command;
mod commit;
mod compact;
mod counters;
mod database;
mod delete;
mod entry_counts;
mod error;
mod execute;
mod group;
mod index;
mod info;
mod load;
mod lookup;
mod maintenance;
mod nodes;
mod numbering;
mod queue;
mod range;
mod read;
mod replica;
mod sessions;
mod set_id;
mod snapshot;
mod stream;
mod stream_state;
mod streams;
mod summary;
mod tail;
mod transaction;
mod trim;
mod view;
mod watched;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::model::limits::{LimitCounters, Limits};
use crate::model::{Clock, EntryId, Timestamp};
use crate::store::{KeyRecord, OpenError, Store, StoreOptions, StreamRecord};
use command::WriteCommand;
use nodes::SharedNodeLimits;
use queue::WriteQueue;
use streams::Streams;

pub use crate::store::{RunRecord, Unavailable};
pub use append::CommitTicket;
pub use batch::{AppendAck, LineBatch, LineNumbering};
pub use blocked::{BlockedClient, RetryFn};
pub use command::{PreparedTransaction, WakeReason};
pub use commit::{CommitCallback, QueuePermit};
pub use counters::JournalCounters;
pub use database::Database;
pub use error::JournalError;
pub use group::{
    AutoClaim, AutoClaimed, Claim, ConsumerInfo, GROUP_NAME_BYTES_MAX, GroupError, GroupInfo, GroupResult, GroupStart,
    PendingEntry, PendingQuery, PendingSummary,
};
pub use info::StreamInfo;
pub use nodes::NodeLimits;
pub use range::IdRange;
pub use read::{EntryPage, LinePage, PageLimits};
pub use replica::ReplicaBatch;
pub use set_id::{SetIdArgs, SetIdError};
pub use snapshot::{ForeignKeys, KeyDescription, KeyMetadata, KeyReader, Snapshot};
pub use stream::{Stream, Tip};
pub use summary::StreamEnd;
pub use tail::{TailEvent, TailReader};
pub use transaction::{AddError, NewId, Transaction};
pub use trim::Trim;

/// The point at which an append is acknowledged and published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// After the sync of a group commit: data survives a power failure.
    #[default]
    Commit,
    /// After the write: data survives a kill. A power failure loses at most the last [`SYNC_INTERVAL`].
    Interval,
}

/// Interval between two syncs under [`Durability::Interval`].
pub const SYNC_INTERVAL: Duration = Duration::from_millis(200);

/// Options of a journal.
#[derive(Clone, Debug, Default)]
pub struct JournalOptions {
    /// The point at which an append is acknowledged and published.
    pub durability: Durability,
    /// Limits in force.
    pub limits: Limits,
    /// Counters of limits that were reached.
    pub hits: Arc<LimitCounters>,
    /// Clock that decides when keys expire.
    pub clock: Arc<Clock>,
    /// Reports by name whether a stream is archived: its lines remain until [`Trim::ThroughLine`], even if
    /// the key is deleted.
    pub archived: Option<fn(&[u8]) -> bool>,
}

/// All streams of one store. Cheap to clone; clones share the same journal.
#[derive(Clone, Debug)]
pub struct Journal {
    inner: Arc<JournalInner>,
}

#[derive(Debug)]
struct JournalInner {
    store: Arc<Store>,
    options: JournalOptions,
    streams: Arc<Streams>,
    queue: WriteQueue,
    counters: Arc<JournalCounters>,
    node_limits: Arc<SharedNodeLimits>,
}

impl Journal {
    /// Opens the store in this folder and starts the writer.
    pub fn open(folder: &Path, durability: Durability) -> Result<Self, OpenError> {
        Self::open_with(folder, JournalOptions { durability, ..JournalOptions::default() })
    }

    /// Opens the store in this folder with options, and starts the writer.
    pub fn open_with(folder: &Path, options: JournalOptions) -> Result<Self, OpenError> {
        let store = Arc::new(Store::open(folder, StoreOptions::from(&options.limits))?);
        let counters = Arc::new(JournalCounters::default());
        let streams = Arc::new(Streams::new(options.archived.unwrap_or(|_| false)));
        let node_limits = Arc::new(SharedNodeLimits::default());
        let queue = WriteQueue::start(store.clone(), &options, counters.clone(), streams.clone(), node_limits.clone());
        let inner = JournalInner { store, options, streams, queue, counters, node_limits };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Returns the stream with this name, or `None` if it does not exist or has expired.
    pub fn stream(&self, name: &[u8]) -> Result<Option<Arc<Stream>>, JournalError> {
        let Some(stream) = self.inner.streams.find(&self.inner.store, name)? else { return Ok(None) };
        if !stream.is_unavailable(self.inner.options.clock.now()) {
            return Ok(Some(stream));
        }
        // The writer drops a stream that is being removed, after deleting it from the store. Dropped
        // earlier, the next lookup would load it from the store again and wait for blocks that are
        // never written.
        if !stream.tip().removed {
            self.inner.streams.forget(&stream);
            let (reply, _) = oneshot::channel();
            self.inner.queue.send(WriteCommand::Remove { stream, reply });
        }
        Ok(None)
    }

    /// Returns the stream with this name, or a new one, which is stored with its first entry.
    pub fn stream_or_new(&self, name: &[u8]) -> Result<Arc<Stream>, JournalError> {
        match self.stream(name)? {
            Some(stream) => Ok(stream),
            None => self.inner.streams.create(&self.inner.store, name),
        }
    }

    /// Returns the stream with this name after making sure that its next line number is above `line`,
    /// because the numbers up to `line` are archived.
    ///
    /// `key_deleted` means that the key was deleted. Otherwise a stream that ends before `line` shows that
    /// the store was damaged and lost entries, and a missing key is restored.
    pub fn resume_stream(
        &self,
        name: &[u8],
        line: u64,
        id: EntryId,
        key_deleted: bool,
    ) -> Result<Arc<Stream>, JournalError> {
        let stream = self.stream_or_new(name)?;
        let tip = stream.tip();
        if tip.last_line >= line {
            return Ok(stream);
        }
        if !key_deleted {
            tracing::error!(stream = %String::from_utf8_lossy(name), stored = tip.last_line, archived = line, "the store lost lines of a stream that are archived; continuing after the archive");
        }
        let exists = tip.exists || (tip.last_line == 0 && !key_deleted);
        let key = KeyRecord { exists, shown_line: line + 1, ..KeyRecord::default() };
        let record = StreamRecord {
            number: stream.number,
            incarnation: stream.incarnation(),
            last_id: tip.last_id.max(id),
            last_line: line,
            first_line: line + 1,
            total_bytes: tip.total_bytes,
            total_skipped: tip.total_skipped,
            sessions: stream.sessions(),
            expires_ms: stream.expires().map(Timestamp::as_millis),
            key,
        };
        self.inner.store.put_stream(name, &record)?;
        self.inner.streams.replace(&self.inner.store, name, record)
    }

    /// Returns the names of all stored streams, sorted.
    pub fn names(&self) -> Result<Vec<Vec<u8>>, JournalError> {
        Ok(self.inner.store.stream_names()?)
    }

    /// Returns the keys with this prefix, each with an ID close to its last one: the last ID itself, or
    /// the first ID of the last block if the stream is not loaded. No stream is loaded for it.
    pub fn latest_ids(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, EntryId)>, JournalError> {
        let (now, store) = (self.inner.options.clock.now(), &self.inner.store);
        let mut found = Vec::new();
        for row in store.streams_with_prefix(prefix) {
            let (name, record) = row?;
            match self.inner.streams.cached(&name) {
                Some(stream) if stream.is_unavailable(now) || !stream.tip().exists => {}
                Some(stream) => found.push((name.to_vec(), stream.tip().last_id)),
                None if record.expires_ms.is_some_and(|at| at <= now.as_millis()) => {}
                None => {
                    let last = store.last_block(record.number)?.unwrap_or_default();
                    found.push((name.to_vec(), last.max(record.last_id)));
                }
            }
        }
        Ok(found)
    }

    /// Removes a stream with its entries and metadata (Redis: DEL), and wakes its readers.
    pub async fn remove(&self, stream: &Arc<Stream>) -> Result<(), JournalError> {
        self.request(|reply| WriteCommand::Remove { stream: stream.clone(), reply }).await
    }

    /// Sets or clears the expiration time of a stream (Redis: PEXPIREAT, PERSIST).
    pub async fn expire_at(&self, stream: &Arc<Stream>, at: Option<Timestamp>) -> Result<(), JournalError> {
        self.request(|reply| WriteCommand::Expire { stream: stream.clone(), at, reply }).await
    }

    /// Trims a stream (Redis: XTRIM). Returns the number of removed entries.
    pub async fn trim(&self, stream: &Arc<Stream>, trim: Trim) -> Result<u64, JournalError> {
        self.request(|reply| WriteCommand::Trim { stream: stream.clone(), trim, reply }).await
    }

    /// Merges neighbouring small blocks. Returns the number of removed blocks.
    pub async fn compact(&self, stream: &Arc<Stream>) -> Result<u64, JournalError> {
        self.request(|reply| WriteCommand::Compact { stream: stream.clone(), reply }).await
    }

    /// Writes or removes a task's record, after everything that is already queued. The record must fit in
    /// a stored value ([`crate::store::VALUE_BYTES_MAX`]).
    pub fn put_task(
        &self,
        id: &[u8],
        record: Option<Vec<u8>>,
    ) -> impl Future<Output = Result<(), JournalError>> + Send + 'static + use<> {
        let (reply, receiver) = oneshot::channel();
        self.inner.queue.send(WriteCommand::PutTask { id: id.into(), record, reply });
        let journal = self.clone();
        async move { journal.with_timeout(receiver).await }
    }

    /// Returns the store, from which task records are read.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Returns the counters since the journal was opened.
    pub fn counters(&self) -> &JournalCounters {
        &self.inner.counters
    }

    /// Returns the limits of Redis' nodes.
    pub fn node_limits(&self) -> NodeLimits {
        self.inner.node_limits.get()
    }

    /// Changes the limits of Redis' nodes for entries added later.
    pub fn set_node_limits(&self, limits: NodeLimits) {
        self.inner.node_limits.set(limits);
    }

    /// Returns the clock that decides when keys expire.
    pub fn clock(&self) -> &Clock {
        &self.inner.options.clock
    }

    /// Returns the point at which an append is acknowledged and published.
    pub fn durability(&self) -> Durability {
        self.inner.options.durability
    }

    /// Returns the bytes that are queued for writing.
    pub fn queued_bytes(&self) -> usize {
        self.inner.queue.queued_bytes()
    }

    /// Writes and syncs everything that is queued, and stops the writer. Later calls return
    /// [`JournalError::Closed`].
    pub async fn close(&self) {
        let (reply, receiver) = oneshot::channel();
        self.inner.queue.send(WriteCommand::Stop { reply });
        // An error means that the writer has already stopped.
        if tokio::time::timeout(self.commit_timeout(), receiver).await.is_err() {
            tracing::error!("failed to close the journal: the disk does not respond");
        }
    }

    async fn request<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, JournalError>>) -> WriteCommand,
    ) -> Result<T, JournalError> {
        let (reply, receiver) = oneshot::channel();
        self.inner.queue.send(command(reply));
        self.with_timeout(receiver).await
    }

    /// Returns an error if data cannot be added now: the disk is full, failing or not responding.
    pub fn check_can_grow(&self) -> Result<(), JournalError> {
        Ok(self.inner.store.check_can_grow()?)
    }

    /// Returns the longest wait for a commit.
    pub fn commit_timeout(&self) -> Duration {
        self.inner.options.limits.commit_timeout
    }

    async fn with_timeout<T>(&self, receiver: oneshot::Receiver<Result<T, JournalError>>) -> Result<T, JournalError> {
        let timeout = self.commit_timeout();
        match tokio::time::timeout(timeout, receiver).await {
            Ok(reply) => reply.map_err(|_| JournalError::Closed)?,
            Err(_) => Err(JournalError::Unconfirmed(timeout)),
        }
    }
}
