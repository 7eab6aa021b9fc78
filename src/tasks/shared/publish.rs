//! Publishing a sealed log, whichever servers sealed it, so that the task has one.
//!
//! ```text
//! log.FENCE (one per sealer) ─> task.json, which names one of them ─> `sealed`, which records it in Redis ─> others deleted
//! ```
//!
//! The record is created once. A server that finds one completes the work of its writer: it records the log that is named
//! there, and deletes its own. A server that was stopped in between can continue at any time without harm.

use std::path::Path;

use super::super::TasksError;
use super::super::record::TaskRecord;
use super::SharedStore;
use super::record::{RecordFields, StoredRecord, object_field, sealed_fields};
use super::writes::Fields;
use crate::home::objects::{LIST_OBJECTS_MAX, PutOutcome};
use crate::home::redis::{Fence, KeepReply, SharedStatus, bucket_of};
use crate::home::{ObjectName, ObjectPrefix};
use crate::model::TaskId;

/// Attempts to write a record in place of one that another server wrote for fewer or other lines.
const RECORD_ATTEMPTS_MAX: usize = 4;

/// The log of an ended task, sealed by this server.
pub(super) struct SealedLog<'a> {
    pub(super) shared: &'a SharedStore,
    pub(super) id: &'a TaskId,
    pub(super) birth: u64,
    pub(super) last_line: u64,
    pub(super) fence: Fence,
}

impl SealedLog<'_> {
    /// Writes the log and its record as objects, then ends the life of the task in Redis. Returns whether the log of this
    /// server is the one of the task.
    pub(super) async fn publish(&self, file: &Path, record: &TaskRecord) -> Result<bool, TasksError> {
        let objects = &self.shared.objects;
        let own = self.name();
        objects.put_file_new(&own, file).await?;
        let (chosen, fields) = self.choose(record).await?;
        match self.shared.engine.sealed(self.id, self.birth, self.last_line, &fields, self.fence).await? {
            KeepReply::Done => {
                if let Err(error) = self.delete_others(&chosen).await {
                    tracing::warn!(task = %self.id, %error, "failed to delete the segments of a sealed log");
                }
                Ok(chosen == own)
            }
            KeepReply::Stale(state) => {
                // A server that completed this one's work has recorded its log.
                let recorded = RecordFields::from_pairs(&state.record).object();
                let is_recorded = state.status == SharedStatus::Sealed && recorded == Some(own.to_string());
                if !is_recorded {
                    tracing::info!(task = %self.id, "another server sealed the log");
                    objects.delete(&own).await?;
                }
                Ok(is_recorded)
            }
            KeepReply::Removed => {
                self.delete_removed().await?;
                Ok(false)
            }
        }
    }

    /// Returns the name of this server's log.
    fn name(&self) -> ObjectName {
        ObjectName::Log { task: self.id.clone(), birth: self.birth, fence: self.fence }
    }

    /// Writes the record, or reads the one of another server. Returns the log that it names, and its fields.
    async fn choose(&self, record: &TaskRecord) -> Result<(ObjectName, Fields), TasksError> {
        let (objects, own) = (&self.shared.objects, self.name());
        let mut fields = sealed_fields(record);
        fields.push(object_field(&own.to_string()));
        let json = StoredRecord::encode(&fields);
        let name = ObjectName::Record { task: self.id.clone(), birth: self.birth };
        for _ in 0..RECORD_ATTEMPTS_MAX {
            if objects.put_new(&name, json.clone().into()).await? == PutOutcome::Created {
                return Ok((own, fields));
            }
            if let Some(found) = self.read_other(&name).await? {
                return Ok(found);
            }
            // Its log is another one: Redis has lost lines since, or the object is gone.
            objects.delete(&name).await?;
        }
        Err(TasksError::ReadOnly(format!("servers compete for the record of task {}", self.id)))
    }

    /// Reads the record of another server. Returns `None` if its log is not that of the task.
    async fn read_other(&self, name: &ObjectName) -> Result<Option<(ObjectName, Fields)>, TasksError> {
        let objects = &self.shared.objects;
        let json = match objects.get(name).await {
            Ok(json) => json,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Ok(stored) = StoredRecord::decode(&json, self.birth) else { return Ok(None) };
        let Some(artifact) = stored.record.artifact else { return Ok(None) };
        match objects.size(&stored.log).await {
            Ok(bytes) if bytes == artifact.bytes && stored.record.lines == self.last_line => {
                Ok(Some((stored.log, stored.fields.pairs())))
            }
            Ok(_) => Ok(None),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes segments, and logs of servers that were stopped before they could record them.
    async fn delete_others(&self, chosen: &ObjectName) -> Result<(), TasksError> {
        let prefix = ObjectPrefix::Birth(self.id.clone(), self.birth);
        let mut after = None;
        loop {
            let page = self.shared.objects.list(&prefix, after.as_ref(), LIST_OBJECTS_MAX).await?;
            let is_kept = |name: &ObjectName| name == chosen || matches!(name, ObjectName::Record { .. });
            for object in page.iter().filter(|object| !is_kept(&object.name)) {
                self.shared.objects.delete(&object.name).await?;
            }
            if page.len() < LIST_OBJECTS_MAX {
                return Ok(());
            }
            after = page.into_iter().last().map(|object| object.name);
        }
    }

    /// Deletes the objects of a task that was removed meanwhile. If Redis has lost the lease as well, it was emptied: then
    /// the objects are the last copy of the task, and stay.
    async fn delete_removed(&self) -> Result<(), TasksError> {
        if self.shared.engine.holds_lease(bucket_of(self.id), self.fence).await? {
            self.shared.objects.delete_prefix(&ObjectPrefix::Birth(self.id.clone(), self.birth)).await?;
        } else {
            tracing::warn!(
                task = %self.id,
                "Redis does not know the task of a log that was sealed; `tasktail adopt` lists it again"
            );
        }
        Ok(())
    }
}
