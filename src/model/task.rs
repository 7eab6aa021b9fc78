//! Tasks as clients see them: the TASK object of the API.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Attempt, Integrity, IntegrityState, TaskId, Timestamp};

/// The status of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskStatus {
    /// Its worker may still send lines.
    Running,
    /// It ended by itself, with an exit code.
    Completed,
    /// It was terminated from outside.
    Aborted,
    /// Its worker stopped without an end message; it may reconnect.
    Lost,
}

/// The error for an unknown status name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a status: write running, completed, failed, aborted or lost")]
pub struct BadStatus(String);

impl TaskStatus {
    /// Returns the name used in JSON, in queries and on screens.
    pub const fn as_str(self) -> &'static str {
        match self {
            TaskStatus::Running => "running",
            TaskStatus::Completed => "completed",
            TaskStatus::Aborted => "aborted",
            TaskStatus::Lost => "lost",
        }
    }

    /// Reports whether the task has ended, completed or aborted: no line can follow.
    pub const fn is_final(self) -> bool {
        matches!(self, TaskStatus::Completed | TaskStatus::Aborted)
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TaskStatus {
    type Err = BadStatus;

    fn from_str(text: &str) -> Result<Self, BadStatus> {
        [TaskStatus::Running, TaskStatus::Completed, TaskStatus::Aborted, TaskStatus::Lost]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| BadStatus(text.chars().take(64).collect()))
    }
}

/// A condition on the outcome of a task, for lists: a status, or `failed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusFilter {
    /// Tasks of this status.
    Is(TaskStatus),
    /// Tasks that failed, see [`Task::is_failed`].
    Failed,
}

impl StatusFilter {
    /// Every condition.
    pub const ALL: [StatusFilter; 5] = [
        StatusFilter::Is(TaskStatus::Running),
        StatusFilter::Is(TaskStatus::Completed),
        StatusFilter::Failed,
        StatusFilter::Is(TaskStatus::Aborted),
        StatusFilter::Is(TaskStatus::Lost),
    ];

    /// Returns the word used in queries and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            StatusFilter::Is(status) => status.as_str(),
            StatusFilter::Failed => "failed",
        }
    }

    /// Reports whether tasks of a status can match.
    pub fn may_match(self, status: TaskStatus) -> bool {
        match self {
            StatusFilter::Is(wanted) => wanted == status,
            StatusFilter::Failed => status != TaskStatus::Running,
        }
    }

    /// Reports whether a task matches.
    pub fn matches(self, task: &Task) -> bool {
        self.may_match(task.status) && (self != StatusFilter::Failed || task.is_failed())
    }
}

impl fmt::Display for StatusFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for StatusFilter {
    type Err = BadStatus;

    fn from_str(text: &str) -> Result<Self, BadStatus> {
        let found = Self::ALL.into_iter().find(|filter| filter.as_str() == text);
        found.ok_or_else(|| BadStatus(text.chars().take(64).collect()))
    }
}

/// The sealed archive of a finished task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// The numbers of errors and warnings that a log reports, in the formats that are recognized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorCounts {
    /// Number of errors.
    pub errors: u64,
    /// Number of warnings.
    pub warnings: u64,
}

