//! A task as everyone outside sees it: the TASK object of the interfaces.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Integrity, TaskId, Timestamp};

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskStatus {
    /// Its worker may still send lines.
    Running,
    /// It ended by itself; the exit code says how.
    Completed,
    /// It was ended from outside.
    Aborted,
    /// Its worker went silent without saying the end; it may come back.
    Lost,
}

/// A text that names no status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a status: write running, completed, aborted or lost")]
pub struct BadStatus(String);

impl TaskStatus {
    /// The word in JSON, in queries and on screens.
    pub const fn as_str(self) -> &'static str {
        match self {
            TaskStatus::Running => "running",
            TaskStatus::Completed => "completed",
            TaskStatus::Aborted => "aborted",
            TaskStatus::Lost => "lost",
        }
    }

    /// Completed or aborted: no line can follow.
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

/// The sealed archive of a finished task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// One task's facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Where it is in its life.
    pub status: TaskStatus,
    /// What the command returned, once it has.
    pub exit_code: Option<i32>,
    /// The signal that ended the command, by number.
    pub signal: Option<i32>,
    /// The command and its arguments; empty if the worker named none.
    pub command: Vec<String>,
    /// What the worker attached.
    pub labels: BTreeMap<String, String>,
    /// The machine it runs on, if the worker named one.
    pub host: Option<String>,
    /// When the server first heard of it.
    pub created: Timestamp,
    /// When the worker says it started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Lines it has written, all told.
    pub lines: u64,
    /// Bytes of those lines, a newline each.
    pub bytes: u64,
    /// The first line that can be read; 0 if there is none.
    pub first_line: u64,
    /// The last line that can be read; 0 if there is none.
    pub last_line: u64,
    /// Lines that the worker dropped.
    pub skipped_lines: u64,
    /// Lines that can no longer be read.
    pub trimmed_lines: u64,
    /// A worker is connected and speaks for it.
    pub live: bool,
    /// Its sealed log, once there is one.
    pub artifact: Option<Artifact>,
    /// Whether its log is what the worker sent, once it has ended.
    #[serde(default)]
    pub integrity: Option<Integrity>,
}
