//! The details of a task, as clients see them.

use super::record::TaskRecord;
use super::task::TaskHandle;
use crate::model::{GapReason, Integrity, Task, TaskId, TaskStatus};

impl TaskHandle {
    /// Reports whether the task has ended, so that no line can follow.
    pub fn has_ended(&self) -> bool {
        self.with_record(TaskRecord::is_closed)
    }

    /// Returns the current details.
    pub fn details(&self) -> Task {
        let (first_line, last_line) = self.readable();
        let (tip, own_lines) = (self.stream().map(|stream| stream.tip()), self.own_lines());
        let state = self.inner.state.lock();
        let mut task = details_of_sealed(self.id(), &state.record);
        if let Some(tip) = tip {
            task.lines = tip.last_line;
            task.bytes = tip.total_bytes;
            task.skipped_lines = tip.total_skipped;
            task.own_lines = own_lines;
        }
        task.integrity = integrity_of(&state.record, first_line);
        task.first_line = first_line;
        task.last_line = last_line;
        task.trimmed_lines = match last_line {
            0 => task.lines,
            _ => first_line - 1 + self.archive().missing_lines(),
        };
        task.complete = task.known_complete();
        task.live = self.has_worker() && !state.record.status.is_final();
        drop(state);
        task.attempt = self.registry().and_then(|tasks| tasks.attempt(&task.id));
        task
    }
}

/// Returns the details of a task from its record alone.
pub(super) fn details_of_sealed(id: &TaskId, record: &TaskRecord) -> Task {
    let none = record.first_line == 0;
    let dropped = record.integrity.as_ref().map_or(0, Integrity::dropped_lines);
    let mut task = Task {
        id: id.clone(),
        status: record.status,
        exit_code: record.exit_code,
        signal: record.signal,
        command: record.command.clone(),
        labels: record.labels.clone(),
        host: record.host.clone(),
        created: record.created,
        started: record.started,
        // A lost task may still be resumed, and so has no end; its time is over since its last sign of life.
        ended: record.ended.or(record.last_seen.filter(|_| record.status == TaskStatus::Lost)),
        lines: record.lines,
        own_lines: record.own_lines,
        bytes: record.bytes,
        first_line: record.first_line,
        last_line: if none { 0 } else { record.lines },
        skipped_lines: record.skipped_lines,
        trimmed_lines: if none { record.lines } else { record.first_line - 1 + dropped },
        live: false,
        artifact: record.artifact.clone(),
        integrity: integrity_of(record, record.first_line),
        complete: None,
        errors: record.counts.map(|counts| counts.errors),
        warnings: record.counts.map(|counts| counts.warnings),
        attempt: None,
    };
    task.complete = task.known_complete();
    task
}

/// Returns the verification result of an ended log that now starts at `first_line`.
fn integrity_of(record: &TaskRecord, first_line: u64) -> Option<Integrity> {
    if !record.is_closed() {
        return None;
    }
    let mut integrity = record.integrity.clone().unwrap_or_default();
    if first_line > 1 {
        integrity.add_hole(1, first_line - 1, GapReason::Trimmed);
    }
    Some(integrity)
}
