//! The state of a run: rebuilt from its events, shown by the server, the dashboard and the page.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{RunId, Timestamp};

/// The status of a run, or of one row of its journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// Nothing has started.
    #[default]
    Pending,
    /// Something is running, or more is to run.
    Running,
    /// It waits for a person.
    Blocked,
    /// Everything succeeded.
    Done,
    /// It ended with a failure.
    Failed,
    /// It was stopped early, or not run at all.
    Skipped,
    /// It ended; some of it succeeded and some was skipped.
    Partial,
}

/// The status of one repetition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepetitionStatus {
    /// Not started.
    #[default]
    Pending,
    /// Running.
    Running,
    /// Succeeded.
    Done,
    /// Failed, or its host was unreachable.
    Failed,
    /// Skipped, stopped or cancelled.
    Skipped,
}

/// The state of one step of a pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// Not started, or waiting for a retry.
    #[default]
    Pending,
    /// Running.
    Running,
    /// Succeeded.
    Succeeded,
    /// Failed.
    Failed,
    /// Rolled back.
    Compensated,
    /// Skipped.
    Skipped,
}

/// The state of one run, derived from its events. Times are those of the events' source, if it set any.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Id of the run.
    pub id: RunId,
    /// Overall status.
    pub status: RunStatus,
    /// State reported by a pipeline, in its own terms (`executing`, `rolled_back`, ...).
    pub state: Option<String>,
    /// Reason of the status.
    pub reason: Option<String>,
    /// Time of its first event.
    pub started: Option<Timestamp>,
    /// Time of its end.
    pub ended: Option<Timestamp>,
    /// Time when its last event arrived.
    pub updated: Option<Timestamp>,
    /// Source of its last event.
    pub source: Option<String>,
    /// Number of events.
    pub events: u64,
    /// Number of events that report a failure.
    pub failures: u64,
    /// Each repetition of each workload on each host, in the order of their first events.
    pub journal: Vec<Repetition>,
    /// Steps of a pipeline, in the order of their first events.
    pub steps: Vec<PipelineStep>,
    /// Gates that did not pass.
    pub gates: Vec<FailedGate>,
    /// Inconsistencies among its events, for people.
    pub warnings: Vec<String>,
}

/// One run in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Id of the run.
    pub id: RunId,
    /// Overall status.
    pub status: RunStatus,
    /// Time of its first event.
    pub started: Option<Timestamp>,
    /// Time of its end.
    pub ended: Option<Timestamp>,
    /// Time when its last event arrived.
    pub updated: Option<Timestamp>,
    /// Number of events.
    pub events: u64,
    /// Number of events that report a failure.
    pub failures: u64,
}

/// One repetition of a workload on a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Repetition {
    /// Name of the host.
    pub host: String,
    /// Name of the workload.
    pub workload: String,
    /// Number of the repetition, from 1.
    pub repetition: u64,
    /// Number of repetitions planned.
    pub total_repetitions: Option<u64>,
    /// Status of the repetition.
    pub status: RepetitionStatus,
    /// Last action.
    pub action: Option<String>,
    /// Start time.
    pub started: Option<Timestamp>,
    /// End time.
    pub ended: Option<Timestamp>,
    /// Seconds from start to end, or as its last event reports them (`duration=12.3s`).
    pub duration_s: Option<f64>,
    /// Type of the error.
    pub error_type: Option<String>,
    /// Error message.
    pub error: Option<String>,
    /// Number of its events.
    pub events: u64,
}

/// One step of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PipelineStep {
    /// Name of the step.
    pub step_id: String,
    /// State of the step.
    pub state: StepState,
    /// Number of the attempt, from 0.
    pub attempt: u64,
    /// Number of retries.
    pub retries: u64,
    /// Start time of its last attempt.
    pub started: Option<Timestamp>,
    /// End time.
    pub ended: Option<Timestamp>,
    /// Seconds from start to end.
    pub duration_s: Option<f64>,
    /// Class of the error.
    pub error_class: Option<String>,
    /// Reason of the state.
    pub reason: Option<String>,
}

/// A gate that did not pass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FailedGate {
    /// Step that the gate guards.
    pub step_id: String,
    /// Class of the error.
    pub error_class: Option<String>,
    /// Reason why it did not pass.
    pub reason: Option<String>,
    /// Time of the failure.
    pub at: Option<Timestamp>,
}

