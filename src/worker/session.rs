//! One life of one worker: what it says of itself when it opens its task.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::WorkerOptions;
use crate::model::limits::{COMMAND_BYTES_MAX, LABELS_MAX, WORD_BYTES_MAX};
use crate::model::{TaskId, Timestamp};

/// The facts of `hello` and `task_start`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its name: a ULID. Lines are numbered from 1 in it.
    pub id: ulid::Ulid,
    /// The task.
    pub task: TaskId,
    /// The worker's name.
    pub worker: String,
    /// The machine's name.
    pub host: String,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Words attached to the task.
    pub labels: BTreeMap<String, String>,
    /// When it began.
    pub started: Timestamp,
}

impl Session {
    /// A new one.
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
        }
    }

    /// Whether a server would take it; if not, what is wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        let long = |word: &String| word.len() > WORD_BYTES_MAX;
        if self.command.iter().map(String::len).sum::<usize>() > COMMAND_BYTES_MAX {
            return Err(format!("its command has over {COMMAND_BYTES_MAX} bytes"));
        }
        if self.labels.len() > LABELS_MAX || self.labels.iter().any(|(name, value)| long(name) || long(value)) {
            return Err(format!("it has over {LABELS_MAX} labels, or one over {WORD_BYTES_MAX} bytes"));
        }
        if long(&self.host) || long(&self.worker) {
            return Err(format!("a name in it has over {WORD_BYTES_MAX} bytes"));
        }
        Ok(())
    }
}

/// The server refuses a longer command line; the log matters more than its last arguments.
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
