//! Counters of every stage that a line or an event passes: `GET /api/v1/pipeline`, and the same in
//! `/metrics`.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::model::{Stage, StageCounters};
use crate::runs::RunMeters;
use crate::tasks::Tasks;

/// The stages of the server, including the [`RunMeters`] of the runs layer.
#[derive(Debug)]
pub(crate) struct StageMeters {
    /// Lines from workers.
    pub(crate) worker_socket: StageCounters,
    /// Lines from POST requests.
    pub(crate) http_lines: StageCounters,
    /// Entries from XADD.
    pub(crate) redis: StageCounters,
    /// Lines and entries written to the store.
    pub(crate) journal: StageCounters,
    /// Lines to viewers' sockets.
    pub(crate) viewer_socket: StageCounters,
    /// Lines to SSE streams.
    pub(crate) sse: StageCounters,
    /// The stages between an event's source and its readers.
    pub(crate) runs: Arc<RunMeters>,
}

impl Default for StageMeters {
    fn default() -> Self {
        Self {
            worker_socket: StageCounters::new("worker_socket"),
            http_lines: StageCounters::new("http_lines"),
            redis: StageCounters::new("redis"),
            journal: StageCounters::new("journal"),
            viewer_socket: StageCounters::new("viewer_socket"),
            sse: StageCounters::new("sse"),
            runs: Arc::default(),
        }
    }
}

impl StageMeters {
    /// Returns the counters of all stages, in the order in which an event passes them.
    ///
    /// The journal's counts come from `tasks`, because lines of every source pass through it.
    pub(crate) fn snapshot(&self, tasks: &Tasks) -> Vec<Stage> {
        let stats = tasks.stats();
        if let Err(reason) = tasks.health() {
            self.journal.failed(&reason);
        }
        let mut stages: Vec<Stage> = self.all().into_iter().map(StageCounters::snapshot).collect();
        if let Some(journal) = stages.iter_mut().find(|stage| stage.name == self.journal.name()) {
            journal.stored = stats.lines_stored;
            journal.deduplicated = stats.repeats_dropped;
            journal.received = stats.lines_stored + stats.repeats_dropped;
            journal.parsed = journal.received;
            journal.last = stats.last_stored;
        }
        stages
    }

    /// Registers the counters of all stages with `registry`.
    pub(crate) fn register(&self, tasks: &Tasks, registry: &mut Registry) {
        let stages = self.snapshot(tasks);
        for (name, help, count) in COUNTS {
            let family = Family::<StageLabel, Counter>::default();
            for stage in &stages {
                family.get_or_create(&StageLabel { hop: stage.name.clone() }).inc_by(count(stage));
            }
            registry.register(name, help, family);
        }
        let family = Family::<RejectionLabel, Counter>::default();
        for stage in &stages {
            for (reason, count) in &stage.rejected {
                let label = RejectionLabel { hop: stage.name.clone(), reason: reason.clone() };
                family.get_or_create(&label).inc_by(*count);
            }
        }
        registry.register("hop_rejected", "Items rejected by a stage", family);
    }

    fn all(&self) -> [&StageCounters; 12] {
        let [extraction, runs_http, runs_folder, dedupe, run_state, runs_sse] = self.runs.all();
        [
            &self.worker_socket,
            &self.http_lines,
            &self.redis,
            &self.journal,
            &self.viewer_socket,
            &self.sse,
            extraction,
            runs_http,
            runs_folder,
            dedupe,
            run_state,
            runs_sse,
        ]
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabel {
    hop: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectionLabel {
    hop: String,
    reason: String,
}

/// Reads one count of a stage.
type CountFn = fn(&Stage) -> u64;

/// The counts of a stage: name, help and value.
const COUNTS: [(&str, &str, CountFn); 6] = [
    ("hop_received", "Items received by a stage", |stage| stage.received),
    ("hop_parsed", "Items parsed by a stage", |stage| stage.parsed),
    ("hop_deduplicated", "Items dropped by a stage as duplicates", |stage| stage.deduplicated),
    ("hop_stored", "Items made durable by a stage", |stage| stage.stored),
    ("hop_delivered", "Items passed on by a stage", |stage| stage.delivered),
    ("hop_dropped", "Items lost at a stage", |stage| stage.dropped),
];
