//! Counters of a store, for metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of a store since it was opened.
#[derive(Debug, Default)]
pub struct ObjectCounters {
    pub(super) attempts: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) sent_bytes: AtomicU64,
    pub(super) received_bytes: AtomicU64,
}

/// Values of the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectCounts {
    /// Attempts of operations.
    pub attempts: u64,
    /// Attempts after a failed one.
    pub retries: u64,
    /// Operations that failed.
    pub failures: u64,
    /// Bytes of objects sent, those of repeated attempts included.
    pub sent_bytes: u64,
    /// Bytes of objects received.
    pub received_bytes: u64,
}

impl ObjectCounters {
    /// Returns the values.
    pub fn counts(&self) -> ObjectCounts {
        ObjectCounts {
            attempts: self.attempts.load(Relaxed),
            retries: self.retries.load(Relaxed),
            failures: self.failures.load(Relaxed),
            sent_bytes: self.sent_bytes.load(Relaxed),
            received_bytes: self.received_bytes.load(Relaxed),
        }
    }

    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Relaxed);
    }
}
