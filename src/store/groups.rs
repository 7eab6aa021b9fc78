//! Consumer groups on disk: a row for each group, each consumer, and each pending entry.
//!
//! ```text
//! tree `groups`   stream number (u64) . group's length (u16) . group . 'G'             -> GroupRecord
//!                 stream number (u64) . group's length (u16) . group . 'C' consumer    -> ConsumerRecord
//!                 stream number (u64) . group's length (u16) . group . 'P' entry id    -> PendingRecord
//! ```

use serde::{Deserialize, Serialize};

use super::codec::{self, RecordKind};
use super::tree_id::TreeId;
use super::{Store, StoreError};
use crate::model::EntryId;

/// A group's position in its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// The last entry delivered to one of its consumers.
    pub last_id: EntryId,
    /// Entries delivered so far, if known.
    pub entries_read: Option<u64>,
}

/// Activity of a consumer, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerRecord {
    /// Time of its last request.
    pub seen_ms: u64,
    /// Time of the last delivery to it.
    pub active_ms: Option<u64>,
}

/// An entry delivered to a consumer and not acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingRecord {
    /// Name of the consumer.
    #[serde(with = "byte_str")]
    pub consumer: Vec<u8>,
    /// Time of the last delivery, in milliseconds since 1970.
    pub delivered_ms: u64,
    /// Number of deliveries.
    pub count: u64,
}

/// A row of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRow {
    /// The group itself.
    Group(GroupRecord),
    /// One of its consumers.
    Consumer(Vec<u8>, ConsumerRecord),
    /// One of its pending entries.
    Pending(EntryId, PendingRecord),
}

/// Key and value of a row; `None` deletes it.
pub type GroupWrite = (Vec<u8>, Option<Vec<u8>>);

impl GroupRow {
    /// Returns this row as a write.
    pub fn write(&self, number: u64, group: &[u8]) -> Result<GroupWrite, StoreError> {
        Ok(match self {
            GroupRow::Group(record) => (group_key(number, group), Some(codec::encode(RecordKind::Group, record)?)),
            GroupRow::Consumer(name, record) => {
                (consumer_key(number, group, name), Some(codec::encode(RecordKind::Group, record)?))
            }
            GroupRow::Pending(id, record) => {
                (pending_key(number, group, *id), Some(codec::encode(RecordKind::Group, record)?))
            }
        })
    }
}

/// Returns the key of a group.
pub fn group_key(number: u64, group: &[u8]) -> Vec<u8> {
    key(number, group, b'G', &[])
}

/// Returns the key of a consumer.
pub fn consumer_key(number: u64, group: &[u8], name: &[u8]) -> Vec<u8> {
    key(number, group, b'C', name)
}

/// Returns the key of a pending entry.
pub fn pending_key(number: u64, group: &[u8], id: EntryId) -> Vec<u8> {
    key(number, group, b'P', &id.to_be_bytes())
}

fn key(number: u64, group: &[u8], kind: u8, rest: &[u8]) -> Vec<u8> {
    // Names are checked when a group is created, so the length fits.
    let len = u16::try_from(group.len()).unwrap_or(u16::MAX);
    [&number.to_be_bytes(), &len.to_be_bytes()[..], group, &[kind], rest].concat()
}

fn parse(key: &[u8], value: &[u8]) -> Result<(Vec<u8>, GroupRow), StoreError> {
    let damaged = || StoreError::Damaged { at: "a row of a group".into(), what: "cannot parse its key".into() };
    let len = key.get(8..10).map(|len| usize::from(len[0]) << 8 | usize::from(len[1])).ok_or_else(damaged)?;
    let group = key.get(10..10 + len).ok_or_else(damaged)?.to_vec();
    let row = match key.get(10 + len..) {
        Some([b'G']) => GroupRow::Group(codec::decode(RecordKind::Group, value)?),
        Some([b'C', name @ ..]) => GroupRow::Consumer(name.to_vec(), codec::decode(RecordKind::Group, value)?),
        Some([b'P', id @ ..]) => {
            let id = EntryId::from_be_bytes(id.try_into().map_err(|_| damaged())?);
            GroupRow::Pending(id, codec::decode(RecordKind::Group, value)?)
        }
        _ => return Err(damaged()),
    };
    Ok((group, row))
}

impl Store {
    /// Returns all rows of a stream's groups.
    pub fn group_rows(&self, number: u64) -> impl Iterator<Item = Result<(Vec<u8>, GroupRow), StoreError>> + use<> {
        self.scan(TreeId::Groups, &number.to_be_bytes()).map(|row| {
            let (key, value) = row?;
            parse(&key, &value)
        })
    }

    /// Writes or deletes rows.
    pub fn put_group_rows(&self, rows: impl IntoIterator<Item = GroupWrite>) -> Result<(), StoreError> {
        self.check_writable()?;
        for (key, value) in rows {
            match value {
                Some(value) => self.put(TreeId::Groups, &key, &value),
                None => self.delete(TreeId::Groups, &key),
            }
        }
        Ok(())
    }

    /// Deletes every row of a stream's groups.
    pub fn remove_groups(&self, number: u64) -> Result<(), StoreError> {
        self.check_writable()?;
        for row in self.scan(TreeId::Groups, &number.to_be_bytes()) {
            self.delete(TreeId::Groups, &row?.0);
        }
        Ok(())
    }
}

/// Serializes a `Vec<u8>` as a byte string.
mod byte_str {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::model::ByteStr;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        ByteStr::deserialize(deserializer).map(|bytes| bytes.0.into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_row_formats_are_stable() {
        let id = EntryId::new(1_778_336_581_000, 250);
        let rows = [
            GroupRow::Group(GroupRecord { last_id: id, entries_read: Some(70_000) }),
            GroupRow::Consumer(
                b"c\0\xff".to_vec(),
                ConsumerRecord { seen_ms: 1_778_336_581_000, active_ms: Some(1_778_336_580_000) },
            ),
            GroupRow::Pending(id, PendingRecord { consumer: b"c".to_vec(), delivered_ms: 1_778_336_581_000, count: 3 }),
        ];
        for (name, row) in ["group", "consumer", "pending"].into_iter().zip(rows) {
            let (key, value) = row.write(7, b"g\xff").unwrap();
            let value = value.unwrap();
            let both = [&[u8::try_from(key.len()).unwrap()], &key[..], &value[..]].concat();
            let stored = codec::golden::check("v1", name, &both);
            let (key, value) = stored[1..].split_at(usize::from(stored[0]));
            assert_eq!(parse(key, value).unwrap(), (b"g\xff".to_vec(), row));
        }
    }
}
