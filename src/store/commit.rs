//! Commits: written to the write-ahead log, made durable there, then applied to sled.
//!
//! ```text
//! commit            apply the previous one, if sled has not got it -> log -> sync    done: callers are answered
//! apply_committed                                                     -> sled         afterwards, or with the next commit
//! ```
//! Until sled has a commit, readers find it among the pending writes (`pending`).

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use super::batch::WriteBatch;
use super::record::StreamRecord;
use super::space::Unavailable;
use super::tree_id::TreeId;
use super::trees::Trees;
use super::wal::{Wal, WalWrite};
use super::{Store, StoreError, now_ms};

/// The write-ahead log, and the work between it and sled.
#[derive(Debug)]
pub(super) struct WalState {
    wal: Wal,
    /// The last commit and its frame number, until sled has it.
    unapplied: Option<(Arc<WriteBatch>, u64)>,
    /// Thread that makes sled's own file durable, so that the log's other file can be reused.
    checkpoint: Option<JoinHandle<Result<(), StoreError>>>,
}

/// Commits that the log has and sled has lost.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) batch: Arc<WriteBatch>,
    /// Number of commits.
    commits: u64,
    /// Number of the last frame.
    frame: u64,
    /// The highest stream number assigned so far.
    number_max: u64,
}

impl Replay {
    /// Applies the commits to sled and makes them durable there.
    pub(super) fn apply(&self, trees: &Trees) -> Result<(), StoreError> {
        if self.commits > 0 {
            trees.apply(&self.batch, self.frame)?;
        }
        // sled may have lost its id counter together with the writes.
        while trees.db.generate_id()? <= self.number_max {}
        trees.make_durable()?;
        if self.commits > 0 {
            tracing::info!(commits = self.commits, "replayed the last commits from the write-ahead log");
        }
        Ok(())
    }
}

impl WalState {
    /// Opens the log and collects the commits that sled has lost. They must be applied before the log is
    /// written to. `number_min` is a lower bound for the highest stream number assigned so far.
    pub(super) fn open(folder: &Path, trees: &Trees, number_min: u64) -> Result<(Self, Replay), StoreError> {
        let (mut batch, mut number_max) = (WriteBatch::default(), number_min);
        let (wal, commits) = Wal::open(folder, trees.frame()?, |write| {
            number_max = number_max.max(stream_number(&write));
            batch.put(write.tree, write.key, write.value);
        })
        .map_err(StoreError::Sync)?;
        let replay = Replay { batch: Arc::new(batch), commits, frame: wal.next() - 1, number_max };
        Ok((Self { wal, unapplied: None, checkpoint: None }, replay))
    }

