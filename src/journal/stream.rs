//! One stream in memory: where its blocks are, and its tip.

use std::collections::VecDeque;

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use ulid::Ulid;

use super::JournalError;
use crate::model::{EntryId, Timestamp};
use crate::store::block::{self, BlockHeader};
use crate::store::{KeyRecord, Store, StreamRecord};

/// Sessions of a stream whose numbers are remembered; the least recently used goes first. With names
/// of 128 bytes they still fit a stored value.
pub(super) const SESSIONS_MAX: usize = 48;

/// The end of a stream, and what it adds up to. Watched by readers; carries no entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tip {
    /// The greatest id ever added.
    pub last_id: EntryId,
    /// The line number of that entry; 0 if there was never one.
    pub last_line: u64,
    /// The first entry that is still here has this line number; above `last_line` if none is.
    pub first_line: u64,
    /// Bytes of all lines ever added, a newline each.
    pub total_bytes: u64,
    /// Lines that a worker said it dropped.
    pub total_skipped: u64,
    /// The stream was removed: nothing more will come.
    pub removed: bool,
    /// Whether there is a key of this name: not before its first entry, not after DEL.
    pub exists: bool,
    /// Entries of the key begin here. Those before it are trimmed, or of an earlier key; in a stream
    /// whose lines are kept elsewhere they may still be here for those who read by line.
    pub shown_line: u64,
    /// Entries of the key, without deleted ones (Redis: XLEN).
    pub shown_len: u64,
}

impl Tip {
    /// Entries that are here.
    pub fn len(&self) -> u64 {
        (self.last_line + 1).saturating_sub(self.first_line)
    }

    /// Whether no entry is here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where one block is and what it spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockRef {
    pub(super) first: EntryId,
    pub(super) last: EntryId,
    pub(super) first_line: u64,
    pub(super) count: u32,
    pub(super) bytes: u32,
}

impl BlockRef {
    pub(super) fn new(first: EntryId, header: &BlockHeader) -> Self {
        let BlockHeader { last_id: last, first_line, count, bytes, .. } = *header;
        Self { first, last, first_line, count, bytes }
    }

    pub(super) fn last_line(&self) -> u64 {
        self.first_line + u64::from(self.count) - 1
    }
}

/// One stream. Readers and the writer share it.
#[derive(Debug)]
pub struct Stream {
    pub(super) name: Box<[u8]>,
    pub(super) number: u64,
    birth: u64,
    /// Its lines are kept elsewhere: they stay here until [`super::Trim::ThroughLine`], whatever
    /// becomes of the key.
    pub(super) kept: bool,
    /// Published blocks, in order. Held only to look up or to change a few rows.
    pub(super) blocks: RwLock<VecDeque<BlockRef>>,
    /// The last durable number of each session, least recently used first.
    pub(super) sessions: Mutex<Vec<(String, u64)>>,
    pub(super) expires: RwLock<Option<Timestamp>>,
    /// What is published of the key besides the tip.
    pub(super) key: Mutex<KeyRecord>,
    pub(super) tip: watch::Sender<Tip>,
}

impl Stream {
    /// A stream that is not stored yet.
    pub(super) fn new(name: &[u8], number: u64, kept: bool) -> Self {
        let birth = u64::try_from(Ulid::generate().random() & u128::from(u64::MAX)).unwrap_or(number);
        let key = KeyRecord { shown_line: 1, ..KeyRecord::default() };
        let record = StreamRecord { number, birth, first_line: 1, key, ..StreamRecord::default() };
        Self::from_record(name, &record, VecDeque::new(), kept, 0)
    }