/// The details of one task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Id of the task.
    pub id: TaskId,
    /// Status of the task.
    pub status: TaskStatus,
    /// Exit code of the command, once it has ended.
    pub exit_code: Option<i32>,
    /// Signal that ended the command, by number.
    pub signal: Option<i32>,
    /// Command and arguments; empty if the worker did not report them.
    pub command: Vec<String>,
    /// Labels attached by the worker.
    pub labels: BTreeMap<String, String>,
    /// Host of the worker, if reported.
    pub host: Option<String>,
    /// Time when the server created it.
    pub created: Timestamp,
    /// Start time reported by the worker.
    pub started: Option<Timestamp>,
    /// End time.
    pub ended: Option<Timestamp>,
    /// Number of lines in the log, including those of tasktail itself.
    pub lines: u64,
    /// Lines of tasktail itself among them: the channel `internal`.
    #[serde(default)]
    pub own_lines: u64,
    /// Bytes of those lines, including one newline each.
    pub bytes: u64,
    /// First line that can be read; 0 if there is none.
    pub first_line: u64,
    /// Last line that can be read; 0 if there is none.
    pub last_line: u64,
    /// Lines that the worker dropped.
    pub skipped_lines: u64,
    /// Lines that can no longer be read.
    pub trimmed_lines: u64,
    /// True while a worker that writes to it is connected.
    pub live: bool,
    /// Its sealed log, once there is one.
    pub artifact: Option<Artifact>,
    /// Verification of its log, once it has ended.
    #[serde(default)]
    pub integrity: Option<Integrity>,
    /// Whether the log holds every line of the command; `None` while that is not known.
    #[serde(default)]
    pub complete: Option<bool>,
    /// Errors and warnings in its log, once it has ended and they are counted.
    #[serde(default)]
    pub errors: Option<u64>,
    /// Warnings in its log.
    #[serde(default)]
    pub warnings: Option<u64>,
    /// Its place among the logs of its name, if there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
}

impl Task {
    /// Returns an id that always names this log. The id of a first attempt alone names the newest one.
    pub fn exact_id(&self) -> String {
        match &self.attempt {
            Some(attempt) if attempt.number == 1 && attempt.newest > 1 => format!("{}.1", self.id),
            _ => self.id.to_string(),
        }
    }

    /// Reports whether the task failed: it is lost, was ended by a signal, or ended without exit code 0. A task
    /// that was ended without any code counts as successful unless it was aborted.
    pub fn is_failed(&self) -> bool {
        match (self.status, self.exit_code, self.signal) {
            (TaskStatus::Running, ..) => false,
            (TaskStatus::Lost, ..) | (_, _, Some(_)) => true,
            (_, Some(code), None) => code != 0,
            (status, None, None) => status == TaskStatus::Aborted,
        }
    }

    /// Returns the number of the command's lines that can be read.
    pub fn kept_lines(&self) -> u64 {
        self.lines.saturating_sub(self.own_lines).saturating_sub(self.trimmed_lines)
    }

    /// Returns the number of the command's lines that are known to be missing.
    pub fn missing_lines(&self) -> u64 {
        let verified = self.integrity.as_ref().map_or(0, |integrity| integrity.missing_lines);
        verified.max(self.skipped_lines.saturating_add(self.trimmed_lines))
    }

    /// Returns what is known of missing lines in words, or `None` if nothing is.
    pub fn loss(&self) -> Option<String> {
        match &self.integrity {
            Some(integrity) if matches!(integrity.state, IntegrityState::Incomplete | IntegrityState::Mismatch) => {
                Some(integrity.to_string())
            }
            _ if self.missing_lines() > 0 => {
                let (skipped, trimmed) = (self.skipped_lines, self.trimmed_lines);
                Some(match (skipped, trimmed) {
                    (skipped, 0) => format!("incomplete: {skipped} lines missing: skipped by the worker or over quota"),
                    (0, trimmed) => format!("incomplete: {trimmed} lines missing: they can no longer be read"),
                    _ => format!(
                        "incomplete: {skipped} lines missing: skipped by the worker or over quota; {trimmed} more can \
                         no longer be read"
                    ),
                })
            }
            _ => None,
        }
    }

    /// Returns the value of [`Task::complete`] according to the other fields.
    pub fn known_complete(&self) -> Option<bool> {
        match self.integrity.as_ref().map(|integrity| integrity.state) {
            Some(IntegrityState::Complete) => Some(true),
            Some(IntegrityState::Incomplete | IntegrityState::Mismatch) => Some(false),
            Some(IntegrityState::Unknown) | None => (self.missing_lines() > 0).then_some(false),
        }
    }
}
