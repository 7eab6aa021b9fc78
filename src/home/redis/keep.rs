//! Steps that move a task's log to the archive, and its removal. Each is a compare-and-set in the task's slot: a
//! lease only saves work that would be done twice.

use super::engine::Engine;
use super::error::EngineError;
use super::keys::{LogKeys, LogName};
use super::open::field_args;
use super::script;
use super::state::{SharedTask, hex};
use crate::model::{EntryId, TaskId};

/// The answer to a change of a task's archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeepReply {
    /// It is recorded.
    Done,
    /// The task is not as the caller assumed, or another server has a higher fence.
    Stale(Box<SharedTask>),
    /// The task was removed, or another one has its id.
    Removed,
}

/// A segment in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedLines<'a> {
    /// Number of its first line.
    pub from: u64,
    /// Number of its last line.
    pub to: u64,
    /// Name of the object.
    pub object: &'a str,
    /// Id of its last line.
    pub last_id: EntryId,
}

impl Engine {
    /// Records a segment in the archive and drops its lines from the stream.
    pub async fn archived(
        &self,
        id: &TaskId,
        birth: u64,
        lines: &ArchivedLines<'_>,
        fence: u64,
    ) -> Result<KeepReply, EngineError> {
        let ArchivedLines { from, to, object, last_id } = lines;
        let args = |_: &str| {
            let args = [
                hex(birth),
                from.to_string(),
                to.to_string(),
                (*object).to_owned(),
                last_id.to_string(),
                fence.to_string(),
            ];
            args.map(String::into_bytes).into()
        };
        let mut reply = self.router().script(&script::ARCHIVED, &LogKeys::of_task(id).stream_first(), args).await?;
        match reply.word.as_str() {
            "OK" => Ok(KeepReply::Done),
            "STALE" => Ok(KeepReply::Stale(Box::new(SharedTask::parse(reply.fields()?)?.unwrap_or_default()))),
            "REMOVED" => Ok(KeepReply::Removed),
            _ => Err(reply.unexpected()),
        }
    }

    /// Records that the whole log of an ended task is in the archive, and frees its stream.
    pub async fn sealed(
        &self,
        id: &TaskId,
        birth: u64,
        last_line: u64,
        fields: &[(String, String)],
        fence: u64,
    ) -> Result<KeepReply, EngineError> {
        let keys = LogKeys::of_task(id);
        let args = |_: &str| {
            let head = [hex(birth), last_line.to_string(), fence.to_string()];
            head.into_iter().map(String::into_bytes).chain(field_args(fields)).collect()
        };
        loop {
            let mut reply = self.router().script(&script::SEALED, &keys.stream_first(), args).await?;
            return match reply.word.as_str() {
                "ACCOUNT" => {
                    self.router().account(&keys, birth).await?;
                    continue;
                }
                "OK" => {
                    self.announce(LogName::Task(id)).await?;
                    Ok(KeepReply::Done)
                }
                "STALE" => Ok(KeepReply::Stale(Box::new(SharedTask::parse(reply.fields()?)?.unwrap_or_default()))),
                "REMOVED" => Ok(KeepReply::Removed),
                _ => Err(reply.unexpected()),
            };
        }
    }

    /// Removes a task. Returns whether it existed; a listed id without a task is taken from the index.
    pub async fn remove(&self, id: &TaskId, birth: u64) -> Result<bool, EngineError> {
        let LogKeys { stream, hash, foreign } = LogKeys::of_task(id);
        self.remove_log(LogName::Task(id), &[hash, stream, foreign], birth).await
    }
}
