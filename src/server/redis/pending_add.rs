//! Checks before an entry is appended to the key of a task, a run, or any other key.

use super::commands::{CommandError, CommandResult, task_error};
use crate::model::RunId;
use crate::model::limits::Limit;
use crate::runs::RunsError;
use crate::server::state::State;
use crate::tasks::keys::{KeyReader as _, KeyTask, Transaction};
use crate::wire::resp::Request;

/// A task whose key is about to get an entry.
pub(in crate::server) struct PendingAdd {
    pub(in crate::server) key: Box<[u8]>,
    /// Or the error to reply to the client.
    pub(in crate::server) task: Result<KeyTask, String>,
    pub(in crate::server) added: bool,
}

impl PendingAdd {
    /// Creates the state of a task before the first append.
    pub(in crate::server) fn new(key: Box<[u8]>, task: Result<KeyTask, String>) -> Self {
        Self { key, task, added: false }
    }

    /// Scans the arguments for events of the task.
    pub(in crate::server) fn detect_events(&self, request: &Request) {
        if let Ok(task) = &self.task {
            request.args().for_each(|word| task.detect_events(word));
        }
    }

    /// Checks that the task accepts this entry now.
    pub(in crate::server) fn admit(&self, request: &Request) -> CommandResult {
        let error = match &self.task {
            Ok(task) => task.admit(request.bytes() as u64).err().map(|error| task_error(&error)),
            Err(error) => Some(error.clone()),
        };
        error.map_or(Ok(()), |error| Err(CommandError::Text(error)))
    }
}

/// Checks that a stream of no task may get an entry: within `disk_max`, and for a new run, within
/// `runs_max`. `key` is the stored name.
pub(in crate::server) fn check_add_allowed(state: &State, keys: &mut Transaction<'_>, key: &[u8]) -> CommandResult {
    state.tasks.has_budget().map_err(|error| CommandError::Text(task_error(&error)))?;
    if RunId::from_stream_key(key).is_none() || keys.metadata(key)?.is_some() {
        return Ok(());
    }
    let prefix = RunId::STREAM_PREFIX.as_bytes();
    let runs = keys.names()?.iter().filter(|name| name.starts_with(prefix)).count() as u64;
    if runs < state.options.limits.runs_max {
        return Ok(());
    }
    state.limit_counters.count(Limit::runs_max);
    Err(CommandError::Text(format!("ERR {}", RunsError::TooMany(runs))))
}
