//! The stored record of a task: everything but its lines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod old;

use self::old::{TaskRecordV1, TaskRecordV2, TaskRecordV3};
use super::TaskDescription;
use crate::model::{Artifact, ErrorCounts, Integrity, TaskId, TaskStatus, Timestamp};
use crate::store::codec::{self, RecordKind};
use crate::store::{StoreError, VALUE_BYTES_MAX};

/// Maximum bytes of the command and of the labels in a record, so that it fits a stored value. The first
/// line of the log holds the whole command.
const COMMAND_BYTES_MAX: usize = 3 * 1024;
const LABEL_BYTES_MAX: usize = 2 * 1024;

/// A session and the number of one of its messages. Stored in records: the order of the fields is part
/// of the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSeq {
    /// Session name.
    pub session: String,
    /// Message number within the session.
    pub seq: u64,
}

impl SessionSeq {
    /// Returns the pair of `session` and `seq`.
    pub fn new(session: impl Into<String>, seq: u64) -> Self {
        Self { session: session.into(), seq }
    }
}

/// A task's record. The counts are set at the end; while a task runs, its journal has them.
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
    /// Random number that distinguishes this task from an earlier one with the same id.
    pub(super) incarnation: u64,
    /// Set once a worker was attached, so the task can be lost.
    pub(super) worker: bool,
    pub(super) lines: u64,
    pub(super) bytes: u64,
    pub(super) first_line: u64,
    pub(super) skipped_lines: u64,
    /// Last number of each session, to recognize repeats after the end.
    pub(super) sessions: Vec<SessionSeq>,
    pub(super) artifact: Option<Artifact>,
    /// Verification result; set with the end.
    pub(super) integrity: Option<Integrity>,
    /// Session of the last worker.
    pub(super) worker_session: Option<String>,
    /// Number of other workers before it.
    pub(super) other_workers: u32,
    /// Its name and number, if it is the second or a later attempt of that name.
    pub(super) attempt: Option<StoredAttempt>,
    /// Last sign of life of the last worker; none while one is connected.
    pub(super) last_seen: Option<Timestamp>,
    /// Lines of tasktail itself among `lines`.
    pub(super) own_lines: u64,
    /// Errors and warnings in the log, once it has ended and they are counted.
    pub(super) counts: Option<ErrorCounts>,
}

/// The name and the number of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredAttempt {
    pub(super) name: TaskId,
    pub(super) number: u32,
}

/// Version that is written.
const VERSION: u8 = 4;

impl TaskRecord {
    pub(super) fn new(incarnation: u64) -> Self {
        Self::new_at(incarnation, Timestamp::now())
    }

    /// Returns the record of a task created at `created`.
    fn new_at(incarnation: u64, created: Timestamp) -> Self {
        Self {
            status: TaskStatus::Running,
            exit_code: None,
            signal: None,
            command: Vec::new(),
            labels: BTreeMap::new(),
            host: None,
            created,
            started: None,
            ended: None,
            incarnation,
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
            attempt: None,
            last_seen: None,
            own_lines: 0,
            counts: None,
        }
    }

    /// Reports whether no line can follow: the task has ended, or its log was sealed without an end.
    pub(super) fn is_closed(&self) -> bool {
        self.status.is_final() || self.artifact.is_some()
    }

    /// Applies a worker's description. EntryFields it leaves out stay unchanged.
    pub(super) fn describe(&mut self, description: TaskDescription) {
        let TaskDescription { command, host, labels, started, .. } = description;
        if !command.is_empty() {
            self.command = truncate_words(command, COMMAND_BYTES_MAX);
        }
        self.host = host.or(self.host.take());
        self.started = self.started.or(started);
        let mut room = LABEL_BYTES_MAX;
        for (key, value) in labels {
            let bytes = key.len() + value.len();
            if bytes <= room {
                room -= bytes;
                self.labels.insert(key, value);
            }
        }
    }

    /// Sets the session of the current worker.
    pub(super) fn set_worker_session(&mut self, session: String) {
        let other = self.worker_session.as_ref().is_some_and(|before| *before != session);
        self.other_workers = self.other_workers.saturating_add(u32::from(other));
        self.worker_session = Some(session);
    }

    /// Records `seq` as the last number of `session`, as its newest entry.
    pub(super) fn set_session_seq(&mut self, session: String, seq: u64) {
        self.sessions.retain(|known| known.session != session);
        self.sessions.push(SessionSeq { session, seq });
    }

