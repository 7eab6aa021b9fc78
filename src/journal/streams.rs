//! The streams in use, by name.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{JournalError, Stream};
use crate::model::Timestamp;
use crate::store::{Store, StreamRecord};

/// Streams that were looked up. Readers and the writer share it.
#[derive(Debug)]
pub(super) struct Streams {
    /// Whoever looks one up waits while another loads one: some milliseconds.
    names: Mutex<HashMap<Box<[u8]>, Arc<Stream>>>,
    /// Of which streams the lines are kept elsewhere.
    kept: fn(&[u8]) -> bool,
}

impl Streams {
    pub(super) fn new(kept: fn(&[u8]) -> bool) -> Self {
        Self { names: Mutex::default(), kept }
    }

    /// The stream of this name, in use or stored.
    pub(super) fn find(&self, store: &Store, name: &[u8]) -> Result<Option<Arc<Stream>>, JournalError> {
        let mut names = self.names.lock();
        if let Some(stream) = names.get(name) {
            return Ok(Some(stream.clone()));
        }
        let Some(record) = store.stream(name)? else { return Ok(None) };
        let stream = Arc::new(Stream::load(store, name, record, (self.kept)(name))?);
        names.insert(name.into(), stream.clone());
        Ok(Some(stream))
    }

    /// The stream of this name, if it is in use.
    pub(super) fn at_hand(&self, name: &[u8]) -> Option<Arc<Stream>> {
        self.names.lock().get(name).cloned()
    }

    /// A new stream of this name, unless another was quicker. One that is being removed is no other.
    pub(super) fn begin(&self, store: &Store, name: &[u8]) -> Result<Arc<Stream>, JournalError> {
        let mut names = self.names.lock();
        if let Some(stream) = names.get(name).filter(|stream| !stream.tip().removed) {
            return Ok(stream.clone());
        }
        let stream = Arc::new(Stream::new(name, store.next_stream_number()?, (self.kept)(name)));
        names.insert(name.into(), stream.clone());
        Ok(stream)
    }

    /// The stream of this name is the one of this record from now on.
    pub(super) fn replace(
        &self,
        store: &Store,
        name: &[u8],
        record: StreamRecord,
    ) -> Result<Arc<Stream>, JournalError> {
        let stream = Arc::new(Stream::load(store, name, record, (self.kept)(name))?);
        self.names.lock().insert(name.into(), stream.clone());
        Ok(stream)
    }

    /// The names of all keys, in their order. A stream that is not in use is not loaded for it: its
    /// record says enough.
    pub(super) fn names(
        &self,
        store: &Store,
        now: Timestamp,
        exists: impl Fn(&Stream) -> bool,
    ) -> Result<Vec<Vec<u8>>, JournalError> {
        let mut found = Vec::new();
        for row in store.streams() {
            let (name, record) = row?;
            let there = match self.at_hand(&name) {
                Some(stream) => exists(&stream) && !stream.tip().removed && !stream.is_expired(now),
                None => record.key.exists && record.expires_ms.is_none_or(|at| at > now.as_millis()),
            };
            if there {
                found.push(name.to_vec());
            }
        }
        Ok(found)
    }

    pub(super) fn is_kept(&self, name: &[u8]) -> bool {
        (self.kept)(name)
    }

    /// A stream that was to be removed stays; one that was begun in its place goes.
    pub(super) fn restore(&self, stream: &Arc<Stream>) {
        stream.tip.send_modify(|tip| tip.removed = false);
        let replaced = self.names.lock().insert(stream.name.clone(), stream.clone());
        if let Some(other) = replaced.filter(|other| !Arc::ptr_eq(other, stream)) {
            other.tip.send_modify(|tip| tip.removed = true);
        }
    }

    /// All streams in use.
    pub(super) fn in_use(&self) -> Vec<Arc<Stream>> {
        self.names.lock().values().cloned().collect()
    }

    /// Forgets a stream; a later one of the same name stays.
    pub(super) fn forget(&self, stream: &Arc<Stream>) {
        let mut names = self.names.lock();
        if names.get(stream.name()).is_some_and(|known| Arc::ptr_eq(known, stream)) {
            names.remove(stream.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::journal::{Durability, Journal, LineBatch};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stream_that_is_being_removed_is_not_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), Durability::Commit).unwrap();
        let append = async |text: &[u8]| {
            let stream = journal.stream_or_new(b"a").unwrap();
            let mut batch = LineBatch::new();
            batch.push_fields(vec![(b"f".into(), text.into())]);
            journal.append(&stream, batch, None).await.unwrap().await.unwrap();
            stream
        };
        let stream = append(b"old").await;
        // The moment between the writer's word to the readers and the store's forgetting.
        stream.tip.send_modify(|tip| tip.removed = true);
        for reader in 1..=2 {
            assert!(journal.stream(b"a").unwrap().is_none(), "reader {reader}");
        }
        // Whoever writes now begins anew, and the removal that comes to its end spares it.
        let new = append(b"new").await;
        assert_ne!((new.number, new.incarnation()), (stream.number, stream.incarnation()));
        journal.inner.store.remove_stream(b"a", stream.number).unwrap();
        journal.inner.streams.forget(&stream);
        let found = journal.stream(b"a").unwrap().unwrap();
        assert_eq!((found.number, found.tip().last_line), (new.number, 1));
        journal.close().await;
    }
}
