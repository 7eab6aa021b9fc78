//! The bytes on disk: sled trees, the keys in them, the form of every stored value.
//!
//! ```text
//! DATA/journal/         sled
//!   tree `blocks`   stream number (u64) . first entry id (2 x u64) . part (u16)  -> packed entries
//!   tree `streams`  stream name                                                  -> StreamRecord
//!   tree `tasks`    task id                                                      -> a record of `tasks`
//!   tree `groups`   stream number (u64) . group . kind . ..                       -> see `groups`
//!   tree `meta`     `opening`, `frame`, `garbage/` stream number                 -> counters, removals an older version left
//! ```
//!
//! What is written waits in memory (`overlay`), where reads see it. [`Store::commit`] makes all of it
//! durable, or nothing of it: one write to the write-ahead log (`wal`) and one sync; then sled takes it
//! in and writes in its own time.
//!
//! What becomes of it when the disk does not want it:
//!
//! | what | then |
//! |---|---|
//! | little room is left (`space`) | [`Store::may_grow`] says so; removals still go through |
//! | a frame is refused: disk full, read-only | the commit is forgotten, the next may succeed |
//! | sled meets a full or read-only disk | writes are refused, reads go on (but for pages that sled has put out of memory and not written: [`Refusal::NoSpace`]), and sled is opened again (`recover`) as soon as there is room for that: the log has every commit |
//! | a sync fails, or any other error | the store is poisoned: nobody can say what reached the disk, so it takes no writes until the next start |

pub mod block;
mod check;
pub mod codec;
pub mod dump;
pub mod groups;
mod open;
mod overlay;
mod rebuild;
mod record;
mod recover;
mod space;
mod trees;
mod wal;
mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use sled::IVec;

use crate::model::limits::Limits;
use crate::model::{EntryId, Timestamp};

pub use check::StoreCheck;
pub use open::OpenError;
pub use open::{create_folder, sync_folder};
use overlay::{Overlay, Row};
pub use record::{KeyRecord, StreamRecord};
use recover::Health;
pub use space::Refusal;
use space::Space;
use trees::Trees;
use wal::Place;
use write::Log;

/// Bytes of one stored value. A leaf of sled holds up to 17 of them, and a page over 128 KiB would
/// become a loose file that no commit syncs.
pub const VALUE_BYTES_MAX: usize = 7 * 1024;

/// How a store is kept.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Bytes of the file system that are to stay free, if any; at most a fourth of it.
    pub disk_free_min: Option<u64>,
    /// A commit that has not come back after this long is told.
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

/// The open store. One process at a time: sled holds a lock on the folder.
#[derive(Debug)]
pub struct Store {
    /// Held to take a handle, and while sled is opened again. Gone only where that failed.
    trees: RwLock<Option<Arc<Trees>>>,
    overlay: Overlay,
    /// Where commits go. Held through a commit.
    log: Mutex<Log>,
    space: Space,
    /// Why no write is taken, if so.
    health: RwLock<Health>,
    folder: PathBuf,
    opening: u64,
    options: StoreOptions,
    /// The highest number that a stream got.
    number_max: AtomicU64,
    /// When the commit that is under way began; 0 if none is.
    busy_since_ms: AtomicU64,
    /// What the last attempt to give back free space has left.
    given_back: Mutex<Option<rebuild::Left>>,
}

