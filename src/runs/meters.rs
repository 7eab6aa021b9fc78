//! What the hops of an event count on its way into a run.

use crate::model::HopMeter;

/// The hops between a door and a run's state.
#[derive(Debug)]
pub struct RunMeters {
    /// Events found in tasks' output.
    pub extraction: HopMeter,
    /// Events of the folder of runs.
    pub runs_folder: HopMeter,
    /// Events that were there already.
    pub dedupe: HopMeter,
    /// Entries of runs' journals, as they are read back.
    pub run_state: HopMeter,
}

impl Default for RunMeters {
    fn default() -> Self {
        Self {
            extraction: HopMeter::new("extraction"),
            runs_folder: HopMeter::new("runs_folder"),
            dedupe: HopMeter::new("dedupe"),
            run_state: HopMeter::new("run_state"),
        }
    }
}
