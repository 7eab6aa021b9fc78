//! Watched keys (Redis: WATCH).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// By key, the flags to set at its next change.
#[derive(Default)]
pub(super) struct WatchedKeys(HashMap<Box<[u8]>, Vec<Weak<AtomicBool>>>);

impl WatchedKeys {
    /// Sets `dirty` at the next change of this key.
    pub(super) fn watch(&mut self, key: &[u8], dirty: &Arc<AtomicBool>) {
        let is_watched = |dirty: &Weak<_>| dirty.strong_count() > 0;
        // A watcher that was dropped stays here while its key does not change: remove those before
        // the map grows.
        if self.0.len() == self.0.capacity() {
            self.0.retain(|_, watchers| watchers.iter().any(is_watched));
        }
        let watchers = self.0.entry(key.into()).or_default();
        if watchers.len() == watchers.capacity() {
            watchers.retain(is_watched);
        }
        watchers.push(Arc::downgrade(dirty));
    }

    /// Sets the flags of a changed key and stops watching it.
    pub(super) fn mark_dirty(&mut self, key: &[u8]) {
        if self.0.is_empty() {
            return;
        }
        for dirty in self.0.remove(key).iter().flatten().filter_map(Weak::upgrade) {
            dirty.store(true, Ordering::Release);
        }
    }
}
