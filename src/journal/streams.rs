//! The loaded streams, by name.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{JournalError, Stream};
use crate::model::Timestamp;
use crate::store::{Store, StreamRecord};

/// A lock that is held while a stream is loaded.
type LoadingLock = Arc<Mutex<()>>;

/// The streams that were loaded since the journal was opened. Shared by readers and the writer.
#[derive(Debug)]
pub(super) struct Streams {
    /// Locked only briefly.
    names: Mutex<HashMap<Box<[u8]>, Arc<Stream>>>,
    /// A lock for each stream that is being loaded: a long one takes a while, and others must not wait for it.
    loading: Mutex<HashMap<Box<[u8]>, LoadingLock>>,
    /// Number of streams loaded so far. A load may give a stream a second object in memory.
    loads: AtomicU64,
    /// Reports whether a stream is archived.
    archived: fn(&[u8]) -> bool,
}

impl Streams {
    pub(super) fn new(archived: fn(&[u8]) -> bool) -> Self {
        Self { names: Mutex::default(), loading: Mutex::default(), loads: AtomicU64::new(0), archived }
    }

    /// Returns the stream with this name, loading it if necessary.
    pub(super) fn find(&self, store: &Store, name: &[u8]) -> Result<Option<Arc<Stream>>, JournalError> {
        if let Some(stream) = self.cached(name) {
            return Ok(Some(stream));
        }
        if store.stream(name)?.is_none() {
            return Ok(None);
        }
        let lock = self.loading_lock(name);
        let loaded = {
            let _loading = lock.lock();
            self.load(store, name)
        };
        self.release_loading_lock(name, lock);
        loaded
    }

    /// Returns the lock of a stream that is to be loaded.
    fn loading_lock(&self, name: &[u8]) -> LoadingLock {
        self.loading.lock().entry(name.into()).or_default().clone()
    }

