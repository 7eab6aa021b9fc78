//! The worker protocol: `GET /ws/v1/worker`, one JSON object per text frame.
//!
//! [`WorkerMessage::parse`] needs one pass and borrows from the text. Only a message that fails is
//! parsed a second time, field by field: a line is kept if any of it can be, and an error names the
//! field at fault. Many lines at once may be sent in a binary message, see [`block`].
//!
//! # Totals
//!
//! `log_line_end` may contain `"count":N` and `"hash":"xxh3-128-sum:.."`: the number of lines that the
//! worker has numbered in its session, including its own messages and `[N messages skipped]`, and their
//! checksum. The checksum is defined at [`LineChecksum`], so that any worker can compute it; a hash of
//! another algorithm is ignored. The server compares both with the stored lines if the end has a `seq`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub mod block;
mod lenient;
mod parse;

use lenient::{parse_leniently, parse_line_leniently};
pub use parse::LineFields;
use parse::{LinePosition, RawMessage};

use crate::model::{AttemptMode, Channel, LineChecksum, LineText, ReportedTotals, TaskId, Timestamp};

/// Version of the protocol, in `hello` and `welcome`.
pub const PROTOCOL: u32 = 1;
/// The feature of a server that reads `log_block`, see [`block`].
pub const FEATURE_LOG_BLOCK: &str = "log_block";
/// The feature of a server that shows the current unterminated line, see [`WorkerMessage::Partial`].
pub const FEATURE_PARTIAL: &str = "partial";

/// A task id in the form that this worker uses, number or string: replies use the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TaskRef {
    /// Id of the task.
    pub id: TaskId,
    /// True if the worker sent a JSON integer.
    pub numeric: bool,
}

/// A received line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedLine<'a> {
    /// The line; without a valid time it has the server's.
    pub line: LineText<'a>,
    /// Whether the worker sent no time, or one that is not RFC 3339.
    pub own_time: bool,
    /// The part of the line that could not be kept as sent, if any; the line is `lossy` then.
    pub fault: Option<Box<BadMessage>>,
}

/// A message from a worker.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkerMessage<'a> {
    /// `hello`: requests acks and errors.
    Hello {
        /// Name of the worker.
        worker: Option<String>,
    },
    /// `task_start`: the details of a task, and the session of its sequence numbers.
    TaskStart(TaskStart),
    /// `log_line` (one) or `log_lines` (many, numbered from `first_seq`).
    Lines {
        /// Task that they belong to.
        task: TaskRef,
        /// Number of the first line, if the worker numbers lines.
        first_seq: Option<u64>,
        /// The lines; an invalid line is present as its error.
        lines: Vec<Result<ReceivedLine<'a>, BadMessage>>,
    },
    /// `partial`: the current unterminated line of a channel. It is shown and never stored.
    Partial {
        /// Task that it belongs to.
        task: TaskRef,
        /// The line so far; an empty text removes it.
        line: ReceivedLine<'a>,
    },
    /// `log_line_end`: no line follows.
    End(TaskEnd),
}

/// The details of a task as sent by its worker.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskStart {
    /// Task that starts.
    pub task: TaskRef,
    /// Identifies one process of a worker; its numbers start at 1.
    pub session: String,
    /// Command and arguments.
    pub command: Vec<String>,
    /// Host of the worker.
    pub host: Option<String>,
    /// Arbitrary labels.
    pub labels: BTreeMap<String, String>,
    /// Start time of the command.
    pub timestamp: Option<Timestamp>,
    /// The log it gets if its id is in use.
    pub attempt: AttemptMode,
}

/// The end of a task as sent by its worker.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskEnd {
    /// Task that ends.
    pub task: TaskRef,
    /// One more than the number of the last line, if the worker numbers lines.
    pub seq: Option<u64>,
    /// Exit code of the command.
    pub exit_code: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
    /// True if it was terminated from outside (`"status":"aborted"`).
    pub aborted: bool,
    /// End time.
    pub timestamp: Option<Timestamp>,
    /// Number and checksum of the lines, if the worker reports them.
    pub reported: ReportedTotals,
}

/// A message from the server to a worker that sent `hello`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerReply {
    /// The reply to `hello`.
    Welcome {
        /// Version of the protocol.
        protocol: u32,
        /// Interval of the server's pings, in seconds.
        heartbeat_s: u64,
        /// Maximum length of a line; longer ones are split.
        line_bytes_max: usize,
        /// Optional messages that the server accepts.
        #[serde(default)]
        features: Vec<Cow<'static, str>>,
        /// Acknowledged lines that the worker keeps; none without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retain: Option<RetainLimits>,
    },
    /// The reply to `task_start`: which lines of the session are durable.
    Resume {
        /// Task that was started.
        work_request_id: TaskRef,
        /// Id of the session.
        session: String,
        /// Every line up to this number is durable.
        acked_seq: u64,
        /// Id of the task's log, if it differs: the id of a later attempt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<TaskId>,
        /// Acknowledged lines that the worker keeps; without it, as in `welcome`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retain: Option<RetainLimits>,
    },
    /// Every line up to a number is durable.
    Ack {
        /// Task of the lines.
        work_request_id: TaskRef,
        /// Number of the last durable line.
        seq: u64,
        /// The log of the task is sealed: no failure of a server can remove a line of it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        sealed: bool,
    },
    /// A message or a line was rejected.
    Error {
        /// Stable code.
        code: String,
        /// Problem and remedy.
        message: String,
        /// Task, if the message named one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        work_request_id: Option<TaskRef>,
    },
}

