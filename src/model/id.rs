//! Identifiers as parsed newtypes: validated once, ordered, printable.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The id of an entry in a journal: `ms-seq`, as in Redis Streams.
///
/// Ordered first by milliseconds since 1970, then by sequence. `0-0` is less than every entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntryId {
    /// Milliseconds since 1970-01-01 UTC.
    pub ms: u64,
    /// Sequence number among the entries of that millisecond.
    pub seq: u64,
}

/// The error for a text that is not an entry id. Redis: `ERR Invalid stream ID specified as stream
/// command argument`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an entry id: write `milliseconds-sequence`, such as `1778336581000-0`")]
pub struct BadEntryId(String);

impl EntryId {
    /// Less than every entry; no entry has it.
    pub const MIN: EntryId = EntryId { ms: 0, seq: 0 };
    /// The largest id.
    pub const MAX: EntryId = EntryId { ms: u64::MAX, seq: u64::MAX };

    /// Creates an id from its two parts.
    pub const fn new(ms: u64, seq: u64) -> Self {
        Self { ms, seq }
    }

    /// Returns the next id in order, or `None` after [`EntryId::MAX`].
    pub fn next(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Self { ms: self.ms, seq }),
            None => self.ms.checked_add(1).map(|ms| Self { ms, seq: 0 }),
        }
    }

    /// Returns the previous id in order, or `None` before [`EntryId::MIN`].
    pub fn previous(self) -> Option<Self> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Self { ms: self.ms, seq }),
            None => self.ms.checked_sub(1).map(|ms| Self { ms, seq: u64::MAX }),
        }
    }

    /// Returns the id that `XADD *` assigns at `now_ms` in a stream whose last id is `self`: always
    /// greater than the last one, even if the clock runs backwards. `None` once all ids are used up.
    pub fn following(self, now_ms: u64) -> Option<Self> {
        if now_ms > self.ms { Some(Self { ms: now_ms, seq: 0 }) } else { self.next() }
    }

    /// Returns sixteen bytes that sort like the ids.
    pub fn to_be_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    /// Reverses [`EntryId::to_be_bytes`].
    pub fn from_be_bytes(bytes: [u8; 16]) -> Self {
        let (ms, seq) = bytes.split_at(8);
        let word = |half: &[u8]| half.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        Self { ms: word(ms), seq: word(seq) }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl FromStr for EntryId {
    type Err = BadEntryId;

    /// Parses `ms-seq`, or `ms` alone for `ms-0`.
    fn from_str(text: &str) -> Result<Self, BadEntryId> {
        let bad = || BadEntryId(text.chars().take(64).collect());
        let (ms, seq) = match text.split_once('-') {
            Some((ms, seq)) => (ms, seq.parse().map_err(|_| bad())?),
            None => (text, 0),
        };
        Ok(Self { ms: ms.parse().map_err(|_| bad())?, seq })
    }
}

/// The id of a task: 1 to 128 characters from `A-Z a-z 0-9 . _ ~ : -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct TaskId(Box<str>);

/// The reason why a text is not a task id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTaskId {
    /// It is empty.
    #[error("a task id is empty: it needs 1 to 128 characters")]
    Empty,
    /// It is too long for a path segment.
    #[error("a task id has {0} characters: the maximum is 128")]
    TooLong(usize),
    /// It has a character that needs escaping in a path, a header or a file name.
    #[error("a task id contains {0:?}: allowed are A-Z a-z 0-9 . _ ~ : -")]
    Character(char),
    /// It is `.` or `..`, which have a special meaning in a path.
    #[error("a task id cannot be `.` or `..`")]
    Dots,
}

impl TaskId {
    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the key of the task's journal on the Redis port: `task:logs:{id}` (blueprint, "Storing Logs").
    pub fn stream_key(&self) -> String {
        format!("{TASK_STREAM_PREFIX}{}", self.0)
    }

    /// Returns the task whose journal has this key, if it is a task's key.
    pub fn from_stream_key(key: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(key).ok()?;
        text.strip_prefix(TASK_STREAM_PREFIX)?.parse().ok()
    }
}

/// Prefix of the keys of all task journals.
const TASK_STREAM_PREFIX: &str = "task:logs:";

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TaskId {
    type Err = BadTaskId;

    fn from_str(text: &str) -> Result<Self, BadTaskId> {
        if text.is_empty() {
            return Err(BadTaskId::Empty);
        }
        if let Some(bad) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !"._~:-".contains(*c)) {
            return Err(BadTaskId::Character(bad));
        }
        if text.len() > super::limits::TASK_ID_CHARS_MAX {
            return Err(BadTaskId::TooLong(text.len()));
        }
        if text == "." || text == ".." {
            return Err(BadTaskId::Dots);
        }
        Ok(Self(text.into()))
    }
}

/// The id of a run, a workflow that emits events. It has the format of a task id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId(TaskId);

/// The error for a text that is not a run id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid run id: {0}")]
pub struct BadRunId(#[from] BadTaskId);

impl RunId {
    /// Prefix of the keys of all run journals.
    pub const STREAM_PREFIX: &str = "run:events:";

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Returns the key of the run's journal on the Redis port: `run:events:{id}`.
    pub fn stream_key(&self) -> String {
        format!("{}{}", Self::STREAM_PREFIX, self.0)
    }

    /// Returns the run whose journal has this key, if it is a run's key.
    pub fn from_stream_key(key: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(key).ok()?;
        text.strip_prefix(Self::STREAM_PREFIX)?.parse().ok()
    }
}

impl From<TaskId> for RunId {
    /// Returns the run of a task whose events do not name one.
    fn from(task: TaskId) -> Self {
        Self(task)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RunId {
    type Err = BadRunId;

    fn from_str(text: &str) -> Result<Self, BadRunId> {
        Ok(Self(text.parse()?))
    }
}

impl<'de> Deserialize<'de> for TaskId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::text_form::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn following_ids_never_decrease() {
        let last = EntryId::new(1000, 5);
        assert_eq!(last.following(2000), Some(EntryId::new(2000, 0)));
        assert_eq!(last.following(1000), Some(EntryId::new(1000, 6)));
        assert_eq!(last.following(10), Some(EntryId::new(1000, 6)), "the clock ran backwards");
        assert_eq!(EntryId::new(7, u64::MAX).following(7), Some(EntryId::new(8, 0)));
        assert_eq!(EntryId::MAX.following(0), None);
    }

    #[test]
    fn task_ids_are_validated() {
        for good in ["42", "build-7", "a.b_c~d:e-f", &"x".repeat(128)] {
            assert!(good.parse::<TaskId>().is_ok(), "{good}");
        }
        for bad in ["", "a/b", "ü", "a b", "..", ".", &"x".repeat(200), "a\0"] {
            assert!(bad.parse::<TaskId>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn bytes_sort_like_ids(a: (u64, u64), b: (u64, u64)) {
            let (a, b) = (EntryId::new(a.0, a.1), EntryId::new(b.0, b.1));
            prop_assert_eq!(a.cmp(&b), a.to_be_bytes().cmp(&b.to_be_bytes()));
            prop_assert_eq!(EntryId::from_be_bytes(a.to_be_bytes()), a);
            prop_assert_eq!(a.to_string().parse::<EntryId>().unwrap(), a);
        }
    }
}
