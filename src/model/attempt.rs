//! Attempts: several logs of one task name, such as a nightly job's.

use serde::{Deserialize, Serialize};

use super::TaskId;
use super::limits::TASK_ID_CHARS_MAX;

/// The place of a task among the logs of one name: `nightly`, `nightly.2`, `nightly.3`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Name that all attempts share.
    pub of: TaskId,
    /// Number of this attempt, from 1.
    pub number: u32,
    /// Number of the newest attempt, which the name alone opens.
    pub newest: u32,
}

/// The log that a worker's task gets if its id is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttemptMode {
    /// The existing one, which must not have ended.
    #[default]
    Join,
    /// A new one with the next number.
    New,
    /// A new one; the finished logs of the name are deleted first.
    Replace,
}

impl AttemptMode {
    /// Reports whether the mode is the default.
    pub fn is_join(&self) -> bool {
        *self == AttemptMode::Join
    }
}

impl TaskId {
    /// Returns the id of attempt `number` of this name: the name itself, or `NAME.N`. A long name is cut.
    pub fn attempt(&self, number: u32) -> Self {
        if number <= 1 {
            return self.clone();
        }
        let suffix = format!(".{number}");
        let room = TASK_ID_CHARS_MAX.saturating_sub(suffix.len());
        let name: String = self.as_str().chars().take(room).collect();
        format!("{name}{suffix}").parse().unwrap_or_else(|_| self.clone())
    }

    /// Returns `NAME` of `NAME.1`, the alias of the first attempt.
    pub fn first_attempt(&self) -> Option<Self> {
        self.as_str().strip_suffix(".1")?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempt_ids_are_valid_and_distinct() {
        let name: TaskId = "nightly".parse().unwrap();
        assert_eq!([1, 2, 10].map(|n| name.attempt(n).to_string()), ["nightly", "nightly.2", "nightly.10"]);
        let long: TaskId = "x".repeat(128).parse().unwrap();
        assert_eq!(long.attempt(12).as_str(), "x".repeat(125) + ".12");
        assert_eq!("a.1".parse::<TaskId>().unwrap().first_attempt().unwrap().as_str(), "a");
        assert!(["a", "a.11", ".1"].iter().all(|id| id.parse::<TaskId>().unwrap().first_attempt().is_none()));
    }
}