    /// Returns the last known number of `session`, or 0.
    pub(super) fn seq_of(&self, session: &str) -> u64 {
        self.sessions.iter().find(|known| known.session == session).map_or(0, |known| known.seq)
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let mut bytes = codec::encode_as(RecordKind::Task, VERSION, self)?;
        if bytes.len() > VALUE_BYTES_MAX {
            // Only sessions can grow this much. The newest ones are kept: they may still send repeats.
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
            [_, 2, ..] => codec::decode_as::<TaskRecordV2>(RecordKind::Task, 2, bytes).map(Self::from),
            [_, 3, ..] => codec::decode_as::<TaskRecordV3>(RecordKind::Task, 3, bytes).map(Self::from),
            _ => codec::decode_as(RecordKind::Task, VERSION, bytes),
        }
    }
}

/// Truncates `words` to `bytes` bytes and notes the full size in the last one.
fn truncate_words(words: Vec<String>, bytes: usize) -> Vec<String> {
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
    fn record_format_is_stable() {
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
            incarnation: u64::MAX - 1,
            worker: true,
            lines: 12_345,
            bytes: 1 << 33,
            first_line: 251,
            skipped_lines: 3,
            sessions: vec![SessionSeq::new("01JZ", 12_000)],
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
            attempt: Some(StoredAttempt { name: "nightly".parse().unwrap(), number: 2 }),
            last_seen: Some(Timestamp::from_millis(1_778_336_599_000)),
            own_lines: 7,
            counts: Some(ErrorCounts { errors: 3, warnings: 300 }),
        };
        let kept = codec::golden::check("v4", "task_record", &record.encode().unwrap());
        assert_eq!(TaskRecord::decode(&kept).unwrap(), record);
        let old = TaskRecord::decode(&codec::golden::stored("v3", "task_record")).unwrap();
        let before = TaskRecord { counts: None, ..record.clone() };
        assert_eq!(old, before, "a record of version 3 is read");
        let old = TaskRecord::decode(&codec::golden::stored("v2", "task_record")).unwrap();
        let before = TaskRecord { attempt: None, last_seen: None, own_lines: 0, ..before };
        assert_eq!(old, before, "a record of version 2 is read");
        let old = TaskRecord::decode(&codec::golden::stored("v1", "task_record")).unwrap();
        let before = TaskRecord { integrity: None, worker_session: None, other_workers: 0, ..before };
        assert_eq!(old, before, "a record of version 1 is read");
        assert!(TaskRecord::decode(&[b'T', 5]).is_err(), "a later version is rejected");
        // States and reasons are stored by their index.
        let states =
            [IntegrityState::Complete, IntegrityState::Incomplete, IntegrityState::Mismatch, IntegrityState::Unknown];
        let reasons = [GapReason::Trimmed, GapReason::Skipped, GapReason::Quota, GapReason::LostInTransit];
        for (at, (state, reason)) in (0u8..).zip(states.into_iter().zip(reasons)) {
            let mut stored = Vec::new();
            codec::append(&mut stored, &(state, reason)).unwrap();
            assert_eq!(stored, [at, at], "{state:?} {reason:?}");
        }
        // A status is stored by its index.
        for (at, status) in
            (0u8..).zip([TaskStatus::Running, TaskStatus::Completed, TaskStatus::Aborted, TaskStatus::Lost])
        {
            let bytes = TaskRecord { status, ..record.clone() }.encode().unwrap();
            assert_eq!(bytes[2], at, "{status:?}");
        }
    }

    #[test]
    fn record_always_fits_a_stored_value() {
        let mut record = TaskRecord::new(u64::MAX);
        let labels = (0..64).map(|n| (format!("{n}{}", "k".repeat(500)), "v".repeat(1000))).collect();
        record.describe(TaskDescription {
            id: "1".parse().unwrap(),
            session: String::new(),
            command: vec!["ü".repeat(60_000)],
            host: Some("h".repeat(1000)),
            labels,
            started: None,
        });
        record.sessions = (0..64).map(|n| SessionSeq::new(format!("{n}{}", "s".repeat(120)), n)).collect();
        let bytes = record.encode().unwrap();
        assert!(bytes.len() <= VALUE_BYTES_MAX);
        let back = TaskRecord::decode(&bytes).unwrap();
        assert!(back.command[0].ends_with("(120000 bytes in all)"));
        assert!(back.seq_of(&format!("63{}", "s".repeat(120))) == 63, "the newest session is kept");
    }
}
