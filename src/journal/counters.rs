//! The journal's counters.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::histogram::Histogram;

use crate::model::Timestamp;
use crate::model::limits::LATENCY_BUCKETS;

/// Counters since the journal was opened.
#[derive(Debug)]
pub struct JournalCounters {
    /// Durable entries.
    pub entries: AtomicU64,
    /// Time of the last durable entry, in milliseconds since 1970; 0 if there is none.
    pub last_entry_ms: AtomicU64,
    /// Group commits.
    pub commits: AtomicU64,
    /// Blocks written.
    pub blocks: AtomicU64,
    /// Duplicate entries of a session, dropped.
    pub repeats: AtomicU64,
    /// Times of group commits, in seconds.
    pub commit_seconds: Histogram,
}

impl Default for JournalCounters {
    fn default() -> Self {
        Self {
            entries: AtomicU64::default(),
            last_entry_ms: AtomicU64::default(),
            commits: AtomicU64::default(),
            blocks: AtomicU64::default(),
            repeats: AtomicU64::default(),
            commit_seconds: Histogram::new(LATENCY_BUCKETS),
        }
    }
}

impl JournalCounters {
    /// Returns the time of the last durable entry.
    pub fn last_entry(&self) -> Option<Timestamp> {
        let ms = self.last_entry_ms.load(Ordering::Relaxed);
        (ms > 0).then(|| Timestamp::from_millis(ms))
    }

    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}
