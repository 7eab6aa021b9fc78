//! Rebuilding sled's files to return free space to the file system.
//!
//! sled reuses the free segments of its file but rarely truncates it, so the file stays about as large as it ever
//! was: after many removals, or in a store of an earlier version, which had the contents of blocks in it. A rebuild
//! copies all rows to a new database in a folder beside the journal's, and then puts its file in place of the old one.
//! A kill before that leaves the old file, a kill after it the new one; the next opening removes the other folder.

use std::fs;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::folder::{create_folder, rebuild_folder, remove_rebuild_folder, sync_folder};
use super::open::write_open_count;
use super::trees::Trees;
use super::{Store, StoreError};

/// Files below three times their live bytes plus this are not rebuilt: a new database has up to about twice its
/// live bytes.
const OVERHEAD_BYTES: u64 = 4 * 1024 * 1024;

/// The size of sled's files and of their live contents.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Bytes of the files.
    files: u64,
    /// Bytes of all keys and values.
    live: u64,
}

impl Sizes {
    /// Reports whether most of the files is free space.
    fn is_mostly_free(self) -> bool {
        self.files > 3 * self.live + OVERHEAD_BYTES
    }

    /// Reports whether a rebuild may free more than the last one, which left `last`.
    fn has_changed_since(self, last: Option<Self>) -> bool {
        last.is_none_or(|last| self.live < last.live / 2 || self.files > 2 * last.files)
    }
}

impl Store {
    /// Rebuilds sled's files if most of their bytes are free. Returns whether it did.
    ///
    /// Checkpoints wait until it is done, readers only while sled is reopened.
    ///
    /// # Errors
    /// The rebuild failed. Every commit is in the files, old or new, or in the log.
    pub fn rebuild_if_mostly_free(&self) -> Result<bool, StoreError> {
        self.check_can_grow()?;
        let _no_reclaiming = self.reclaiming.lock();
        self.checkpoint()?;
        let mut live = self.live.lock();
        self.check_writable()?;
        let trees = self.trees()?;
        let before = Sizes { files: index_file_bytes(&self.folder), live: trees.live_bytes()? };
        let mut last = self.last_rebuild.lock();
        let has_space = self.free_bytes() > 3 * before.live + OVERHEAD_BYTES;
        if !before.is_mostly_free() || !before.has_changed_since(*last) || !has_space {
            return Ok(false);
        }
        *last = Some(before);
        let new_folder = rebuild_folder(&self.folder);
        remove_rebuild_folder(&self.folder).map_err(StoreError::Sync)?;
        let copied = std::panic::catch_unwind(AssertUnwindSafe(|| self.copy_to(&trees, &new_folder)));
        drop(trees);
        let copied = copied.unwrap_or_else(|_| Err(StoreError::Sync(io::Error::other("copying sled failed"))));
        if let Err(error) = copied {
            remove_rebuild_folder(&self.folder).ok();
            return Err(error);
        }
        let mut exchanged = None;
        let reopened = self.reopen(&mut live, || exchanged = Some(exchange(&new_folder, &self.folder)));
        if let Err(error) = reopened {
            // Without an exchange sled was not closed.
            if exchanged.is_some() {
                self.set_closed(&error);
            }
            return Err(error);
        }
        remove_rebuild_folder(&self.folder).map_err(StoreError::Sync)?;
        exchanged.unwrap_or(Ok(())).map_err(StoreError::Sync)?;
        let files = index_file_bytes(&self.folder);
        *last = Some(Sizes { files, live: before.live });
        tracing::info!(before = before.files, after = files, "rebuilt the journal's files to free disk space");
        Ok(true)
    }

    /// Copies every commit so far to a new store in this folder, which must not exist. Segments are linked. Checkpoints
    /// wait until it is done; readers and commits continue.
    ///
    /// # Errors
    /// The store accepts no writes, or the copy failed; what is left of it is of no use.
    pub fn copy_commits(&self, folder: &Path) -> Result<(), StoreError> {
        let _no_reclaiming = self.reclaiming.lock();
        // A later commit must not be in a segment that is linked.
        let mut live = self.live.lock();
        self.checkpoint_with(&mut live, true)?;
        let trees = self.trees()?;
        let copied = std::panic::catch_unwind(AssertUnwindSafe(|| {
            self.copy_to(&trees, folder)?;
            self.segments.link_sealed(folder, self.applied_frame.load(Ordering::Acquire)).map_err(StoreError::Sync)
        }));
        copied.unwrap_or_else(|_| Err(StoreError::Sync(io::Error::other("copying sled failed"))))
    }

    /// Copies everything that an opening needs to a new database in this folder. sled must have every commit.
    fn copy_to(&self, trees: &Trees, folder: &Path) -> Result<(), StoreError> {
        create_folder(folder).map_err(StoreError::Sync)?;
        let number = trees.db.generate_id()?;
        self.number_max.fetch_max(number, Ordering::AcqRel);
        let copy = Trees::create_with_ids_from(folder, number + 1)?;
        copy.copy_from(trees)?;
        drop(copy);
        write_open_count(folder, self.open_count).map_err(StoreError::Sync)
    }
}

/// Replaces sled's files in a folder by those in another. sled must be closed. Its snapshots only make the next opening
/// faster, so they are removed first: with the file that follows, they would be damage.
fn exchange(new: &Path, folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(SNAPSHOT) {
            fs::remove_file(entry.path())?;
        }
    }
    sync_folder(folder)?;
    fs::rename(new.join(INDEX_FILE), folder.join(INDEX_FILE))?;
    sync_folder(folder)
}

