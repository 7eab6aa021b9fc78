//! Commits: into the write-ahead log, made durable there, then into sled.
//!
//! ```text
//! commit   what sled has not of the one before -> log -> sync         done: whoever waits is answered
//! settle                                                  -> sled     meanwhile; else with the next commit
//! ```
//! Until sled has a commit it lies over it (`overlay`), where readers find it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use super::overlay::Changes;
use super::record::StreamRecord;
use super::space::Refusal;
use super::trees::Trees;
use super::wal::{Place, Wal, Write};
use super::{Store, StoreError, now_ms};

/// What is on its way to the disk.
#[derive(Debug)]
pub(super) struct Log {
    wal: Wal,
    /// The last commit and the number of its frame, as long as sled has it not.
    unapplied: Option<(Arc<Changes>, u64)>,
    /// Makes sled's own file durable, so that the other file of the log can be written anew.
    checkpoint: Option<JoinHandle<Result<(), StoreError>>>,
}

/// What the log has and sled has lost.
#[derive(Debug)]
pub(super) struct Redo {
    pub(super) changes: Arc<Changes>,
    /// How many commits, and the number of the last frame.
    commits: u64,
    frame: u64,
    /// The highest number that a stream has had.
    number_max: u64,
}

impl Redo {
    /// Does it again, and makes that durable in sled.
    pub(super) fn apply(&self, trees: &Trees) -> Result<(), StoreError> {
        if self.commits > 0 {
            trees.apply(&self.changes, self.frame)?;
        }
        // sled may have forgotten the numbers it gave for what it has forgotten.
        while trees.db.generate_id()? <= self.number_max {}
        trees.make_durable()?;
        if self.commits > 0 {
            tracing::info!(commits = self.commits, "the last commits were done again from the write-ahead log");
        }
        Ok(())
    }
}

impl Log {
    /// Opens the log, and gathers what sled has lost of it: nothing is written to before that is done
    /// again. `number_min`: every stream has had a lower number so far, or this one.
    pub(super) fn open(folder: &Path, trees: &Trees, number_min: u64) -> Result<(Self, Redo), StoreError> {
        let (mut changes, mut number_max) = (Changes::default(), number_min);
        let (wal, commits) = Wal::open(folder, trees.frame()?, |write| {
            number_max = number_max.max(stream_number(&write));
            changes.put(write.place, write.key, write.value);
        })
        .map_err(StoreError::Sync)?;
        let redo = Redo { changes: Arc::new(changes), commits, frame: wal.next() - 1, number_max };
        Ok((Self { wal, unapplied: None, checkpoint: None }, redo))
    }

    /// Waits for a checkpoint that is under way.
    pub(super) fn wait(&mut self) -> Result<(), StoreError> {
        match self.checkpoint.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(done)) => done,
            Some(Err(_)) => Err(StoreError::Sync(io::Error::other("a checkpoint failed"))),
        }
    }
}

impl Store {
    /// Makes every write so far durable: survives a kill and a power cut.
    ///
    /// Refused ([`StoreError::Refused`]), nothing of them is left and the store goes on; on any other
    /// error nobody can say what reached the disk, and it takes no more writes.
    pub fn commit(&self) -> Result<(), StoreError> {
        self.write(true)
    }

