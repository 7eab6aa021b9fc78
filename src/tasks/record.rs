//! What is stored of a task besides its lines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Artifact, TaskStatus, Timestamp};
use crate::store::codec::{self, Kind};
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
}

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

    /// The last number that is known of a session.
    pub(super) fn seq_of(&self, session: &str) -> u64 {
        self.sessions.iter().find(|(name, _)| name == session).map_or(0, |(_, seq)| *seq)
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let mut bytes = codec::encode(Kind::Task, self)?;
        if bytes.len() > VALUE_BYTES_MAX {
            // Sessions are what can have grown; the newest are those that may still repeat.
            let mut shorter = self.clone();
            while bytes.len() > VALUE_BYTES_MAX && !shorter.sessions.is_empty() {
                shorter.sessions.remove(0);
                bytes = codec::encode(Kind::Task, &shorter)?;
            }
        }
        Ok(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        codec::decode(Kind::Task, bytes)
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
        };
        let kept = codec::golden::check("v1", "task_record", &record.encode().unwrap());
        assert_eq!(TaskRecord::decode(&kept).unwrap(), record);
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
