//! The journal's counters.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::Timestamp;

/// Counters since the journal was opened.
#[derive(Debug, Default)]
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
