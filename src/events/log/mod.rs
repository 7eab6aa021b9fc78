//! `events.jsonl`: an append-only file of events, one a line.
//!
//! ```text
//! append   one write a call, under a lock that processes share; one sync for all who wait for it
//! read     every line from the begin
//! tail     the last events, in blocks from the end
//! stream   a follower of the file, line by line
//! ```
//!
//! A line that is no event is a [`LogFault`], reported with its place and passed over; blank lines say
//! nothing. A last line without its newline is an event if it is whole, and otherwise a fault, as it
//! may still be written.

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
    pub fault: Option<EventError>,
    /// The begin of what stands there.
    pub excerpt: String,
}

/// What a read gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadEvents {
    /// The events, in the order of the file.
    pub events: Vec<Logged>,
    /// What was passed over, in the order of the file.
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

/// An append-only file of events. Several processes, and threads, may append at once.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    appender: Appender,
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

impl EventLog {
    /// Names a file; it is made with the first append, its folder with it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), appender: Appender::default() }
    }

    /// The file's name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends events, each with one line, all in one write; as kept: no `null`, compact, with an
    /// `event_id` (a new one where there is none) and a time (`timestamp_utc` of a pipeline's event,
    /// `timestamp` in seconds of a benchmark's).
    ///
    /// A file that is made is readable by its owner only. Blocks for the time of the write, and for
    /// that of a sync if one is asked for; threads that wait for one at the same time share it.
    ///
    /// # Errors
    /// What the system said. An event may then be there in part: the next append begins a line of
    /// its own, and readers report the rest as a fault. With [`Sync::Disk`] it may also be there whole.
    pub fn append(&self, events: &[Event], sync: Sync) -> Result<(), LogError> {
        self.appender.append(&self.path, events, sync).map_err(|source| self.error("cannot append to", source))
    }

    /// All events.
    ///
    /// # Errors
    /// The file cannot be read; also if it is not there.
    pub fn read_all(&self) -> Result<ReadEvents, LogError> {
        read::read_all(&self.path).map_err(|source| self.error("cannot read", source))
    }

    /// The last `n` events, and the faults between them; costs what they cost, not what the file does.
    ///
    /// # Errors
    /// The file cannot be read; also if it is not there.
    pub fn tail(&self, n: usize) -> Result<ReadEvents, LogError> {
        tail::tail(&self.path, n).map_err(|source| self.error("cannot read", source))
    }

    /// Follows the file, from its begin or from now on (which is when this is called). It need not
    /// be there yet.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn stream(&self, from_start: bool) -> Result<EventStream, LogError> {
        EventStream::new(&self.path, from_start)
    }

    fn error(&self, what: &'static str, source: io::Error) -> LogError {
        LogError { what, path: self.path.clone(), source }
    }
}
