//! Names of the keys in Redis.
//!
//! ```text
//! task:logs:ID            stream of the task, as other clients know it
//! {task:logs:ID}:tt       hash: facts of the task         scripts/prelude.lua names its fields
//! {task:logs:ID}:fx       sorted set: numbers of entries that other clients added
//! run:events:ID           stream of the run, with {run:events:ID}:tt and :fx as above
//! {run:events:ID}:ids     hash: number of each event by the print of its identity
//! tt:{00}:tasks           sorted set of a bucket: id by creation, ms        00 .. 3f, by hash of the id
//! tt:{00}:runs            likewise of runs
//! tt:{00}:changes         stream of a bucket: ids of changed tasks and runs, the newest
//! tt:{00}:lease           hash: holder of the bucket's lease
//! tt:auth:NAME            hash: a secret and its version
//! tt:servers              sorted set: live servers by the end of their registration, ms
//! ```
//! The keys of a task share a slot of a cluster: ids contain no braces, so a tag is a whole stream name.

use super::limits::BUCKETS;
use crate::model::{RunId, TaskId};

/// Slots of a cluster.
pub(super) const SLOTS: u16 = 16_384;
/// Key of the live servers.
pub(super) const SERVERS_KEY: &str = "tt:servers";

/// Fields of a change that hold the id of a task or a run.
pub(super) const TASK_CHANGE: &str = "id";
pub(super) const RUN_CHANGE: &str = "run";

/// The keys of one task or run.
#[derive(Clone, Debug)]
pub(super) struct LogKeys {
    pub(super) stream: String,
    pub(super) hash: String,
    pub(super) foreign: String,
}

impl LogKeys {
    pub(super) fn of_task(id: &TaskId) -> Self {
        Self::of_stream(id.stream_key())
    }

    pub(super) fn of_run(id: &RunId) -> Self {
        Self::of_stream(id.stream_key())
    }

    fn of_stream(stream: String) -> Self {
        Self { hash: format!("{{{stream}}}:tt"), foreign: format!("{{{stream}}}:fx"), stream }
    }

    /// Returns the key of a run's events by their print.
    pub(super) fn prints(&self) -> String {
        format!("{{{}}}:ids", self.stream)
    }

    /// Returns the keys as scripts that append take them.
    pub(super) fn stream_first(&self) -> Vec<String> {
        vec![self.stream.clone(), self.hash.clone(), self.foreign.clone()]
    }
}

/// The name of a log in the index.
#[derive(Clone, Copy, Debug)]
pub(super) enum LogName<'a> {
    Task(&'a TaskId),
    Run(&'a RunId),
}

impl LogName<'_> {
    pub(super) fn as_str(&self) -> &str {
        match self {
            LogName::Task(id) => id.as_str(),
            LogName::Run(id) => id.as_str(),
        }
    }

    pub(super) fn bucket(&self) -> u8 {
        bucket_of_name(self.as_str())
    }

    /// Returns the name of the bucket's key that lists it.
    pub(super) fn index(&self) -> &'static str {
        match self {
            LogName::Task(_) => "tasks",
            LogName::Run(_) => "runs",
        }
    }

    /// Returns the field of a change that holds its id.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            LogName::Task(_) => TASK_CHANGE,
            LogName::Run(_) => RUN_CHANGE,
        }
    }
}

/// Returns the bucket of a task in the index.
pub fn bucket_of(id: &TaskId) -> u8 {
    bucket_of_name(id.as_str())
}

fn bucket_of_name(name: &str) -> u8 {
    let bucket = crc16(name.as_bytes()) % u16::from(BUCKETS);
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
        let keys = LogKeys::of_task(&"42".parse().unwrap());
        assert_eq!(slot_of(b"123456789"), 0x31c3);
        assert_eq!([&keys.stream, &keys.hash, &keys.foreign].map(|key| slot_of(key.as_bytes())), [15_133; 3]);
        assert_eq!(slot_of(b"{}x"), crc16(b"{}x") % SLOTS);
    }
}
