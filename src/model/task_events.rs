//! Results of the search for events in a task's output.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::TaskId;

/// The body of `GET /api/v1/tasks/{id}/events`: counts since the server began to read the task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskEventCounts {
    /// Id of the log: a name in the request means its newest attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// Events found.
    pub found: u64,
    /// Repetitions of these, as Ansible prints them.
    pub repeated: u64,
    /// Texts that look like events and are not, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// The first of these texts.
    pub examples: Vec<RejectedText>,
}

/// A text that looks like an event and is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedText {
    /// Line of the task's log.
    pub line: u64,
    /// Stable name of the reason.
    pub reason: String,
    /// Error message.
    pub message: String,
    /// The start of the text.
    pub excerpt: String,
}

impl TaskEventCounts {
    /// Returns the number of rejected texts.
    pub fn rejected_all(&self) -> u64 {
        self.rejected.values().sum()
    }
}
