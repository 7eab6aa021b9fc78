//! The worker protocol: `GET /ws/v1/worker`, one JSON object a text frame.
//!
//! [`WorkerMessage::parse`] reads in one pass into borrowed text; only a message that does not fit
//! is read a second time, to name the field at fault.
//!
//! # How many lines there were
//!
//! `log_line_end` may say `"count":N` and `"hash":"xxh3-128-sum:.."`: the lines that the worker has
//! numbered in its session, its own words and `[N messages skipped]` among them, and what they add up
//! to. How lines are summed is defined at [`LineSum`], so that any worker can do it; a hash of another
//! algorithm is passed over. The server compares both with what it has stored, if the end bears a `seq`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod diagnose;
mod parse;

pub use parse::LineFields;

use crate::model::{Channel, LineSum, LineText, Said, TaskId, Timestamp};

/// The version of the protocol that `hello` and `welcome` speak of.
pub const PROTOCOL: u32 = 1;

/// A task's id as this worker writes it: answers use the same form, number or string.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TaskRef {
    /// The id.
    pub id: TaskId,
    /// The worker wrote a JSON integer.
    pub numeric: bool,
}

/// A line as it came, with what was noticed on the way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedLine<'a> {
    /// The line; its time is the server's if none could be read.
    pub line: LineText<'a>,
    /// The worker gave no time, or one that is not RFC 3339.
    pub own_time: bool,
}

/// What a worker says.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkerMessage<'a> {
    /// `hello`: this worker wants acks and errors.
    Hello {
        /// Its name.
        worker: Option<String>,
    },
    /// `task_start`: a task's facts, and the session that its numbers count in.
    TaskStart(TaskStart),
    /// `log_line` (one) or `log_lines` (many, numbered from `first_seq`).
    Lines {
        /// The task.
        task: TaskRef,
        /// The number of the first line, if the worker counts.
        first_seq: Option<u64>,
        /// The lines; a line that cannot be taken is there as the error that says why.
        lines: Vec<Result<ReceivedLine<'a>, BadMessage>>,
    },
    /// `log_line_end`: no line follows.
    End(TaskEnd),
}

/// The facts of a task as its worker gives them.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskStart {
    /// The task.
    pub task: TaskRef,
    /// Names one life of one worker; numbers count from 1 in it.
    pub session: String,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// The machine.
    pub host: Option<String>,
    /// Any words.
    pub labels: BTreeMap<String, String>,
    /// When the command started.
    pub timestamp: Option<Timestamp>,
}

/// The end of a task as its worker says it.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskEnd {
    /// The task.
    pub task: TaskRef,
    /// One more than the number of the last line, if the worker counts.
    pub seq: Option<u64>,
    /// What the command returned.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// It was ended from outside (`"status":"aborted"`).
    pub aborted: bool,
    /// When it ended.
    pub timestamp: Option<Timestamp>,
    /// How many lines there were, and what they add up to, if the worker says so.
    pub said: Said,
}

/// What the server says to a worker that wants to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerReply {
    /// Answers `hello`.
    Welcome {
        /// The protocol's version.
        protocol: u32,
        /// Seconds between the server's pings.
        heartbeat_s: u64,
        /// Longer lines are cut.
        line_bytes_max: usize,
    },
    /// Answers `task_start`: what of this session is durable already.
    Resume {
        /// The task.
        work_request_id: TaskRef,
        /// The session.
        session: String,
        /// Everything up to this number is durable.
        acked_seq: u64,
    },
    /// Everything up to this number is durable.
    Ack {
        /// The task.
        work_request_id: TaskRef,
        /// The number.
        seq: u64,
    },
    /// A message or a line was not taken.
    Error {
        /// A stable word.
        code: String,
        /// What was wrong, and what would be right.
        message: String,
        /// The task, where one was named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        work_request_id: Option<TaskRef>,
    },
}

/// Why a message, or one line of it, was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadMessage {
    /// `bad_json`, `unknown_type`, `bad_message`, `bad_line`, `too_large`.
    pub code: &'static str,
    /// Names the field, what was wrong, and what would be right.
    pub message: String,
    /// The task, where one was named.
    pub task: Option<TaskRef>,
}

impl BadMessage {
    /// An error of this kind.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), task: None }
    }
}

/// A message that a worker of ours sends; the inverse of [`WorkerMessage::parse`].
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Outgoing<'a> {
    /// Asks for acks.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// This worker's name.
        worker: &'a str,
    },
    /// Opens a task, or takes it up again.
    TaskStart {
        /// The task.
        work_request_id: &'a str,
        /// This worker's session.
        session: &'a str,
        /// The command and its arguments.
        command: &'a [String],
        /// The machine.
        host: &'a str,
        /// Any words.
        labels: &'a BTreeMap<String, String>,
        /// When the command started.
        timestamp: Timestamp,
    },
    /// Numbered lines.
    LogLines {
        /// The task.
        work_request_id: &'a str,
        /// The number of the first.
        first_seq: u64,
        /// The lines.
        lines: Vec<OutgoingLine<'a>>,
    },
    /// The end.
    LogLineEnd {
        /// The task.
        work_request_id: &'a str,
        /// One more than that of the last line.
        seq: u64,
        /// What the command returned.
        #[serde(skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// The signal that ended it.
        #[serde(skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
        /// `aborted`, if it was ended from outside.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<&'a str>,
        /// When it ended.
        timestamp: Timestamp,
        /// Lines that were numbered, if that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
        /// What they add up to.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
        hash: Option<LineSum>,
    },
}

fn as_text<S: serde::Serializer>(sum: &Option<LineSum>, serializer: S) -> Result<S::Ok, S::Error> {
    match sum {
        Some(sum) => serializer.collect_str(sum),
        None => serializer.serialize_none(),
    }
}

/// One line inside [`Outgoing::LogLines`].
#[derive(Clone, Debug, Serialize)]
pub struct OutgoingLine<'a> {
    /// The text.
    pub line: &'a str,
    /// When it was written.
    pub timestamp: Timestamp,
    /// Which way it came.
    #[serde(rename = "stream")]
    pub channel: Channel,
    /// A longer line was cut here.
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
