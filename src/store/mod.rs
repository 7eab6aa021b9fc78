//! The bytes on disk: segments with the contents of blocks, sled with everything else, and the encoding of every stored
//! value.
//!
//! ```text
//! DATA/journal/segment.N   commits, with the contents of their blocks (`log`), or copies of blocks (`moves`)
//! DATA/journal/            sled
//!   tree `blocks`   stream number (u64) . first entry id (2 x u64) . part (u16)  -> position of packed entries in a segment
//!   tree `streams`  stream name                                                  -> StreamRecord
//!   tree `tasks`    task id                                                      -> a record of `tasks`
//!   tree `groups`   stream number (u64) . group . kind . ..                       -> see `groups`
//!   tree `meta`     `opening`, `frame`, `indexed`, `garbage/` stream number      -> counters, removals an older version left
//!                   `summary/` stream number (u64)                               -> a summary of `runs`
//!                   `index/` stream number (u64) . first entry of a page         -> see `block_index`
//! ```
//!
//! # Life of a block
//!
//! ```text
//! put_block -> pending.next -- commit --> a frame of the log, synced -> pending.recent (position) -- checkpoint --> sled
//! remove_block -> pending.next -- commit --> pending.recent (deleted) -- checkpoint --> its bytes are dead
//! reclaim: no live bytes -> the segment is removed; mostly dead -> live blocks are copied, then it is removed
//! ```
//!
//! - Writes wait in memory (`pending`), where reads see them. [`Store::commit`] makes all of them durable, or none: one
//!   frame at the end of the log, and one sync. The frame is where the contents of its blocks remain.
//! - sled is an index, and receives commits in batches (`checkpoint`), so a commit waits neither for it nor for its
//!   file. A block that is removed before a checkpoint never reaches it.
//! - After a kill, the commits that sled lacks are replayed from the log, which restores the positions of their blocks.
//! - A segment is removed only after sled has durably forgotten every position in it, and has every commit in it. Dead
//!   bytes are at most about a configured part of all segments.
//! - Every position has the CRC of its block, which each read checks.
//! - Blocks of format 4 and earlier remain in the tree `blocks`, in parts of [`VALUE_BYTES_MAX`], until they are removed
//!   or rewritten. The two files of the earlier write-ahead log are replayed and removed by the next opening.
//!
//! # Disk failures
//!
//! | failure | effect |
//! |---|---|
//! | little space is left (`space`) | [`Store::check_can_grow`] fails; removals are still accepted |
//! | a frame cannot be written: disk full, read-only | the commit is discarded; the next may succeed |
//! | sled meets a full or read-only disk in a checkpoint | writes are rejected and reads continue (except for pages that sled has evicted from memory and not written: [`Unavailable::NoSpace`]); sled is reopened (`recover`) once there is space for it; memory and the log have every commit |
//! | a sync fails, or any other error | the store is poisoned: the state on disk is unknown, so it accepts no writes until the next start |

mod batch;
pub mod block;
mod block_index;
mod block_rows;
mod check;
mod checkpoint;
pub mod codec;
mod commit;
pub mod dump;
mod folder;
mod frame;
pub mod groups;
mod legacy_log;
mod live;
mod log;
mod moves;
mod open;
mod pending;
mod position;
mod rebuild;
mod reclaim;
mod record;
mod recover;
mod replay;
mod segments;
mod space;
mod summary;
mod task_rows;
mod tree_id;
mod trees;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use sled::IVec;

use crate::model::Timestamp;
use crate::model::limits::Limits;
use batch::RowWrite;

pub use block_index::{BlockRef, INDEX_PAGE_BLOCKS, are_consecutive};
pub use check::StoreCheck;
pub use folder::{FILE_MODE, create_folder, make_private, restrict, sync_folder, write_private};
use live::LiveBlocks;
use log::CommitLog;
pub use open::OpenError;
use pending::{MergedScan, PendingWrites, TreeRow};
pub use record::{KeyRecord, StreamRecord};
use recover::Health;
use segments::Segments;
use space::DiskSpace;
pub use space::Unavailable;
pub use summary::RunRecord;
use tree_id::TreeId;
use trees::Trees;

/// Maximum bytes of a value in sled. A leaf of sled holds up to 17 of them, and a page over 128 KiB
/// would become a separate file that no commit syncs.
pub const VALUE_BYTES_MAX: usize = 7 * 1024;

/// Options of a store.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Bytes of the file system to keep free, if any; at most a fourth of it.
    pub disk_free_min: Option<u64>,
    /// Time after which a pending commit is reported as hung.
    pub commit_timeout: Duration,
    /// Bytes of a segment after which the next is begun, and of the log after which a checkpoint is due.
    pub segment_bytes: u64,
    /// Part of a segment, in percent, that must be dead before its live blocks are copied.
    pub segment_dead_percent: u64,
}

impl From<&Limits> for StoreOptions {
    fn from(limits: &Limits) -> Self {
        Self {
            disk_free_min: limits.disk_free_min,
            commit_timeout: limits.commit_timeout,
            segment_bytes: limits.journal_segment_bytes,
            segment_dead_percent: limits.journal_dead_percent,
        }
    }
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self::from(&Limits::default())
    }
}

