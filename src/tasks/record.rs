//! What is stored of a task besides its lines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Artifact, Integrity, TaskStatus, Timestamp};
use crate::store::codec::{self, RecordKind};
use crate::store::{StoreError, VALUE_BYTES_MAX};

/// Bytes of the command and of the labels that a record keeps, so that it fits a stored value. The
/// log's first line has the command whole.
const COMMAND_BYTES_KEPT: usize = 3 * 1024;
const LABEL_BYTES_KEPT: usize = 2 * 1024;

/// A task's record. Counts are those of the end; while a task runs, its journal knows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TaskRecord {
    pub(super) status: TaskStatus,
    pub(super) exit_code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) command: Vec<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) host: Option<String>,
    pub(super) created: Timestamp,
    pub(super) started: Option<Timestamp>,
    pub(super) ended: Option<Timestamp>,
    /// Random; tells this task from an earlier one of the same id.
    pub(super) birth: u64,
    /// A worker spoke for it, so it can be lost.
    pub(super) worker: bool,
    pub(super) lines: u64,
    pub(super) bytes: u64,
    pub(super) first_line: u64,
    pub(super) skipped_lines: u64,
    /// The last number of each session, for repeats that come after the end.
    pub(super) sessions: Vec<(String, u64)>,
    pub(super) artifact: Option<Artifact>,
    /// What came of comparing the log with what its worker said; with the end.
    pub(super) integrity: Option<Integrity>,
    /// The session of the worker that spoke for it last, and how many others there were before.
    pub(super) worker_session: Option<String>,
    pub(super) other_workers: u32,
}

/// Version 1: before lines were summed.
#[derive(Deserialize)]
struct TaskRecordV1 {
    status: TaskStatus,
    exit_code: Option<i32>,
    signal: Option<i32>,
    command: Vec<String>,
    labels: BTreeMap<String, String>,
    host: Option<String>,
    created: Timestamp,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    birth: u64,
    worker: bool,
    lines: u64,
    bytes: u64,
    first_line: u64,
    skipped_lines: u64,
    sessions: Vec<(String, u64)>,
    artifact: Option<Artifact>,
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
            created: old.created,
            started: old.started,
            ended: old.ended,
            birth: old.birth,
            worker: old.worker,
            lines: old.lines,
            bytes: old.bytes,
            first_line: old.first_line,
            skipped_lines: old.skipped_lines,
            sessions: old.sessions,
            artifact: old.artifact,
            integrity: None,
            worker_session: None,
            other_workers: 0,
        }
    }
}

/// The version that is written today.
const VERSION: u8 = 2;

impl TaskRecord {
    pub(super) fn new(birth: u64) -> Self {
        Self {
            status: TaskStatus::Running,
            exit_code: None,
            signal: None,
            command: Vec::new(),
            labels: BTreeMap::new(),
            host: None,
            created: Timestamp::now(),
            started: None,
            ended: None,
            birth,
            worker: false,
            lines: 0,
            bytes: 0,
            first_line: 0,
            skipped_lines: 0,
            sessions: Vec::new(),
            artifact: None,
            integrity: None,
            worker_session: None,
            other_workers: 0,
        }
    }

    /// No line can follow: it has ended, or its log was sealed for want of an end.
    pub(super) fn takes_no_more(&self) -> bool {
        self.status.is_final() || self.artifact.is_some()
    }

    /// Takes over what a worker says of its task; what it does not say stays.
    pub(super) fn describe(
        &mut self,
        command: Vec<String>,
        host: Option<String>,
        labels: BTreeMap<String, String>,
        started: Option<Timestamp>,
    ) {
        if !command.is_empty() {
            self.command = keep(command, COMMAND_BYTES_KEPT);
        }
        self.host = host.or(self.host.take());
        self.started = self.started.or(started);
        let mut room = LABEL_BYTES_KEPT;
        for (key, value) in labels {
            let bytes = key.len() + value.len();
            if bytes <= room {
                room -= bytes;
                self.labels.insert(key, value);
            }
        }
    }

    /// A worker speaks for the task, in this session.
    pub(super) fn spoken_for_by(&mut self, session: String) {
        let other = self.worker_session.as_ref().is_some_and(|before| *before != session);
        self.other_workers = self.other_workers.saturating_add(u32::from(other));
        self.worker_session = Some(session);
    }

