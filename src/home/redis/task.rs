//! Steps of one task: create, open, change facts, attach workers.

use super::engine::Engine;
use super::error::EngineError;
use super::keys::{LogKeys, LogName};
use super::open::field_args;
use super::script;
use super::state::{SharedTask, hex};
use super::value::ScriptReply;
use crate::model::TaskId;

/// The answer to the creation of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateReply {
    /// It was created.
    Created(Box<SharedTask>),
    /// A task of this id exists.
    Exists(Box<SharedTask>),
}

/// The answer to a change of a task's facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchReply {
    /// The facts are stored.
    Patched,
    /// The task was removed, or another one has its id.
    Removed,
}

impl Engine {
    /// Creates a task, unless one of its id exists.
    pub async fn create(
        &self,
        id: &TaskId,
        created_ms: u64,
        birth: u64,
        fields: &[(String, String)],
    ) -> Result<CreateReply, EngineError> {
        // The index is a hint and the hash the truth: a task must not exist without being listed.
        let name = LogName::Task(id);
        self.list(name, created_ms).await?;
        let (state, is_new) = self.create_log(&LogKeys::of_task(id), created_ms, birth, fields).await?;
        if is_new {
            self.announce(name).await?;
            return Ok(CreateReply::Created(Box::new(state)));
        }
        if state.created_ms != created_ms {
            self.list(name, state.created_ms).await?;
        }
        Ok(CreateReply::Exists(Box::new(state)))
    }

    /// Returns the facts of a task. A stream that another client made becomes a task here.
    pub async fn open(&self, id: &TaskId) -> Result<Option<SharedTask>, EngineError> {
        self.open_log(LogName::Task(id), &LogKeys::of_task(id)).await
    }

    /// Sets facts of a task's record, as JSON text by name; the last writer of a fact stays.
    pub async fn patch(&self, id: &TaskId, birth: u64, fields: &[(String, String)]) -> Result<PatchReply, EngineError> {
        let keys = LogKeys::of_task(id);
        let args = |_: &str| std::iter::once(hex(birth).into_bytes()).chain(field_args(fields)).collect();
        let reply = self.router().script(&script::PATCH, &[keys.hash], args).await?;
        let reply = patched(&reply)?;
        if reply == PatchReply::Patched {
            self.announce(LogName::Task(id)).await?;
        }
        Ok(reply)
    }

    /// Records for `ttl_ms` that a worker of the task is connected to this server.
    pub async fn attach(&self, id: &TaskId, birth: u64, ttl_ms: u64) -> Result<PatchReply, EngineError> {
        let keys = LogKeys::of_task(id);
        let args = |_: &str| [hex(birth), self.server().to_owned(), ttl_ms.to_string()].map(String::into_bytes).into();
        patched(&self.router().script(&script::ATTACH, &[keys.hash], args).await?)
    }

    /// Records that no worker of the task is connected to this server.
    pub async fn detach(&self, id: &TaskId, birth: u64) -> Result<PatchReply, EngineError> {
        self.attach(id, birth, 0).await
    }
}

fn patched(reply: &ScriptReply) -> Result<PatchReply, EngineError> {
    match reply.word.as_str() {
        "OK" => Ok(PatchReply::Patched),
        "REMOVED" => Ok(PatchReply::Removed),
        _ => Err(reply.unexpected()),
    }
}
