//! Building a lost Redis again: tasks whose logs are in the archive.

use super::engine::Engine;
use super::error::EngineError;
use super::keys::{LogKeys, LogName, bucket_key};
use super::lease::Fence;
use super::node::LinkUse;
use super::open::field_args;
use super::script;
use super::state::hex;
use super::value::{into_number, into_text};
use crate::model::TaskId;

/// A task whose whole log is in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedTask {
    /// Its id.
    pub id: TaskId,
    /// Random number chosen when it was created.
    pub birth: u64,
    /// Time of creation, in milliseconds since 1970.
    pub created_ms: u64,
    /// Number of the last line.
    pub last_line: u64,
    /// Bytes of its lines.
    pub bytes: u64,
    /// Lines reported as skipped.
    pub skipped: u64,
    /// Fence under which its log was written.
    pub fence: Fence,
    /// The facts of its record, as JSON text by name.
    pub record: Vec<(String, String)>,
}

/// The answer to the adoption of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdoptReply {
    /// It exists again.
    Adopted,
    /// It existed and is listed again.
    Listed,
    /// It existed, or another task has the id.
    Exists,
}

impl Engine {
    /// Creates a sealed task whose log is in the archive, unless its id is in use. A task that exists and is not listed is
    /// listed again.
    pub async fn adopt(&self, task: &SealedTask) -> Result<AdoptReply, EngineError> {
        let keys = LogKeys::of_task(&task.id);
        let name = LogName::Task(&task.id);
        // As at its creation: a task must not exist without being listed.
        let was_listed = self.is_listed(name).await?;
        if !was_listed {
            self.list(name, task.created_ms).await?;
        }
        let args = |epoch: &str| {
            let numbers = [task.last_line, task.bytes, task.skipped, task.fence].map(|number| number.to_string());
            let head = [hex(task.birth), task.created_ms.to_string(), epoch.to_owned()].into_iter().chain(numbers);
            head.map(String::into_bytes).chain(field_args(&task.record)).collect()
        };
        let mut reply = self.router().script(&script::ADOPT, &[keys.stream, keys.hash], args).await?;
        let done = match reply.word.as_str() {
            "OK" => AdoptReply::Adopted,
            "FOREIGN" => return Ok(AdoptReply::Exists),
            "EXISTS" if was_listed => return Ok(AdoptReply::Exists),
            "EXISTS" => {
                self.list(name, reply.number()?).await?;
                AdoptReply::Listed
            }
            _ => return Err(reply.unexpected()),
        };
        self.announce(name).await?;
        Ok(done)
    }

    async fn is_listed(&self, name: LogName<'_>) -> Result<bool, EngineError> {
        let key = bucket_key(name.bucket(), name.index());
        let mut command = redis::cmd("ZSCORE");
        command.arg(&key).arg(name.as_str());
        Ok(into_text(self.router().command(&key, LinkUse::Scripts, command).await?).is_some())
    }

    /// Reports whether Redis still has the lease of a bucket with this fence. If it does not, another server has taken the
    /// bucket over, or Redis was emptied.
    pub async fn holds_lease(&self, bucket: u8, fence: Fence) -> Result<bool, EngineError> {
        let key = bucket_key(bucket, "lease");
        let mut command = redis::cmd("HGET");
        command.arg(&key).arg("fence");
        Ok(into_number(self.router().command(&key, LinkUse::Scripts, command).await?) == Some(fence))
    }
}
