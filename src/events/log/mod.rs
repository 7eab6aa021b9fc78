//! `events.jsonl`: an append-only file of events, one per line.
//!
//! ```text
//! append   one write per call, under a lock shared between processes; one sync for all waiting threads
//! read     every line from the start
//! tail     the last events, in blocks from the end
//! stream   a follower of the file, line by line
//! ```
//!
//! A line that is not an event is reported as a [`LogFault`] with its position; blank lines are ignored.
//! A last line without its newline is an event if it is complete, and otherwise a fault, as it may still
//! be written.

mod append;
mod read;
mod stream;
mod tail;

use std::io;
use std::path::{Path, PathBuf};

use self::append::Appender;
use super::follow::FollowNotice;
use crate::model::{Event, EventError};

pub use self::stream::EventStream;

/// The durability an append waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// Return once the system has the bytes: others see them, and a kill of the process loses
    /// nothing.
    #[default]
    Flush,
    /// Return once the bytes are on disk.
    Disk,
}

/// An event and its position in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedEvent {
    /// The event.
    pub event: Event,
    /// Line number, from 1; 0 where the lines before were not counted (`tail`).
    pub line: u64,
    /// Offset of the line in the file, in bytes.
    pub offset: u64,
}

/// A line that is not an event, or is incomplete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFault {
    /// Line number, from 1; 0 where the lines before were not counted.
    pub line: u64,
    /// Offset of the line in the file, in bytes.
    pub offset: u64,
    /// The error; `None` for a last line without its newline (it may still be written).
    pub fault: Option<EventError>,
    /// The start of the line.
    pub excerpt: String,
}

/// The result of a read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadEvents {
    /// The events, in file order.
    pub events: Vec<LoggedEvent>,
    /// The lines that are not events, in file order.
    pub faults: Vec<LogFault>,
}

/// An I/O error of the file.
#[derive(Debug, thiserror::Error)]
#[error("{what} {}: {source}", path.display())]
pub struct LogError {
    /// The failed operation: `cannot read`, `cannot append to`, ...
    pub what: &'static str,
    /// The path of the file.
    pub path: PathBuf,
    /// The I/O error.
    pub source: io::Error,
}

/// An append-only file of events. Several processes and threads may append at once.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    appender: Appender,
}

/// An item of an [`EventStream`].
#[derive(Clone, Debug, PartialEq)]
pub enum StreamItem {
    /// An event.
    Event(LoggedEvent),
    /// A line that is not an event.
    Fault(LogFault),
    /// A change of the file itself.
    Notice(FollowNotice),
    /// All current lines were returned.
    CaughtUp,
}

impl EventLog {
    /// Creates a handle; the file and its folder are created by the first append.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), appender: Appender::default() }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends events, one per line, in one write. They are stored compact, without `null`, with an
    /// `event_id` (a new one if there is none) and a time (`timestamp_utc` for a pipeline's event,
    /// `timestamp` in seconds for a benchmark's).
    ///
    /// A new file is readable only by its owner. Blocks for the write, and for a sync with
    /// [`SyncMode::Disk`]; threads that wait for a sync at the same time share it.
    ///
    /// # Errors The I/O error. An event may then be stored in part: the next append starts on a new
    /// line, and readers report the rest as a fault. With [`SyncMode::Disk`] it may also be stored
    /// completely.
    pub fn append(&self, events: &[Event], sync: SyncMode) -> Result<(), LogError> {
        self.appender.append(&self.path, events, sync).map_err(|source| self.error("cannot append to", source))
    }

    /// Returns all events.
    ///
    /// # Errors The file does not exist or cannot be read.
    pub fn read_all(&self) -> Result<ReadEvents, LogError> {
        read::read_all(&self.path).map_err(|source| self.error("cannot read", source))
    }

    /// Returns the last `n` events and the faults between them; the cost depends on their size, not
    /// on the file's.
    ///
    /// # Errors The file does not exist or cannot be read.
    pub fn tail(&self, n: usize) -> Result<ReadEvents, LogError> {
        tail::tail(&self.path, n).map_err(|source| self.error("cannot read", source))
    }

    /// Follows the file, from its start or from its current end. The file need not exist yet.
    ///
    /// # Errors The file exists and cannot be read.
    pub fn stream(&self, from_start: bool) -> Result<EventStream, LogError> {
        EventStream::new(&self.path, from_start)
    }

    fn error(&self, what: &'static str, source: io::Error) -> LogError {
        LogError { what, path: self.path.clone(), source }
    }
}
