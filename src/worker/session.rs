//! A worker's session: the details it sends when it opens its task.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::WorkerOptions;
use crate::model::limits::{COMMAND_BYTES_MAX, LABELS_MAX, WORD_BYTES_MAX};
use crate::model::{AttemptMode, TaskId, Timestamp};

/// Details sent in `hello` and `task_start`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSession {
    /// Session id, a ULID. Lines are numbered from 1 in each session.
    pub id: ulid::Ulid,
    /// Task id.
    pub task: TaskId,
    /// Worker name.
    pub worker: String,
    /// Host name.
    pub host: String,
    /// Command and its arguments.
    pub command: Vec<String>,
    /// Labels of the task.
    pub labels: BTreeMap<String, String>,
    /// Start time.
    pub started: Timestamp,
    /// The log to get if the task's id is in use.
    #[serde(default)]
    pub attempt: AttemptMode,
}

impl WorkerSession {
    /// Creates a session with a new id.
    pub(super) fn new(options: &WorkerOptions, mut command: Vec<String>) -> Self {
        limit_command(&mut command);
        Self {
            id: ulid::Ulid::generate(),
            task: options.task.clone(),
            worker: options.worker.clone(),
            host: options.host.clone(),
            command,
            labels: options.labels.clone(),
            started: Timestamp::now(),
            attempt: options.attempt,
        }
    }

    /// Checks the server's limits.
    ///
    /// # Errors
    /// A description of the violated limit.
    pub(super) fn check(&self) -> Result<(), String> {
        let long = |word: &String| word.len() > WORD_BYTES_MAX;
        if self.command.iter().map(String::len).sum::<usize>() > COMMAND_BYTES_MAX {
            return Err(format!("its command exceeds {COMMAND_BYTES_MAX} bytes"));
        }
        if self.labels.len() > LABELS_MAX || self.labels.iter().any(|(name, value)| long(name) || long(value)) {
            return Err(format!("it has more than {LABELS_MAX} labels, or a label over {WORD_BYTES_MAX} bytes"));
        }
        if long(&self.host) || long(&self.worker) {
            return Err(format!("a name exceeds {WORD_BYTES_MAX} bytes"));
        }
        Ok(())
    }
}

/// Truncates a command line that the server would reject; the log matters more than the last arguments.
fn limit_command(command: &mut Vec<String>) {
    let mut bytes = 0;
    let fits = command.iter().take_while(|word| {
        bytes += word.len();
        bytes <= COMMAND_BYTES_MAX - 16
    });
    let fitting = fits.count();
    if fitting < command.len() {
        command.truncate(fitting);
        command.push("…".into());
    }
}