/// The open store. Only one process may have it open: sled locks the folder.
#[derive(Debug)]
pub struct Store {
    /// The open sled; `None` only after reopening it failed. Locked to clone the handle, and while sled is
    /// reopened.
    trees: RwLock<Option<Arc<Trees>>>,
    pending: PendingWrites,
    segments: Arc<Segments>,
    /// The log of commits. Locked during a commit.
    log: Mutex<CommitLog>,
    /// Locked during a checkpoint, so that there is one at a time. Locked before `log`.
    live: Mutex<LiveBlocks>,
    /// Locked while space is reclaimed. Locked before `live`.
    reclaiming: Mutex<()>,
    /// Number of the last frame that sled has durably.
    applied_frame: AtomicU64,
    /// Bytes of the log since the last checkpoint.
    unapplied_bytes: AtomicU64,
    /// Bytes of blocks removed since space was reclaimed.
    freed_bytes: AtomicU64,
    counters: StoreCounters,
    space: DiskSpace,
    /// Health of sled and the log, which decides if writes are accepted.
    health: RwLock<Health>,
    folder: PathBuf,
    open_count: u64,
    options: StoreOptions,
    /// The highest stream number assigned so far.
    number_max: AtomicU64,
    /// Start of the disk operation in flight, in milliseconds since 1970; 0 if there is none.
    in_flight_since_ms: AtomicU64,
    /// Sizes after the last rebuild of sled's files, or before one that failed.
    last_rebuild: Mutex<Option<rebuild::Sizes>>,
}

/// Counters since the store was opened.
#[derive(Debug, Default)]
struct StoreCounters {
    /// Checkpoints.
    checkpoints: AtomicU64,
    /// Segments that were removed.
    removed_segments: AtomicU64,
    /// Bytes copied from mostly dead segments.
    copied_bytes: AtomicU64,
}

