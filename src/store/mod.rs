//! The bytes on disk: sled trees, the keys in them, the form of every stored value.
//!
//! ```text
//! DATA/journal/         sled
//!   tree `blocks`   stream number (u64) . first entry id (2 x u64) . part (u16)  -> packed entries
//!   tree `streams`  stream name                                                  -> StreamRecord
//!   tree `tasks`    task id                                                      -> a record of `tasks`
//!   tree `groups`   stream number (u64) . group . kind . ..                       -> see `groups`
//!   tree `meta`     `opening`, `garbage/` stream number                          -> counters, unfinished removals
//! ```
//!
//! One writes at a time, so what survives a kill is a prefix of its writes: data
//! first, what points to it after. [`Store::commit`] makes all writes so far durable, by one write
//! to the write-ahead log (`wal`) and one sync; sled writes in its own time. A failure there poisons
//! the store, since nobody can say what reached the disk.

pub mod block;
pub mod codec;
pub mod dump;
pub mod groups;
mod open;
mod record;
mod wal;
mod write;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::model::EntryId;

pub use open::OpenError;
pub use record::{KeyRecord, StreamRecord};
use wal::Place;
use write::Log;

/// Bytes of one stored value. A leaf of sled holds up to 17 of them, and a page over 128 KiB would
/// become a loose file that no commit syncs.
pub const VALUE_BYTES_MAX: usize = 7 * 1024;