    /// Waits for a running checkpoint.
    pub(super) fn join_checkpoint(&mut self) -> Result<(), StoreError> {
        match self.checkpoint.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(done)) => done,
            Some(Err(_)) => Err(StoreError::Sync(io::Error::other("a checkpoint failed"))),
        }
    }
}

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
        let file = self.wal.lock().wal.active().clone();
        self.sync_file(&file)
    }

    fn write(&self, durable: bool) -> Result<(), StoreError> {
        // A failed commit must never reach disk later: its caller has already received the error.
        self.check_writable().inspect_err(|_| self.pending.discard_next())?;
        let mut wal = self.wal.lock();
        self.apply_last(&mut wal);
        // Again: if sled failed to apply the previous commit, readers must continue to find it in `pending`.
        self.check_writable().inspect_err(|_| self.pending.discard_next())?;
        let Some(batch) = self.pending.begin_commit() else { return Ok(()) };
        self.track_in_flight(|| self.write_batch(&mut wal, batch, durable))
    }

    /// Applies the last commit to sled, if that has not happened yet. Call it after the commit's callers
    /// have been answered.
    pub fn apply_committed(&self) {
        self.apply_last(&mut self.wal.lock());
    }

    /// Runs a disk operation and records when it started, so that a hung disk is noticed.
    fn track_in_flight<T>(&self, operation: impl FnOnce() -> T) -> T {
        self.in_flight_since_ms.store(now_ms(), Ordering::Release);
        let done = operation();
        self.in_flight_since_ms.store(0, Ordering::Release);
        done
    }

    fn write_batch(&self, wal: &mut WalState, batch: Arc<WriteBatch>, durable: bool) -> Result<(), StoreError> {
        let (frame, bytes) = wal.wal.append(&batch).map_err(|error| {
            self.pending.end_commit();
            self.unavailable_or_poisoned(error)
        })?;
        self.space.add_written(bytes);
        let file = wal.wal.active().clone();
        if durable {
            self.sync_file(&file).inspect_err(|_| self.pending.end_commit())?;
        }
        // The commit is durable from here on, even if sled fails: the next start replays it from the log.
        wal.unapplied = Some((batch, frame));
        Ok(())
    }

    pub(super) fn apply_last(&self, wal: &mut WalState) {
        let Some((batch, frame)) = wal.unapplied.take() else { return };
        self.track_in_flight(|| {
            match self.trees().and_then(|trees| Ok(trees.apply(&batch, frame)?)) {
                Ok(()) => self.pending.end_commit(),
                Err(error) => self.sled_failed(&error),
            }
            if wal.wal.is_full()
                && let Err(error) = self.rotate(wal)
            {
                self.sled_failed(&error);
            }
        });
    }

    fn sync_file(&self, file: &File) -> Result<(), StoreError> {
        file.sync_data().map_err(StoreError::Sync).inspect_err(|error| self.poison(error))
    }

    /// Switches to the log's other file, after sled has everything of that file on disk.
    fn rotate(&self, wal: &mut WalState) -> Result<(), StoreError> {
        wal.join_checkpoint()?;
        let trees = self.trees()?;
        let thread = std::thread::Builder::new().name("journal-checkpoint".into());
        wal.checkpoint = Some(thread.spawn(move || trees.make_durable()).map_err(StoreError::Sync)?);
        wal.wal.rotate();
        Ok(())
    }

    /// Returns the error of a commit whose frame could not be written; nothing of the frame remains.
    fn unavailable_or_poisoned(&self, error: io::Error) -> StoreError {
        match Unavailable::from_io(&error, &self.folder) {
            Some(reason) => {
                tracing::error!(%reason, "commit failed; its writes were discarded");
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

    /// Waits for a running checkpoint and makes a last one, so that the next start has nothing to replay.
    pub(super) fn final_checkpoint(&self) {
        self.apply_committed();
        let joined = self.wal.lock().join_checkpoint();
        let done = joined.and_then(|()| self.trees()?.make_durable());
        if let Err(error) = done {
            tracing::error!(%error, "checkpoint failed; the next start replays the last commits");
        }
    }
}

/// Returns the number of the stream that a write belongs to; 0 if there is none.
fn stream_number(write: &WalWrite<'_>) -> u64 {
    let key = write.key.first_chunk::<8>().map_or(0, |number| u64::from_be_bytes(*number));
    match (write.tree, write.value) {
        (TreeId::Blocks | TreeId::Groups, _) => key,
        (TreeId::Streams, Some(record)) => StreamRecord::decode(record).map_or(0, |record| record.number),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;
    use std::fs;

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
        // The uncommitted write must not reach the disk even if sled writes everything it has.
        store.trees().unwrap().make_durable().unwrap();
        let killed = as_killed(folder.path());
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
    fn log_rotates_between_its_two_files() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        let block = vec![7; 6_000];
        for n in 1..=9_000u64 {
            store.put_block(n % 10 + 1, crate::model::EntryId::new(n, 0), &block).unwrap();
            if n > 10 {
                store.remove_block((n - 10) % 10 + 1, crate::model::EntryId::new(n - 10, 0), block.len()).unwrap();
            }
            store.put_task(b"last", Some(&n.to_be_bytes())).unwrap();
            if n % 20 == 0 {
                store.flush().unwrap();
            }
        }
        let killed = as_killed(folder.path());
        for name in ["wal.0", "wal.1"] {
            assert!(fs::metadata(killed.path().join(name)).unwrap().len() < 20 << 20, "the log does not grow forever");
        }
        let found = Store::open(killed.path(), StoreOptions::default()).unwrap();
        assert_eq!(found.task(b"last").unwrap().unwrap(), 9_000u64.to_be_bytes());
        let blocks: usize = (1..=10).map(|number| found.blocks_of(number).count()).sum();
        assert_eq!(blocks, 10);
    }
}
