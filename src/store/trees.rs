//! The open sled database and its trees.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::StoreError;
use super::batch::WriteBatch;
use super::tree_id::{TREE_COUNT, TreeId};

/// Bytes of sled's page cache.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// Interval of sled's flush thread; without it freed space is never returned to the file system.
const FLUSH_EVERY_MS: u64 = 500;

/// Bytes passed to sled after which it must flush everything to its file.
///
/// sled writes its log in buffers of half a megabyte, on seven threads. Each thread needs the lock of the
/// segments, and the holder of that lock may wait for the file to be truncated, which is work for the same
/// threads: seven buffers queued before it deadlock. sled writes about three times the bytes it is given
/// (rewritten nodes, cleaned segments), so this limit means two or three buffers.
const UNWRITTEN_BYTES_MAX: usize = 384 * 1024;
/// Cost of a row besides key and value: its share of the nodes that are rewritten.
const ROW_BYTES: usize = 512;

/// The open sled database.
#[derive(Debug)]
pub(super) struct Trees {
    pub(super) db: sled::Db,
    trees: [sled::Tree; TREE_COUNT],
    /// sled's own file, which sled writes on flush but, on Linux, does not sync.
    file: Arc<File>,
    /// Bytes passed to sled since the last flush.
    unwritten: AtomicUsize,
}

impl Trees {
    /// Opens sled in this folder.
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        let db =
            sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).flush_every_ms(Some(FLUSH_EVERY_MS)).open()?;
        let [blocks, streams, tasks, groups, meta] =
            ["blocks", "streams", "tasks", "groups", "meta"].map(|name| db.open_tree(name));
        let trees = [blocks?, streams?, tasks?, groups?, meta?];
        let file = Arc::new(File::open(folder.join("db")).map_err(StoreError::Sync)?);
        Ok(Self { db, trees, file, unwritten: AtomicUsize::new(0) })
    }

    /// Returns a tree.
    pub(super) fn of(&self, tree: TreeId) -> &sled::Tree {
        &self.trees[tree as usize]
    }

    /// Applies a commit. The number of its frame is written last: if sled has that, it has all the rest.
    pub(super) fn apply(&self, batch: &WriteBatch, frame: u64) -> Result<(), sled::Error> {
        for (tree, key, value) in batch.iter() {
            match value {
                Some(value) => self.of(tree).insert(key, value.clone())?,
                None => self.of(tree).remove(key)?,
            };
            let bytes = key.len() + value.map_or(0, |value| value.len()) + ROW_BYTES;
            if self.unwritten.fetch_add(bytes, Ordering::Relaxed) + bytes > UNWRITTEN_BYTES_MAX {
                self.db.flush()?;
                self.unwritten.store(0, Ordering::Relaxed);
            }
        }
        self.of(TreeId::Meta).insert(FRAME, &frame.to_be_bytes()).map(|_| ())
    }

    /// Returns the frame number of the last commit that sled has.
    pub(super) fn frame(&self) -> Result<u64, sled::Error> {
        self.number(FRAME)
    }

    /// Returns a number of the tree `meta`; 0 if it is missing.
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

/// The `meta` key of the last commit's frame number.
const FRAME: &[u8] = b"frame";