/// What can go wrong between a commit and the disk.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// sled said no.
    #[error("the store cannot be read or written: {0}")]
    Sled(#[from] sled::Error),
    /// The sync after a flush failed.
    #[error("the store cannot be synced to disk: {0}")]
    Sync(#[source] std::io::Error),
    /// Not now: nothing of what was to be written is left. Reads go on.
    #[error("nothing can be written now: {0}")]
    Refused(Refusal),
    /// A write failed earlier; reads go on.
    #[error("the store takes no more writes until the server is started again: {0}")]
    Poisoned(String),
    /// A stored value is not what it should be.
    #[error("damaged value at {at}: {what}")]
    Damaged {
        /// Which one.
        at: String,
        /// What is wrong with it.
        what: String,
    },
}

impl Store {
    /// How often this store has been opened, this time included.
    pub fn opening(&self) -> u64 {
        self.opening
    }

    /// A number no stream had before.
    pub fn next_stream_number(&self) -> Result<u64, StoreError> {
        let number = self.trees()?.db.generate_id()?;
        self.number_max.fetch_max(number, Ordering::AcqRel);
        Ok(number)
    }

    /// Bytes on disk.
    pub fn size_on_disk(&self) -> u64 {
        self.trees().map_or(0, |trees| trees.db.size_on_disk().unwrap_or(0))
    }

    /// Free bytes of the file system, as they were when it was last asked.
    pub fn free_bytes(&self) -> u64 {
        self.space.free_bytes()
    }

    fn trees(&self) -> Result<Arc<Trees>, StoreError> {
        let reopening = || StoreError::Refused(Refusal::Reopening("it is being opened".to_owned()));
        self.trees.read().clone().ok_or_else(reopening)
    }

    fn put(&self, place: Place, key: &[u8], value: &[u8]) {
        self.overlay.put(place, key, Some(value));
    }

    fn take(&self, place: Place, key: &[u8]) {
        self.overlay.put(place, key, None);
    }

    fn get(&self, place: Place, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        // The handle first: while it is held sled is not opened again, and the overlay fits it.
        let trees = self.trees();
        match self.overlay.get(place, key) {
            Some(found) => Ok(found),
            None => trees?.of(place).get(key).map_err(read_failed),
        }
    }

    /// The rows of a tree whose keys begin so, in order.
    fn scan(&self, place: Place, prefix: &[u8]) -> impl Iterator<Item = Result<Row, StoreError>> + use<> {
        let scan = self.trees().map(|trees| self.overlay.scan(place, trees.of(place), prefix));
        let (scan, failed) = match scan {
            Ok(scan) => (Some(scan), None),
            Err(error) => (None, Some(Err(error))),
        };
        let told = |row: Result<Row, StoreError>| match row {
            Err(StoreError::Sled(error)) => Err(read_failed(error)),
            row => row,
        };
        failed.into_iter().chain(scan.into_iter().flatten()).map(told)
    }

    /// The record of a stream.
    pub fn stream(&self, name: &[u8]) -> Result<Option<StreamRecord>, StoreError> {
        let value = self.get(Place::Streams, name)?;
        value.map(|value| StreamRecord::decode(&value)).transpose()
    }

    /// Writes the record of a stream.
    pub fn put_stream(&self, name: &[u8], record: &StreamRecord) -> Result<(), StoreError> {
        self.check()?;
        self.put(Place::Streams, name, &record.encode()?);
        Ok(())
    }

    /// The names of all streams, in their order.
    pub fn stream_names(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        self.scan(Place::Streams, &[]).map(|row| Ok(row?.0.to_vec())).collect()
    }

    /// All streams with their records, in the order of the names.
    pub fn streams(&self) -> impl Iterator<Item = Result<(IVec, StreamRecord), StoreError>> + use<> {
        self.streams_of(&[])
    }

    /// The streams whose names begin so, with their records, in the order of the names.
    pub fn streams_of(&self, prefix: &[u8]) -> impl Iterator<Item = Result<(IVec, StreamRecord), StoreError>> + use<> {
        self.scan(Place::Streams, prefix).map(|row| {
            let (name, record) = row?;
            Ok((name, StreamRecord::decode(&record)?))
        })
    }

    /// The first id of a stream's last block, if it has one.
    pub fn last_block(&self, number: u64) -> Result<Option<EntryId>, StoreError> {
        let trees = self.trees()?;
        let key = self.overlay.last_key(Place::Blocks, trees.of(Place::Blocks), &number.to_be_bytes());
        let key = key.map_err(read_failed)?;
        Ok(key.and_then(|key| parse_block_key(&key)).map(|(first, _)| first))
    }

    /// Forgets a stream and its blocks. A later stream of the same name stays.
    pub fn remove_stream(&self, name: &[u8], number: u64) -> Result<(), StoreError> {
        self.check()?;
        if !matches!(self.stream(name), Ok(Some(record)) if record.number != number) {
            self.take(Place::Streams, name);
        }
        self.finish_removal(number)
    }

    fn finish_removal(&self, number: u64) -> Result<(), StoreError> {
        for row in self.scan(Place::Blocks, &number.to_be_bytes()) {
            self.take(Place::Blocks, &row?.0);
        }
        self.remove_groups(number)
    }

    /// Writes a block. One too large for a value is stored in parts.
    pub fn put_block(&self, number: u64, first: EntryId, bytes: &[u8]) -> Result<(), StoreError> {
        self.check()?;
        for (part, bytes) in bytes.chunks(VALUE_BYTES_MAX).enumerate() {
            let part = u16::try_from(part).map_err(|_| damaged(number, first, "over 65,536 parts"))?;
            self.put(Place::Blocks, &block_key(number, first, part), bytes);
        }
        Ok(())
    }

    /// Reads a block; `None` if it was trimmed, or packed into another, in the meantime.
    pub fn block(&self, number: u64, first: EntryId, bytes: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(head) = self.get(Place::Blocks, &block_key(number, first, 0))? else { return Ok(None) };
        let mut block = head.to_vec();
        let mut part = 1;
        while block.len() < bytes {
            let Some(more) = self.get(Place::Blocks, &block_key(number, first, part))? else { return Ok(None) };
            block.extend_from_slice(&more);
            part += 1;
        }
        Ok(Some(block))
    }

    /// Removes a block of so many bytes.
    pub fn remove_block(&self, number: u64, first: EntryId, bytes: usize) -> Result<(), StoreError> {
        self.check()?;
        for part in 0..bytes.div_ceil(VALUE_BYTES_MAX).max(1) {
            let part = u16::try_from(part).map_err(|_| damaged(number, first, "over 65,536 parts"))?;
            self.take(Place::Blocks, &block_key(number, first, part));
        }
        Ok(())
    }

    /// Removes what is left of a block that now takes fewer bytes than before.
    pub fn remove_parts(&self, number: u64, first: EntryId, bytes: usize, before: usize) -> Result<(), StoreError> {
        self.check()?;
        let parts = |bytes: usize| bytes.div_ceil(VALUE_BYTES_MAX).max(1);
        for part in parts(bytes)..parts(before) {
            let part = u16::try_from(part).map_err(|_| damaged(number, first, "over 65,536 parts"))?;
            self.take(Place::Blocks, &block_key(number, first, part));
        }
        Ok(())
    }

    /// All blocks of a stream in order, each with the id in its key and all its parts joined.
    /// Parts without a first part, left by a kill, are passed over.
    pub fn blocks_of(&self, number: u64) -> impl Iterator<Item = Result<(EntryId, Vec<u8>), StoreError>> + use<> {
        let mut rows = self.scan(Place::Blocks, &number.to_be_bytes()).peekable();
        std::iter::from_fn(move || {
            loop {
                let (first, part, value) = match rows.next()? {
                    Ok((key, value)) => match parse_block_key(&key) {
                        Some((first, part)) => (first, part, value),
                        None => continue,
                    },
                    Err(error) => return Some(Err(error)),
                };
                if part != 0 {
                    continue;
                }
                let mut block = value.to_vec();
                while let Some(Ok((key, more))) = rows.peek() {
                    match parse_block_key(key) {
                        Some((of, part)) if of == first && part > 0 => block.extend_from_slice(more),
                        _ => break,
                    }
                    rows.next();
                }
                return Some(Ok((first, block)));
            }
        })
    }

    /// A task's record, as the layer that owns it wrote it.
    pub fn task(&self, id: &[u8]) -> Result<Option<IVec>, StoreError> {
        self.get(Place::Tasks, id)
    }

    /// All tasks' records.
    pub fn tasks(&self) -> impl Iterator<Item = Result<(IVec, IVec), StoreError>> + use<> {
        self.scan(Place::Tasks, &[])
    }

    /// Writes or, with `None`, removes a task's record.
    pub fn put_task(&self, id: &[u8], record: Option<&[u8]>) -> Result<(), StoreError> {
        self.check()?;
        match record {
            Some(record) => self.put(Place::Tasks, id, record),
            None => self.take(Place::Tasks, id),
        }
        Ok(())
    }
}

/// The key of a block's part: its order is the order of streams, then of entries, then of parts.
fn block_key(number: u64, first: EntryId, part: u16) -> [u8; 26] {
    let mut key = [0; 26];
    key[..8].copy_from_slice(&number.to_be_bytes());
    key[8..24].copy_from_slice(&first.to_be_bytes());
    key[24..].copy_from_slice(&part.to_be_bytes());
    key
}

fn parse_block_key(key: &[u8]) -> Option<(EntryId, u16)> {
    let id: [u8; 16] = key.get(8..24)?.try_into().ok()?;
    let part: [u8; 2] = key.get(24..26)?.try_into().ok()?;
    Some((EntryId::from_be_bytes(id), u16::from_be_bytes(part)))
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    Timestamp::now().as_millis()
}

/// Prefix of the `meta` keys by which an older version named streams whose removal was not finished.
const GARBAGE: &[u8] = b"garbage/";

fn damaged(number: u64, first: EntryId, what: &str) -> StoreError {
    StoreError::Damaged { at: format!("stream {number}, block {first}"), what: what.to_owned() }
}

/// sled writes a page that it has put out of memory before it reads it: without room it cannot.
fn read_failed(error: sled::Error) -> StoreError {
    match &error {
        sled::Error::Io(source) if Refusal::is_no_room(source) => {
            let said = format!("what it has not taken yet cannot be read until there is room: {source}");
            StoreError::Refused(Refusal::NoSpace(said))
        }
        _ => error.into(),
    }
}