/// The open store. One process at a time: sled holds a lock on the folder.
#[derive(Debug)]
pub struct Store {
    db: sled::Db,
    blocks: sled::Tree,
    streams: sled::Tree,
    tasks: sled::Tree,
    groups: sled::Tree,
    meta: sled::Tree,
    /// sled's own file, which its flush writes and, on Linux, does not sync.
    file: Arc<File>,
    /// What is written since the last commit, and where commits go. Held for a moment, but for a
    /// commit that waits for a checkpoint.
    log: Mutex<Log>,
    folder: PathBuf,
    opening: u64,
    /// Why no write is taken any more.
    poison: RwLock<Option<String>>,
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
    /// A write failed earlier; reads go on.
    #[error("the store takes no more writes: {0}")]
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
        Ok(self.db.generate_id()?)
    }

    /// Bytes on disk.
    pub fn size_on_disk(&self) -> u64 {
        self.db.size_on_disk().unwrap_or(0)
    }

    /// Makes every write so far durable: survives a kill and a power cut. A failure poisons the store.
    pub fn commit(&self) -> Result<(), StoreError> {
        let file = self.write_frame()?;
        file.sync_data().map_err(StoreError::Sync).inspect_err(|error| self.poison(error))
    }

    /// Makes every commit so far durable, without one of its own: writes may be under way.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.check()?;
        self.committed_file().sync_data().map_err(StoreError::Sync).inspect_err(|error| self.poison(error))
    }

    /// Hands every write so far to the operating system: survives a kill, not a power cut. A failure
    /// poisons the store.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.write_frame().map(|_| ())
    }

    /// Why no write is taken any more, if so.
    pub fn poisoned(&self) -> Option<String> {
        self.poison.read().clone()
    }

    fn poison(&self, error: &StoreError) {
        tracing::error!(folder = %self.folder.display(), %error, "the store takes no more writes");
        self.poison.write().get_or_insert_with(|| error.to_string());
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.poison.read().as_ref() {
            Some(reason) => Err(StoreError::Poisoned(reason.clone())),
            None => Ok(()),
        }
    }

    /// The record of a stream.
    pub fn stream(&self, name: &[u8]) -> Result<Option<StreamRecord>, StoreError> {
        let value = self.streams.get(name)?;
        value.map(|value| StreamRecord::decode(&value)).transpose()
    }

    /// Writes the record of a stream.
    pub fn put_stream(&self, name: &[u8], record: &StreamRecord) -> Result<(), StoreError> {
        self.check()?;
        self.put(Place::Streams, name, &record.encode()?)
    }

    /// The names of all streams, in their order.
    pub fn stream_names(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        self.streams.iter().keys().map(|key| Ok(key?.to_vec())).collect()
    }

    /// All streams with their records, in the order of the names.
    pub fn streams(&self) -> impl Iterator<Item = Result<(sled::IVec, StreamRecord), StoreError>> {
        self.streams.iter().map(|row| {
            let (name, record) = row?;
            Ok((name, StreamRecord::decode(&record)?))
        })
    }

    /// The streams whose names begin so, with their records, in the order of the names.
    pub fn streams_of(&self, prefix: &[u8]) -> impl Iterator<Item = Result<(sled::IVec, StreamRecord), StoreError>> {
        self.streams.scan_prefix(prefix).map(|row| {
            let (name, record) = row?;
            Ok((name, StreamRecord::decode(&record)?))
        })
    }

    /// The first id of a stream's last block, if it has one.
    pub fn last_block(&self, number: u64) -> Result<Option<EntryId>, StoreError> {
        let key = self.blocks.scan_prefix(number.to_be_bytes()).keys().next_back().transpose()?;
        Ok(key.and_then(|key| parse_block_key(&key)).map(|(first, _)| first))
    }

    /// Forgets a stream and its blocks. Cut short, it is finished at the next opening. A later
    /// stream of the same name stays.
    pub fn remove_stream(&self, name: &[u8], number: u64) -> Result<(), StoreError> {
        self.check()?;
        self.put(Place::Meta, &garbage_key(number), &[])?;
        if !matches!(self.stream(name), Ok(Some(record)) if record.number != number) {
            self.take(Place::Streams, name)?;
        }
        self.finish_removal(number)
    }

    fn finish_removal(&self, number: u64) -> Result<(), StoreError> {
        for key in self.blocks.scan_prefix(number.to_be_bytes()).keys() {
            self.take(Place::Blocks, &key?)?;
        }
        self.remove_groups(number)?;
        self.take(Place::Meta, &garbage_key(number))
    }

    /// Writes a block. One too large for a value is stored in parts, the first part last: where
    /// that is there, the others are.
    pub fn put_block(&self, number: u64, first: EntryId, bytes: &[u8]) -> Result<(), StoreError> {
        self.check()?;
        let parts = bytes.chunks(VALUE_BYTES_MAX);
        for (part, bytes) in parts.enumerate().collect::<Vec<_>>().into_iter().rev() {
            let part = u16::try_from(part).map_err(|_| damaged(number, first, "over 65,536 parts"))?;
            self.put(Place::Blocks, &block_key(number, first, part), bytes)?;
        }
        Ok(())
    }

    /// Reads a block; `None` if it was trimmed, or packed into another, in the meantime.
    pub fn block(&self, number: u64, first: EntryId, bytes: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(head) = self.blocks.get(block_key(number, first, 0))? else { return Ok(None) };
        let mut block = head.to_vec();
        let mut part = 1;
        while block.len() < bytes {
            let Some(more) = self.blocks.get(block_key(number, first, part))? else { return Ok(None) };
            block.extend_from_slice(&more);
            part += 1;
        }
        Ok(Some(block))
    }

    /// Removes a block of so many bytes. The first part goes first, so a rest is never taken for a block.
    pub fn remove_block(&self, number: u64, first: EntryId, bytes: usize) -> Result<(), StoreError> {
        self.check()?;
        for part in 0..bytes.div_ceil(VALUE_BYTES_MAX).max(1) {
            let part = u16::try_from(part).map_err(|_| damaged(number, first, "over 65,536 parts"))?;
            self.take(Place::Blocks, &block_key(number, first, part))?;
        }
        Ok(())
    }

    /// Removes what is left of a block that now takes fewer bytes than before.
    pub fn remove_parts(&self, number: u64, first: EntryId, bytes: usize, before: usize) -> Result<(), StoreError> {
        self.check()?;
        let parts = |bytes: usize| bytes.div_ceil(VALUE_BYTES_MAX).max(1);
        for part in parts(bytes)..parts(before) {
            let part = u16::try_from(part).map_err(|_| damaged(number, first, "over 65,536 parts"))?;
            self.take(Place::Blocks, &block_key(number, first, part))?;
        }
        Ok(())
    }

    /// All blocks of a stream in order, each with the id in its key and all its parts joined.
    /// Parts without a first part, left by a kill, are passed over.
    pub fn blocks_of(&self, number: u64) -> impl Iterator<Item = Result<(EntryId, Vec<u8>), StoreError>> {
        let mut rows = self.blocks.scan_prefix(number.to_be_bytes()).peekable();
        std::iter::from_fn(move || {
            loop {
                let (first, part, value) = match rows.next()? {
                    Ok((key, value)) => match parse_block_key(&key) {
                        Some((first, part)) => (first, part, value),
                        None => continue,
                    },
                    Err(error) => return Some(Err(error.into())),
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
    pub fn task(&self, id: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        Ok(self.tasks.get(id)?)
    }

    /// All tasks' records.
    pub fn tasks(&self) -> impl Iterator<Item = Result<(sled::IVec, sled::IVec), StoreError>> {
        self.tasks.iter().map(|row| Ok(row?))
    }

    /// Writes or, with `None`, removes a task's record.
    pub fn put_task(&self, id: &[u8], record: Option<&[u8]>) -> Result<(), StoreError> {
        self.check()?;
        match record {
            Some(record) => self.put(Place::Tasks, id, record),
            None => self.take(Place::Tasks, id),
        }
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

fn garbage_key(number: u64) -> Vec<u8> {
    [GARBAGE, &number.to_be_bytes()].concat()
}

/// Prefix of the `meta` keys that name streams whose removal is not finished.
const GARBAGE: &[u8] = b"garbage/";

fn damaged(number: u64, first: EntryId, what: &str) -> StoreError {
    StoreError::Damaged { at: format!("stream {number}, block {first}"), what: what.to_owned() }
}
