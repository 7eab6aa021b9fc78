//! The stages that an event or a line passes, and their counters: one format for `/api/v1/pipeline`,
//! `/metrics`, the dashboard and `doctor`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Timestamp;

/// Distinct rejection reasons that are counted by name; further ones count as `other`.
const REASONS_MAX: usize = 64;
/// Longest error message stored, in bytes.
const MESSAGE_BYTES_MAX: usize = 400;

/// The counters of one stage since the server started. A counter that does not apply is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Name of the stage: `worker_socket`, `journal`, `extraction`, ...
    #[serde(rename = "hop")]
    pub name: String,
    /// Items received.
    pub received: u64,
    /// Items parsed successfully.
    pub parsed: u64,
    /// Items rejected, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Items already present.
    pub deduplicated: u64,
    /// Items made durable.
    pub stored: u64,
    /// Items passed to the next stage.
    pub delivered: u64,
    /// Items lost in this stage.
    pub dropped: u64,
    /// Time of the last item.
    pub last: Option<Timestamp>,
    /// The last error.
    pub last_error: Option<StageError>,
}

/// An error in a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageError {
    /// Time of the error.
    pub at: Timestamp,
    /// Error message.
    pub message: String,
}

/// The body of `GET /api/v1/pipeline`: every stage in the order in which an event passes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipeline {
    /// The stages.
    #[serde(rename = "hops")]
    pub stages: Vec<Stage>,
    /// The watched folder of runs, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs_folder: Option<String>,
}

/// The live counters of one stage. Shared; every call is cheap.
#[derive(Debug)]
pub struct StageCounters {
    name: &'static str,
    received: AtomicU64,
    parsed: AtomicU64,
    deduplicated: AtomicU64,
    stored: AtomicU64,
    delivered: AtomicU64,
    dropped: AtomicU64,
    last_ms: AtomicU64,
    /// Locked only when an error is recorded or read.
    errors: Mutex<StageErrors>,
}

#[derive(Debug, Default)]
struct StageErrors {
    rejected: BTreeMap<&'static str, u64>,
    last: Option<StageError>,
}

impl StageCounters {
    /// Creates the counters of a stage, all zero.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            received: AtomicU64::new(0),
            parsed: AtomicU64::new(0),
            deduplicated: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            last_ms: AtomicU64::new(0),
            errors: Mutex::default(),
        }
    }

    /// Returns the name of the stage.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Counts items received.
    pub fn received(&self, count: u64) {
        if count > 0 {
            self.received.fetch_add(count, Ordering::Relaxed);
            self.last_ms.store(Timestamp::now().as_millis(), Ordering::Relaxed);
        }
    }

    /// Counts items parsed.
    pub fn parsed(&self, count: u64) {
        self.parsed.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts a rejected item: `reason` is a stable code, `message` is for people.
    pub fn rejected(&self, reason: &'static str, message: &str) {
        let mut errors = self.errors.lock();
        let known = errors.rejected.contains_key(reason) || errors.rejected.len() < REASONS_MAX;
        *errors.rejected.entry(if known { reason } else { "other" }).or_default() += 1;
        errors.last = Some(StageError::now(message));
    }

    /// Counts items that were already present.
    pub fn deduplicated(&self, count: u64) {
        self.deduplicated.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts items made durable.
    pub fn stored(&self, count: u64) {
        self.stored.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts items passed on.
    pub fn delivered(&self, count: u64) {
        self.delivered.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts items lost here.
    pub fn dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// Records an error that no item caused.
    pub fn failed(&self, message: &str) {
        self.errors.lock().last = Some(StageError::now(message));
    }

    /// Returns the current values.
    pub fn snapshot(&self) -> Stage {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let last_ms = count(&self.last_ms);
        let errors = self.errors.lock();
        Stage {
            name: self.name.to_owned(),
            received: count(&self.received),
            parsed: count(&self.parsed),
            rejected: errors.rejected.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect(),
            deduplicated: count(&self.deduplicated),
            stored: count(&self.stored),
            delivered: count(&self.delivered),
            dropped: count(&self.dropped),
            last: (last_ms > 0).then(|| Timestamp::from_millis(last_ms)),
            last_error: errors.last.clone(),
        }
    }
}

impl StageError {
    fn now(message: &str) -> Self {
        let end = message.floor_char_boundary(MESSAGE_BYTES_MAX);
        Self { at: Timestamp::now(), message: message[..end].to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_reported() {
        let counters = StageCounters::new("extraction");
        counters.received(3);
        counters.parsed(2);
        counters.rejected("not_json", "it is not JSON: EOF");
        let stage = counters.snapshot();
        assert_eq!((stage.received, stage.parsed, stage.rejected["not_json"]), (3, 2, 1));
        assert_eq!(stage.last_error.unwrap().message, "it is not JSON: EOF");
        assert!(stage.last.is_some());
    }
}
