//! What a run looks like: rebuilt from its events, shown by the server, the dashboard and the page.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{RunId, Timestamp};

/// Where a run, or one row of its journal, is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// Nothing has begun.
    #[default]
    Pending,
    /// Something runs, or there is more to run.
    Running,
    /// It waits for a person.
    Blocked,
    /// Everything ended well.
    Done,
    /// It ended, and something in it failed.
    Failed,
    /// It ended before its time, or was left out.
    Skipped,
    /// It ended: some of it well, some was skipped.
    Partial,
}

/// Where one repetition is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepetitionStatus {
    /// It is to come.
    #[default]
    Pending,
    /// It runs.
    Running,
    /// It ended well.
    Done,
    /// It ended badly, or its host could not be reached.
    Failed,
    /// It was skipped, stopped or cancelled.
    Skipped,
}

/// Where one step of a pipeline is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// It is to come, or to be tried again.
    #[default]
    Pending,
    /// It runs.
    Running,
    /// It ended well.
    Succeeded,
    /// It ended badly.
    Failed,
    /// What it did was taken back.
    Compensated,
    /// It was left out.
    Skipped,
}

/// One run, as its events tell it. Times are those of the origin where it gave any.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Where it is, all told.
    pub status: RunStatus,
    /// Where a pipeline says it is, in its own word (`executing`, `rolled_back`, ...).
    pub state: Option<String>,
    /// Why it is there.
    pub reason: Option<String>,
    /// When its first event happened.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// When its last event arrived.
    pub updated: Option<Timestamp>,
    /// Where its last event came from.
    pub source: Option<String>,
    /// Events, all told.
    pub events: u64,
    /// Events that tell of a failure.
    pub failures: u64,
    /// Each repetition of each workload on each host, in the order of their first events.
    pub journal: Vec<Repetition>,
    /// Steps of a pipeline, in the order of their first events.
    pub steps: Vec<Step>,
    /// Gates that were not passed.
    pub gates: Vec<Gate>,
    /// What does not fit together in its events, in words.
    pub warnings: Vec<String>,
}

/// A run in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Its id.
    pub id: RunId,
    /// Where it is, all told.
    pub status: RunStatus,
    /// When its first event happened.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// When its last event arrived.
    pub updated: Option<Timestamp>,
    /// Events, all told.
    pub events: u64,
    /// Events that tell of a failure.
    pub failures: u64,
}

/// One repetition of a workload on a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Repetition {
    /// The host.
    pub host: String,
    /// The workload.
    pub workload: String,
    /// Which repetition, from 1.
    pub repetition: u64,
    /// How many there are to be.
    pub total_repetitions: Option<u64>,
    /// Where it is.
    pub status: RepetitionStatus,
    /// What it did last.
    pub action: Option<String>,
    /// When it started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Seconds between the two, or as its last event says (`duration=12.3s`).
    pub duration_s: Option<f64>,
    /// The error's kind.
    pub error_type: Option<String>,
    /// The error in words.
    pub error: Option<String>,
    /// Its events.
    pub events: u64,
}

/// One step of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub step_id: String,
    /// Where it is.
    pub state: StepState,
    /// Which try, from 0.
    pub attempt: u64,
    /// How often it was tried again.
    pub retries: u64,
    /// When its last try started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Seconds between the two.
    pub duration_s: Option<f64>,
    /// The error's class.
    pub error_class: Option<String>,
    /// Why it is in its state.
    pub reason: Option<String>,
}

/// A gate that was not passed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// The step it stands before or behind.
    pub step_id: String,
    /// The error's class.
    pub error_class: Option<String>,
    /// Why it was not passed.
    pub reason: Option<String>,
    /// When.
    pub at: Option<Timestamp>,
}

/// All repetitions of one workload on one host: a row of the Run Journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<'a> {
    /// The host.
    pub host: &'a str,
    /// The workload.
    pub workload: &'a str,
    /// Where it is, all told.
    pub status: RunStatus,
    /// Repetitions that have ended.
    pub ended: u64,
    /// The repetition that runs or ran last.
    pub current: u64,
    /// Repetitions that there are to be; 0 if nobody said.
    pub total: u64,
    /// What was done last.
    pub action: Option<&'a str>,
    /// Seconds that the last ended repetition took.
    pub last_duration_s: Option<f64>,
    /// The last error in words.
    pub error: Option<&'a str>,
}

impl Run {
    /// The rows of the Run Journal, in the order of their first events.
    pub fn rows(&self) -> Vec<Row<'_>> {
        let mut groups: Vec<Vec<&Repetition>> = Vec::new();
        let mut places: HashMap<(&str, &str), usize> = HashMap::new();
        for item in &self.journal {
            let place = *places.entry((&item.host, &item.workload)).or_insert(groups.len());
            match groups.get_mut(place) {
                Some(group) => group.push(item),
                None => groups.push(vec![item]),
            }
        }
        groups.iter().filter_map(|group| row(group)).collect()
    }

    /// The run as a list shows it.
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

fn row<'a>(group: &[&'a Repetition]) -> Option<Row<'a>> {
    let first = group.first()?;
    let latest = group.iter().filter(|item| item.status != RepetitionStatus::Pending).max_by_key(|i| i.repetition);
    let ended = group.iter().filter(|item| item.status.is_end());
    let total = group.iter().filter_map(|item| item.total_repetitions).max().unwrap_or(0);
    let status = RunStatus::of(group.iter().map(|item| item.status), total);
    Some(Row {
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
    /// The status of some repetitions of which there are to be `total`.
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

    /// Nothing more is to come.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Skipped | Self::Partial)
    }
}

impl RepetitionStatus {
    /// What a status word of an event stands for; an unknown word is something that goes on.
    pub fn from_word(word: &str) -> Self {
        match word {
            "pending" => Self::Pending,
            "done" | "completed" | "succeeded" => Self::Done,
            "failed" | "unreachable" => Self::Failed,
            "skipped" | "stopped" | "cancelled" => Self::Skipped,
            _ => Self::Running,
        }
    }

    /// It has ended.
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
