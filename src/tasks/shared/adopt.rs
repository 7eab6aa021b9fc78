//! Building a lost Redis again from the object store.
//!
//! Each sealed log has its record beside it. Tasks that had not ended have only segments: their newest lines were in Redis
//! alone, so they cannot be continued, and are counted.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use serde::Serialize;

use super::super::TasksError;
use super::super::verify::VerifyFault;
use super::record::StoredRecord;
use crate::home::objects::LIST_OBJECTS_MAX;
use crate::home::redis::{AdoptReply, SealedTask};
use crate::home::{Engine, ObjectName, ObjectPrefix, ObjectStore};
use crate::model::TaskId;

/// Tasks that are adopted concurrently.
const CONCURRENT_TASKS: usize = 32;

/// The result of an adoption.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AdoptReport {
    /// Tasks that exist again.
    pub adopted: u64,
    /// Tasks that existed and are listed again.
    pub listed: u64,
    /// Tasks that existed, or whose id another task has.
    pub existing: u64,
    /// Logs of earlier tasks with the same id. They are not adopted.
    pub older: u64,
    /// Logs of tasks that had not ended. They are not adopted.
    pub unfinished: u64,
    /// Records that cannot be used, and logs that are missing.
    pub faults: Vec<VerifyFault>,
}

/// The logs of one id.
#[derive(Debug, Default)]
struct FoundTask {
    /// Births with a record.
    records: Vec<u64>,
    /// Births with segments or logs.
    logs: BTreeSet<u64>,
}

/// Creates the tasks of the object store that Redis does not have. Can be repeated. Calls `progress` after each task.
///
/// # Errors
/// The object store or Redis is not available. What was adopted before stays.
pub async fn adopt_archive(
    engine: &Engine,
    objects: &ObjectStore,
    progress: &mut dyn FnMut(),
) -> Result<AdoptReport, TasksError> {
    let mut report = AdoptReport::default();
    let (mut after, mut found) = (None, BTreeMap::<TaskId, FoundTask>::new());
    loop {
        let page = objects.list(&ObjectPrefix::Tasks, after.as_ref(), LIST_OBJECTS_MAX).await?;
        let is_last = page.len() < LIST_OBJECTS_MAX;
        let next = page.last().map(|object| object.name.clone());
        for object in page {
            let (Some(id), Some(birth)) = (object.name.task(), object.name.birth()) else { continue };
            let task = found.entry(id.clone()).or_default();
            match object.name {
                ObjectName::Record { .. } => task.records.push(birth),
                _ => drop(task.logs.insert(birth)),
            }
        }
        // The objects of an id follow one another: the last one may have more on the next page.
        let open = next.as_ref().and_then(ObjectName::task).filter(|_| !is_last);
        let open = open.and_then(|id| found.remove_entry(id));
        let tasks = std::mem::take(&mut found).into_iter();
        let mut steps = futures::stream::iter(tasks.map(|(id, task)| adopt_task(engine, objects, id, task)))
            .buffer_unordered(CONCURRENT_TASKS);
        while let Some(step) = steps.next().await {
            report.add(step?);
            progress();
        }
        if is_last {
            return Ok(report);
        }
        found.extend(open);
        after = next;
    }
}

impl AdoptReport {
    fn add(&mut self, other: AdoptReport) {
        let AdoptReport { adopted, listed, existing, older, unfinished, faults } = other;
        self.adopted += adopted;
        self.listed += listed;
        self.existing += existing;
        self.older += older;
        self.unfinished += unfinished;
        self.faults.extend(faults);
    }
}

/// Creates the newest task of an id.
async fn adopt_task(
    engine: &Engine,
    objects: &ObjectStore,
    id: TaskId,
    found: FoundTask,
) -> Result<AdoptReport, TasksError> {
    let is_unfinished = |birth: &&u64| !found.records.contains(birth);
    let unfinished = found.logs.iter().filter(is_unfinished).count() as u64;
    let mut report = AdoptReport { unfinished, ..AdoptReport::default() };
    let mut newest: Option<SealedTask> = None;
    for birth in found.records {
        let name = ObjectName::Record { task: id.clone(), birth };
        match read_task(objects, &name, &id, birth).await? {
            Ok(task) if newest.as_ref().is_none_or(|other| other.created_ms < task.created_ms) => {
                report.older += u64::from(newest.is_some());
                newest = Some(task);
            }
            Ok(_) => report.older += 1,
            Err(what) => report.faults.push(VerifyFault { at: name.to_string(), task: Some(id.clone()), what }),
        }
    }
    if let Some(task) = newest {
        match engine.adopt(&task).await? {
            AdoptReply::Adopted => report.adopted += 1,
            AdoptReply::Listed => report.listed += 1,
            AdoptReply::Exists => report.existing += 1,
        }
    }
    Ok(report)
}

/// Reads a record. Returns the fault if it cannot be used.
async fn read_task(
    objects: &ObjectStore,
    name: &ObjectName,
    id: &TaskId,
    birth: u64,
) -> Result<Result<SealedTask, String>, TasksError> {
    let json = objects.get(name).await?;
    let stored = match StoredRecord::decode(&json, birth) {
        Ok(stored) => stored,
        Err(what) => return Ok(Err(what)),
    };
    let fence = match &stored.log {
        ObjectName::Log { task, birth: of, fence } if task == id && *of == birth => *fence,
        other => return Ok(Err(format!("it names {other}, which is not a log of the task"))),
    };
    match objects.size(&stored.log).await {
        Ok(_) => {}
        Err(error) if error.is_not_found() => return Ok(Err(format!("its log {} is missing", stored.log))),
        Err(error) => return Err(error.into()),
    }
    Ok(Ok(SealedTask {
        id: id.clone(),
        birth,
        created_ms: stored.record.created.as_millis(),
        last_line: stored.record.lines,
        bytes: stored.record.bytes,
        skipped: stored.record.skipped_lines,
        fence,
        record: stored.fields.pairs(),
    }))
}
