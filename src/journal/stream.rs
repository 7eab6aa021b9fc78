//! One stream in memory: its blocks and its tip.

use std::collections::VecDeque;

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use ulid::Ulid;

use super::JournalError;
use super::load::{IndexedBlocks, LoadedStream};
use crate::model::{EntryId, Timestamp};
pub(super) use crate::store::BlockRef;
use crate::store::{KeyRecord, Store, StreamRecord};

/// The end of a stream and its totals. Readers watch it; it carries no entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tip {
    /// Greatest ID ever added.
    pub last_id: EntryId,
    /// Line number of that entry; 0 if there was never one.
    pub last_line: u64,
    /// Line number of the first remaining entry; above `last_line` if there is none.
    pub first_line: u64,
    /// Bytes of all lines ever added, including one newline each.
    pub total_bytes: u64,
    /// Number of lines that workers reported as dropped.
    pub total_skipped: u64,
    /// Number of lines of tasktail itself that were added since the stream was loaded.
    pub own_lines: u64,
    /// Set once the stream was removed and will not grow.
    pub removed: bool,
    /// Set if the key exists: from its first entry until DEL.
    pub exists: bool,
    /// Line number of the key's first entry. Earlier entries were trimmed or belong to an earlier key. In
    /// an archived stream they may still be readable by line number.
    pub shown_line: u64,
    /// Number of entries of the key, without deleted ones (Redis: XLEN).
    pub shown_len: u64,
}

impl Tip {
    /// Returns the number of remaining entries.
    pub fn len(&self) -> u64 {
        (self.last_line + 1).saturating_sub(self.first_line)
    }

    /// Reports whether no entry remains.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A stream. Shared by readers and the writer.
#[derive(Debug)]
pub struct Stream {
    pub(super) name: Box<[u8]>,
    pub(super) number: u64,
    incarnation: u64,
    /// Set if its lines are archived elsewhere: they remain until [`super::Trim::ThroughLine`], even if
    /// the key is deleted.
    pub(super) archived: bool,
    /// Published blocks, in order. Locked only briefly.
    pub(super) blocks: RwLock<VecDeque<BlockRef>>,
    /// Pages of the stored block index, in order, including those of this commit. Used by the writer only.
    pub(super) index: Mutex<Vec<IndexedBlocks>>,
    /// Last durable number of each session, least recently used first.
    pub(super) sessions: Mutex<Vec<(String, u64)>>,
    pub(super) expires: RwLock<Option<Timestamp>>,
    /// Published properties of the key that are not in the tip.
    pub(super) key: Mutex<KeyRecord>,
    pub(super) tip: watch::Sender<Tip>,
}

impl Stream {
    /// Creates a stream that is not stored yet.
    pub(super) fn new(name: &[u8], number: u64, archived: bool) -> Self {
        let incarnation = u64::try_from(Ulid::generate().random() & u128::from(u64::MAX)).unwrap_or(number);
        let key = KeyRecord { shown_line: 1, ..KeyRecord::default() };
        let record = StreamRecord { number, incarnation, first_line: 1, key, ..StreamRecord::default() };
        let (blocks, index) = (VecDeque::new(), Vec::new());
        Self::from_loaded(name, LoadedStream { record, blocks, index, deleted: 0 }, archived)
    }

    /// Loads a stream from its record and its blocks.
    pub(super) fn load(store: &Store, name: &[u8], record: StreamRecord, archived: bool) -> Result<Self, JournalError> {
        Ok(Self::from_loaded(name, LoadedStream::load(store, name, record)?, archived))
    }

    fn from_loaded(name: &[u8], loaded: LoadedStream, archived: bool) -> Self {
        let LoadedStream { record, blocks, index, deleted } = loaded;
        let span = (record.last_line + 1).saturating_sub(record.key.shown_line);
        let tip = Tip {
            exists: record.key.exists,
            shown_line: record.key.shown_line,
            shown_len: span.saturating_sub(deleted),
            last_id: record.last_id,
            last_line: record.last_line,
            first_line: record.first_line,
            total_bytes: record.total_bytes,
            total_skipped: record.total_skipped,
            own_lines: 0,
            removed: false,
        };
        Self {
            name: name.into(),
            number: record.number,
            incarnation: record.incarnation,
            archived,
            blocks: RwLock::new(blocks),
            index: Mutex::new(index),
            sessions: Mutex::new(record.sessions),
            expires: RwLock::new(record.expires_ms.map(Timestamp::from_millis)),
            key: Mutex::new(record.key),
            tip: watch::Sender::new(tip),
        }
    }

    /// Replaces the published blocks and expiration time by the stored ones, after a failed commit that
    /// changed them. The tip changes only after a commit, so it is still correct.
    pub(super) fn reload(&self, store: &Store) -> Result<(), JournalError> {
        let stored = match store.stream(&self.name)?.filter(|record| record.number == self.number) {
            Some(record) => Self::load(store, &self.name, record, self.archived)?,
            None => Self::new(&self.name, self.number, self.archived),
        };
        *self.blocks.write() = stored.blocks.into_inner();
        *self.index.lock() = stored.index.into_inner();
        *self.expires.write() = stored.expires.into_inner();
        Ok(())
    }

    /// Returns the name of the stream.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Returns the random number that distinguishes this stream from earlier ones with the same name.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Returns the current tip.
    pub fn tip(&self) -> Tip {
        *self.tip.borrow()
    }

    /// Subscribes to changes of the tip.
    pub fn watch(&self) -> watch::Receiver<Tip> {
        self.tip.subscribe()
    }

    /// Returns the last durable number of a session; 0 if the session is unknown.
    pub fn acked_seq(&self, session: &str) -> u64 {
        self.sessions.lock().iter().find(|(name, _)| name == session).map_or(0, |(_, seq)| *seq)
    }

    /// Returns the last durable number of each session, least recently used first.
    pub fn sessions(&self) -> Vec<(String, u64)> {
        self.sessions.lock().clone()
    }

    /// Returns the expiration time.
    pub fn expires(&self) -> Option<Timestamp> {
        *self.expires.read()
    }

    /// Reports whether readers must not see the stream: it was removed, or expired and is not archived.
    pub(super) fn is_unavailable(&self, now: Timestamp) -> bool {
        self.tip.borrow().removed || (!self.archived && self.is_expired(now))
    }

    /// Reports whether the key has expired.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires().is_some_and(|at| at <= now)
    }
}
