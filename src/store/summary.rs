//! The summaries of runs, by the numbers of their streams: a list of runs is answered without their events.

use serde::{Deserialize, Serialize};

use super::codec::{self, RecordKind};
use super::tree_id::TreeId;
use super::{Store, StoreError};
use crate::model::{RunStatus, Timestamp};

/// Prefix of the `meta` keys of summaries. A stream number follows.
const SUMMARY: &[u8] = b"summary/";

/// The summary of a run up to a line of its stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Last line included.
    pub line: u64,
    /// Overall status; stored by its index.
    pub status: RunStatus,
    /// Time of its first event.
    pub started: Option<Timestamp>,
    /// Time of its end.
    pub ended: Option<Timestamp>,
    /// Time when its last event arrived.
    pub updated: Option<Timestamp>,
    /// Number of events.
    pub events: u64,
    /// Number of events that report a failure.
    pub failures: u64,
}

impl Store {
    /// Returns the summary of the run of a stream, if it has one. It may be of an earlier state.
    pub fn summary(&self, number: u64) -> Result<Option<RunRecord>, StoreError> {
        let value = self.get(TreeId::Meta, &summary_key(number))?;
        value.map(|value| codec::decode(RecordKind::Run, &value)).transpose()
    }

    /// Writes the summary of the run of a stream. It is removed together with the stream.
    pub fn put_summary(&self, number: u64, summary: &RunRecord) -> Result<(), StoreError> {
        self.check_writable()?;
        self.put(TreeId::Meta, &summary_key(number), &codec::encode(RecordKind::Run, summary)?);
        Ok(())
    }

    /// Removes the summary of a stream. Most streams have none, so nothing is written for them.
    pub(super) fn remove_summary(&self, number: u64) -> Result<(), StoreError> {
        if self.get(TreeId::Meta, &summary_key(number))?.is_some() {
            self.delete(TreeId::Meta, &summary_key(number));
        }
        Ok(())
    }
}

fn summary_key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(SUMMARY);
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{StoreOptions, StreamRecord};

    fn record(line: u64) -> RunRecord {
        let time = |ms| Some(Timestamp::from_millis(ms));
        RunRecord {
            line,
            status: RunStatus::Failed,
            started: time(1_778_336_581_000),
            ended: None,
            updated: time(1_778_336_600_000),
            events: 999_990,
            failures: 3,
        }
    }

    #[test]
    fn run_record_format_is_stable() {
        let bytes = codec::encode(RecordKind::Run, &record(1_000_000)).unwrap();
        let kept = codec::golden::check("v3", "run_record", &bytes);
        assert_eq!(codec::decode::<RunRecord>(RecordKind::Run, &kept).unwrap(), record(1_000_000));
        let statuses = ["pending", "running", "blocked", "done", "failed", "skipped", "partial"];
        for (at, name) in (0u8..).zip(statuses) {
            let status: RunStatus = serde_json::from_str(&format!("\"{name}\"")).unwrap();
            let mut stored = Vec::new();
            codec::append(&mut stored, &status).unwrap();
            assert_eq!(stored, [at], "{name}");
        }
    }

    #[test]
    fn summary_is_removed_with_its_stream() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        for number in [1, 2] {
            store.put_stream(&[number], &StreamRecord { number: number.into(), ..StreamRecord::default() }).unwrap();
            store.put_summary(number.into(), &record(number.into())).unwrap();
        }
        store.commit().unwrap();
        store.remove_stream(&[1], 1).unwrap();
        store.commit().unwrap();
        drop(store);
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        assert_eq!(store.summary(1).unwrap(), None);
        assert_eq!(store.summary(2).unwrap(), Some(record(2)));
    }
}
