//! Writes: into sled's memory at once, into the write-ahead log with the commit.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::record::StreamRecord;
use super::wal::{Frame, Place, Wal, WalError, Write};
use super::{Store, StoreError};

/// The `meta` key of the number of the last commit.
const FRAME: &[u8] = b"frame";

/// What is on its way to the disk.
#[derive(Debug)]
pub(super) struct Log {
    wal: Wal,
    /// Writes since the last commit.
    frame: Frame,
    /// Makes sled's own file durable, so that the other file of the log can be written anew.
    checkpoint: Option<JoinHandle<Result<(), StoreError>>>,
}

impl Log {
    /// Does again what sled has lost, and makes that durable in sled.
    pub(super) fn open(folder: &Path, db: &sled::Db, trees: [&sled::Tree; 5], file: &File) -> Result<Self, StoreError> {
        let [.., meta] = trees;
        let known =
            meta.get(FRAME)?.and_then(|number| <[u8; 8]>::try_from(&*number).ok()).map_or(0, u64::from_be_bytes);
        let mut number_max = 0;
        let (wal, redone) = Wal::open(folder, known, |write| {
            number_max = number_max.max(stream_number(&write));
            let tree = trees[write.place as usize];
            match write.value {
                Some(value) => tree.insert(write.key, value)?,
                None => tree.remove(write.key)?,
            };
            Ok(())
        })
        .map_err(|error| match error {
            WalError::Io(error) => StoreError::Sync(error),
            WalError::Sled(error) => error.into(),
        })?;
        if redone > 0 {
            tracing::info!(commits = redone, "the last commits were done again from the write-ahead log");
            meta.insert(FRAME, &(wal.next() - 1).to_be_bytes())?;
        }
        // sled may have forgotten the numbers it gave for what it has forgotten.
        while db.generate_id()? <= number_max {}
        make_durable(db, file)?;
        Ok(Self { wal, frame: Frame::default(), checkpoint: None })
    }

    /// Waits for a checkpoint that is under way.
    fn wait(&mut self) -> Result<(), StoreError> {
        match self.checkpoint.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(done)) => done,
            Some(Err(_)) => Err(StoreError::Sync(std::io::Error::other("a checkpoint failed"))),
        }
    }
}

impl Store {
    pub(super) fn put(&self, place: Place, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.tree(place).insert(key, value)?;
        self.log.lock().frame.push(&Write { place, key, value: Some(value) });
        Ok(())
    }

    pub(super) fn take(&self, place: Place, key: &[u8]) -> Result<(), StoreError> {
        self.tree(place).remove(key)?;
        self.log.lock().frame.push(&Write { place, key, value: None });
        Ok(())
    }

    fn tree(&self, place: Place) -> &sled::Tree {
        match place {
            Place::Blocks => &self.blocks,
            Place::Streams => &self.streams,
            Place::Tasks => &self.tasks,
            Place::Groups => &self.groups,
            Place::Meta => &self.meta,
        }
    }

    /// Writes what came since the last commit; answers the file it is in.
    pub(super) fn write_frame(&self) -> Result<Arc<File>, StoreError> {
        self.check()?;
        self.try_write_frame().inspect_err(|error| self.poison(error))
    }

    /// The file that the last commit is in; an earlier file is made durable by its checkpoint.
    pub(super) fn committed_file(&self) -> Arc<File> {
        self.log.lock().wal.active().clone()
    }

    fn try_write_frame(&self) -> Result<Arc<File>, StoreError> {
        let mut log = self.log.lock();
        let Log { wal, frame, .. } = &mut *log;
        if frame.is_empty() {
            return Ok(wal.active().clone());
        }
        // The last write of this commit: where sled has it, it has all the others.
        self.meta.insert(FRAME, &wal.next().to_be_bytes())?;
        let written = wal.write(frame);
        frame.clear();
        written.map_err(StoreError::Sync)?;
        let file = wal.active().clone();
        if wal.is_full() {
            log.wait()?;
            let (db, file) = (self.db.clone(), self.file.clone());
            let thread = std::thread::Builder::new().name("journal-checkpoint".into());
            log.checkpoint = Some(thread.spawn(move || make_durable(&db, &file)).map_err(StoreError::Sync)?);
            log.wal.turn();
        }
        Ok(file)
    }

    /// Waits for a checkpoint that is under way and makes a last one: the next opening has nothing to do
    /// again.
    pub(super) fn end_checkpoint(&self) {
        let waited = self.log.lock().wait();
        if let Err(error) = waited.and_then(|()| self.checkpoint()) {
            tracing::error!(%error, "a checkpoint failed; the next opening does the last commits again");
        }
    }

    /// Makes sled's own file durable, with everything that is committed.
    pub(super) fn checkpoint(&self) -> Result<(), StoreError> {
        make_durable(&self.db, &self.file)
    }
}

fn make_durable(db: &sled::Db, file: &File) -> Result<(), StoreError> {
    db.flush()?;
    file.sync_data().map_err(StoreError::Sync)
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
        let store = Store::open(folder.path()).unwrap();
        for number in 1..=50 {
            store.put_stream(format!("s{number}").as_bytes(), &record(number)).unwrap();
            store.put_task(b"t", Some(number.to_string().as_bytes())).unwrap();
            store.flush().unwrap();
        }
        store.remove_stream(b"s7", 7).unwrap();
        store.commit().unwrap();
        store.put_stream(b"never committed", &record(51)).unwrap();
        let killed = as_killed(folder.path());
        let found = Store::open(killed.path()).unwrap();
        assert_eq!(found.stream_names().unwrap().len(), 49);
        assert_eq!(found.stream(b"s50").unwrap(), Some(record(50)));
        assert_eq!((found.stream(b"s7").unwrap(), found.stream(b"never committed").unwrap()), (None, None));
        assert_eq!(found.task(b"t").unwrap().unwrap(), b"50");
        assert!(found.next_stream_number().unwrap() > 50, "numbers are not given twice");
        drop(found);
        // Once more: what was done again is not done a third time.
        assert_eq!(Store::open(killed.path()).unwrap().stream_names().unwrap().len(), 49);
    }

    #[test]
    fn the_two_files_of_the_log_take_turns() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
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
        let found = Store::open(killed.path()).unwrap();
        assert_eq!(found.task(b"last").unwrap().unwrap(), 9_000u64.to_be_bytes());
        let blocks: usize = (1..=10).map(|number| found.blocks_of(number).count()).sum();
        assert_eq!(blocks, 10);
    }
}
