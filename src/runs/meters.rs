//! Counters of the stages of an event on its path into a run.

use crate::model::StageCounters;

/// Counters of the stages between a source and a run's state.
#[derive(Debug)]
pub struct RunMeters {
    /// Events found in the output of tasks.
    pub extraction: StageCounters,
    /// Events read from the runs folder.
    pub runs_folder: StageCounters,
    /// Deduplication of events.
    pub dedupe: StageCounters,
    /// Entries read back from the journals of runs.
    pub run_state: StageCounters,
}

impl Default for RunMeters {
    fn default() -> Self {
        Self {
            extraction: StageCounters::new("extraction"),
            runs_folder: StageCounters::new("runs_folder"),
            dedupe: StageCounters::new("dedupe"),
            run_state: StageCounters::new("run_state"),
        }
    }
}
