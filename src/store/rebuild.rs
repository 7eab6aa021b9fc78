//! Giving back the space that is free within the journal's files.
//!
//! sled fills the free segments of its file again and seldom makes the file shorter: it stays about as long as it
//! was when it held most. Here all rows are written to a new sled in a folder beside the journal's, and then
//! the two folders change places in one step. A kill before that leaves the journal as it was, a kill after it
//! leaves the new one; the next opening removes the other folder.

use std::fs;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::open::{create_folder, note_opening, sync_folder};
use super::trees::Trees;
use super::{Store, StoreError};

/// Files of fewer bytes beside three times what is in them are left as they are: a new sled takes up to
/// about twice as many.
const SPARE_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes of the files, and bytes of the keys and values in them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    files: u64,
    live: u64,
}

impl Left {
    /// Whether most of the files is free.
    fn is_mostly_free(self) -> bool {
        self.files > 3 * self.live + SPARE_BYTES
    }

    /// Whether another attempt after one that has left `last` may give back more.
    fn is_worth_more(self, last: Option<Self>) -> bool {
        last.is_none_or(|last| self.live < last.live / 2 || self.files > 2 * last.files)
    }
}

impl Store {
    /// Makes the journal's files shorter if most of their bytes are free. Returns whether it did.
    ///
    /// Commits wait meanwhile, readers only while sled is opened again.
    ///
    /// # Errors
    /// It could not be done. What was committed is there, in the files as they were or in the new ones.
    pub fn give_back(&self) -> Result<bool, StoreError> {
        self.may_grow()?;
        let mut log = self.log.lock();
        self.apply_last(&mut log);
        self.check()?;
        let trees = self.trees()?;
        let before = Left { files: bytes_of_files(&self.folder), live: trees.live_bytes()? };
        let mut last = self.given_back.lock();
        let has_room = self.free_bytes() > 3 * before.live + SPARE_BYTES;
        if !before.is_mostly_free() || !before.is_worth_more(*last) || !has_room {
            return Ok(false);
        }
        *last = Some(before);
        log.wait().and_then(|()| trees.make_durable()).inspect_err(|error| self.sled_failed(error))?;
        let beside = beside(&self.folder);
        let copied = std::panic::catch_unwind(AssertUnwindSafe(|| self.copy_to(&trees, &beside)));
        drop(trees);
        let copied = copied.unwrap_or_else(|_| Err(StoreError::Sync(io::Error::other("sled could not be copied"))));
        if let Err(error) = copied {
            remove_beside(&self.folder).ok();
            return Err(error);
        }
        let mut exchanged = None;
        let reopened = self.reopen(&mut log, || exchanged = Some(exchange(&beside, &self.folder)));
        if let Err(error) = reopened {
            // Not called, sled was not closed either.
            if exchanged.is_some() {
                self.is_closed(&error);
            }
            return Err(error);
        }
        remove_beside(&self.folder).map_err(StoreError::Sync)?;
        exchanged.unwrap_or(Ok(())).map_err(StoreError::Sync)?;
        let files = bytes_of_files(&self.folder);
        *last = Some(Left { files, live: before.live });
        tracing::info!(before = before.files, after = files, "free space of the journal's files was given back");
        Ok(true)
    }

    /// Writes all rows, and what else an opening needs, to a new store in this folder. To be called once sled has
    /// every commit.
    fn copy_to(&self, trees: &Trees, beside: &Path) -> Result<(), StoreError> {
        remove_beside(&self.folder).map_err(StoreError::Sync)?;
        create_folder(beside).map_err(StoreError::Sync)?;
        let number = trees.db.generate_id()?;
        self.number_max.fetch_max(number, Ordering::AcqRel);
        let copy = Trees::begin(beside, number + 1)?;
        copy.take_in(trees)?;
        drop(copy);
        note_opening(beside, self.opening).map_err(StoreError::Sync)
    }
}

/// The folder in which the new store is made.
fn beside(folder: &Path) -> PathBuf {
    let mut beside = folder.as_os_str().to_owned();
    beside.push(".rebuilt");
    PathBuf::from(beside)
}

/// Removes what an attempt has left. Not to be called while another process may have the store open.
pub(super) fn remove_beside(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(beside(folder)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Lets two folders change places, durably.
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?;
    sync_folder(other.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// Bytes of the files in a folder.
fn bytes_of_files(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).filter(fs::Metadata::is_file).map(|facts| facts.len()).sum()
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

    /// A store whose files have held a thousand blocks of stream 2 and hold ten of stream 1.
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
        store.settle();
        store
    }

    fn check(store: &Store) {
        let blocks: Vec<_> = store.blocks_of(1).map(Result::unwrap).collect();
        assert_eq!(blocks, (1..=10).map(|n| (EntryId::new(n, 0), block(n))).collect::<Vec<_>>());
        assert_eq!(store.blocks_of(2).count(), 0, "what was removed stays removed");
        assert_eq!(store.stream(b"one").unwrap().map(|record| record.number), Some(1));
        assert_eq!(store.task(b"task").unwrap().unwrap(), b"record");
    }

    #[test]
    fn free_space_is_given_back_and_nothing_else_changes() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("journal");
        let store = mostly_free(&folder);
        let number = store.next_stream_number().unwrap();
        let before = bytes_of_files(&folder);
        assert!(store.give_back().unwrap(), "most of {before} bytes is free");
        let after = bytes_of_files(&folder);
        assert!(after < SPARE_BYTES, "{before} bytes have become {after}, expected less than {SPARE_BYTES}");
        assert!(!beside(&folder).exists(), "expected the old files to be removed");
        check(&store);
        assert!(!store.give_back().unwrap(), "nothing is left to give back");
        assert!(store.next_stream_number().unwrap() > number, "numbers are not given twice");

        // As a kill leaves it, and as closing it does.
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
            assert_eq!(store.opening(), 2);
            assert!(store.next_stream_number().unwrap() > number, "numbers are not given twice");
        }
    }

    #[test]
    fn an_attempt_that_was_cut_short_is_removed_by_the_next_opening() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("journal");
        let store = mostly_free(&folder);
        store.copy_to(&store.trees().unwrap(), &beside(&folder)).unwrap();
        drop(store);
        let copy = parent.path().join("copy");
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(beside(&folder)).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
            }
        }
        check(&Store::open(&folder, StoreOptions::default()).unwrap());
        assert!(!beside(&folder).exists(), "expected what was left to be removed");
        // A kill right after the exchange leaves this one instead.
        let store = Store::open(&copy, StoreOptions::default()).unwrap();
        check(&store);
        assert_eq!(store.opening(), 2, "it knows how often it was opened");
    }
}
