//! Reading keys: the operations that a transaction and a snapshot share, and the snapshot.

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
}

impl Journal {
    /// Returns the published keys as of now.
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot { journal: self, now: self.clock().now(), database: Database::default() }
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
    fn stream(&self, name: &[u8]) -> Result<Option<Arc<Stream>>, JournalError> {
        let stream = self.journal.stream(&self.database.stored_name(name))?;
        Ok(stream.filter(|stream| stream.tip().exists && !stream.is_expired(self.now)))
    }
}
