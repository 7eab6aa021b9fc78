//! Counters of the stages of an event on its path into a run: for the whole server, and for each run in use.

use crate::model::StageCounters;

/// Counters of the stages between a source and a reader of a run's events.
#[derive(Debug)]
pub struct RunMeters {
    /// Events found in the output of tasks.
    pub extraction: StageCounters,
    /// Events from POST requests.
    pub runs_http: StageCounters,
    /// Events read from the runs folder.
    pub runs_folder: StageCounters,
    /// Deduplication of events.
    pub dedupe: StageCounters,
    /// Entries read back from the journals of runs.
    pub run_state: StageCounters,
    /// Events to SSE streams.
    pub runs_sse: StageCounters,
}

impl Default for RunMeters {
    fn default() -> Self {
        Self {
            extraction: StageCounters::new("extraction"),
            runs_http: StageCounters::new("runs_http"),
            runs_folder: StageCounters::new("runs_folder"),
            dedupe: StageCounters::new("dedupe"),
            run_state: StageCounters::new("run_state"),
            runs_sse: StageCounters::new("runs_sse"),
        }
    }
}

impl RunMeters {
    /// Returns the stages in the order in which an event passes them.
    pub fn all(&self) -> [&StageCounters; 6] {
        [&self.extraction, &self.runs_http, &self.runs_folder, &self.dedupe, &self.run_state, &self.runs_sse]
    }
}

/// One stage of one run: everything is counted for the server and for the run.
#[derive(Clone, Copy, Debug)]
pub struct RunStage<'a> {
    pub(super) server: &'a StageCounters,
    pub(super) run: &'a StageCounters,
}

impl RunStage<'_> {
    fn both(self, count: impl Fn(&StageCounters)) {
        count(self.server);
        count(self.run);
    }

    /// Counts items received.
    pub fn received(self, count: u64) {
        self.both(|stage| stage.received(count));
    }

    /// Counts items parsed.
    pub fn parsed(self, count: u64) {
        self.both(|stage| stage.parsed(count));
    }

    /// Counts a rejected item: `reason` is a stable code, `message` is for people.
    pub fn rejected(self, reason: &'static str, message: &str) {
        self.both(|stage| stage.rejected(reason, message));
    }

    /// Counts items that were already present.
    pub fn deduplicated(self, count: u64) {
        self.both(|stage| stage.deduplicated(count));
    }

    /// Counts items made durable.
    pub fn stored(self, count: u64) {
        self.both(|stage| stage.stored(count));
    }

    /// Counts items passed on.
    pub fn delivered(self, count: u64) {
        self.both(|stage| stage.delivered(count));
    }

    /// Counts items lost here.
    pub fn dropped(self, count: u64) {
        self.both(|stage| stage.dropped(count));
    }

    /// Records an error that no item caused.
    pub fn failed(self, message: &str) {
        self.both(|stage| stage.failed(message));
    }
}
