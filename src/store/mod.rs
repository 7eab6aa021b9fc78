//! The bytes on disk: sled trees, the keys in them, and the encoding of every stored value.
//!
//! ```text
//! DATA/journal/         sled
//!   tree `blocks`   stream number (u64) . first entry id (2 x u64) . part (u16)  -> packed entries
//!   tree `streams`  stream name                                                  -> StreamRecord
//!   tree `tasks`    task id                                                      -> a record of `tasks`
//!   tree `groups`   stream number (u64) . group . kind . ..                       -> see `groups`
//!   tree `meta`     `opening`, `frame`, `indexed`, `garbage/` stream number      -> counters, removals an older version left
//!                   `summary/` stream number (u64)                               -> a summary of `runs`
//!                   `index/` stream number (u64) . first entry of a page         -> see `block_index`
//! ```
//!
//! Writes wait in memory (`pending`), where reads see them. [`Store::commit`] makes all of them durable,
//! or none: one write to the write-ahead log (`wal`) and one sync. Then sled applies them and writes to
//! its own file at its own pace.
//!
//! Disk failures:
//!
//! | failure | effect |
//! |---|---|
//! | little space is left (`space`) | [`Store::check_can_grow`] fails; removals are still accepted |
//! | a frame cannot be written: disk full, read-only | the commit is discarded; the next may succeed |
//! | sled meets a full or read-only disk | writes are rejected and reads continue (except for pages that sled has evicted from memory and not written: [`Unavailable::NoSpace`]); sled is reopened (`recover`) once there is space for it; the log has every commit |
//! | a sync fails, or any other error | the store is poisoned: the state on disk is unknown, so it accepts no writes until the next start |

mod batch;
pub mod block;
mod block_index;
mod block_rows;
mod check;
pub mod codec;
mod commit;
pub mod dump;
mod folder;
pub mod groups;
mod open;
mod pending;
mod rebuild;
mod record;
mod recover;
mod space;
mod summary;
mod task_rows;
mod tree_id;
mod trees;
mod wal;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use sled::IVec;

use crate::model::Timestamp;
use crate::model::limits::Limits;

pub use block_index::{BlockRef, INDEX_PAGE_BLOCKS, are_consecutive};
pub use check::StoreCheck;
use commit::WalState;
pub use folder::{FILE_MODE, create_folder, make_private, restrict, sync_folder, write_private};
pub use open::OpenError;
use pending::{MergedScan, PendingWrites, TreeRow};
pub use record::{KeyRecord, StreamRecord};
use recover::Health;
use space::DiskSpace;
pub use space::Unavailable;
pub use summary::RunRecord;
use tree_id::TreeId;
use trees::Trees;

/// Maximum bytes of one stored value. A leaf of sled holds up to 17 of them, and a page over 128 KiB
/// would become a separate file that no commit syncs.
pub const VALUE_BYTES_MAX: usize = 7 * 1024;

/// Options of a store.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Bytes of the file system to keep free, if any; at most a fourth of it.
    pub disk_free_min: Option<u64>,
    /// Time after which a pending commit is reported as hung.
    pub commit_timeout: Duration,
}

impl From<&Limits> for StoreOptions {
    fn from(limits: &Limits) -> Self {
        Self { disk_free_min: limits.disk_free_min, commit_timeout: limits.commit_timeout }
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
    /// The write-ahead log. Locked during a commit.
    wal: Mutex<WalState>,
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

    /// Returns the bytes that sled uses on disk.
    pub fn size_on_disk(&self) -> u64 {
        self.trees().map_or(0, |trees| trees.db.size_on_disk().unwrap_or(0))
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
        self.pending.put(tree, key, Some(value));
    }

    fn delete(&self, tree: TreeId, key: &[u8]) {
        self.pending.put(tree, key, None);
    }

    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        // The handle first: while it is held sled is not reopened, so the pending writes match it.
        let trees = self.trees();
        match self.pending.get(tree, key) {
            Some(found) => Ok(found),
            None => trees?.of(tree).get(key).map_err(read_error),
        }
    }

    /// Returns the rows of a tree whose keys begin with `prefix`, in key order.
    fn scan(&self, tree: TreeId, prefix: &[u8]) -> impl Iterator<Item = Result<TreeRow, StoreError>> + use<> {
        Self::rows(self.trees().map(|trees| self.pending.scan(tree, trees.of(tree), prefix)))
    }

    /// Returns the rows of a tree from the key `from` to before the key `end`, in key order.
    fn scan_between(
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
        for row in self.scan(TreeId::Blocks, &number.to_be_bytes()) {
            self.delete(TreeId::Blocks, &row?.0);
        }
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
