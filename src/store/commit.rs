//! Commits: appended to the log and made durable there. sled receives them later (`checkpoint`).
//!
//! Until sled has a commit, readers find its rows among the pending writes (`pending`).

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::batch::WriteBatch;
use super::log::CommitLog;
use super::space::Unavailable;
use super::{Store, StoreError, now_ms};

impl Store {
    /// Makes all writes so far durable: they survive a kill and a power cut.
    ///
    /// # Errors
    /// After [`StoreError::Unavailable`] the writes are discarded and the store continues. After any other
    /// error the state on disk is unknown, and the store accepts no more writes.
    pub fn commit(&self) -> Result<(), StoreError> {
        self.write(true)
    }

    /// Passes all writes so far to the operating system: they survive a kill, but not a power cut.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn flush(&self) -> Result<(), StoreError> {
        self.write(false)
    }

    /// Makes all flushed writes durable without committing anything; commits may run at the same time.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.check_writable()?;
        let file = self.log.lock().active_file();
        file.map_or(Ok(()), |file| self.sync_file(&file))
    }

    fn write(&self, durable: bool) -> Result<(), StoreError> {
        // A failed commit must never reach disk later: its caller has already received the error.
        self.check_writable().inspect_err(|_| self.pending.discard_next())?;
        if self.must_checkpoint() {
            self.track_in_flight(|| self.checkpoint()).inspect_err(|_| self.pending.discard_next())?;
        }
        let mut log = self.log.lock();
        let Some(batch) = self.pending.begin_commit() else { return Ok(()) };
        self.track_in_flight(|| self.append_commit(&mut log, batch, durable))
    }

    /// Runs a disk operation and records when it started, so that a hung disk is noticed.
    fn track_in_flight<T>(&self, operation: impl FnOnce() -> T) -> T {
        self.in_flight_since_ms.store(now_ms(), Ordering::Release);
        let done = operation();
        self.in_flight_since_ms.store(0, Ordering::Release);
        done
    }

    fn append_commit(&self, log: &mut CommitLog, batch: Arc<WriteBatch>, durable: bool) -> Result<(), StoreError> {
        let appended = log.append(&batch).map_err(|error| {
            self.pending.discard_commit();
            self.unavailable_or_poisoned(error)
        })?;
        self.space.add_written(appended.bytes);
        self.unapplied_bytes.fetch_add(appended.bytes, Ordering::AcqRel);
        if durable && let Some(file) = log.active_file() {
            self.sync_file(&file).inspect_err(|_| self.pending.discard_commit())?;
        }
        self.pending.end_commit(batch, &appended.positions);
        Ok(())
    }

    /// Makes a file of the log durable.
    pub(super) fn sync_file(&self, file: &File) -> Result<(), StoreError> {
        file.sync_data().map_err(StoreError::Sync).inspect_err(|error| self.poison(error))
    }

    /// Returns the error of a commit whose frame could not be written; nothing of the frame remains.
    pub(super) fn unavailable_or_poisoned(&self, error: io::Error) -> StoreError {
        if is_out_of_files(&error) {
            return StoreError::Unavailable(Unavailable::Reopening(error.to_string()));
        }
        match Unavailable::from_io(&error, &self.folder) {
            Some(reason) => {
                tracing::warn!(%reason, "commit failed; its writes were discarded");
                self.space.set_unavailable(reason.clone());
                StoreError::Unavailable(reason)
            }
            None => {
                let error = StoreError::Sync(error);
                self.poison(&error);
                error
            }
        }
    }
}

/// Reports whether the process or the system has too many open files.
fn is_out_of_files(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE].iter().any(|code| error.raw_os_error() == Some(code.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{StoreOptions, StreamRecord};
    use std::fs;
    use std::path::Path;

    fn record(number: u64) -> StreamRecord {
        StreamRecord { number, ..StreamRecord::default() }
    }

    /// Copies the folder as a kill would leave it: with everything passed to the system, without the
    /// buffers of sled.
    fn as_killed(folder: &Path) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
            }
        }
        copy
    }

    #[test]
    fn commits_that_sled_lost_are_replayed_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        for number in 1..=50 {
            store.put_stream(format!("s{number}").as_bytes(), &record(number)).unwrap();
            store.put_task(b"t", Some(number.to_string().as_bytes())).unwrap();
            store.flush().unwrap();
        }
        store.remove_stream(b"s7", 7).unwrap();
        store.commit().unwrap();
        store.put_stream(b"never committed", &record(51)).unwrap();
        let killed = as_killed(folder.path());
        // Neither must it reach the disk with a checkpoint.
        store.checkpoint().unwrap();
        let applied = Store::open(as_killed(folder.path()).path(), StoreOptions::default()).unwrap();
        assert_eq!(applied.stream_names().unwrap().len(), 49);
        let found = Store::open(killed.path(), StoreOptions::default()).unwrap();
        assert_eq!(found.stream_names().unwrap().len(), 49);
        assert_eq!(found.stream(b"s50").unwrap(), Some(record(50)));
        assert_eq!((found.stream(b"s7").unwrap(), found.stream(b"never committed").unwrap()), (None, None));
        assert_eq!(found.task(b"t").unwrap().unwrap(), b"50");
        assert!(found.next_stream_number().unwrap() > 50, "stream numbers are never reused");
        drop(found);
        // Commits that were replayed are not replayed again.
        assert_eq!(Store::open(killed.path(), StoreOptions::default()).unwrap().stream_names().unwrap().len(), 49);
    }

    #[test]
    fn segments_do_not_grow_forever() {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions { segment_bytes: 1 << 20, ..StoreOptions::default() };
        let store = Store::open(folder.path(), options).unwrap();
        let block = vec![7; 6_000];
        let id = |n: u64| crate::model::EntryId::new(n, 0);
        for n in 1..=9_000u64 {
            store.put_new_block(n % 10 + 1, id(n), &block).unwrap();
            if n > 10 {
                store.remove_block((n - 10) % 10 + 1, id(n - 10), block.len()).unwrap();
            }
            store.put_task(b"last", Some(&n.to_be_bytes())).unwrap();
            if n % 20 == 0 {
                store.flush().unwrap();
            }
            if n % 1_000 == 0 {
                store.reclaim_if_due().unwrap();
            }
        }
        let usage = store.usage();
        assert!(usage.segment_bytes < 8 << 20, "the segments do not grow forever: {usage:?}");
        assert!(usage.index_bytes < 4 << 20, "removed blocks never reach sled: {usage:?}");
        let killed = as_killed(folder.path());
        let found = Store::open(killed.path(), options).unwrap();
        assert_eq!(found.task(b"last").unwrap().unwrap(), 9_000u64.to_be_bytes());
        let blocks: usize = (1..=10).map(|number| found.blocks_of(number).count()).sum();
        assert_eq!(blocks, 10);
    }
}
