//! Counters and gauges of a store.

use std::sync::atomic::Ordering;

use prometheus_client::metrics::histogram::Histogram;

use super::budget::Evicted;
use super::registry::Tasks;
use crate::model::Timestamp;
use crate::store::StoreUse;

/// Counters since the start, and current gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Lines made durable.
    pub lines_stored: u64,
    /// Time of the last stored line.
    pub last_stored: Option<Timestamp>,
    /// Group commits.
    pub commits: u64,
    /// Repeated lines of sessions that were dropped.
    pub repeats_dropped: u64,
    /// Bytes queued for writing.
    pub queued_bytes: u64,
    /// Size of the journals on disk, in bytes.
    pub journal_bytes: u64,
    /// Files of the journals, and what freeing their space took.
    pub store: StoreUse,
    /// Size of the archives on disk, in bytes.
    pub archive_bytes: u64,
    /// Free bytes of the data folder's file system.
    pub disk_free_bytes: u64,
    /// Number of tasks.
    pub tasks: u64,
    /// Number of tasks that are not sealed.
    pub tasks_open: u64,
    /// Failed seals, which are retried.
    pub seal_failures: u64,
    /// Appends that waited for the archive.
    pub archive_waits: u64,
    /// Tasks that were marked `lost`.
    pub tasks_lost: u64,
    /// Lines truncated from the middle of logs that exceeded their limit.
    pub quota_lines: u64,
    /// Sweeps over all open tasks.
    pub maintenance_sweeps: u64,
    /// Seconds by which the system clock is ahead of the clock used for expiry.
    pub clock_ahead_s: i64,
    /// Ended logs with every line that their workers counted.
    pub logs_complete: u64,
    /// Ended logs with missing lines.
    pub logs_incomplete: u64,
    /// Ended logs that differ from what their workers sent.
    pub logs_mismatch: u64,
    /// Ended logs whose workers reported no line count.
    pub logs_unknown: u64,
    /// Finished tasks removed to stay within `disk_max`.
    pub evicted: Evicted,
}

impl Tasks {
    /// Returns the histogram of the times of group commits, in seconds.
    pub fn commit_seconds(&self) -> Histogram {
        self.inner.journal.counters().commit_seconds.clone()
    }

    /// Returns the current counters and gauges.
    pub fn stats(&self) -> Stats {
        let counters = self.inner.journal.counters();
        Stats {
            last_stored: counters.last_entry(),
            lines_stored: counters.entries.load(Ordering::Relaxed),
            commits: counters.commits.load(Ordering::Relaxed),
            repeats_dropped: counters.repeats.load(Ordering::Relaxed),
            queued_bytes: self.inner.journal.queued_bytes() as u64,
            journal_bytes: self.inner.journal.store().size_on_disk(),
            store: self.inner.journal.store().usage(),
            archive_bytes: self.inner.archives.bytes(),
            disk_free_bytes: self.inner.journal.store().free_bytes(),
            tasks: self.inner.index.lock().len() as u64,
            tasks_open: self.inner.open.lock().len() as u64,
            archive_waits: self.inner.archive_waits.load(Ordering::Relaxed),
            seal_failures: self.inner.seal_failures.load(Ordering::Relaxed),
            tasks_lost: self.inner.tasks_lost.load(Ordering::Relaxed),
            quota_lines: self.inner.quota_lines.load(Ordering::Relaxed),
            maintenance_sweeps: self.inner.sweeps.load(Ordering::Relaxed),
            clock_ahead_s: self.inner.clock.offset_s(),
            logs_complete: self.inner.integrity.complete.load(Ordering::Relaxed),
            logs_incomplete: self.inner.integrity.incomplete.load(Ordering::Relaxed),
            logs_mismatch: self.inner.integrity.mismatch.load(Ordering::Relaxed),
            logs_unknown: self.inner.integrity.unknown.load(Ordering::Relaxed),
            evicted: self.inner.budget.evicted(),
        }
    }
}
