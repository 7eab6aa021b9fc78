//! The hops of an event's or a line's way, and what each has seen: one form for `/api/v1/pipeline`,
//! `/metrics`, the dashboard and `doctor`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Timestamp;

/// Distinct reasons of rejection that are counted by name; the others count as `other`.
const REASONS_MAX: usize = 64;
/// Bytes of an error's message that are kept.
const MESSAGE_BYTES_MAX: usize = 400;

/// What one hop has seen since it began. A count that has no meaning there is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// Its name: `worker_socket`, `journal`, `extraction`, ...
    pub hop: String,
    /// Items that came in.
    pub received: u64,
    /// Of these, items that could be read.
    pub parsed: u64,
    /// Items that could not, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Items that were there already.
    pub deduplicated: u64,
    /// Items made durable.
    pub stored: u64,
    /// Items given on to whoever comes next.
    pub delivered: u64,
    /// Items that were lost here.
    pub dropped: u64,
    /// When the last item came.
    pub last: Option<Timestamp>,
    /// What went wrong last.
    pub last_error: Option<HopFault>,
}

/// One thing that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopFault {
    /// When.
    pub at: Timestamp,
    /// What, in words.
    pub message: String,
}

/// `GET /api/v1/pipeline`: every hop in the order in which an event meets them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipeline {
    /// The hops.
    pub hops: Vec<Hop>,
    /// The folder of runs that is bridged, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs_folder: Option<String>,
}

/// Counts at one hop. Shared; every call is cheap.
#[derive(Debug)]
pub struct HopMeter {
    name: &'static str,
    received: AtomicU64,
    parsed: AtomicU64,
    deduplicated: AtomicU64,
    stored: AtomicU64,
    delivered: AtomicU64,
    dropped: AtomicU64,
    last_ms: AtomicU64,
    /// Held for a moment, and only when something is wrong.
    faults: Mutex<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    rejected: BTreeMap<&'static str, u64>,
    last: Option<HopFault>,
}

impl HopMeter {
    /// A hop that has seen nothing yet.
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
            faults: Mutex::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Items came in.
    pub fn received(&self, count: u64) {
        if count > 0 {
            self.received.fetch_add(count, Ordering::Relaxed);
            self.last_ms.store(Timestamp::now().as_millis(), Ordering::Relaxed);
        }
    }

    /// Items could be read.
    pub fn parsed(&self, count: u64) {
        self.parsed.fetch_add(count, Ordering::Relaxed);
    }

    /// An item could not be read: `reason` is a stable word, `message` says it to a person.
    pub fn rejected(&self, reason: &'static str, message: &str) {
        let mut faults = self.faults.lock();
        let known = faults.rejected.contains_key(reason) || faults.rejected.len() < REASONS_MAX;
        *faults.rejected.entry(if known { reason } else { "other" }).or_default() += 1;
        faults.last = Some(HopFault::now(message));
    }

    /// Items were there already.
    pub fn deduplicated(&self, count: u64) {
        self.deduplicated.fetch_add(count, Ordering::Relaxed);
    }

    /// Items were made durable.
    pub fn stored(&self, count: u64) {
        self.stored.fetch_add(count, Ordering::Relaxed);
    }

    /// Items were given on.
    pub fn delivered(&self, count: u64) {
        self.delivered.fetch_add(count, Ordering::Relaxed);
    }

    /// Items were lost here.
    pub fn dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// Something failed that was no item's fault.
    pub fn failed(&self, message: &str) {
        self.faults.lock().last = Some(HopFault::now(message));
    }

    /// The counts as they are now.
    pub fn snapshot(&self) -> Hop {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let last_ms = count(&self.last_ms);
        let faults = self.faults.lock();
        Hop {
            hop: self.name.to_owned(),
            received: count(&self.received),
            parsed: count(&self.parsed),
            rejected: faults.rejected.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect(),
            deduplicated: count(&self.deduplicated),
            stored: count(&self.stored),
            delivered: count(&self.delivered),
            dropped: count(&self.dropped),
            last: (last_ms > 0).then(|| Timestamp::from_millis(last_ms)),
            last_error: faults.last.clone(),
        }
    }
}

impl HopFault {
    fn now(message: &str) -> Self {
        let end = message.floor_char_boundary(MESSAGE_BYTES_MAX);
        Self { at: Timestamp::now(), message: message[..end].to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_tells_what_it_saw() {
        let meter = HopMeter::new("extraction");
        meter.received(3);
        meter.parsed(2);
        meter.rejected("not_json", "it is not JSON: EOF");
        let hop = meter.snapshot();
        assert_eq!((hop.received, hop.parsed, hop.rejected["not_json"]), (3, 2, 1));
        assert_eq!(hop.last_error.unwrap().message, "it is not JSON: EOF");
        assert!(hop.last.is_some());
    }
}
