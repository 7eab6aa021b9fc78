//! Ordered logs with the semantics of Redis Streams, over [`crate::store`].
//!
//! ```text
//! append ──bytes──> queue ──> the one writer: number, pack, insert, commit, publish ──> tip, reply
//!                                                                        tip ──> tail (reads the page itself)
//! ```
//!
//! - One writes at a time (`queue` says who). It takes everything that waits, makes it durable once, then publishes:
//!   what a reader sees is durable ([`Durability::Commit`]), and load makes the batch larger, not
//!   the wait longer.
//! - Ids and line numbers grow and are never reused, whatever the clock does.
//! - A wake-up carries no data: readers watch the [`Tip`] and read the store themselves.
//!
//! ```
//! use tasktail::journal::{LineBatch, Durability, Journal, PageLimits};
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
//! let appended = journal.append(&stream, batch, None).await?.await?;   // queued, then durable
//! assert_eq!((appended.first_line, appended.last_line), (1, 1));
//!
//! let page = journal.read(&stream, 1, PageLimits::default())?;
//! assert_eq!(page.lines[0].line, "Building...");
//! journal.close().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })
//! # }
//! ```

mod append;
mod compact;
mod delete;
mod find;
mod group;
mod head;
mod info;
mod keys;
mod nodes;
mod queue;
mod read;
mod set_id;
mod stream;
mod streams;
mod sweep;
mod tail;
mod trim;
mod view;
mod waiting;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::model::limits::{LimitCounters, Limits};
use crate::model::{Clock, EntryId, Timestamp};
use crate::store::{KeyRecord, OpenError, Store, StoreError, StoreOptions, StreamRecord};

pub use append::{AppendAck, CommitTicket, LineBatch};
pub use group::{
    AutoClaim, AutoClaimed, Claim, ConsumerInfo, GROUP_NAME_BYTES_MAX, GroupError, GroupInfo, GroupResult, GroupStart,
    PendingEntry, PendingQuery, PendingSummary,
};
pub use info::StreamInfo;
pub use keys::{AddError, KeyMetadata, KeyReader, NewId, Snapshot, Transaction};
pub use nodes::NODE_ENTRIES_MAX;
pub use read::{EntryPage, IdRange, LinePage, PageLimits};
pub use set_id::{SetIdArgs, SetIdError};
pub use stream::{Stream, Tip};
pub use tail::{TailEvent, TailReader};
pub use trim::Trim;

pub use crate::store::Refusal;
pub use queue::QueuePermit;
use queue::{Command, Queue};
use streams::Streams;
pub use waiting::{BlockedClient, RetryFn, WakeReason};
pub use writer::CommitCallback;

/// When an append is answered and shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// After the sync of a group commit: it survives a power cut.
    #[default]
    Commit,
    /// After the write: it survives a kill. A sync every [`SYNC_INTERVAL`] bounds what a power cut costs.
    Interval,
}

/// Between two syncs under [`Durability::Interval`].
pub const SYNC_INTERVAL: Duration = Duration::from_millis(200);

/// How a journal is kept.
#[derive(Clone, Debug, Default)]
pub struct JournalOptions {
    /// When an append is answered and shown.
    pub durability: Durability,
    /// The limits in force.
    pub limits: Limits,
    /// Where it is counted that one of them was reached.
    pub hits: Arc<LimitCounters>,
    /// The clock that keys expire by.
    pub clock: Arc<Clock>,
    /// By its name, whether a stream's lines are kept elsewhere: they stay until [`Trim::ThroughLine`],
    /// whatever becomes of the key.
    pub archived: Option<fn(&[u8]) -> bool>,
}

/// What can go wrong with a journal.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// The store failed; it may be that reads still work.
    #[error("{0}")]
    Store(Arc<StoreError>),
    /// The stream was removed while the call was under way.
    #[error("the stream was removed")]
    Removed,
    /// No id is left. Redis: `ERR The stream has exhausted the last possible ID, unable to add more items`.
    #[error("the stream has exhausted the last possible id")]
    Exhausted,
    /// The journal is closed.
    #[error("the journal is closed")]
    Closed,
    /// Nothing was heard of the commit in time.
    #[error("the commit has not come back from the disk within {} s: whether it is stored is not known", .0.as_secs())]
    Unconfirmed(Duration),
}

