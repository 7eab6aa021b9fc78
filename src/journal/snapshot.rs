//! Reading keys: the operations that a transaction and a snapshot share, and the snapshot.

use std::fmt::Debug;
use std::sync::Arc;

use super::{Database, IdRange, Journal, JournalError, Stream};
use crate::model::{Entry, EntryId, Timestamp};

/// The most frequently requested properties of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyMetadata {
    /// Number of entries (Redis: XLEN).
    pub len: u64,
    /// Greatest ID ever added.
    pub last_id: EntryId,
    /// Expiration time.
    pub expires: Option<Timestamp>,
}

/// The type of a key and its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyDescription {
    /// Type (Redis: TYPE).
    pub kind: &'static str,
    /// Encoding (Redis: OBJECT ENCODING).
    pub encoding: &'static str,
    /// Bytes of the name and the value, approximately (Redis: MEMORY USAGE).
    pub bytes: u64,
}

impl KeyDescription {
    /// Describes a stream.
    pub(super) fn of_stream(stream: &Stream) -> Self {
        let blocks: u64 = stream.blocks.read().iter().map(|block| u64::from(block.bytes)).sum();
        Self { kind: "stream", encoding: "stream", bytes: stream.name.len() as u64 + blocks }
    }
}

/// Keys of other types than streams, which are kept outside of the journal.
pub trait ForeignKeys: Debug + Send + Sync {
    /// Reports whether a key of this database has another type than a stream now.
    fn holds(&self, database: Database, key: &[u8], now: Timestamp) -> bool;
}

/// Read access to keys.
pub trait KeyReader {
    /// Returns the database whose keys are read.
    fn database(&self) -> Database;
    /// Selects the database whose keys are read from now on.
    fn select(&mut self, database: Database);
    /// Returns the time of the command, which decides whether a key has expired.
    fn now(&self) -> Timestamp;
    /// Returns the properties of a key, or `None` if it does not exist or has expired.
    fn metadata(&mut self, name: &[u8]) -> Result<Option<KeyMetadata>, JournalError>;
    /// Returns the type and the memory of a key, or `None` if it does not exist or has expired.
    fn describe(&mut self, name: &[u8]) -> Result<Option<KeyDescription>, JournalError>;
    /// Calls `each` with the entries in a range. Returns their number, 0 for a missing key.
    fn range(&mut self, name: &[u8], range: IdRange, each: &mut dyn FnMut(&Entry<'_>)) -> Result<usize, JournalError>;
    /// Returns the names of all keys, sorted.
    fn names(&mut self) -> Result<Vec<Vec<u8>>, JournalError>;
}

/// The published keys, for reads that need no order relative to writes.
#[derive(Debug)]
pub struct Snapshot<'a> {
    journal: &'a Journal,
    now: Timestamp,
    database: Database,
    foreign: Option<Arc<dyn ForeignKeys>>,
}

impl Journal {
    /// Returns the published keys as of now.
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot { journal: self, now: self.clock().now(), database: Database::default(), foreign: None }
    }
}

impl KeyReader for Snapshot<'_> {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn database(&self) -> Database {
        self.database
    }

    fn select(&mut self, database: Database) {
        self.database = database;
    }

    fn metadata(&mut self, name: &[u8]) -> Result<Option<KeyMetadata>, JournalError> {
        Ok(self.stream(name)?.map(|stream| {
            let tip = stream.tip();
            KeyMetadata { len: tip.shown_len, last_id: tip.last_id, expires: stream.expires() }
        }))
    }

    fn describe(&mut self, name: &[u8]) -> Result<Option<KeyDescription>, JournalError> {
        Ok(self.stream(name)?.map(|stream| KeyDescription::of_stream(&stream)))
    }

    fn range(&mut self, name: &[u8], range: IdRange, each: &mut dyn FnMut(&Entry<'_>)) -> Result<usize, JournalError> {
        match self.stream(name)?.map(|stream| self.journal.visit_range(&stream, range, each)) {
            None | Some(Err(JournalError::Removed)) => Ok(0),
            Some(found) => found,
        }
    }

    fn names(&mut self) -> Result<Vec<Vec<u8>>, JournalError> {
        let journal = &self.journal.inner;
        let names = journal.streams.names(&journal.store, self.now, |stream| stream.tip().exists)?;
        Ok(self.database.keys_among(names))
    }
}

impl Snapshot<'_> {
    /// Sets the keys of other types, which are then errors as streams.
    pub fn set_foreign(&mut self, foreign: Option<Arc<dyn ForeignKeys>>) {
        self.foreign = foreign;
    }

    fn stream(&self, name: &[u8]) -> Result<Option<Arc<Stream>>, JournalError> {
        if self.foreign.as_ref().is_some_and(|foreign| foreign.holds(self.database, name, self.now)) {
            return Err(JournalError::WrongType);
        }
        let stream = self.journal.stream(&self.database.stored_name(name))?;
        Ok(stream.filter(|stream| stream.tip().exists && !stream.is_expired(self.now)))
    }
}
