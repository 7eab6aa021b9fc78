//! What the hops of an event count on its way into a run.

use crate::model::StageCounters;

/// The hops between a door and a run's state.
#[derive(Debug)]
pub struct RunMeters {
    /// Events found in tasks' output.
    pub extraction: StageCounters,
    /// Events of the folder of runs.
    pub runs_folder: StageCounters,
    /// Events that were there already.
    pub dedupe: StageCounters,
    /// Entries of runs' journals, as they are read back.
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
