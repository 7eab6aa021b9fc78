//! The facts of a task, as its hash holds them.

use std::collections::BTreeMap;

use super::error::EngineError;
use super::value::FieldBytes;
use crate::model::EntryId;

/// The stage of a shared task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SharedStatus {
    /// Lines may follow.
    #[default]
    Running,
    /// No line can follow; the log is still in the stream.
    Ended,
    /// The whole log is in the archive.
    Sealed,
}

/// The facts of a shared task at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedTask {
    /// Random number chosen when the task was created.
    pub birth: u64,
    /// Time of creation, in milliseconds since 1970.
    pub created_ms: u64,
    /// Its stage.
    pub status: SharedStatus,
    /// Number of the last line.
    pub last_line: u64,
    /// Greatest id that the stream had.
    pub last_id: EntryId,
    /// Bytes of the lines that servers appended, including a newline each.
    pub bytes: u64,
    /// Lines reported as skipped.
    pub skipped: u64,
    /// Last stored number of each session, without a server's own.
    pub sessions: Vec<(String, u64)>,
    /// Number of the last line in a segment of the archive.
    pub archived: u64,
    /// Names of the segments, in order.
    pub segments: Vec<String>,
    /// Highest fence that changed the archive.
    pub fence: u64,
    /// The facts of the task's record, as JSON text by name.
    pub record: BTreeMap<String, String>,
    /// Servers to which its workers are connected, and the end of that registration in milliseconds by Redis' clock.
    pub workers: Vec<(String, u64)>,
    /// Epoch: the first 64 bits of the primary's replication id.
    pub epoch: u64,
    /// Earlier epochs and the last line of each.
    pub epochs: Vec<(u64, u64)>,
    /// Names of sessions by index, which entries refer to.
    pub(super) session_names: BTreeMap<u32, String>,
}

/// Prefix of the sessions that a server uses for lines without numbers.
pub(super) const OWN_SESSION: &str = "u:";

/// Writes a birth or an epoch as the scripts compare it.
pub(super) fn hex(number: u64) -> String {
    format!("{number:016x}")
}

fn from_hex(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap_or(0)
}

impl SharedTask {
    /// Reads the fields of a hash; `None` if the task does not exist.
    pub(super) fn parse(fields: FieldBytes) -> Result<Option<Self>, EngineError> {
        let mut state = Self::default();
        let mut is_task = false;
        for (name, value) in fields {
            let text =
                |bytes| String::from_utf8(bytes).map_err(|_| EngineError::Protocol("a fact that is not UTF-8".into()));
            let (name, value) = (text(name)?, text(value)?);
            let number = || value.parse::<u64>().unwrap_or(0);
            match name.as_str() {
                "b" => (state.birth, is_task) = (from_hex(&value), true),
                "v" if number() > 1 => {
                    return Err(EngineError::Config(
                        "a task in the journal was written by a newer version: update this server".to_owned(),
                    ));
                }
                "c" => state.created_ms = number(),
                "st" => {
                    state.status = match value.as_str() {
                        "run" => SharedStatus::Running,
                        "ended" => SharedStatus::Ended,
                        _ => SharedStatus::Sealed,
                    }
                }
                "n" => state.last_line = number(),
                "li" => state.last_id = value.parse().unwrap_or_default(),
                "by" => state.bytes = number(),
                "sk" => state.skipped = number(),
                "arc" => state.archived = number(),
                "seg" => state.segments = value.lines().map(str::to_owned).collect(),
                "f" => state.fence = number(),
                "ep" => state.epoch = from_hex(&value),
                "eps" => state.epochs = value.split(' ').filter_map(past_epoch).collect(),
                _ => state.prefixed(&name, value),
            }
        }
        state.sessions.sort_unstable();
        state.workers.sort_unstable();
        Ok(is_task.then_some(state))
    }

    fn prefixed(&mut self, name: &str, value: String) {
        match name.split_once(':') {
            Some(("r", fact)) => {
                self.record.insert(fact.to_owned(), value);
            }
            Some(("s", session)) if !session.starts_with(OWN_SESSION) => {
                let known = value.split(' ').next().and_then(|known| known.parse().ok());
                self.sessions.push((session.to_owned(), known.unwrap_or(0)));
            }
            Some(("x", index)) => {
                self.session_names.extend(index.parse().ok().map(|index| (index, value)));
            }
            Some(("w", server)) => self.workers.push((server.to_owned(), value.parse().unwrap_or(0))),
            _ => {}
        }
    }

    /// Reports whether the same facts hold, apart from those that every append changes.
    pub(super) fn is_same_apart_from_lines(&self, other: &Self) -> bool {
        let Self { birth, status, archived, segments, fence, record, workers, epoch, epochs, .. } = self;
        *birth == other.birth
            && *status == other.status
            && *archived == other.archived
            && *segments == other.segments
            && *fence == other.fence
            && *record == other.record
            && *workers == other.workers
            && *epoch == other.epoch
            && *epochs == other.epochs
    }
}

/// Parses `EPOCH:LAST_LINE`.
fn past_epoch(text: &str) -> Option<(u64, u64)> {
    let (epoch, last_line) = text.split_once(':')?;
    Some((from_hex(epoch), last_line.parse().ok()?))
}
