//! What every hop of a line or an event has seen: `GET /api/v1/pipeline`, and the same in `/metrics`.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::state::State;
use crate::model::{Stage, StageCounters};
use crate::runs::RunMeters;

/// The hops of the server; those between a door and a run's state are in [`RunMeters`].
#[derive(Debug)]
pub(in crate::server) struct Hops {
    /// Lines of workers.
    pub(in crate::server) worker_socket: StageCounters,
    /// Lines by POST.
    pub(in crate::server) http_lines: StageCounters,
    /// Entries by XADD.
    pub(in crate::server) redis: StageCounters,
    /// What the store took.
    pub(in crate::server) journal: StageCounters,
    /// Lines to viewers' sockets.
    pub(in crate::server) viewer_socket: StageCounters,
    /// Lines to SSE streams.
    pub(in crate::server) sse: StageCounters,
    /// Events by POST.
    pub(in crate::server) runs_http: StageCounters,
    /// Events to SSE streams.
    pub(in crate::server) runs_sse: StageCounters,
    /// The rest.
    pub(in crate::server) runs: Arc<RunMeters>,
}

impl Default for Hops {
    fn default() -> Self {
        Self {
            worker_socket: StageCounters::new("worker_socket"),
            http_lines: StageCounters::new("http_lines"),
            redis: StageCounters::new("redis"),
            journal: StageCounters::new("journal"),
            viewer_socket: StageCounters::new("viewer_socket"),
            sse: StageCounters::new("sse"),
            runs_http: StageCounters::new("runs_http"),
            runs_sse: StageCounters::new("runs_sse"),
            runs: Arc::default(),
        }
    }
}

impl Hops {
    /// In the order in which an event meets them.
    fn all(&self) -> [&StageCounters; 12] {
        [
            &self.worker_socket,
            &self.http_lines,
            &self.redis,
            &self.journal,
            &self.viewer_socket,
            &self.sse,
            &self.runs.extraction,
            &self.runs_http,
            &self.runs.runs_folder,
            &self.runs.dedupe,
            &self.runs.run_state,
            &self.runs_sse,
        ]
    }
}

/// The hops as they are now. What all doors have stored only the journal knows.
pub(in crate::server) fn snapshot(state: &State) -> Vec<Stage> {
    let stats = state.tasks.stats();
    if let Err(reason) = state.tasks.health() {
        state.hops.journal.failed(&reason);
    }
    let mut hops: Vec<Stage> = state.hops.all().into_iter().map(StageCounters::snapshot).collect();
    if let Some(journal) = hops.iter_mut().find(|hop| hop.name == state.hops.journal.name()) {
        journal.stored = stats.lines_stored;
        journal.deduplicated = stats.repeats_dropped;
        journal.received = stats.lines_stored + stats.repeats_dropped;
        journal.parsed = journal.received;
        journal.last = stats.last_stored;
    }
    hops
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HopLabel {
    hop: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectedLabel {
    hop: String,
    reason: String,
}

/// A count of a hop.
type CountOf = fn(&Stage) -> u64;

/// The counts of a hop with their names and what they mean.
const COUNTS: [(&str, &str, CountOf); 6] = [
    ("hop_received", "Items that came to a hop", |hop| hop.received),
    ("hop_parsed", "Items that a hop could read", |hop| hop.parsed),
    ("hop_deduplicated", "Items that were there already", |hop| hop.deduplicated),
    ("hop_stored", "Items that a hop made durable", |hop| hop.stored),
    ("hop_delivered", "Items that a hop gave on", |hop| hop.delivered),
    ("hop_dropped", "Items that were lost at a hop", |hop| hop.dropped),
];

/// Adds the hops' counts.
pub(in crate::server) fn register(state: &State, registry: &mut Registry) {
    let hops = snapshot(state);
    for (name, help, count) in COUNTS {
        let family = Family::<HopLabel, Counter>::default();
        for hop in &hops {
            family.get_or_create(&HopLabel { hop: hop.name.clone() }).inc_by(count(hop));
        }
        registry.register(name, help, family);
    }
    let family = Family::<RejectedLabel, Counter>::default();
    for hop in &hops {
        for (reason, count) in &hop.rejected {
            let label = RejectedLabel { hop: hop.name.clone(), reason: reason.clone() };
            family.get_or_create(&label).inc_by(*count);
        }
    }
    registry.register("hop_rejected", "Items that a hop could not take", family);
}
