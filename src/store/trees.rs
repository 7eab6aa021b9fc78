//! sled and its trees, as long as they are open.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use sled::IVec;

use super::StoreError;
use super::overlay::Changes;
use super::wal::{PLACES, Place};

/// Bytes that sled may keep in memory.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// How often sled's own thread runs; without it freed space is never given back.
const FLUSH_EVERY_MS: u64 = 500;

/// Bytes that sled is given before all that it has must be in its file.
///
/// It writes its log in buffers of half a megabyte, on seven threads. Each of them needs the lock of the
/// segments, and whoever holds that may wait for the file to be made shorter, which is work for the same
/// threads: where seven buffers are on their way before it, nobody ever goes on. Of what it is given sled
/// writes about three times as much (nodes anew, segments that are cleaned): that makes two or three.
const UNWRITTEN_BYTES_MAX: usize = 384 * 1024;
/// What a row costs beside key and value: its part of the nodes that are written anew.
const ROW_BYTES: usize = 512;

/// sled notes on disk each so many numbers how far it has come, and leaves out twice as many when it is opened.
const ID_STEP: u64 = 1_000_000;

/// sled, open.
#[derive(Debug)]
pub(super) struct Trees {
    pub(super) db: sled::Db,
    trees: [sled::Tree; PLACES],
    /// sled's own file, which its flush writes and, on Linux, does not sync.
    file: Arc<File>,
    /// Bytes given since the last flush.
    unwritten: AtomicUsize,
    /// Bytes of all keys and values, once they were counted.
    live: Mutex<Option<u64>>,
}

impl Trees {
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::open_with(folder, ID_STEP)
    }

    /// Opens sled such that every number that it gives is `number` or a higher one. For a new folder.
    pub(super) fn begin(folder: &Path, number: u64) -> Result<Self, StoreError> {
        drop(Self::open(folder)?);
        // An opening goes on two steps behind the last number that is on disk, which is 0 here.
        let step = (number / 2 / ID_STEP + 1) * ID_STEP;
        let trees = Self::open_with(folder, step)?;
        match trees.db.generate_id()? >= number {
            true => Ok(trees),
            false => Err(StoreError::Sync(io::Error::other("the numbers of streams cannot be carried over"))),
        }
    }

    fn open_with(folder: &Path, id_step: u64) -> Result<Self, StoreError> {
        let config = sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).flush_every_ms(Some(FLUSH_EVERY_MS));
        let db = config.idgen_persist_interval(id_step).open()?;
        let [blocks, streams, tasks, groups, meta] =
            ["blocks", "streams", "tasks", "groups", "meta"].map(|name| db.open_tree(name));
        let trees = [blocks?, streams?, tasks?, groups?, meta?];
        let file = Arc::new(File::open(folder.join("db")).map_err(StoreError::Sync)?);
        Ok(Self { db, trees, file, unwritten: AtomicUsize::new(0), live: Mutex::default() })
    }

    pub(super) fn of(&self, place: Place) -> &sled::Tree {
        &self.trees[place as usize]
    }

    /// Writes a commit, the number of its frame last: where sled has that, it has all the others.
    pub(super) fn apply(&self, changes: &Changes, frame: u64) -> Result<(), sled::Error> {
        for (place, key, value) in changes.iter() {
            let before = match value {
                Some(value) => self.of(place).insert(key, value.clone())?,
                None => self.of(place).remove(key)?,
            };
            if let Some(live) = &mut *self.live.lock() {
                let bytes = |value: Option<&IVec>| value.map_or(0, |value| (key.len() + value.len()) as u64);
                *live = (*live + bytes(value)).saturating_sub(bytes(before.as_ref()));
            }
            self.gave(key.len() + value.map_or(0, |value| value.len()))?;
        }
        self.put_frame(frame)
    }

    /// A row of so many bytes was given to sled.
    fn gave(&self, bytes: usize) -> Result<(), sled::Error> {
        let given = bytes + ROW_BYTES;
        if self.unwritten.fetch_add(given, Ordering::Relaxed) + given > UNWRITTEN_BYTES_MAX {
            self.db.flush()?;
            self.unwritten.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Returns the bytes of all keys and values. Nothing may be applied meanwhile.
    pub(super) fn live_bytes(&self) -> Result<u64, sled::Error> {
        let mut live = self.live.lock();
        if let Some(live) = *live {
            return Ok(live);
        }
        let mut bytes = 0;
        for row in Place::ALL.into_iter().flat_map(|place| self.of(place).iter()) {
            let (key, value) = row?;
            bytes += (key.len() + value.len()) as u64;
        }
        *live = Some(bytes);
        Ok(bytes)
    }

    /// Writes all rows of another one. Nothing may be applied to that meanwhile.
    pub(super) fn take_in(&self, other: &Trees) -> Result<(), StoreError> {
        for place in Place::ALL {
            for row in other.of(place).iter() {
                let (key, value) = row?;
                let bytes = key.len() + value.len();
                self.of(place).insert(key, value)?;
                self.gave(bytes)?;
            }
        }
        self.make_durable()
    }

    /// Notes the number of the last commit.
    pub(super) fn put_frame(&self, frame: u64) -> Result<(), sled::Error> {
        self.of(Place::Meta).insert(FRAME, &frame.to_be_bytes()).map(|_| ())
    }

    /// The number of the last commit that is here.
    pub(super) fn frame(&self) -> Result<u64, sled::Error> {
        self.number(FRAME)
    }

    /// A number of the tree `meta`; 0 if it is not there.
    pub(super) fn number(&self, name: &[u8]) -> Result<u64, sled::Error> {
        let value = self.of(Place::Meta).get(name)?;
        Ok(value.and_then(|bytes| <[u8; 8]>::try_from(&*bytes).ok()).map_or(0, u64::from_be_bytes))
    }

    /// Makes sled's own file durable, with everything that was applied.
    pub(super) fn make_durable(&self) -> Result<(), StoreError> {
        self.db.flush()?;
        self.file.sync_data().map_err(StoreError::Sync)
    }
}

/// The `meta` key of the number of the last commit.
const FRAME: &[u8] = b"frame";