    /// Hands every write so far to the operating system: survives a kill, not a power cut. Fails as
    /// [`Store::commit`] does.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.write(false)
    }

    /// Makes every commit so far durable, without one of its own: writes may be under way.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.check()?;
        let file = self.log.lock().wal.active().clone();
        self.sync_file(&file)
    }

    fn write(&self, durable: bool) -> Result<(), StoreError> {
        // What cannot be written now must not be written later: whoever asked is told that it failed.
        self.check().inspect_err(|_| self.overlay.forget_pending())?;
        let mut log = self.log.lock();
        self.apply_last(&mut log);
        // Once more: what sled has not of a commit before must stay over it.
        self.check().inspect_err(|_| self.overlay.forget_pending())?;
        let Some(changes) = self.overlay.begin_commit() else { return Ok(()) };
        self.busy(|| self.write_changes(&mut log, changes, durable))
    }

    /// Lets sled take in the last commit, if it has not: to be called once whoever waits for it is answered.
    pub fn settle(&self) {
        self.apply_last(&mut self.log.lock());
    }

    /// Does what may take as long as the disk does.
    fn busy<T>(&self, work: impl FnOnce() -> T) -> T {
        self.busy_since_ms.store(now_ms(), Ordering::Release);
        let done = work();
        self.busy_since_ms.store(0, Ordering::Release);
        done
    }

    fn write_changes(&self, log: &mut Log, changes: Arc<Changes>, durable: bool) -> Result<(), StoreError> {
        let (frame, bytes) = log.wal.write(&changes).map_err(|error| {
            self.overlay.end_commit();
            self.refused_or_poisoned(error)
        })?;
        self.space.wrote(bytes);
        let file = log.wal.active().clone();
        if durable {
            self.sync_file(&file).inspect_err(|_| self.overlay.end_commit())?;
        }
        // From here on it is done, whatever sled says: the next opening finds it in the log.
        log.unapplied = Some((changes, frame));
        Ok(())
    }

    pub(super) fn apply_last(&self, log: &mut Log) {
        let Some((changes, frame)) = log.unapplied.take() else { return };
        self.busy(|| {
            match self.trees().and_then(|trees| Ok(trees.apply(&changes, frame)?)) {
                Ok(()) => self.overlay.end_commit(),
                Err(error) => self.sled_failed(&error),
            }
            if log.wal.is_full()
                && let Err(error) = self.turn(log)
            {
                self.sled_failed(&error);
            }
        });
    }

    fn sync_file(&self, file: &File) -> Result<(), StoreError> {
        file.sync_data().map_err(StoreError::Sync).inspect_err(|error| self.poison(error))
    }

    /// Goes on in the other file of the log, once sled has everything of it on disk.
    fn turn(&self, log: &mut Log) -> Result<(), StoreError> {
        log.wait()?;
        let trees = self.trees()?;
        let thread = std::thread::Builder::new().name("journal-checkpoint".into());
        log.checkpoint = Some(thread.spawn(move || trees.make_durable()).map_err(StoreError::Sync)?);
        log.wal.turn();
        Ok(())
    }

    /// The log did not take a frame: nothing of it is there.
    fn refused_or_poisoned(&self, error: io::Error) -> StoreError {
        match Refusal::of(&error, &self.folder) {
            Some(refusal) => {
                tracing::error!(%refusal, "a commit was refused, nothing of it is left");
                self.space.was_refused(refusal.clone());
                StoreError::Refused(refusal)
            }
            None => {
                let error = StoreError::Sync(error);
                self.poison(&error);
                error
            }
        }
    }

    /// Waits for a checkpoint that is under way and makes a last one: the next opening has nothing to do
    /// again.
    pub(super) fn end_checkpoint(&self) {
        self.settle();
        let waited = self.log.lock().wait();
        let done = waited.and_then(|()| self.trees()?.make_durable());
        if let Err(error) = done {
            tracing::error!(%error, "a checkpoint failed; the next opening does the last commits again");
        }
    }
}

/// The stream that a write is of; 0 if it is of none.
fn stream_number(write: &Write<'_>) -> u64 {
    let key = write.key.first_chunk::<8>().map_or(0, |number| u64::from_be_bytes(*number));
    match (write.place, write.value) {
        (Place::Blocks | Place::Groups, _) => key,
        (Place::Streams, Some(record)) => StreamRecord::decode(record).map_or(0, |record| record.number),
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

    /// The folder as a kill would leave it: what the system was given is there, what sled held is not.
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
    fn what_sled_had_not_written_is_done_again() {
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
        // Not even in part, whenever sled writes what it has.
        store.trees().unwrap().make_durable().unwrap();
        let killed = as_killed(folder.path());
        let found = Store::open(killed.path(), StoreOptions::default()).unwrap();
        assert_eq!(found.stream_names().unwrap().len(), 49);
        assert_eq!(found.stream(b"s50").unwrap(), Some(record(50)));
        assert_eq!((found.stream(b"s7").unwrap(), found.stream(b"never committed").unwrap()), (None, None));
        assert_eq!(found.task(b"t").unwrap().unwrap(), b"50");
        assert!(found.next_stream_number().unwrap() > 50, "numbers are not given twice");
        drop(found);
        // Once more: what was done again is not done a third time.
        assert_eq!(Store::open(killed.path(), StoreOptions::default()).unwrap().stream_names().unwrap().len(), 49);
    }

    #[test]
    fn the_two_files_of_the_log_take_turns() {
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
            assert!(fs::metadata(killed.path().join(name)).unwrap().len() < 20 << 20, "the log does not grow for ever");
        }
        let found = Store::open(killed.path(), StoreOptions::default()).unwrap();
        assert_eq!(found.task(b"last").unwrap().unwrap(), 9_000u64.to_be_bytes());
        let blocks: usize = (1..=10).map(|number| found.blocks_of(number).count()).sum();
        assert_eq!(blocks, 10);
    }
}
