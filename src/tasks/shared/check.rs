//! Verifying the object store: is each object complete and unchanged?
//!
//! An object is fetched to a temporary file and checked as an archive of a data folder is. Nothing is modified. Servers may
//! use the store meanwhile, so an object that is only left over counts as a fault once it is old.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::super::TasksError;
use super::super::verify::{VerifyFault, VerifyReport, sealed_faults};
use super::record::StoredRecord;
use crate::archive::{ArchiveCheck, Archives};
use crate::home::objects::{LIST_OBJECTS_MAX, StoredObject};
use crate::home::{ObjectName, ObjectPrefix, ObjectStore};
use crate::model::{TaskId, Timestamp};

/// Age from which an object beside a sealed log is one that a server did not delete.
const LEFTOVER_AGE: Duration = Duration::from_hours(1);

/// Verifies all objects. Calls `progress` with the bytes checked since the last call. Files are written to `scratch`.
///
/// # Errors
/// The object store is not available, or a file cannot be written. Faults are part of the report.
pub async fn verify_objects(
    objects: &ObjectStore,
    scratch: &Path,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<VerifyReport, TasksError> {
    let mut check = ObjectCheck { objects, scratch, report: VerifyReport::default() };
    let (mut after, mut logs) = (None, BTreeMap::<(TaskId, u64), Vec<StoredObject>>::new());
    loop {
        let page = objects.list(&ObjectPrefix::Tasks, after.as_ref(), LIST_OBJECTS_MAX).await?;
        let is_last = page.len() < LIST_OBJECTS_MAX;
        let last = page.last().map(|object| object.name.clone());
        for object in page {
            let Some(key) = object.name.task().cloned().zip(object.name.birth()) else { continue };
            logs.entry(key).or_default().push(object);
        }
        // The objects of a log follow one another: the last one may have more on the next page.
        let open = last.as_ref().and_then(|name| name.task().cloned().zip(name.birth())).filter(|_| !is_last);
        let open = open.and_then(|key| logs.remove_entry(&key));
        for ((id, birth), found) in std::mem::take(&mut logs) {
            check.log(&id, birth, &found, progress).await?;
        }
        if is_last {
            return Ok(check.report);
        }
        logs.extend(open);
        after = last;
    }
}

struct ObjectCheck<'a> {
    objects: &'a ObjectStore,
    scratch: &'a Path,
    report: VerifyReport,
}

impl ObjectCheck<'_> {
    fn fault(&mut self, at: &ObjectName, task: &TaskId, what: impl Into<String>) {
        self.report.faults.push(VerifyFault { at: at.to_string(), task: Some(task.clone()), what: what.into() });
    }

    /// Checks the objects of one task.
    async fn log(
        &mut self,
        id: &TaskId,
        birth: u64,
        found: &[StoredObject],
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), TasksError> {
        self.report.tasks += 1;
        let name = ObjectName::Record { task: id.clone(), birth };
        let stored = match found.iter().any(|object| object.name == name) {
            true => match StoredRecord::decode(&self.objects.get(&name).await?, birth) {
                Ok(stored) => Some(stored),
                Err(what) => {
                    self.fault(&name, id, what);
                    return Ok(());
                }
            },
            false => None,
        };
        let log = stored.as_ref().map(|stored| stored.log.clone());
        if let Some(log) = log.as_ref().filter(|log| !found.iter().any(|object| object.name == **log)) {
            self.fault(log, id, "the log is missing");
        }
        for object in found {
            match (&object.name, &stored) {
                (at, Some(stored)) if *at == stored.log => {
                    let Some(check) = self.check(at, true, progress).await? else { continue };
                    let artifact = stored.record.artifact.as_ref();
                    let faults = match artifact {
                        Some(artifact) => sealed_faults(&stored.record, artifact, &check),
                        None => vec!["its record has no size and no SHA-256".to_owned()],
                    };
                    faults.into_iter().for_each(|what| self.fault(at, id, what));
                }
                (ObjectName::Record { .. } | ObjectName::Probe { .. }, _) => {}
                (at, Some(_)) if is_old(object) => {
                    self.fault(at, id, "the log is sealed, and this object is left over; it can be deleted");
                }
                (at @ ObjectName::Log { .. }, None) if is_old(object) => {
                    self.fault(at, id, "this log has no record");
                }
                (at @ ObjectName::Segment { first, last, .. }, None) => {
                    let Some(check) = self.check(at, false, progress).await? else { continue };
                    if (check.first_line, check.last_line) != (*first, *last) {
                        let (first, last) = (check.first_line, check.last_line);
                        self.fault(at, id, format!("it has lines {first} to {last}"));
                    }
                }
                (ObjectName::Log { .. } | ObjectName::Segment { .. }, _) => {}
            }
        }
        Ok(())
    }

    /// Checks one object. Returns `None` if it was deleted meanwhile.
    async fn check(
        &mut self,
        name: &ObjectName,
        is_sealed: bool,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Option<ArchiveCheck>, TasksError> {
        let file = self.scratch.join("object");
        match self.objects.get_to_file(name, &file).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let checked = tokio::task::spawn_blocking(move || Archives::check(&file, is_sealed, None, &mut |_| {}));
        let checked = checked.await.map_err(|_| TasksError::Closed)?;
        let check = checked.map_err(|error| TasksError::ReadOnly(format!("cannot read a temporary file: {error}")))?;
        progress(check.bytes);
        self.report.archives += 1;
        self.report.lines += check.lines;
        let task = name.task().cloned();
        for what in &check.faults {
            self.report.faults.push(VerifyFault { at: name.to_string(), task: task.clone(), what: what.clone() });
        }
        Ok(Some(check))
    }
}

/// Reports whether an object is older than any step of sealing takes.
fn is_old(object: &StoredObject) -> bool {
    let age = Timestamp::now().as_millis().saturating_sub(object.created_ms);
    u128::from(age) > LEFTOVER_AGE.as_millis()
}
