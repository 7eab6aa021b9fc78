//! Names of the keys in Redis.
//!
//! ```text
//! task:logs:ID            stream of the task, as other clients know it
//! {task:logs:ID}:tt       hash: facts of the task         scripts/prelude.lua names its fields
//! {task:logs:ID}:fx       sorted set: numbers of entries that other clients added
//! tt:{00}:tasks           sorted set of a bucket: id by creation, ms        00 .. 3f, by hash of the id
//! tt:{00}:changes         stream of a bucket: ids of changed tasks, the newest
//! tt:{00}:lease           hash: holder of the bucket's lease
//! tt:servers              sorted set: live servers by the end of their registration, ms
//! ```
//! The keys of a task share a slot of a cluster: ids contain no braces, so a tag is a whole stream name.

use super::limits::BUCKETS;
use crate::model::TaskId;

/// Slots of a cluster.
pub(super) const SLOTS: u16 = 16_384;
/// Key of the live servers.
pub(super) const SERVERS_KEY: &str = "tt:servers";

/// The keys of one task.
#[derive(Clone, Debug)]
pub(super) struct TaskKeys {
    pub(super) stream: String,
    pub(super) hash: String,
    pub(super) foreign: String,
}

impl TaskKeys {
    pub(super) fn new(id: &TaskId) -> Self {
        let stream = id.stream_key();
        Self { hash: format!("{{{stream}}}:tt"), foreign: format!("{{{stream}}}:fx"), stream }
    }

    /// Returns the keys as scripts that append take them.
    pub(super) fn stream_first(&self) -> Vec<String> {
        vec![self.stream.clone(), self.hash.clone(), self.foreign.clone()]
    }
}

/// Returns the bucket of a task in the index.
pub fn bucket_of(id: &TaskId) -> u8 {
    let bucket = crc16(id.as_str().as_bytes()) % u16::from(BUCKETS);
    u8::try_from(bucket).unwrap_or(0)
}

/// Returns a key of a bucket.
pub(super) fn bucket_key(bucket: u8, name: &str) -> String {
    format!("tt:{{{bucket:02x}}}:{name}")
}

/// Returns the slot of a key in a cluster: of the part between the first braces, if it is not empty.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let length = key[open + 1..].iter().position(|byte| *byte == b'}')?;
        (length > 0).then(|| &key[open + 1..open + 1 + length])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM, which Redis Cluster uses.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_task_share_the_slot_that_redis_computes() {
        let keys = TaskKeys::new(&"42".parse().unwrap());
        assert_eq!(slot_of(b"123456789"), 0x31c3);
        assert_eq!([&keys.stream, &keys.hash, &keys.foreign].map(|key| slot_of(key.as_bytes())), [15_133; 3]);
        assert_eq!(slot_of(b"{}x"), crc16(b"{}x") % SLOTS);
    }
}