/// Acknowledged lines that a worker keeps, because the server may lose some in a failure and ask for them again:
/// at least `lines`, but no more than `bytes` of its local log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetainLimits {
    /// Number of lines.
    pub lines: u64,
    /// Size in bytes.
    pub bytes: u64,
}

/// The error for a rejected message, or for one line of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadMessage {
    /// Stable code: `bad_json`, `unknown_type`, `bad_message`, `bad_line`, `bad_block`, `too_large`.
    pub code: &'static str,
    /// Field, problem and remedy.
    pub message: String,
    /// Task, if the message named one.
    pub task: Option<TaskRef>,
}

impl<'a> WorkerMessage<'a> {
    /// Parses one text frame. `now` replaces missing or invalid times.
    ///
    /// # Errors
    /// The message is invalid; the error names the field.
    pub fn parse(text: &'a str, now: Timestamp) -> Result<Self, BadMessage> {
        match serde_json::from_str::<RawMessage<'a>>(text) {
            Ok(raw) => raw.into_message(now),
            Err(error) => parse_leniently(text, now, &error),
        }
    }
}

impl<'a> LineFields<'a> {
    /// Parses one JSON object.
    ///
    /// # Errors
    /// The line is invalid; the error names the field.
    pub fn parse(json: &'a str, now: Timestamp) -> Result<ReceivedLine<'a>, BadMessage> {
        match serde_json::from_str::<LineFields<'a>>(json) {
            Ok(fields) => fields.into_line(LinePosition::Whole, now),
            Err(error) => parse_line_leniently(json, now, &error),
        }
    }
}

impl BadMessage {
    /// Creates an error without a task.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), task: None }
    }
}

/// A message that our worker sends; the inverse of [`WorkerMessage::parse`].
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutgoingMessage<'a> {
    /// Requests acks.
    Hello {
        /// Always [`PROTOCOL`].
        protocol: u32,
        /// Name of this worker.
        worker: &'a str,
    },
    /// Starts or resumes a task.
    TaskStart {
        /// Id of the task.
        work_request_id: &'a str,
        /// Session of this worker.
        session: &'a str,
        /// Command and arguments.
        command: &'a [String],
        /// Host of this worker.
        host: &'a str,
        /// Arbitrary labels.
        labels: &'a BTreeMap<String, String>,
        /// Start time of the command.
        timestamp: Timestamp,
        /// The log to get if the id is in use.
        #[serde(skip_serializing_if = "AttemptMode::is_join")]
        attempt: AttemptMode,
    },
    /// Sends numbered lines.
    LogLines {
        /// Id of the task.
        work_request_id: &'a str,
        /// Number of the first line.
        first_seq: u64,
        /// The lines.
        lines: Vec<OutgoingLine<'a>>,
    },
    /// Shows the current unterminated line of a channel; an empty one removes it.
    Partial {
        /// Id of the task.
        work_request_id: &'a str,
        /// Output channel.
        stream: Channel,
        /// Text of the line so far, at most `line_bytes_max` bytes.
        line: &'a str,
        /// Time of its last byte.
        timestamp: Timestamp,
    },
    /// Ends the task.
    LogLineEnd {
        /// Id of the task.
        work_request_id: &'a str,
        /// One more than the number of the last line.
        seq: u64,
        /// Exit code of the command.
        #[serde(skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// Signal that ended it.
        #[serde(skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
        /// `aborted`, if it was terminated from outside.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<&'a str>,
        /// End time.
        timestamp: Timestamp,
        /// Number of lines, if known.
        #[serde(skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
        /// Checksum of the lines.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
        hash: Option<LineChecksum>,
    },
}

fn as_text<S: serde::Serializer>(sum: &Option<LineChecksum>, serializer: S) -> Result<S::Ok, S::Error> {
    match sum {
        Some(sum) => serializer.collect_str(sum),
        None => serializer.serialize_none(),
    }
}

/// One line inside [`OutgoingMessage::LogLines`].
#[derive(Clone, Debug, Serialize)]
pub struct OutgoingLine<'a> {
    /// Text of the line.
    pub line: &'a str,
    /// Time of writing.
    pub timestamp: Timestamp,
    /// Output channel.
    #[serde(rename = "stream")]
    pub channel: Channel,
    /// The line was split and continues in the next one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// Bytes that were not UTF-8 were replaced.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lossy: bool,
}

impl Serialize for TaskRef {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.id.as_str().parse::<i64>() {
            Ok(number) if self.numeric => serializer.serialize_i64(number),
            _ => serializer.serialize_str(self.id.as_str()),
        }
    }
}

impl<'de> Deserialize<'de> for TaskRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = TaskRef;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a task id: a string of 1 to 128 characters, or an integer")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TaskRef, E> {
                text.parse().map(|id| TaskRef { id, numeric: false }).map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<TaskRef, E> {
                number.to_string().parse().map(|id| TaskRef { id, numeric: true }).map_err(E::custom)
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<TaskRef, E> {
                number
                    .to_string()
                    .parse()
                    .map(|id| TaskRef { id, numeric: i64::try_from(number).is_ok() })
                    .map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests;
