//! The open sled database and its trees.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sled::IVec;

use super::StoreError;
use super::live::LiveChange;
use super::pending::FrozenCommits;
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

/// Interval at which sled saves its id counter. After it is opened, sled continues two intervals after the saved
/// number.
const ID_INTERVAL: u64 = 1_000_000;

/// Time to wait for the lock of a folder that this process has just closed: sled's threads may hold it a little
/// longer.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval at which the lock is tried.
pub(super) const CLOSE_POLL: Duration = Duration::from_millis(2);

/// The open sled database.
#[derive(Debug)]
pub(super) struct Trees {
    pub(super) db: sled::Db,
    trees: [sled::Tree; TREE_COUNT],
    /// sled's own file, which sled writes on flush but, on Linux, does not sync.
    file: Arc<File>,
    /// Bytes passed to sled since the last flush.
    unwritten: AtomicUsize,
    /// Bytes of all keys and values, once they have been counted.
    live_bytes: Mutex<Option<u64>>,
}

impl Trees {
    /// Opens sled in this folder.
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::open_with(folder, ID_INTERVAL)
    }

    /// Creates a database in an empty folder whose generated ids are at least `number`.
    pub(super) fn create_with_ids_from(folder: &Path, number: u64) -> Result<Self, StoreError> {
        drop(Self::open(folder)?);
        // The saved number is 0, so opening continues at two intervals.
        let interval = (number / 2 / ID_INTERVAL + 1) * ID_INTERVAL;
        let trees = retry_while_locked(|| Self::open_with(folder, interval))?;
        match trees.db.generate_id()? >= number {
            true => Ok(trees),
            false => Err(StoreError::Sync(io::Error::other("cannot continue the stream numbers"))),
        }
    }

    fn open_with(folder: &Path, id_interval: u64) -> Result<Self, StoreError> {
        let config = sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).flush_every_ms(Some(FLUSH_EVERY_MS));
        let db = config.idgen_persist_interval(id_interval).open()?;
        let [blocks, streams, tasks, groups, meta] =
            ["blocks", "streams", "tasks", "groups", "meta"].map(|name| db.open_tree(name));
        let trees = [blocks?, streams?, tasks?, groups?, meta?];
        let file = Arc::new(File::open(folder.join("db")).map_err(StoreError::Sync)?);
        Ok(Self { db, trees, file, unwritten: AtomicUsize::new(0), live_bytes: Mutex::default() })
    }

    /// Returns a tree.
    pub(super) fn of(&self, tree: TreeId) -> &sled::Tree {
        &self.trees[tree as usize]
    }

    /// Applies commits and makes them durable. The number of the last frame is written last: if sled has that, it has
    /// all the rest. Returns how the live bytes of segments change.
    pub(super) fn apply_durably(&self, frozen: &FrozenCommits) -> Result<LiveChange, StoreError> {
        let mut change = LiveChange::default();
        let mut live = self.live_bytes.lock();
        for (tree, key, write) in frozen.batch.iter() {
            let value = write.stored()?;
            let previous = match &value {
                Some(value) => self.of(tree).insert(key, value.clone())?,
                None => self.of(tree).remove(key)?,
            };
            if tree == TreeId::Blocks {
                change.add(key, previous.as_deref(), value.as_deref());
            }
            if let Some(live) = live.as_mut() {
                let bytes = |value: Option<&IVec>| value.map_or(0, |value| (key.len() + value.len()) as u64);
                *live = (*live + bytes(value.as_ref())).saturating_sub(bytes(previous.as_ref()));
            }
            self.flush_if_due(key.len() + value.map_or(0, |value| value.len()))?;
        }
        drop(live);
        self.of(TreeId::Meta).insert(FRAME, &frozen.frame.to_be_bytes())?;
        self.make_durable()?;
        Ok(change)
    }

    /// Adds a row to the bytes passed to sled since the last flush, and flushes above the limit.
    fn flush_if_due(&self, row_bytes: usize) -> Result<(), sled::Error> {
        let bytes = row_bytes + ROW_BYTES;
        if self.unwritten.fetch_add(bytes, Ordering::Relaxed) + bytes > UNWRITTEN_BYTES_MAX {
            self.flush()?;
            self.unwritten.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Returns the bytes of all keys and values. The caller must prevent concurrent commits.
    pub(super) fn live_bytes(&self) -> Result<u64, sled::Error> {
        let mut live = self.live_bytes.lock();
        if let Some(live) = *live {
            return Ok(live);
        }
        let mut bytes = 0;
        for row in TreeId::ALL.into_iter().flat_map(|tree| self.of(tree).iter()) {
            let (key, value) = row?;
            bytes += (key.len() + value.len()) as u64;
        }
        *live = Some(bytes);
        Ok(bytes)
    }

    /// Copies all rows of another database and syncs them. The caller must prevent concurrent commits to it.
    pub(super) fn copy_from(&self, other: &Trees) -> Result<(), StoreError> {
        for tree in TreeId::ALL {
            for row in other.of(tree).iter() {
                let (key, value) = row?;
                let bytes = key.len() + value.len();
                self.of(tree).insert(key, value)?;
                self.flush_if_due(bytes)?;
            }
        }
        self.make_durable()
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

    /// Makes sled continue its generated ids above this number: it may have lost its counter together with writes.
    pub(super) fn skip_numbers(&self, number: u64) -> Result<(), sled::Error> {
        while self.db.generate_id()? <= number {}
        Ok(())
    }

    /// Makes sled's own file durable, with everything that was applied.
    pub(super) fn make_durable(&self) -> Result<(), StoreError> {
        self.flush()?;
        self.file.sync_data().map_err(StoreError::Sync)
    }

    /// Makes sled write everything to its file. A thread of sled that fails may leave this waiting for it; a write, which
    /// then fails too, ends the wait.
    fn flush(&self) -> Result<(), sled::Error> {
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while matches!(is_done.recv_timeout(FLUSH_PROBE), Err(RecvTimeoutError::Timeout)) {
                    let probe = self.of(TreeId::Meta).insert(PROBE, &[]);
                    tracing::debug!(?probe, "sled is slow to write to its file");
                }
            });
            let flushed = self.db.flush().map(|_| ());
            drop(done);
            flushed
        })
    }
}

/// Time after which a flush is taken for one that waits for a failed thread.
const FLUSH_PROBE: Duration = Duration::from_secs(1);
/// A `meta` key without meaning.
const PROBE: &[u8] = b"probe";
/// The `meta` key of the last commit's frame number.
const FRAME: &[u8] = b"frame";

/// Opens again what this process has just closed, until sled's threads have released its lock.
pub(super) fn retry_while_locked<T>(mut open: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let deadline = Instant::now() + CLOSE_TIMEOUT;
    loop {
        match open() {
            Err(error) if is_locked(&error) && Instant::now() < deadline => std::thread::park_timeout(CLOSE_POLL),
            done => return done,
        }
    }
}

/// Reports whether sled could not open because the folder is locked.
pub(super) fn is_locked(error: &StoreError) -> bool {
    let StoreError::Sled(sled::Error::Io(source)) = error else { return false };
    source.kind() == io::ErrorKind::WouldBlock || source.to_string().contains("could not acquire lock")
}
