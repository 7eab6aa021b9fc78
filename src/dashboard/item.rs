//! What comes in, whatever way it took.

use std::time::Duration;

use crate::model::{Event, Pipeline};

/// One thing the dashboard is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Lines of text were read.
    Read {
        /// How many.
        lines: u64,
    },
    /// An event, with its id.
    Event {
        /// The event as it is kept.
        event: Event,
        /// It stood inside a result that Ansible printed: indented lines after it belong to it.
        in_result: bool,
    },
    /// An event that was printed once more beside itself.
    Echo,
    /// The facts of an ended Ansible task, as JSON.
    Task(String),
    /// A line of text that holds no event.
    Text(String),
    /// What looks like an event and is none.
    Rejected {
        /// Why, as a stable word.
        reason: &'static str,
        /// Why, to a person.
        message: String,
        /// The begin of what stood there.
        excerpt: String,
    },
    /// Something that happened to the input, to be told in the log.
    Note(String),
    /// Something of the input failed that lost nothing of it here, such as the copy of a pipe.
    Trouble(String),
    /// The server answers.
    Connected,
    /// The connection broke; it is tried again by itself.
    Disconnected {
        /// Why.
        why: String,
        /// When it is tried again.
        retry: Duration,
    },
    /// The run's log was made anew: all comes again.
    Reset,
    /// The server's counters.
    Pipeline(Pipeline),
    /// The input is over.
    End,
}
