//! Rebuilding sled's files to return free space to the file system.
//!
//! sled reuses the free segments of its file but rarely truncates it, so the file stays about as large as it ever
//! was. A rebuild copies all rows to a new database in a folder beside the journal's, and then
//! exchanges the two folders atomically. A kill before the exchange leaves the old files, a kill after it the new
//! ones; the next opening removes the other folder.

use std::fs;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::Ordering;

use rustix::fs::{CWD, RenameFlags, renameat_with};

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
    /// Commits wait until it is done, readers only while sled is reopened.
    ///
    /// # Errors
    /// The rebuild failed. Every commit is in the files, old or new.
    pub fn rebuild_if_mostly_free(&self) -> Result<bool, StoreError> {
        self.check_can_grow()?;
        let mut wal = self.wal.lock();
        self.apply_last(&mut wal);
        self.check_writable()?;
        let trees = self.trees()?;
        let before = Sizes { files: file_bytes(&self.folder), live: trees.live_bytes()? };
        let mut last = self.last_rebuild.lock();
        let has_space = self.free_bytes() > 3 * before.live + OVERHEAD_BYTES;
        if !before.is_mostly_free() || !before.has_changed_since(*last) || !has_space {
            return Ok(false);
        }
        *last = Some(before);
        wal.join_checkpoint().and_then(|()| trees.make_durable()).inspect_err(|error| self.sled_failed(error))?;
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
        let reopened = self.reopen(&mut wal, || exchanged = Some(exchange(&new_folder, &self.folder)));
        if let Err(error) = reopened {
            // Without an exchange sled was not closed.
            if exchanged.is_some() {
                self.set_closed(&error);
            }
            return Err(error);
        }
        remove_rebuild_folder(&self.folder).map_err(StoreError::Sync)?;
        exchanged.unwrap_or(Ok(())).map_err(StoreError::Sync)?;
        let files = file_bytes(&self.folder);
        *last = Some(Sizes { files, live: before.live });
        tracing::info!(before = before.files, after = files, "rebuilt the journal's files to free disk space");
        Ok(true)
    }

    /// Copies every commit so far to a new store in this folder, which must not exist. Commits wait until it is done;
    /// readers continue.
    ///
    /// # Errors
    /// The store accepts no writes, or the copy failed; what is left of it is of no use.
    pub fn copy_commits(&self, folder: &Path) -> Result<(), StoreError> {
        let mut wal = self.wal.lock();
        self.apply_last(&mut wal);
        // A failed sled may lack commits that the log has.
        self.check_writable()?;
        let trees = self.trees()?;
        let copied = std::panic::catch_unwind(AssertUnwindSafe(|| self.copy_to(&trees, folder)));
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

/// Exchanges two folders atomically and syncs their parent.
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?;
    sync_folder(other.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// Returns the bytes of the files in a folder.
fn file_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).filter(fs::Metadata::is_file).map(|meta| meta.len()).sum()
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

    /// Returns a store with ten blocks of stream 1, after a thousand blocks of stream 2 were removed.
    fn mostly_free(folder: &Path) -> Store {
        let store = Store::open(folder, StoreOptions::default()).unwrap();
        store.put_stream(b"one", &StreamRecord { number: 1, ..StreamRecord::default() }).unwrap();
        store.put_task(b"task", Some(b"record")).unwrap();
        for n in 1..=1_000 {
            store.put_block(1 + u64::from(n > 10), EntryId::new(n, 0), &block(n)).unwrap();
            if n % 50 == 0 {
                store.flush().unwrap();
            }
        }
        for n in 11..=1_000 {
            store.remove_block(2, EntryId::new(n, 0), BLOCK_BYTES).unwrap();
        }
        store.commit().unwrap();
        store.apply_committed();
        store
    }

    fn check(store: &Store) {
        let blocks: Vec<_> = store.blocks_of(1).map(Result::unwrap).collect();
        assert_eq!(blocks, (1..=10).map(|n| (EntryId::new(n, 0), block(n))).collect::<Vec<_>>());
        assert_eq!(store.blocks_of(2).count(), 0, "removed blocks stay removed");
        assert_eq!(store.stream(b"one").unwrap().map(|record| record.number), Some(1));
        assert_eq!(store.task(b"task").unwrap().unwrap(), b"record");
    }

    #[test]
    fn a_rebuild_frees_space_and_keeps_every_row() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("journal");
        let store = mostly_free(&folder);
        let number = store.next_stream_number().unwrap();
        let before = file_bytes(&folder);
        assert!(store.rebuild_if_mostly_free().unwrap(), "most of {before} bytes is free");
        let after = file_bytes(&folder);
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
        let copy = parent.path().join("copy");
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(rebuild_folder(&folder)).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
            }
        }
        check(&Store::open(&folder, StoreOptions::default()).unwrap());
        assert!(!rebuild_folder(&folder).exists(), "expected the unfinished rebuild to be removed");
        // A kill right after the exchange leaves the new files.
        let store = Store::open(&copy, StoreOptions::default()).unwrap();
        check(&store);
        assert_eq!(store.open_count(), 2, "the open count continues");
    }
}
