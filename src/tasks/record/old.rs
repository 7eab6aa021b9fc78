//! Records of earlier versions.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{SessionSeq, StoredAttempt, TaskRecord};
use crate::model::{Artifact, Integrity, TaskStatus, Timestamp};

/// A record of version 1, without checksum totals.
#[derive(Deserialize)]
pub(super) struct TaskRecordV1 {
    status: TaskStatus,
    exit_code: Option<i32>,
    signal: Option<i32>,
    command: Vec<String>,
    labels: BTreeMap<String, String>,
    host: Option<String>,
    created: Timestamp,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    incarnation: u64,
    worker: bool,
    lines: u64,
    bytes: u64,
    first_line: u64,
    skipped_lines: u64,
    sessions: Vec<SessionSeq>,
    artifact: Option<Artifact>,
}

/// A record of version 2, without attempts: the fields of version 1, and more.
#[derive(Deserialize)]
pub(super) struct TaskRecordV2 {
    v1: TaskRecordV1,
    integrity: Option<Integrity>,
    worker_session: Option<String>,
    other_workers: u32,
}

/// A record of version 3, without counts of errors.
#[derive(Deserialize)]
pub(super) struct TaskRecordV3 {
    v2: TaskRecordV2,
    attempt: Option<StoredAttempt>,
    last_seen: Option<Timestamp>,
    own_lines: u64,
}

impl From<TaskRecordV1> for TaskRecord {
    fn from(old: TaskRecordV1) -> Self {
        Self {
            status: old.status,
            exit_code: old.exit_code,
            signal: old.signal,
            command: old.command,
            labels: old.labels,
            host: old.host,
            started: old.started,
            ended: old.ended,
            worker: old.worker,
            lines: old.lines,
            bytes: old.bytes,
            first_line: old.first_line,
            skipped_lines: old.skipped_lines,
            sessions: old.sessions,
            artifact: old.artifact,
            ..Self::new_at(old.incarnation, old.created)
        }
    }
}

impl From<TaskRecordV2> for TaskRecord {
    fn from(old: TaskRecordV2) -> Self {
        let TaskRecordV2 { v1, integrity, worker_session, other_workers } = old;
        Self { integrity, worker_session, other_workers, ..v1.into() }
    }
}

impl From<TaskRecordV3> for TaskRecord {
    fn from(old: TaskRecordV3) -> Self {
        let TaskRecordV3 { v2, attempt, last_seen, own_lines } = old;
        Self { attempt, last_seen, own_lines, ..v2.into() }
    }
}
