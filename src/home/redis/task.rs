//! Steps of one task: create, open, change facts, attach workers.

use super::engine::Engine;
use super::error::EngineError;
use super::keys::{TaskKeys, bucket_key, bucket_of};
use super::node::LinkUse;
use super::script;
use super::state::{SharedTask, hex};
use super::value::{ScriptReply, into_fields};
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

/// Returns facts as arguments of a script.
pub(super) fn field_args(fields: &[(String, String)]) -> impl Iterator<Item = Vec<u8>> + '_ {
    fields.iter().flat_map(|(name, value)| [name.clone().into_bytes(), value.clone().into_bytes()])
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
        self.list(id, created_ms).await?;
        let mut reply = self.create_as(id, created_ms, birth, "new", fields).await?;
        let state = SharedTask::parse(reply.fields()?)?.unwrap_or_default();
        if reply.word == "EXISTS" {
            if state.created_ms != created_ms {
                self.list(id, state.created_ms).await?;
            }
            return Ok(CreateReply::Exists(Box::new(state)));
        }
        self.announce(id).await?;
        Ok(CreateReply::Created(Box::new(state)))
    }

    /// Returns the facts of a task. A stream that another client made becomes a task here.
    pub async fn open(&self, id: &TaskId) -> Result<Option<SharedTask>, EngineError> {
        let keys = TaskKeys::new(id);
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGETALL").arg(&keys.hash).cmd("EXISTS").arg(&keys.stream);
        let mut answers = self.router().all(&keys.stream, LinkUse::Scripts, &pipeline).await?.into_iter();
        if let Some(state) = SharedTask::parse(into_fields(answers.next().unwrap_or_default())?)? {
            return Ok(Some(state));
        }
        if answers.next() != Some(redis::Value::Int(1)) {
            return Ok(None);
        }
        let birth = random().await?;
        let mut reply = self.create_as(id, 0, birth, "foreign", &[]).await?;
        if reply.word == "NONE" {
            return Ok(None);
        }
        let Some(state) = SharedTask::parse(reply.fields()?)? else { return Ok(None) };
        self.list(id, state.created_ms).await?;
        self.announce(id).await?;
        // Its entries get their numbers now, so that the number of the last one is known.
        self.router().account(&keys, state.birth).await?;
        let mut command = redis::cmd("HGETALL");
        command.arg(&keys.hash);
        SharedTask::parse(into_fields(self.router().command(&keys.hash, LinkUse::Scripts, command).await?)?)
    }

    async fn create_as(
        &self,
        id: &TaskId,
        created_ms: u64,
        birth: u64,
        kind: &str,
        fields: &[(String, String)],
    ) -> Result<ScriptReply, EngineError> {
        let TaskKeys { stream, hash, foreign } = TaskKeys::new(id);
        let args = |epoch: &str| {
            let head = [hex(birth), created_ms.to_string(), epoch.to_owned(), kind.to_owned()];
            head.into_iter().map(String::into_bytes).chain(field_args(fields)).collect()
        };
        self.router().script(&script::CREATE, &[hash, stream, foreign], args).await
    }

    /// Sets facts of a task's record, as JSON text by name; the last writer of a fact stays.
    pub async fn patch(&self, id: &TaskId, birth: u64, fields: &[(String, String)]) -> Result<PatchReply, EngineError> {
        let keys = TaskKeys::new(id);
        let args = |_: &str| std::iter::once(hex(birth).into_bytes()).chain(field_args(fields)).collect();
        let reply = self.router().script(&script::PATCH, &[keys.hash], args).await?;
        let reply = patched(&reply)?;
        if reply == PatchReply::Patched {
            self.announce(id).await?;
        }
        Ok(reply)
    }

    /// Records for `ttl_ms` that a worker of the task is connected to this server.
    pub async fn attach(&self, id: &TaskId, birth: u64, ttl_ms: u64) -> Result<PatchReply, EngineError> {
        let keys = TaskKeys::new(id);
        let args = |_: &str| [hex(birth), self.server().to_owned(), ttl_ms.to_string()].map(String::into_bytes).into();
        patched(&self.router().script(&script::ATTACH, &[keys.hash], args).await?)
    }

    /// Records that no worker of the task is connected to this server.
    pub async fn detach(&self, id: &TaskId, birth: u64) -> Result<PatchReply, EngineError> {
        self.attach(id, birth, 0).await
    }

    async fn list(&self, id: &TaskId, created_ms: u64) -> Result<(), EngineError> {
        let key = bucket_key(bucket_of(id), "tasks");
        let mut command = redis::cmd("ZADD");
        command.arg(&key).arg(created_ms).arg(id.as_str());
        self.router().command(&key, LinkUse::Scripts, command).await.map(drop)
    }

    /// Reports to all servers that the facts of a task changed.
    pub(super) async fn announce(&self, id: &TaskId) -> Result<(), EngineError> {
        let key = bucket_key(bucket_of(id), "changes");
        let mut command = redis::cmd("XADD");
        command
            .arg(&key)
            .arg("MAXLEN")
            .arg("~")
            .arg(super::limits::BUCKET_CHANGES_MAX)
            .arg("*")
            .arg("id")
            .arg(id.as_str());
        self.router().command(&key, LinkUse::Scripts, command).await.map(drop)
    }
}

fn patched(reply: &ScriptReply) -> Result<PatchReply, EngineError> {
    match reply.word.as_str() {
        "OK" => Ok(PatchReply::Patched),
        "REMOVED" => Ok(PatchReply::Removed),
        _ => Err(reply.unexpected()),
    }
}

/// Returns a random number for a task's birth.
async fn random() -> Result<u64, EngineError> {
    getrandom::u64().map_err(|error| EngineError::Config(format!("the system has no random numbers: {error}")))
}
