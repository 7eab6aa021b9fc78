//! sled and its trees, as long as they are open.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::StoreError;
use super::overlay::WriteBatch;
use super::wal::{TREES, TreeId};

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

/// sled, open.
#[derive(Debug)]
pub(super) struct Trees {
    pub(super) db: sled::Db,
    trees: [sled::Tree; TREES],
    /// sled's own file, which its flush writes and, on Linux, does not sync.
    file: Arc<File>,
    /// Bytes given since the last flush.
    unwritten: AtomicUsize,
}

impl Trees {
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        let db =
            sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).flush_every_ms(Some(FLUSH_EVERY_MS)).open()?;
        let [blocks, streams, tasks, groups, meta] =
            ["blocks", "streams", "tasks", "groups", "meta"].map(|name| db.open_tree(name));
        let trees = [blocks?, streams?, tasks?, groups?, meta?];
        let file = Arc::new(File::open(folder.join("db")).map_err(StoreError::Sync)?);
        Ok(Self { db, trees, file, unwritten: AtomicUsize::new(0) })
    }

    pub(super) fn of(&self, place: TreeId) -> &sled::Tree {
        &self.trees[place as usize]
    }

    /// Writes a commit, the number of its frame last: where sled has that, it has all the others.
    pub(super) fn apply(&self, changes: &WriteBatch, frame: u64) -> Result<(), sled::Error> {
        for (place, key, value) in changes.iter() {
            match value {
                Some(value) => self.of(place).insert(key, value.clone())?,
                None => self.of(place).remove(key)?,
            };
            let given = key.len() + value.map_or(0, |value| value.len()) + ROW_BYTES;
            if self.unwritten.fetch_add(given, Ordering::Relaxed) + given > UNWRITTEN_BYTES_MAX {
                self.db.flush()?;
                self.unwritten.store(0, Ordering::Relaxed);
            }
        }
        self.put_frame(frame)
    }

    /// Notes the number of the last commit.
    pub(super) fn put_frame(&self, frame: u64) -> Result<(), sled::Error> {
        self.of(TreeId::Meta).insert(FRAME, &frame.to_be_bytes()).map(|_| ())
    }

    /// The number of the last commit that is here.
    pub(super) fn frame(&self) -> Result<u64, sled::Error> {
        self.number(FRAME)
    }

    /// A number of the tree `meta`; 0 if it is not there.
    pub(super) fn number(&self, name: &[u8]) -> Result<u64, sled::Error> {
        let value = self.of(TreeId::Meta).get(name)?;
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