/// Sizes of a store and counters since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreUse {
    /// Bytes of sled's files.
    pub index_bytes: u64,
    /// Number of segments.
    pub segments: u64,
    /// Bytes of all segments.
    pub segment_bytes: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Segments that were removed.
    pub removed_segments: u64,
    /// Bytes copied from mostly dead segments.
    pub copied_bytes: u64,
}

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// sled failed.
    #[error("cannot read or write the store: {0}")]
    Sled(#[from] sled::Error),
    /// A write to the log, or a sync, failed.
    #[error("cannot sync the store to disk: {0}")]
    Sync(#[source] std::io::Error),
    /// The store cannot be written now: the pending writes were discarded. Reads continue.
    #[error("writes are temporarily unavailable: {0}")]
    Unavailable(Unavailable),
    /// A write failed earlier; reads continue.
    #[error("the store is read-only until the server is restarted: {0}")]
    Poisoned(String),
    /// A stored value is damaged.
    #[error("damaged value at {at}: {what}")]
    Damaged {
        /// Location of the value.
        at: String,
        /// Description of the damage.
        what: String,
    },
}

impl Store {
    /// Returns how often this store has been opened, including this time.
    pub fn open_count(&self) -> u64 {
        self.open_count
    }

    /// Returns a stream number that was never used before.
    pub fn next_stream_number(&self) -> Result<u64, StoreError> {
        let number = self.trees()?.db.generate_id()?;
        self.number_max.fetch_max(number, Ordering::AcqRel);
        Ok(number)
    }

    /// Returns the bytes that the store uses on disk.
    pub fn size_on_disk(&self) -> u64 {
        let StoreUse { index_bytes, segment_bytes, .. } = self.usage();
        index_bytes + segment_bytes
    }

    /// Returns the sizes of the store and its counters.
    pub fn usage(&self) -> StoreUse {
        let states = self.segments.states();
        StoreUse {
            index_bytes: self.trees().map_or(0, |trees| trees.db.size_on_disk().unwrap_or(0)),
            segments: states.len() as u64,
            segment_bytes: states.iter().map(|state| state.bytes).sum(),
            checkpoints: self.counters.checkpoints.load(Ordering::Relaxed),
            removed_segments: self.counters.removed_segments.load(Ordering::Relaxed),
            copied_bytes: self.counters.copied_bytes.load(Ordering::Relaxed),
        }
    }

    /// Returns the free bytes of the file system, as last sampled.
    pub fn free_bytes(&self) -> u64 {
        self.space.free_bytes()
    }

    fn trees(&self) -> Result<Arc<Trees>, StoreError> {
        let reopening = || StoreError::Unavailable(Unavailable::Reopening("it is being opened".to_owned()));
        self.trees.read().clone().ok_or_else(reopening)
    }

    fn put(&self, tree: TreeId, key: &[u8], value: &[u8]) {
        self.pending.put(tree, key, RowWrite::Value(value.into()));
    }

    fn delete(&self, tree: TreeId, key: &[u8]) {
        self.pending.put(tree, key, RowWrite::Delete);
    }

    /// Returns a row as it is stored or will be; `None` if there is none.
    fn row(&self, tree: TreeId, key: &[u8]) -> Result<Option<RowWrite>, StoreError> {
        // The handle first: while it is held sled is not reopened, so the pending writes match it.
        let trees = self.trees();
        match self.pending.get(tree, key) {
            Some(RowWrite::Delete) => Ok(None),
            Some(found) => Ok(Some(found)),
            None => Ok(trees?.of(tree).get(key).map_err(read_error)?.map(RowWrite::Value)),
        }
    }

    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        self.row(tree, key)?.map_or(Ok(None), |row| row.stored())
    }

    /// Returns the rows of a tree whose keys begin with `prefix`, in key order.
    fn scan(&self, tree: TreeId, prefix: &[u8]) -> impl Iterator<Item = Result<(IVec, IVec), StoreError>> + use<> {
        let stored = |(key, row): TreeRow| Ok(row.stored()?.map(|value| (key, value)));
        self.scan_rows(tree, prefix).filter_map(move |row| row.and_then(stored).transpose())
    }

    /// Returns the rows of a tree whose keys begin with `prefix`, in key order, as they are stored or will be.
    fn scan_rows(&self, tree: TreeId, prefix: &[u8]) -> impl Iterator<Item = Result<TreeRow, StoreError>> + use<> {
        Self::rows(self.trees().map(|trees| self.pending.scan(tree, trees.of(tree), prefix)))
    }

    /// Returns the rows of a tree from the key `from` to before the key `end`, as [`Self::scan_rows`].
    fn scan_rows_between(
        &self,
        tree: TreeId,
        from: &[u8],
        end: &[u8],
    ) -> impl Iterator<Item = Result<TreeRow, StoreError>> + use<> {
        Self::rows(self.trees().map(|trees| self.pending.scan_between(tree, trees.of(tree), from, end)))
    }

    fn rows(scan: Result<MergedScan, StoreError>) -> impl Iterator<Item = Result<TreeRow, StoreError>> + use<> {
        let (scan, failed) = match scan {
            Ok(scan) => (Some(scan), None),
            Err(error) => (None, Some(Err(error))),
        };
        let with_cause = |row: Result<TreeRow, StoreError>| match row {
            Err(StoreError::Sled(error)) => Err(read_error(error)),
            row => row,
        };
        failed.into_iter().chain(scan.into_iter().flatten()).map(with_cause)
    }

    /// Returns the record of a stream, if it exists.
    pub fn stream(&self, name: &[u8]) -> Result<Option<StreamRecord>, StoreError> {
        let value = self.get(TreeId::Streams, name)?;
        value.map(|value| StreamRecord::decode(&value)).transpose()
    }

    /// Writes the record of a stream.
    pub fn put_stream(&self, name: &[u8], record: &StreamRecord) -> Result<(), StoreError> {
        self.check_writable()?;
        self.put(TreeId::Streams, name, &record.encode()?);
        Ok(())
    }

    /// Returns the names of all streams, sorted.
    pub fn stream_names(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        self.scan(TreeId::Streams, &[]).map(|row| Ok(row?.0.to_vec())).collect()
    }

    /// Returns all streams with their records, sorted by name.
    pub fn streams(&self) -> impl Iterator<Item = Result<(IVec, StreamRecord), StoreError>> + use<> {
        self.streams_with_prefix(&[])
    }

    /// Returns the streams whose names begin with `prefix`, with their records, sorted by name.
    pub fn streams_with_prefix(
        &self,
        prefix: &[u8],
    ) -> impl Iterator<Item = Result<(IVec, StreamRecord), StoreError>> + use<> {
        self.scan(TreeId::Streams, prefix).map(|row| {
            let (name, record) = row?;
            Ok((name, StreamRecord::decode(&record)?))
        })
    }

    /// Removes a stream and its blocks. A newer stream of the same name is left alone.
    pub fn remove_stream(&self, name: &[u8], number: u64) -> Result<(), StoreError> {
        self.check_writable()?;
        if !matches!(self.stream(name), Ok(Some(record)) if record.number != number) {
            self.delete(TreeId::Streams, name);
        }
        self.remove_content(number)
    }

    /// Removes the blocks, the groups, the index and the summary of a stream.
    fn remove_content(&self, number: u64) -> Result<(), StoreError> {
        self.remove_summary(number)?;
        self.remove_index(number)?;
        self.remove_blocks(number)?;
        self.remove_groups(number)
    }
}

/// Returns the current time in milliseconds since 1970.
fn now_ms() -> u64 {
    Timestamp::now().as_millis()
}

/// Prefix of the `meta` keys under which an older version listed streams whose removal was not finished.
const GARBAGE: &[u8] = b"garbage/";

/// Maps an error of a read. sled writes a page that it has evicted before it reads it back, so a read can
/// fail for lack of space.
fn read_error(error: sled::Error) -> StoreError {
    match &error {
        sled::Error::Io(source) if Unavailable::is_no_space(source) => {
            let why = format!("pages that sled has not written yet cannot be read until space is freed: {source}");
            StoreError::Unavailable(Unavailable::NoSpace(why))
        }
        _ => error.into(),
    }
}
