//! A stream's record, in every version.

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::codec::{self, RecordKind};
use crate::model::EntryId;

/// The record of a stream. Blocks are newer: on opening, the last block's header overrides `last_id`,
/// `last_line`, the totals and the sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRecord {
    /// Number of the stream in block keys; never reused.
    pub number: u64,
    /// Random number that distinguishes this stream from an earlier one of the same name.
    pub incarnation: u64,
    /// The greatest id ever added.
    pub last_id: EntryId,
    /// The line number of the last entry ever added.
    pub last_line: u64,
    /// First line that exists; entries below it are deleted, even if their block is still stored.
    pub first_line: u64,
    /// Bytes of all lines ever added, including a newline each.
    pub total_bytes: u64,
    /// Lines that workers reported as dropped.
    pub total_skipped: u64,
    /// The last number accepted from each session, oldest session first.
    pub sessions: Vec<(String, u64)>,
    /// Expiry time of the stream as a key, in milliseconds since 1970.
    pub expires_ms: Option<u64>,
    /// State of the stream as a key of the Redis port.
    pub key: KeyRecord,
}

/// State of a stream as a key of the Redis port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Whether the key exists: from its first entry until DEL.
    pub exists: bool,
    /// First line visible by this key: earlier ones are trimmed, or older than the key, but reads by line
    /// may still return them.
    pub shown_line: u64,
    /// Deleted entries from that line on, as of this record.
    pub deleted: u64,
    /// Entries ever added, or the value set by XSETID.
    pub entries_added: u64,
    /// The greatest id deleted by XDEL.
    pub max_deleted_id: EntryId,
}

/// Version 1, from before the Redis port.
#[derive(Deserialize)]
struct StreamRecordV1 {
    number: u64,
    incarnation: u64,
    last_id: EntryId,
    last_line: u64,
    first_line: u64,
    total_bytes: u64,
    total_skipped: u64,
    sessions: Vec<(String, u64)>,
    expires_ms: Option<u64>,
}

/// The current version.
const VERSION: u8 = 2;

impl StreamRecord {
    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        codec::encode_as(RecordKind::Stream, VERSION, self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        match bytes {
            [_, 1, ..] => codec::decode_as::<StreamRecordV1>(RecordKind::Stream, 1, bytes).map(Self::from),
            _ => codec::decode_as(RecordKind::Stream, VERSION, bytes),
        }
    }
}

impl From<StreamRecordV1> for StreamRecord {
    fn from(old: StreamRecordV1) -> Self {
        let key = KeyRecord {
            exists: old.last_line > 0,
            shown_line: old.first_line,
            entries_added: old.last_line,
            ..KeyRecord::default()
        };
        Self {
            number: old.number,
            incarnation: old.incarnation,
            last_id: old.last_id,
            last_line: old.last_line,
            first_line: old.first_line,
            total_bytes: old.total_bytes,
            total_skipped: old.total_skipped,
            sessions: old.sessions,
            expires_ms: old.expires_ms,
            key,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> StreamRecord {
        StreamRecord {
            number: 70_000,
            incarnation: u64::MAX - 1,
            last_id: EntryId::new(1_778_336_581_000, 250),
            last_line: 12_345,
            first_line: 251,
            total_bytes: 1 << 33,
            total_skipped: 3,
            sessions: vec![("01JZ".into(), 12_000), ("s".into(), 0)],
            expires_ms: Some(1_778_336_600_000),
            key: KeyRecord {
                exists: true,
                shown_line: 400,
                deleted: 2,
                entries_added: 12_400,
                max_deleted_id: EntryId::new(1_778_336_580_000, 1),
            },
        }
    }

    #[test]
    fn stream_record_format_is_stable() {
        let kept = codec::golden::check("v2", "stream_record", &record().encode().unwrap());
        assert_eq!(StreamRecord::decode(&kept).unwrap(), record());
    }

    #[test]
    fn version_1_record_is_read() {
        let old = StreamRecord::decode(&codec::golden::stored("v1", "stream_record")).unwrap();
        let key = KeyRecord { exists: true, shown_line: 251, entries_added: 12_345, ..KeyRecord::default() };
        assert_eq!(old, StreamRecord { key, ..record() });
        assert!(StreamRecord::decode(&[b'T', 2]).is_err(), "another kind is rejected");
        assert!(StreamRecord::decode(&[b'S', 3]).is_err(), "a later version is rejected");
    }
}
