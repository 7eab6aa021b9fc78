//! Counters of the engine, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the engine was connected; each only grows.
#[derive(Debug, Default)]
pub(super) struct EngineCounters {
    pub(super) connections: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) changes: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineCounts {
    /// Connections established. In a quiet time two for each primary.
    pub connections: u64,
    /// Attempts that failed and were repeated after a pause.
    pub retries: u64,
    /// Requests sent to Redis; commands sent together are one.
    pub requests: u64,
    /// Changes of keys that Redis reported.
    pub changes: u64,
}

impl EngineCounters {
    /// Adds one.
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the present counts.
    pub(super) fn snapshot(&self) -> EngineCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EngineCounts {
            connections: read(&self.connections),
            retries: read(&self.retries),
            requests: read(&self.requests),
            changes: read(&self.changes),
        }
    }
}