impl JournalError {
    /// Whether it is because the disk is full or cannot be written now: nothing is stored, and later it
    /// may be.
    pub fn refusal(&self) -> Option<&Refusal> {
        let JournalError::Store(error) = self else { return None };
        match &**error {
            StoreError::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

impl From<StoreError> for JournalError {
    fn from(error: StoreError) -> Self {
        JournalError::Store(Arc::new(error))
    }
}

/// All streams of one store. Cheap to clone; every clone is the same journal.
#[derive(Clone, Debug)]
pub struct Journal {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<Store>,
    options: JournalOptions,
    streams: Arc<Streams>,
    queue: Queue,
    counters: Arc<JournalCounters>,
}

/// What the journal has done since it was opened.
#[derive(Debug, Default)]
pub struct JournalCounters {
    /// Entries made durable.
    pub entries: AtomicU64,
    /// When the last of them was, in milliseconds since 1970; 0 if none was.
    pub last_entry_ms: AtomicU64,
    /// Group commits.
    pub commits: AtomicU64,
    /// Blocks written.
    pub blocks: AtomicU64,
    /// Entries of a session that were there already, dropped.
    pub repeats: AtomicU64,
}

impl Journal {
    /// Opens the store in this folder and starts the writer.
    pub fn open(folder: &Path, durability: Durability) -> Result<Self, OpenError> {
        Self::open_with(folder, JournalOptions { durability, ..JournalOptions::default() })
    }

    /// The same, with options.
    pub fn open_with(folder: &Path, options: JournalOptions) -> Result<Self, OpenError> {
        let store = Arc::new(Store::open(folder, StoreOptions::from(&options.limits))?);
        let counters = Arc::new(JournalCounters::default());
        let streams = Arc::new(Streams::new(options.archived.unwrap_or(|_| false)));
        let queue = Queue::start(store.clone(), &options, counters.clone(), streams.clone());
        let inner = Inner { store, options, streams, queue, counters };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The stream of this name, if there is one and its time has not run out.
    pub fn stream(&self, name: &[u8]) -> Result<Option<Arc<Stream>>, JournalError> {
        let Some(stream) = self.inner.streams.find(&self.inner.store, name)? else { return Ok(None) };
        if !stream.is_gone(self.inner.options.clock.now()) {
            return Ok(Some(stream));
        }
        // One that is being removed the writer forgets, behind the store: forgotten before, the next to
        // look would load from the store what is about to go, and wait for blocks that never come.
        if !stream.tip().removed {
            self.inner.streams.forget(&stream);
            let (reply, _) = oneshot::channel();
            self.inner.queue.send(Command::Remove { stream, reply });
        }
        Ok(None)
    }

    /// The stream of this name; a new one is written with its first entry.
    pub fn stream_or_new(&self, name: &[u8]) -> Result<Arc<Stream>, JournalError> {
        match self.stream(name)? {
            Some(stream) => Ok(stream),
            None => self.inner.streams.begin(&self.inner.store, name),
        }
    }

    /// The stream of this name, which goes on behind `line` at least: those numbers must not be given
    /// again. Its key is gone if `key_went`; else the store was damaged and knows less than what was taken
    /// out of it before, and one that it knows nothing of was there.
    pub fn resume_stream(
        &self,
        name: &[u8],
        line: u64,
        id: EntryId,
        key_went: bool,
    ) -> Result<Arc<Stream>, JournalError> {
        let stream = self.stream_or_new(name)?;
        let tip = stream.tip();
        if tip.last_line >= line {
            return Ok(stream);
        }
        if !key_went {
            tracing::error!(stream = %String::from_utf8_lossy(name), known = tip.last_line, line, "the store was damaged and knows less of a stream than its archive, which it goes on behind");
        }
        let exists = tip.exists || (tip.last_line == 0 && !key_went);
        let key = KeyRecord { exists, shown_line: line + 1, ..KeyRecord::default() };
        let record = StreamRecord {
            number: stream.number,
            birth: stream.incarnation(),
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

    /// Names of all stored streams, in order.
    pub fn names(&self) -> Result<Vec<Vec<u8>>, JournalError> {
        Ok(self.inner.store.stream_names()?)
    }

    /// Keys whose names begin so, each with an id that no entry of it is far above: the last one's, or
    /// that of its block's first where the stream is not in use. No stream is loaded for it.
    pub fn latest_ids(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, EntryId)>, JournalError> {
        let (now, store) = (self.inner.options.clock.now(), &self.inner.store);
        let mut found = Vec::new();
        for row in store.streams_of(prefix) {
            let (name, record) = row?;
            match self.inner.streams.at_hand(&name) {
                Some(stream) if stream.is_gone(now) || !stream.tip().exists => {}
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

    /// Removes a stream, its entries and all that is known of it (Redis: DEL). Readers are woken.
    pub async fn remove(&self, stream: &Arc<Stream>) -> Result<(), JournalError> {
        self.ask(|reply| Command::Remove { stream: stream.clone(), reply }).await
    }

    /// Sets when the stream is gone for readers, or takes that back (Redis: PEXPIREAT, PERSIST).
    pub async fn expire_at(&self, stream: &Arc<Stream>, at: Option<Timestamp>) -> Result<(), JournalError> {
        self.ask(|reply| Command::Expire { stream: stream.clone(), at, reply }).await
    }

    /// Trims a stream; answers how many entries went (Redis: XTRIM).
    pub async fn trim(&self, stream: &Arc<Stream>, trim: Trim) -> Result<u64, JournalError> {
        self.ask(|reply| Command::Trim { stream: stream.clone(), trim, reply }).await
    }

    /// Packs neighbouring blocks that a trickle left small; answers how many blocks went.
    pub async fn compact(&self, stream: &Arc<Stream>) -> Result<u64, JournalError> {
        self.ask(|reply| Command::Compact { stream: stream.clone(), reply }).await
    }

    /// Writes or removes a task's record, after everything that was queued before.
    /// The record must fit a stored value ([`crate::store::VALUE_BYTES_MAX`]).
    pub fn put_task(
        &self,
        id: &[u8],
        record: Option<Vec<u8>>,
    ) -> impl Future<Output = Result<(), JournalError>> + Send + 'static + use<> {
        let (reply, answer) = oneshot::channel();
        self.inner.queue.send(Command::PutTask { id: id.into(), record, reply });
        let journal = self.clone();
        async move { journal.in_time(answer).await }
    }

    /// The store below, to read task records.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// What the journal has done since it was opened.
    pub fn counters(&self) -> &JournalCounters {
        &self.inner.counters
    }

    /// The clock that keys expire by.
    pub fn clock(&self) -> &Clock {
        &self.inner.options.clock
    }

    /// When an append is answered and shown.
    pub fn durability(&self) -> Durability {
        self.inner.options.durability
    }

    /// Bytes that wait to be written.
    pub fn queued_bytes(&self) -> usize {
        self.inner.queue.queued_bytes()
    }

    /// Writes what is queued, makes it durable and ends the writer. Later calls are answered with
    /// [`JournalError::Closed`].
    pub async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        self.inner.queue.send(Command::Stop { reply });
        // An error means the writer has ended already.
        if tokio::time::timeout(self.commit_timeout(), answer).await.is_err() {
            tracing::error!("the journal could not be closed: the disk does not answer");
        }
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, JournalError>>) -> Command,
    ) -> Result<T, JournalError> {
        let (reply, answer) = oneshot::channel();
        self.inner.queue.send(command(reply));
        self.in_time(answer).await
    }

    /// Whether something may be added now: the disk has room, takes writes and answers.
    pub fn check_can_grow(&self) -> Result<(), JournalError> {
        Ok(self.inner.store.may_grow()?)
    }

    /// How long an answer is waited for.
    pub fn commit_timeout(&self) -> Duration {
        self.inner.options.limits.commit_timeout
    }

    async fn in_time<T>(&self, answer: oneshot::Receiver<Result<T, JournalError>>) -> Result<T, JournalError> {
        let timeout = self.commit_timeout();
        match tokio::time::timeout(timeout, answer).await {
            Ok(answer) => answer.map_err(|_| JournalError::Closed)?,
            Err(_) => Err(JournalError::Unconfirmed(timeout)),
        }
    }
}

impl JournalCounters {
    /// When an entry was made durable last.
    pub fn last_entry(&self) -> Option<Timestamp> {
        let ms = self.last_entry_ms.load(Ordering::Relaxed);
        (ms > 0).then(|| Timestamp::from_millis(ms))
    }

    fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// Where a stream ends, for those who wait for it to grow.
pub type TipWatch = watch::Receiver<Tip>;
