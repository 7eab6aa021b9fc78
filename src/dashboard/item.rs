//! The items that all inputs produce.

use std::time::Duration;

use crate::model::{Event, Pipeline};

/// One update of the dashboard.
#[derive(Clone, Debug, PartialEq)]
pub enum DashboardItem {
    /// Lines of text were read.
    Read {
        /// Number of lines.
        lines: u64,
    },
    /// An event with an id.
    Event {
        /// The event as stored.
        event: Event,
        /// The event was inside a result printed by Ansible: indented lines after it belong to it.
        in_result: bool,
    },
    /// A repetition of an event within its result.
    Echo,
    /// The details of a finished Ansible task, as JSON.
    Task(String),
    /// A line of text without events.
    Text(String),
    /// An event that cannot be parsed.
    Rejected {
        /// Stable name of the reason.
        reason: &'static str,
        /// Error message.
        message: String,
        /// The start of the rejected text.
        excerpt: String,
    },
    /// A note about the input for the log.
    Note(String),
    /// A failure that loses no input, for example of the pipe's copy.
    InputFailure(String),
    /// The server is connected.
    Connected,
    /// The connection broke; it is retried automatically.
    Disconnected {
        /// The error.
        why: String,
        /// Delay until the next attempt.
        retry: Duration,
    },
    /// The run's log was recreated: all events are sent again.
    Reset,
    /// The counters of the run's stages at the server.
    Pipeline(Pipeline),
    /// The server has no such run yet.
    NoRun,
    /// The input has ended.
    End,
}
