//! `events.jsonl`: an append-only file of events, one a line.

use std::io;
use std::path::{Path, PathBuf};

use super::follow::FollowNotice;
use crate::model::{Event, EventFault};

/// When an append is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// Once the bytes are with the system: others see them, a kill of the process loses nothing.
    #[default]
    Flush,
    /// Once they are on the disk.
    Disk,
}

/// An event and where it stands in its file.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    /// The event.
    pub event: Event,
    /// Its line, from 1; 0 where the lines before it were not counted (`tail`).
    pub line: u64,
    /// Bytes of the file before it.
    pub offset: u64,
}

/// A line that is no event, or not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFault {
    /// The line, from 1; 0 where the lines before it were not counted.
    pub line: u64,
    /// Bytes of the file before it.
    pub offset: u64,
    /// What is wrong; `None` for a last line without its newline (it may still be written).
    pub fault: Option<EventFault>,
    /// The begin of what stands there.
    pub excerpt: String,
}

/// What a read gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadEvents {
    /// The events, in the order of the file.
    pub events: Vec<Logged>,
    /// What was passed over.
    pub faults: Vec<LogFault>,
}

/// What can go wrong with the file itself.
#[derive(Debug, thiserror::Error)]
#[error("{what} {}: {source}", path.display())]
pub struct LogError {
    /// `cannot read`, `cannot append to`, ...
    pub what: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// An append-only file of events. Several processes may append at once.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
}

/// What a stream of a file gives next.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamItem {
    /// An event.
    Event(Logged),
    /// A line that is none.
    Fault(LogFault),
    /// Something happened to the file.
    Notice(FollowNotice),
    /// Everything that is there was given.
    CaughtUp,
}

/// A reader that really follows.
#[derive(Debug)]
pub struct EventStream {}

impl EventLog {
    /// Names a file; it is made with the first append.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file's name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends events, each with one line, all in one write; as kept: no `null`, compact.
    pub fn append(&self, _events: &[Event], _sync: Sync) -> Result<(), LogError> {
        Ok(())
    }

    /// All events.
    pub fn read_all(&self) -> Result<ReadEvents, LogError> {
        Ok(ReadEvents::default())
    }

    /// The last `n` events; costs what they cost, not what the file does.
    pub fn tail(&self, _n: usize) -> Result<ReadEvents, LogError> {
        Ok(ReadEvents::default())
    }

    /// Follows the file, from its begin or from now on.
    pub fn stream(&self, _from_start: bool) -> Result<EventStream, LogError> {
        Ok(EventStream {})
    }
}

impl EventStream {
    /// What comes next; waits for it. Cancel-safe.
    pub async fn next(&mut self) -> Result<StreamItem, LogError> {
        std::future::pending().await
    }
}