    /// A stream from its record and its blocks; the blocks are newer where both speak.
    pub(super) fn load(store: &Store, name: &[u8], mut record: StreamRecord, kept: bool) -> Result<Self, JournalError> {
        let mut blocks: VecDeque<BlockRef> = VecDeque::new();
        let (known, mut deleted) = (record.last_line, 0);
        for row in store.blocks_of(record.number) {
            let (first, bytes) = row?;
            let header = block::decode_header(&bytes)?;
            if header.bytes as usize != bytes.len() || header.count == 0 {
                tracing::error!(stream = %String::from_utf8_lossy(name), block = %first, "a block is not whole and is passed over");
                continue;
            }
            let found = BlockRef::new(first, &header);
            // Below the watermark, or packed into the block before: a kill came before its removal.
            let stale =
                found.last_line() < record.first_line || blocks.back().is_some_and(|before| before.last >= found.first);
            if stale {
                if let Err(error) = store.remove_block(record.number, first, bytes.len()) {
                    tracing::debug!(%error, "a stale block stays until the store takes writes");
                }
                continue;
            }
            record.last_id = record.last_id.max(header.last_id);
            record.last_line = record.last_line.max(found.last_line());
            record.total_bytes = record.total_bytes.max(header.total_bytes);
            record.total_skipped = record.total_skipped.max(header.total_skipped);
            for (session, seq) in header.sessions {
                touch_session(&mut record.sessions, &session, seq);
            }
            // A deletion writes the record with the block, so where it tells of none there is none.
            if record.key.deleted > 0 {
                let shown_line = record.key.shown_line;
                block::decode(first, &bytes, |entry| {
                    deleted += u64::from(entry.n >= shown_line && entry.body.is_deleted());
                    true
                })?;
            }
            blocks.push_back(found);
        }
        record.key.entries_added += record.last_line - known;
        record.key.exists |= record.last_line > known;
        Ok(Self::from_record(name, &record, blocks, kept, deleted))
    }

    fn from_record(name: &[u8], record: &StreamRecord, blocks: VecDeque<BlockRef>, kept: bool, deleted: u64) -> Self {
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
            removed: false,
        };
        Self {
            name: name.into(),
            number: record.number,
            birth: record.birth,
            kept,
            blocks: RwLock::new(blocks),
            sessions: Mutex::new(record.sessions.clone()),
            expires: RwLock::new(record.expires_ms.map(Timestamp::from_millis)),
            key: Mutex::new(record.key),
            tip: watch::Sender::new(tip),
        }
    }

    /// Takes what is stored for what is published: a commit that changed either was not made. The tip
    /// moves only with a commit, so it is right as it is.
    pub(super) fn reload(&self, store: &Store) -> Result<(), JournalError> {
        let stored = match store.stream(&self.name)?.filter(|record| record.number == self.number) {
            Some(record) => Self::load(store, &self.name, record, self.kept)?,
            None => Self::new(&self.name, self.number, self.kept),
        };
        *self.blocks.write() = stored.blocks.into_inner();
        *self.expires.write() = stored.expires.into_inner();
        Ok(())
    }

    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Random; tells this stream from an earlier one of the same name.
    pub fn incarnation(&self) -> u64 {
        self.birth
    }

    /// Where it ends now.
    pub fn tip(&self) -> Tip {
        *self.tip.borrow()
    }

    /// To wait for it to grow.
    pub fn watch(&self) -> watch::Receiver<Tip> {
        self.tip.subscribe()
    }

    /// The last durable number of a session; 0 if nothing of it is known.
    pub fn acked_seq(&self, session: &str) -> u64 {
        self.sessions.lock().iter().find(|(name, _)| name == session).map_or(0, |(_, seq)| *seq)
    }

    /// The last durable number of each session, least recently used first.
    pub fn sessions(&self) -> Vec<(String, u64)> {
        self.sessions.lock().clone()
    }

    /// When it is gone for readers.
    pub fn expires(&self) -> Option<Timestamp> {
        *self.expires.read()
    }

    /// Whether nothing of it may be read any more.
    pub(super) fn is_gone(&self, now: Timestamp) -> bool {
        self.tip.borrow().removed || (!self.kept && self.is_expired(now))
    }

    /// Whether the time of the key has run out.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires().is_some_and(|at| at <= now)
    }
}

/// Moves a session to the recent end with a number that is at least `seq`.
pub(super) fn touch_session(sessions: &mut Vec<(String, u64)>, session: &str, seq: u64) {
    let before = match sessions.iter().position(|(name, _)| name == session) {
        Some(at) => sessions.remove(at).1,
        None => 0,
    };
    if sessions.len() >= SESSIONS_MAX {
        sessions.remove(0);
    }
    sessions.push((session.to_owned(), before.max(seq)));
}