/// A row of the Run Journal: all repetitions of one workload on one host.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadRow<'a> {
    /// Name of the host.
    pub host: &'a str,
    /// Name of the workload.
    pub workload: &'a str,
    /// Overall status.
    pub status: RunStatus,
    /// Number of repetitions that have ended.
    pub ended: u64,
    /// Number of the current or last repetition.
    pub current: u64,
    /// Number of repetitions planned; 0 if unknown.
    pub total: u64,
    /// Last action.
    pub action: Option<&'a str>,
    /// Duration of the last finished repetition, in seconds.
    pub last_duration_s: Option<f64>,
    /// Last error message.
    pub error: Option<&'a str>,
}

impl RunState {
    /// Returns the rows of the Run Journal, in the order of their first events.
    pub fn rows(&self) -> Vec<WorkloadRow<'_>> {
        let mut groups: Vec<Vec<&Repetition>> = Vec::new();
        let mut indexes: HashMap<(&str, &str), usize> = HashMap::new();
        for item in &self.journal {
            let index = *indexes.entry((&item.host, &item.workload)).or_insert(groups.len());
            match groups.get_mut(index) {
                Some(group) => group.push(item),
                None => groups.push(vec![item]),
            }
        }
        groups.iter().filter_map(|group| row(group)).collect()
    }

    /// Returns the summary for a list of runs.
    pub fn summary(&self) -> RunSummary {
        RunSummary {
            id: self.id.clone(),
            status: self.status,
            started: self.started,
            ended: self.ended,
            updated: self.updated,
            events: self.events,
            failures: self.failures,
        }
    }
}

fn row<'a>(group: &[&'a Repetition]) -> Option<WorkloadRow<'a>> {
    let first = group.first()?;
    let latest = group.iter().filter(|item| item.status != RepetitionStatus::Pending).max_by_key(|i| i.repetition);
    let ended = group.iter().filter(|item| item.status.is_end());
    let total = group.iter().filter_map(|item| item.total_repetitions).max().unwrap_or(0);
    let status = RunStatus::of(group.iter().map(|item| item.status), total);
    Some(WorkloadRow {
        host: &first.host,
        workload: &first.workload,
        status,
        ended: ended.clone().count() as u64,
        current: latest.map_or(0, |item| item.repetition),
        total,
        action: latest.and_then(|item| item.action.as_deref()),
        last_duration_s: ended.max_by_key(|item| item.repetition).and_then(|item| item.duration_s),
        error: group.iter().rev().find_map(|item| item.error.as_deref()),
    })
}

impl RunStatus {
    /// Returns the status of repetitions of which `total` are planned.
    pub fn of(items: impl Iterator<Item = RepetitionStatus>, total: u64) -> Self {
        let (mut count, mut running, mut pending, mut done, mut failed, mut skipped) =
            (0u64, 0u64, 0u64, 0u64, 0u64, 0u64);
        for item in items {
            count += 1;
            match item {
                RepetitionStatus::Pending => pending += 1,
                RepetitionStatus::Running => running += 1,
                RepetitionStatus::Done => done += 1,
                RepetitionStatus::Failed => failed += 1,
                RepetitionStatus::Skipped => skipped += 1,
            }
        }
        let open = running + pending > 0 || count < total;
        match (open, done, failed, skipped) {
            (true, 0, 0, 0) if running == 0 => Self::Pending,
            (true, ..) => Self::Running,
            (false, _, 1.., _) => Self::Failed,
            (false, 1.., 0, 0) => Self::Done,
            (false, 1.., 0, _) => Self::Partial,
            (false, 0, 0, 1..) => Self::Skipped,
            (false, 0, 0, 0) => Self::Pending,
        }
    }

    /// Reports whether the status is final.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Skipped | Self::Partial)
    }
}

impl RepetitionStatus {
    /// Returns the status for an event's `status` field; an unknown word counts as running.
    pub fn from_word(word: &str) -> Self {
        match word {
            "pending" => Self::Pending,
            "done" | "completed" | "succeeded" => Self::Done,
            "failed" | "unreachable" => Self::Failed,
            "skipped" | "stopped" | "cancelled" => Self::Skipped,
            _ => Self::Running,
        }
    }

    /// Reports whether the status is final.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Skipped)
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Blocked => "blocked",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Partial => "partial",
        })
    }
}

impl fmt::Display for RepetitionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        })
    }
}

impl fmt::Display for StepState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Compensated => "compensated",
            Self::Skipped => "skipped",
        })
    }
}
