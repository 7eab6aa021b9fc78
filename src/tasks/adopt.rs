//! Recovery of archives without records. A damaged store may have been replaced by a new one, but its
//! archives survive. New records make them listed and readable like any other log.

use super::record::TaskRecord;
use super::registry::{Tasks, new_incarnation};
use super::task::TaskHandle;
use super::{TasksError, TasksOpenError};
use crate::archive::{Archive, FoundArchives};
use crate::journal::JournalError;
use crate::model::{Channel, GapReason, TaskId, TaskStatus, Timestamp};

/// Maximum lines and bytes per read while an archive is counted.
const PAGE_LINES: usize = 10_000;
const PAGE_BYTES: usize = 1024 * 1024;

impl Tasks {
    /// Creates records for these archives, which have none. Normally every archive has one: a record is written before
    /// its archive and removed after it.
    pub(super) async fn adopt_orphans(&self, orphans: FoundArchives) -> Result<(), TasksOpenError> {
        for id in &orphans.sealed {
            self.inner.archives.count_sealed(id, None);
        }
        for id in orphans.sealed.union(&orphans.growing) {
            match self.adopt(id).await {
                Ok(()) => {
                    tracing::error!(task = %id, "restored a task from its archive: a damaged store had lost its record");
                }
                Err(error) => {
                    tracing::error!(task = %id, %error, "failed to read an archive without a record; the file is left in place");
                }
            }
        }
        Ok(())
    }

    /// Removes journals of sealed archives, left over if a kill prevented their removal.
    pub(super) async fn remove_sealed_journals(&self) -> Result<(), TasksOpenError> {
        for name in self.inner.journal.names()? {
            let Some(id) = TaskId::from_stream_key(&name) else { continue };
            let sealed = self.stored_record(&id).is_ok_and(|record| record.is_some_and(|it| it.artifact.is_some()));
            if sealed && let Some(stream) = self.inner.journal.stream(&name)? {
                self.inner.journal.remove(&stream).await?;
            }
        }
        Ok(())
    }

    async fn adopt(&self, id: &TaskId) -> Result<(), TasksError> {
        let mut record = self.stored_record(id)?.unwrap_or_else(|| TaskRecord::new(new_incarnation()));
        describe_from(&mut record, &self.inner.archives.archive(id, None)?)?;
        let bytes = record.encode().map_err(JournalError::from)?;
        self.inner.journal.put_task(id.as_str().as_bytes(), Some(bytes)).await?;
        self.inner.index.lock().insert((record.created, id.clone()), record.status, &record.labels);
        if record.artifact.is_none() {
            let task = TaskHandle::load(self, id, record)?;
            self.inner.open.lock().insert(id.clone(), task);
        }
        Ok(())
    }

    pub(super) fn stored_record(&self, id: &TaskId) -> Result<Option<TaskRecord>, TasksError> {
        let stored = self.inner.journal.store().task(id.as_str().as_bytes()).map_err(JournalError::from)?;
        Ok(stored.and_then(|bytes| TaskRecord::decode(&bytes).ok()))
    }
}

/// Fills a record from its archive. A sealed archive belongs to a completed task with an unknown result. The
/// worker of a growing one may still reconnect.
fn describe_from(record: &mut TaskRecord, archive: &Archive) -> Result<(), TasksError> {
    if let Some((first, last)) = archive.id_range() {
        record.created = record.created.min(Timestamp::from_millis(first.ms));
        record.ended = record.ended.or(archive.is_sealed().then_some(Timestamp::from_millis(last.ms)));
    }
    if !archive.is_sealed() {
        (record.status, record.worker) = (TaskStatus::Lost, true);
        return Ok(());
    }
    // A lost task was sealed because it expired.
    if record.status == TaskStatus::Running {
        record.status = TaskStatus::Completed;
    }
    (record.first_line, record.lines) = (archive.first_line(), archive.last_line());
    (record.bytes, record.skipped_lines, record.own_lines) = (0, 0, 0);
    let mut next = record.first_line;
    while next <= record.lines {
        let lines = archive.read(next, PAGE_LINES, PAGE_BYTES)?;
        let Some(last) = lines.last() else { break };
        next = last.n + 1;
        for line in &lines {
            record.bytes += line.line.len() as u64 + 1;
            let skipped = line.gap().filter(|gap| matches!(gap.reason, GapReason::Skipped | GapReason::Quota));
            record.skipped_lines += skipped.map_or(0, |gap| gap.count);
            record.own_lines += u64::from(line.channel == Channel::Internal);
        }
    }
    record.integrity = record.integrity.take().or_else(|| archive.verdict());
    record.artifact = Some(archive.seal(None)?);
    Ok(())
}
