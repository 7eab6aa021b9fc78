//! Whether a key may get an entry: a task's, a run's, or any other.

use super::commands::{Refusal, refused};
use crate::model::RunId;
use crate::model::limits::Limit;
use crate::runs::RunsError;
use crate::server::state::State;
use crate::tasks::keys::{KeyReader as _, KeyTask, Transaction};
use crate::wire::resp::Request;

/// A task whose key is about to get an entry.
pub(in crate::server) struct Adding {
    pub(in crate::server) key: Box<[u8]>,
    /// Or the reply to whoever adds.
    pub(in crate::server) task: Result<KeyTask, String>,
    pub(in crate::server) added: bool,
}

impl Adding {
    /// Nothing was added yet.
    pub(in crate::server) fn new(key: Box<[u8]>, task: Result<KeyTask, String>) -> Self {
        Self { key, task, added: false }
    }

    /// Lets the task know what its lines say.
    pub(in crate::server) fn note(&self, request: &Request) {
        if let Ok(task) = &self.task {
            request.args().for_each(|word| task.detect_events(word));
        }
    }

    /// Whether the task takes this entry now.
    pub(in crate::server) fn admit(&self, request: &Request) -> Result<(), Refusal> {
        let refused = match &self.task {
            Ok(task) => task.admit(request.bytes() as u64).err().map(|error| refused(&error)),
            Err(error) => Some(error.clone()),
        };
        refused.map_or(Ok(()), |error| Err(Refusal::Text(error)))
    }
}

/// Whether a key that is no task's may get an entry: within `disk_max`, and if it is a new run's, within
/// `runs_max`.
pub(in crate::server) fn may_add(state: &State, keys: &mut Transaction<'_>, key: &[u8]) -> Result<(), Refusal> {
    state.tasks.has_budget().map_err(|error| Refusal::Text(refused(&error)))?;
    if RunId::from_stream_key(key).is_none() || keys.metadata(key)?.is_some() {
        return Ok(());
    }
    let prefix = RunId::STREAM_PREFIX.as_bytes();
    let runs = keys.names()?.iter().filter(|name| name.starts_with(prefix)).count() as u64;
    if runs < state.options.limits.runs_max {
        return Ok(());
    }
    state.limit_counters.count(Limit::runs_max);
    Err(Refusal::Text(format!("ERR {}", RunsError::TooMany(runs))))
}
