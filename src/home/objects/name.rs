//! Names of objects, relative to the prefix of a store.
//!
//! ```text
//! tasks/ID/BIRTH/seg/FIRST-LAST.FENCE.ndjson.zst   a range of the lines of a task that still runs
//! tasks/ID/BIRTH/log.FENCE.ndjson.zst              the sealed log
//! tasks/ID/BIRTH/task.json                         the record of the task
//! probe/NONCE                                      written and deleted by the check at the start
//! ```
//!
//! `BIRTH` has 16 hexadecimal digits, the numbers are decimal without leading zeros. A name has one spelling:
//! parsing accepts only what formatting returns.

use std::fmt;
use std::str::FromStr;

use crate::model::TaskId;

/// Extension of segments and logs.
const LOG_EXTENSION: &str = ".ndjson.zst";

/// The name of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ObjectName {
    /// Lines `first` to `last` of a task that still runs.
    Segment {
        /// The task.
        task: TaskId,
        /// Number of this use of the id.
        birth: u64,
        /// Number of the first line.
        first: u64,
        /// Number of the last line.
        last: u64,
        /// Fence of the lease under which it was written.
        fence: u64,
    },
    /// The complete log of an ended task.
    Log {
        /// The task.
        task: TaskId,
        /// Number of this use of the id.
        birth: u64,
        /// Fence of the lease under which it was written.
        fence: u64,
    },
    /// The record of an ended task.
    Record {
        /// The task.
        task: TaskId,
        /// Number of this use of the id.
        birth: u64,
    },
    /// A probe of the check at the start.
    Probe {
        /// A random number.
        nonce: u64,
    },
}

/// The error for a text that is not the name of an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of an object of tasktail")]
pub struct BadObjectName(String);

impl ObjectName {
    /// Returns the task of the object, or `None` for a probe.
    pub fn task(&self) -> Option<&TaskId> {
        match self {
            ObjectName::Segment { task, .. } | ObjectName::Log { task, .. } | ObjectName::Record { task, .. } => {
                Some(task)
            }
            ObjectName::Probe { .. } => None,
        }
    }

    /// Returns the number of the use of the id, or `None` for a probe.
    pub fn birth(&self) -> Option<u64> {
        match self {
            ObjectName::Segment { birth, .. } | ObjectName::Log { birth, .. } | ObjectName::Record { birth, .. } => {
                Some(*birth)
            }
            ObjectName::Probe { .. } => None,
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjectName::Segment { task, birth, first, last, fence } => {
                write!(f, "tasks/{task}/{birth:016x}/seg/{first}-{last}.{fence}{LOG_EXTENSION}")
            }
            ObjectName::Log { task, birth, fence } => {
                write!(f, "tasks/{task}/{birth:016x}/log.{fence}{LOG_EXTENSION}")
            }
            ObjectName::Record { task, birth } => write!(f, "tasks/{task}/{birth:016x}/task.json"),
            ObjectName::Probe { nonce } => write!(f, "probe/{nonce:016x}"),
        }
    }
}

impl FromStr for ObjectName {
    type Err = BadObjectName;

    fn from_str(text: &str) -> Result<Self, BadObjectName> {
        let bad = || BadObjectName(text.chars().take(256).collect());
        let parsed = parse(text).ok_or_else(bad)?;
        // Rejects other spellings, such as `+1` or `01`.
        if parsed.to_string() == text { Ok(parsed) } else { Err(bad()) }
    }
}

fn parse(text: &str) -> Option<ObjectName> {
    if let Some(nonce) = text.strip_prefix("probe/") {
        return Some(ObjectName::Probe { nonce: u64::from_str_radix(nonce, 16).ok()? });
    }
    let (task, rest) = text.strip_prefix("tasks/")?.split_once('/')?;
    let (birth, file) = rest.split_once('/')?;
    let task = task.parse().ok()?;
    let birth = u64::from_str_radix(birth, 16).ok()?;
    if file == "task.json" {
        return Some(ObjectName::Record { task, birth });
    }
    let stem = file.strip_suffix(LOG_EXTENSION)?;
    if let Some(fence) = stem.strip_prefix("log.") {
        return Some(ObjectName::Log { task, birth, fence: fence.parse().ok()? });
    }
    let (lines, fence) = stem.strip_prefix("seg/")?.split_once('.')?;
    let (first, last) = lines.split_once('-')?;
    Some(ObjectName::Segment {
        task,
        birth,
        first: first.parse().ok()?,
        last: last.parse().ok()?,
        fence: fence.parse().ok()?,
    })
}

/// A set of objects: those whose names begin alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectPrefix {
    /// All objects of all tasks.
    Tasks,
    /// The objects of every use of an id.
    Task(TaskId),
    /// The objects of one use of an id.
    Birth(TaskId, u64),
    /// The segments of one use of an id.
    Segments(TaskId, u64),
    /// Probes that were not deleted.
    Probes,
}

impl fmt::Display for ObjectPrefix {
    /// Formats the common beginning, without the final `/`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjectPrefix::Tasks => f.write_str("tasks"),
            ObjectPrefix::Task(task) => write!(f, "tasks/{task}"),
            ObjectPrefix::Birth(task, birth) => write!(f, "tasks/{task}/{birth:016x}"),
            ObjectPrefix::Segments(task, birth) => write!(f, "tasks/{task}/{birth:016x}/seg"),
            ObjectPrefix::Probes => f.write_str("probe"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn task() -> impl Strategy<Value = TaskId> {
        "[A-Za-z0-9_~:-][A-Za-z0-9._~:-]{0,40}".prop_map(|id| id.parse().expect("an id"))
    }

    fn names() -> impl Strategy<Value = ObjectName> {
        let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
        (0..4, task(), numbers).prop_map(|(kind, task, (birth, first, last, fence))| match kind {
            0 => ObjectName::Segment { task, birth, first, last, fence },
            1 => ObjectName::Log { task, birth, fence },
            2 => ObjectName::Record { task, birth },
            _ => ObjectName::Probe { nonce: birth },
        })
    }

    proptest! {
        #[test]
        fn a_name_is_parsed_from_its_text(name in names()) {
            prop_assert_eq!(name.to_string().parse(), Ok(name));
        }
    }

    #[test]
    fn a_name_has_one_spelling() {
        for text in [
            "tasks/a/00000000000000ab/log.01.ndjson.zst",
            "tasks/a/00000000000000ab/log.+1.ndjson.zst",
            "tasks/a/00000000000000AB/log.1.ndjson.zst",
            "tasks/a/ab/log.1.ndjson.zst",
            "tasks/../00000000000000ab/task.json",
            "tasks/a/00000000000000ab/other",
            "tasks/a/00000000000000ab/seg/1.2.ndjson.zst",
            "probe/1",
            "",
        ] {
            assert!(text.parse::<ObjectName>().is_err(), "{text}");
        }
    }
}