/// Name of sled's own file.
const INDEX_FILE: &str = "db";
/// Start of the names of sled's snapshots.
const SNAPSHOT: &str = "snap.";

/// Returns the bytes of sled's files in a folder.
fn index_file_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_index = |name: &str| name == INDEX_FILE || name.starts_with(SNAPSHOT);
    let files = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_index));
    files.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EntryId;
    use crate::store::{StoreOptions, StreamRecord};

    const BLOCK_BYTES: usize = 6_000;

    fn block(n: u64) -> Vec<u8> {
        n.to_be_bytes().repeat(BLOCK_BYTES / 8)
    }

    /// Returns a store with ten blocks of stream 1, after a thousand large records were removed.
    fn mostly_free(folder: &Path) -> Store {
        let store = Store::open(folder, StoreOptions::default()).unwrap();
        store.put_stream(b"one", &StreamRecord { number: 1, ..StreamRecord::default() }).unwrap();
        store.put_task(b"task", Some(b"record")).unwrap();
        for n in 1..=10 {
            store.put_new_block(1, EntryId::new(n, 0), &block(n)).unwrap();
        }
        for change in [Some(&block(7)[..]), None] {
            for n in 1..=1_000u64 {
                store.put_task(&n.to_be_bytes(), change).unwrap();
                if n % 50 == 0 {
                    store.flush().unwrap();
                }
            }
            store.checkpoint().unwrap();
        }
        store
    }

    fn check(store: &Store) {
        let blocks: Vec<_> = store.blocks_of(1).map(Result::unwrap).collect();
        assert_eq!(blocks, (1..=10).map(|n| (EntryId::new(n, 0), block(n))).collect::<Vec<_>>());
        assert_eq!(store.task(&7u64.to_be_bytes()).unwrap(), None, "removed records stay removed");
        assert_eq!(store.stream(b"one").unwrap().map(|record| record.number), Some(1));
        assert_eq!(store.task(b"task").unwrap().unwrap(), b"record");
    }

    #[test]
    fn a_rebuild_frees_space_and_keeps_every_row() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("journal");
        let store = mostly_free(&folder);
        let number = store.next_stream_number().unwrap();
        let before = index_file_bytes(&folder);
        assert!(store.rebuild_if_mostly_free().unwrap(), "most of {before} bytes is free");
        let after = index_file_bytes(&folder);
        assert!(after < OVERHEAD_BYTES, "{before} bytes have become {after}, expected less than {OVERHEAD_BYTES}");
        assert!(!rebuild_folder(&folder).exists(), "expected the old files to be removed");
        check(&store);
        assert!(!store.rebuild_if_mostly_free().unwrap(), "expected no second rebuild");
        assert!(store.next_stream_number().unwrap() > number, "stream numbers are not reused");

        // After a kill, and after a clean close.
        store.put_task(b"later", Some(b"1")).unwrap();
        store.commit().unwrap();
        let killed = parent.path().join("killed");
        fs::create_dir(&killed).unwrap();
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                fs::copy(entry.path(), killed.join(entry.file_name())).unwrap();
            }
        }
        let number = store.next_stream_number().unwrap();
        drop(store);
        for folder in [killed, folder] {
            let store = Store::open(&folder, StoreOptions::default()).unwrap();
            check(&store);
            assert_eq!(store.task(b"later").unwrap().unwrap(), b"1");
            assert_eq!(store.open_count(), 2);
            assert!(store.next_stream_number().unwrap() > number, "stream numbers are not reused");
        }
    }

    #[test]
    fn an_unfinished_rebuild_is_removed_by_the_next_opening() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("journal");
        let store = mostly_free(&folder);
        store.copy_to(&store.trees().unwrap(), &rebuild_folder(&folder)).unwrap();
        drop(store);
        // A kill before or after the new file is put in the place of the old one.
        let copy = parent.path().join("copy");
        crate::store::folder::copy_folder(&folder, &copy, &|_| false).unwrap();
        exchange(&rebuild_folder(&folder), &copy).unwrap();
        let store = Store::open(&folder, StoreOptions::default()).unwrap();
        check(&store);
        assert!(!rebuild_folder(&folder).exists(), "expected the unfinished rebuild to be removed");
        drop(store);
        let store = Store::open(&copy, StoreOptions::default()).unwrap();
        check(&store);
        assert_eq!(store.open_count(), 2, "the open count continues");
    }

    #[test]
    fn a_copy_has_every_commit_before_it_and_none_after_it() {
        let parent = tempfile::tempdir().unwrap();
        let store = Store::open(&parent.path().join("journal"), StoreOptions::default()).unwrap();
        store.put_stream(b"one", &StreamRecord { number: 1, ..StreamRecord::default() }).unwrap();
        store.put_task(b"task", Some(b"record")).unwrap();
        for n in 1..=10 {
            store.put_new_block(1, EntryId::new(n, 0), &block(n)).unwrap();
            store.commit().unwrap();
        }
        let copy = parent.path().join("copy");
        store.copy_commits(&copy).unwrap();
        for n in 1..=10 {
            store.remove_block(1, EntryId::new(n, 0), BLOCK_BYTES).unwrap();
        }
        store.put_task(b"later", Some(b"record")).unwrap();
        store.commit().unwrap();
        store.reclaim(true).unwrap();
        assert_eq!(store.blocks_of(1).count(), 0);
        check(&Store::open(&copy, StoreOptions::default()).unwrap());
    }
}