    /// The last number that is known of a session.
    pub(super) fn seq_of(&self, session: &str) -> u64 {
        self.sessions.iter().find(|(name, _)| name == session).map_or(0, |(_, seq)| *seq)
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let mut bytes = codec::encode_as(RecordKind::Task, VERSION, self)?;
        if bytes.len() > VALUE_BYTES_MAX {
            // Sessions are what can have grown; the newest are those that may still repeat.
            let mut shorter = self.clone();
            while bytes.len() > VALUE_BYTES_MAX && !shorter.sessions.is_empty() {
                shorter.sessions.remove(0);
                bytes = codec::encode_as(RecordKind::Task, VERSION, &shorter)?;
            }
        }
        Ok(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        match bytes {
            [_, 1, ..] => codec::decode_as::<TaskRecordV1>(RecordKind::Task, 1, bytes).map(Self::from),
            _ => codec::decode_as(RecordKind::Task, VERSION, bytes),
        }
    }
}

/// The words that fit, and how many bytes do not.
fn keep(words: Vec<String>, bytes: usize) -> Vec<String> {
    let whole: usize = words.iter().map(String::len).sum();
    if whole <= bytes {
        return words;
    }
    let mut room = bytes;
    let mut kept = Vec::new();
    for word in words {
        if word.len() > room {
            let end = (0..=room).rev().find(|at| word.is_char_boundary(*at)).unwrap_or(0);
            kept.push(format!("{}… ({} bytes in all)", &word[..end], whole));
            break;
        }
        room -= word.len();
        kept.push(word);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GapReason, IntegrityState, MissingLines};

    #[test]
    fn the_form_of_a_record_stays() {
        let record = TaskRecord {
            status: TaskStatus::Completed,
            exit_code: Some(-3),
            signal: Some(15),
            command: vec!["make".into(), "-j8".into()],
            labels: [("branch".to_owned(), "main".to_owned())].into(),
            host: Some("host-1".into()),
            created: Timestamp::from_millis(1_778_336_581_000),
            started: None,
            ended: Some(Timestamp::from_millis(1_778_336_600_000)),
            birth: u64::MAX - 1,
            worker: true,
            lines: 12_345,
            bytes: 1 << 33,
            first_line: 251,
            skipped_lines: 3,
            sessions: vec![("01JZ".into(), 12_000)],
            artifact: Some(Artifact { bytes: 70_000, sha256: "ab".repeat(32) }),
            integrity: Some(Integrity {
                state: IntegrityState::Incomplete,
                lines: 12_000,
                hash: Some("xxh3-128-sum:0".into()),
                reported_lines: Some(12_003),
                reported_hash: Some("xxh3-128-sum:1".into()),
                missing_lines: 3,
                missing: vec![MissingLines { from: 300, to: 300, reason: GapReason::LostInTransit, count: 3 }],
            }),
            worker_session: Some("01JZ".into()),
            other_workers: 1,
        };
        let kept = codec::golden::check("v2", "task_record", &record.encode().unwrap());
        assert_eq!(TaskRecord::decode(&kept).unwrap(), record);
        let old = TaskRecord::decode(&codec::golden::stored("v1", "task_record")).unwrap();
        let before = TaskRecord { integrity: None, worker_session: None, other_workers: 0, ..record.clone() };
        assert_eq!(old, before, "a record of version 1 is read");
        assert!(TaskRecord::decode(&[b'T', 3]).is_err(), "a later version is told apart");
        // The place of a state and of a reason in its list is what is stored.
        let states =
            [IntegrityState::Complete, IntegrityState::Incomplete, IntegrityState::Mismatch, IntegrityState::Unknown];
        let reasons = [GapReason::Trimmed, GapReason::Skipped, GapReason::Quota, GapReason::LostInTransit];
        for (at, (state, reason)) in (0u8..).zip(states.into_iter().zip(reasons)) {
            let mut stored = Vec::new();
            codec::append(&mut stored, &(state, reason)).unwrap();
            assert_eq!(stored, [at, at], "{state:?} {reason:?}");
        }
        // The place of a status in its list is what is stored.
        for (at, status) in
            (0u8..).zip([TaskStatus::Running, TaskStatus::Completed, TaskStatus::Aborted, TaskStatus::Lost])
        {
            let bytes = TaskRecord { status, ..record.clone() }.encode().unwrap();
            assert_eq!(bytes[2], at, "{status:?}");
        }
    }

    #[test]
    fn a_record_always_fits_a_stored_value() {
        let mut record = TaskRecord::new(u64::MAX);
        let labels = (0..64).map(|n| (format!("{n}{}", "k".repeat(500)), "v".repeat(1000))).collect();
        record.describe(vec!["ü".repeat(60_000)], Some("h".repeat(1000)), labels, None);
        record.sessions = (0..64).map(|n| (format!("{n}{}", "s".repeat(120)), n)).collect();
        let bytes = record.encode().unwrap();
        assert!(bytes.len() <= VALUE_BYTES_MAX);
        let back = TaskRecord::decode(&bytes).unwrap();
        assert!(back.command[0].ends_with("(120000 bytes in all)"));
        assert!(back.seq_of(&format!("63{}", "s".repeat(120))) == 63, "the newest session is kept");
    }
}