    /// Drops the lock of a stream, unless another caller uses it. A caller that created another lock meanwhile could
    /// load a stream that is removed before it is done, and would then add it again.
    fn release_loading_lock(&self, name: &[u8], lock: Arc<Mutex<()>>) {
        let mut loading = self.loading.lock();
        drop(lock);
        if loading.get(name).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            loading.remove(name);
        }
    }

    /// Loads a stream, unless another caller has just done it.
    fn load(&self, store: &Store, name: &[u8]) -> Result<Option<Arc<Stream>>, JournalError> {
        if let Some(stream) = self.cached(name) {
            return Ok(Some(stream));
        }
        let Some(record) = store.stream(name)? else { return Ok(None) };
        let loaded = Arc::new(Stream::load(store, name, record, (self.archived)(name))?);
        let stream = self.names.lock().entry(name.into()).or_insert(loaded).clone();
        self.loads.fetch_add(1, Ordering::AcqRel);
        Ok(Some(stream))
    }

    /// Returns the number of streams loaded so far.
    pub(super) fn loads(&self) -> u64 {
        self.loads.load(Ordering::Acquire)
    }

    /// Returns the stream with this name if it is loaded.
    pub(super) fn cached(&self, name: &[u8]) -> Option<Arc<Stream>> {
        self.names.lock().get(name).cloned()
    }

    /// Creates a stream with this name, or returns the one that another caller has just created. A
    /// stream that is being removed does not count.
    pub(super) fn create(&self, store: &Store, name: &[u8]) -> Result<Arc<Stream>, JournalError> {
        let mut names = self.names.lock();
        if let Some(stream) = names.get(name).filter(|stream| !stream.tip().removed) {
            return Ok(stream.clone());
        }
        let stream = Arc::new(Stream::new(name, store.next_stream_number()?, (self.archived)(name)));
        names.insert(name.into(), stream.clone());
        Ok(stream)
    }

    /// Replaces the stream with this name by the one of this record.
    pub(super) fn replace(
        &self,
        store: &Store,
        name: &[u8],
        record: StreamRecord,
    ) -> Result<Arc<Stream>, JournalError> {
        let stream = Arc::new(Stream::load(store, name, record, (self.archived)(name))?);
        self.names.lock().insert(name.into(), stream.clone());
        self.loads.fetch_add(1, Ordering::AcqRel);
        Ok(stream)
    }

    /// Returns the names of all keys, sorted. Streams are not loaded for it: their records suffice.
    pub(super) fn names(
        &self,
        store: &Store,
        now: Timestamp,
        exists: impl Fn(&Stream) -> bool,
    ) -> Result<Vec<Vec<u8>>, JournalError> {
        let mut found = Vec::new();
        for row in store.streams() {
            let (name, record) = row?;
            let shown = match self.cached(&name) {
                Some(stream) => exists(&stream) && !stream.tip().removed && !stream.is_expired(now),
                None => record.key.exists && record.expires_ms.is_none_or(|at| at > now.as_millis()),
            };
            if shown {
                found.push(name.to_vec());
            }
        }
        Ok(found)
    }

    pub(super) fn is_archived(&self, name: &[u8]) -> bool {
        (self.archived)(name)
    }

    /// Reverts the removal of a stream. A stream that was created in its place is removed.
    pub(super) fn restore(&self, stream: &Arc<Stream>) {
        stream.tip.send_modify(|tip| tip.removed = false);
        let replaced = self.names.lock().insert(stream.name.clone(), stream.clone());
        if let Some(other) = replaced.filter(|other| !Arc::ptr_eq(other, stream)) {
            other.tip.send_modify(|tip| tip.removed = true);
        }
    }

    /// Returns all loaded streams.
    pub(super) fn loaded(&self) -> Vec<Arc<Stream>> {
        self.names.lock().values().cloned().collect()
    }

    /// Drops a stream from the map, but not a later one with the same name.
    pub(super) fn forget(&self, stream: &Arc<Stream>) {
        let mut names = self.names.lock();
        if names.get(stream.name()).is_some_and(|known| Arc::ptr_eq(known, stream)) {
            names.remove(stream.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::journal::{Durability, Journal, LineBatch, Stream};

    #[tokio::test(flavor = "multi_thread")]
    async fn stream_being_removed_is_not_found() {
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
        // The state between marking the tip as removed and deleting the stream from the store.
        stream.tip.send_modify(|tip| tip.removed = true);
        for reader in 1..=2 {
            assert!(journal.stream(b"a").unwrap().is_none(), "reader {reader}");
        }
        // Writing now creates a new stream, which the end of the removal must not affect.
        let new = append(b"new").await;
        assert_ne!((new.number, new.incarnation()), (stream.number, stream.incarnation()));
        journal.inner.store.remove_stream(b"a", stream.number).unwrap();
        journal.inner.streams.forget(&stream);
        let found = journal.stream(b"a").unwrap().unwrap();
        assert_eq!((found.number, found.tip().last_line), (new.number, 1));
        journal.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn lookup_waits_only_for_the_load_of_its_own_stream() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), Durability::Commit).unwrap();
        for name in [b"long", b"next"] {
            let stream = journal.stream_or_new(name).unwrap();
            let mut batch = LineBatch::new();
            batch.push_fields(vec![(b"f".into(), b"v"[..].into())]);
            journal.append(&stream, batch, None).await.unwrap().await.unwrap();
            journal.inner.streams.forget(&stream);
        }
        // As if another caller were reading the blocks of `long`.
        let loading = journal.inner.streams.loading_lock(b"long");
        let held = loading.lock();
        std::thread::scope(|scope| {
            let long = scope.spawn(|| journal.stream(b"long").unwrap().unwrap().tip().last_line);
            assert_eq!(journal.stream(b"next").unwrap().unwrap().tip().last_line, 1);
            assert!(!long.is_finished());
            drop(held);
            assert_eq!(long.join().unwrap(), 1);
        });
        assert_eq!(journal.inner.streams.loading.lock().len(), 1, "one caller still has the lock");
        journal.inner.streams.release_loading_lock(b"long", loading);
        assert!(journal.inner.streams.loading.lock().is_empty());
        journal.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn write_after_a_stream_was_loaded_again_is_published_to_its_readers() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), Durability::Commit).unwrap();
        let append = async |stream: &Arc<Stream>| {
            let mut batch = LineBatch::new();
            batch.push_fields(vec![(b"f".into(), b"v"[..].into())]);
            journal.append(stream, batch, None).await.unwrap().await.unwrap()
        };
        let before = journal.stream_or_new(b"a").unwrap();
        append(&before).await;
        // The archive has lines that the store lost: numbering continues after them. A reader keeps the old object.
        let after = journal.resume_stream(b"a", 10, before.tip().last_id, false).unwrap();
        assert_eq!(append(&after).await.first_line, 11);
        assert_eq!((after.tip().last_line, before.tip().last_line), (11, 1));
        journal.close().await;
    }
}
