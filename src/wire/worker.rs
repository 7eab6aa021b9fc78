//! The worker protocol: `GET /ws/v1/worker`, one JSON object a text frame.
//!
//! [`WorkerMessage::parse`] reads in one pass into borrowed text; only a message that does not fit
//! is read a second time, to name the field at fault.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::limits::{COMMAND_BYTES_MAX, LABELS_MAX, WORD_BYTES_MAX};
use crate::model::{Channel, LineText, TaskId, Timestamp};

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
    },
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

/// One line as JSON brings it: a member of `log_lines`, an NDJSON row of the append route, or the
/// part of `log_line` that is the line.
#[derive(Debug, Default, Deserialize)]
pub struct LineFields<'a> {
    #[serde(borrow)]
    line: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    stream: Option<Cow<'a, str>>,
    partial: Option<bool>,
    lossy: Option<bool>,
}

/// Where in its message a line stands: what its fields are called in an error.
#[derive(Clone, Copy)]
enum At {
    Whole,
    Index(usize),
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            At::Whole => Ok(()),
            At::Index(index) => write!(f, "lines[{index}]."),
        }
    }
}

impl<'a> LineFields<'a> {
    /// Reads one JSON object.
    pub fn parse(json: &'a str, now: Timestamp) -> Result<ReceivedLine<'a>, BadMessage> {
        match serde_json::from_str::<LineFields<'a>>(json) {
            Ok(fields) => fields.into_line(At::Whole, now),
            Err(error) => Err(diagnose_line(json, &error)),
        }
    }

    fn into_line(self, prefix: At, now: Timestamp) -> Result<ReceivedLine<'a>, BadMessage> {
        let bad = |message: String| BadMessage::new("bad_line", message);
        let Some(text) = self.line else {
            return Err(bad(format!("field `{prefix}line` is missing: it holds the line's text")));
        };
        if memchr::memchr(0, text.as_bytes()).is_some() {
            return Err(bad(format!("field `{prefix}line` holds a NUL character: replace it before sending")));
        }
        let channel = match self.stream.as_deref() {
            None => Channel::Stdout,
            Some(word) => word.parse().map_err(|e| bad(format!("field `{prefix}stream`: {e}")))?,
        };
        let timestamp = self.timestamp.and_then(|text| text.parse().ok());
        let line = LineText {
            timestamp: timestamp.unwrap_or(now),
            channel,
            partial: self.partial.unwrap_or(false),
            lossy: self.lossy.unwrap_or(false),
            text,
        };
        Ok(ReceivedLine { line, own_time: timestamp.is_none() })
    }
}

/// Every field of every message: one pass, no buffering, text borrowed from the frame.
#[derive(Debug, Deserialize)]
struct Raw<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    work_request_id: Option<TaskRef>,
    #[serde(borrow)]
    line: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    stream: Option<Cow<'a, str>>,
    partial: Option<bool>,
    lossy: Option<bool>,
    seq: Option<u64>,
    first_seq: Option<u64>,
    #[serde(borrow)]
    lines: Option<Vec<LineFields<'a>>>,
    exit_code: Option<i32>,
    signal: Option<Signal>,
    status: Option<String>,
    worker: Option<String>,
    protocol: Option<u32>,
    session: Option<String>,
    command: Option<Vec<String>>,
    host: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

impl<'a> WorkerMessage<'a> {
    /// Reads one text frame. `now` stands in for times that are missing or cannot be read.
    pub fn parse(text: &'a str, now: Timestamp) -> Result<Self, BadMessage> {
        match serde_json::from_str::<Raw<'a>>(text) {
            Ok(raw) => raw.into_message(now),
            Err(error) => diagnose(text, now, &error),
        }
    }
}

impl<'a> Raw<'a> {
    fn into_message(self, now: Timestamp) -> Result<WorkerMessage<'a>, BadMessage> {
        let kind = self
            .kind
            .as_deref()
            .ok_or_else(|| missing("type", "one of log_line, log_lines, log_line_end, task_start, hello", None))?;
        match kind {
            "log_line" => self.into_one_line(now),
            "log_lines" => self.into_lines(now),
            "log_line_end" => self.into_end(),
            "task_start" => self.into_start(),
            "hello" => self.into_hello(),
            other => Err(unknown_type(other, self.work_request_id)),
        }
    }

    fn into_one_line(self, now: Timestamp) -> Result<WorkerMessage<'a>, BadMessage> {
        let task = need(self.work_request_id, "work_request_id", "the task's id", None)?;
        let Self { line, timestamp, stream, partial, lossy, seq, .. } = self;
        let line = LineFields { line, timestamp, stream, partial, lossy }.into_line(At::Whole, now);
        let line = line.map_err(|error| BadMessage { task: Some(task.clone()), ..error });
        Ok(WorkerMessage::Lines { task, first_seq: seq, lines: vec![line] })
    }

    fn into_lines(self, now: Timestamp) -> Result<WorkerMessage<'a>, BadMessage> {
        let task = need(self.work_request_id, "work_request_id", "the task's id", None)?;
        let lines = need(self.lines, "lines", "an array of lines", Some(&task))?;
        let lines = lines.into_iter().enumerate().map(|(index, fields)| {
            fields.into_line(At::Index(index), now).map_err(|error| BadMessage { task: Some(task.clone()), ..error })
        });
        Ok(WorkerMessage::Lines { first_seq: self.first_seq, lines: lines.collect(), task: task.clone() })
    }

    fn into_end(self) -> Result<WorkerMessage<'a>, BadMessage> {
        let task = need(self.work_request_id, "work_request_id", "the task's id", None)?;
        let signal = self.signal.map(Signal::number).transpose().map_err(|message| in_task(message, &task))?;
        let aborted = match self.status.as_deref() {
            Some("aborted") => true,
            None | Some("completed") => false,
            Some(_) => return Err(in_task("field `status` must be completed or aborted".to_owned(), &task)),
        };
        let timestamp = self.timestamp.and_then(|text| text.parse().ok());
        Ok(WorkerMessage::End(TaskEnd { task, seq: self.seq, exit_code: self.exit_code, signal, aborted, timestamp }))
    }

    fn into_start(self) -> Result<WorkerMessage<'a>, BadMessage> {
        let task = need(self.work_request_id, "work_request_id", "the task's id", None)?;
        let session = need(self.session, "session", "a word that names this life of the worker", Some(&task))?;
        let (command, labels) = (self.command.unwrap_or_default(), self.labels.unwrap_or_default());
        if session.is_empty() || session.len() > TASK_SESSION_BYTES_MAX {
            return Err(in_task(format!("field `session` must have 1 to {TASK_SESSION_BYTES_MAX} bytes"), &task));
        }
        if command.iter().map(String::len).sum::<usize>() > COMMAND_BYTES_MAX {
            return Err(in_task(format!("field `command` has over {COMMAND_BYTES_MAX} bytes"), &task));
        }
        let long = |word: &String| word.len() > WORD_BYTES_MAX;
        if labels.len() > LABELS_MAX || labels.iter().any(|(key, value)| long(key) || long(value)) {
            return Err(in_task(
                format!("field `labels` has over {LABELS_MAX} labels, or one over {WORD_BYTES_MAX} bytes"),
                &task,
            ));
        }
        if self.host.as_ref().is_some_and(long) {
            return Err(in_task(format!("field `host` has over {WORD_BYTES_MAX} bytes"), &task));
        }
        let timestamp = self.timestamp.and_then(|text| text.parse().ok());
        Ok(WorkerMessage::TaskStart(TaskStart { task, session, command, host: self.host, labels, timestamp }))
    }

    fn into_hello(self) -> Result<WorkerMessage<'a>, BadMessage> {
        match self.protocol {
            None | Some(PROTOCOL) => Ok(WorkerMessage::Hello { worker: self.worker }),
            Some(other) => Err(BadMessage::new(
                "bad_message",
                format!("field `protocol` is {other}: this server speaks {PROTOCOL}"),
            )),
        }
    }
}

/// Bytes of a session's name.
const TASK_SESSION_BYTES_MAX: usize = 128;

/// A signal as number or as name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Signal {
    Number(i32),
    Name(String),
}

impl Signal {
    fn number(self) -> Result<i32, String> {
        const NAMES: [(&str, i32); 15] = [
            ("HUP", 1),
            ("INT", 2),
            ("QUIT", 3),
            ("ILL", 4),
            ("TRAP", 5),
            ("ABRT", 6),
            ("BUS", 7),
            ("FPE", 8),
            ("KILL", 9),
            ("USR1", 10),
            ("SEGV", 11),
            ("USR2", 12),
            ("PIPE", 13),
            ("ALRM", 14),
            ("TERM", 15),
        ];
        match self {
            Signal::Number(number) => Ok(number),
            Signal::Name(name) => {
                let short = name.trim_start_matches("SIG");
                let found = NAMES.iter().find(|(known, _)| *known == short).map(|(_, number)| *number);
                found
                    .or_else(|| name.parse().ok())
                    .ok_or_else(|| "field `signal` must be a number, or a name such as SIGTERM".to_owned())
            }
        }
    }
}

fn need<T>(field: Option<T>, name: &str, what: &str, task: Option<&TaskRef>) -> Result<T, BadMessage> {
    field.ok_or_else(|| missing(name, what, task.cloned()))
}

fn missing(name: &str, what: &str, task: Option<TaskRef>) -> BadMessage {
    BadMessage { code: "bad_message", message: format!("field `{name}` is missing: {what}"), task }
}

fn in_task(message: String, task: &TaskRef) -> BadMessage {
    BadMessage { code: "bad_message", message, task: Some(task.clone()) }
}

fn unknown_type(kind: &str, task: Option<TaskRef>) -> BadMessage {
    let kind: String = kind.chars().take(64).collect();
    let message =
        format!("field `type` is {kind:?}: it must be log_line, log_lines, log_line_end, task_start or hello");
    BadMessage { code: "unknown_type", message, task }
}

/// A field, what it must be in words, and whether a value is that.
type Expected = (&'static str, &'static str, fn(&Value) -> bool);

/// What each field must be, for the second look at a message that did not fit.
const EXPECTED: [Expected; 18] = [
    ("type", "a string", Value::is_string),
    ("line", "a string", Value::is_string),
    ("timestamp", "a string", Value::is_string),
    ("stream", "a string", Value::is_string),
    ("partial", "true or false", Value::is_boolean),
    ("lossy", "true or false", Value::is_boolean),
    ("seq", "a whole number, 0 or more", Value::is_u64),
    ("first_seq", "a whole number, 0 or more", Value::is_u64),
    ("lines", "an array of objects", |v| v.as_array().is_some_and(|lines| lines.iter().all(Value::is_object))),
    ("exit_code", "a whole number of 32 bits", |v| v.as_i64().is_some_and(|n| i32::try_from(n).is_ok())),
    ("signal", "a number or a name", |v| v.is_i64() || v.is_string()),
    ("status", "a string", Value::is_string),
    ("worker", "a string", Value::is_string),
    ("protocol", "a whole number", |v| v.as_u64().is_some_and(|n| u32::try_from(n).is_ok())),
    ("session", "a string", Value::is_string),
    ("command", "an array of strings", |v| v.as_array().is_some_and(|words| words.iter().all(Value::is_string))),
    ("host", "a string", Value::is_string),
    ("labels", "an object of strings", |v| v.as_object().is_some_and(|o| o.values().all(Value::is_string))),
];

/// The second, slower look at a message that did not fit: it names the field. A batch in which
/// single lines are at fault still gives the others.
fn diagnose<'a>(text: &'a str, now: Timestamp, error: &serde_json::Error) -> Result<WorkerMessage<'a>, BadMessage> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| BadMessage::new("bad_json", format!("the message is not JSON: {error}")))?;
    let Value::Object(fields) = &value else {
        return Err(BadMessage::new("bad_message", "the message must be a JSON object"));
    };
    let task = match fields.get("work_request_id").filter(|id| !id.is_null()) {
        None => None,
        Some(id) => Some(
            TaskRef::deserialize(id)
                .map_err(|error| BadMessage::new("bad_message", format!("field `work_request_id`: {error}")))?,
        ),
    };
    let wrong = EXPECTED.iter().find(|(name, _, fits)| fields.get(*name).is_some_and(|v| !v.is_null() && !fits(v)));
    if let Some((name, expected, _)) = wrong {
        return Err(BadMessage { code: "bad_message", message: format!("field `{name}` must be {expected}"), task });
    }
    let batch = fields.get("type").and_then(Value::as_str) == Some("log_lines");
    let (Some(lines), Some(task), true) = (fields.get("lines").and_then(Value::as_array), &task, batch) else {
        return Err(BadMessage { code: "bad_message", message: format!("the message does not fit: {error}"), task });
    };
    let lines = lines.iter().enumerate().map(|(index, line)| {
        line_of_value(line, At::Index(index), now).map_err(|error| BadMessage { task: Some(task.clone()), ..error })
    });
    let first_seq = fields.get("first_seq").and_then(Value::as_u64);
    Ok(WorkerMessage::Lines { task: task.clone(), first_seq, lines: lines.collect() })
}

fn line_of_value(value: &Value, prefix: At, now: Timestamp) -> Result<ReceivedLine<'static>, BadMessage> {
    let wrong =
        EXPECTED[1..6].iter().find(|(name, _, fits)| value.get(*name).is_some_and(|v| !v.is_null() && !fits(v)));
    if let Some((name, expected, _)) = wrong {
        return Err(BadMessage::new("bad_line", format!("field `{prefix}{name}` must be {expected}")));
    }
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(|text| Cow::Owned(text.to_owned()));
    let flag = |name: &str| value.get(name).and_then(Value::as_bool);
    let (partial, lossy) = (flag("partial"), flag("lossy"));
    LineFields { line: text("line"), timestamp: text("timestamp"), stream: text("stream"), partial, lossy }
        .into_line(prefix, now)
}

fn diagnose_line(json: &str, error: &serde_json::Error) -> BadMessage {
    match serde_json::from_str::<Value>(json) {
        Err(error) => BadMessage::new("bad_json", format!("the line is not JSON: {error}")),
        Ok(value) if !value.is_object() => {
            BadMessage::new("bad_line", "the line must be a JSON object with a field `line`")
        }
        Ok(value) => match line_of_value(&value, At::Whole, Timestamp::default()) {
            Err(named) => named,
            Ok(_) => BadMessage::new("bad_line", format!("the line does not fit: {error}")),
        },
    }
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
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_778_336_581_000);

    #[test]
    fn the_blueprints_messages_are_read() {
        let text = r#"{"type":"log_line","work_request_id":42,"line":"Building...","timestamp":"2026-05-09T14:23:01+00:00","stream":"stderr"}"#;
        let WorkerMessage::Lines { task, first_seq: None, lines } = WorkerMessage::parse(text, NOW).unwrap() else {
            panic!()
        };
        assert_eq!((task.id.as_str(), task.numeric), ("42", true));
        let line = lines[0].as_ref().unwrap();
        assert_eq!(
            (line.line.text.as_ref(), line.line.channel, line.own_time),
            ("Building...", Channel::Stderr, false)
        );
        let text =
            r#"{"type":"log_line_end","work_request_id":42,"exit_code":0,"timestamp":"2026-05-09T14:25:00+00:00"}"#;
        let WorkerMessage::End(end) = WorkerMessage::parse(text, NOW).unwrap() else { panic!() };
        assert_eq!((end.exit_code, end.seq, end.aborted), (Some(0), None, false));
    }

    #[test]
    fn every_fault_names_its_field() {
        let cases = [
            (r#"{"type":"log_line","#, "bad_json", "JSON"),
            (r#"[1]"#, "bad_message", "object"),
            (r#"{"work_request_id":1}"#, "bad_message", "`type`"),
            (r#"{"type":"shout","work_request_id":1}"#, "unknown_type", "`type`"),
            (r#"{"type":"log_line","line":"x"}"#, "bad_message", "`work_request_id`"),
            (r#"{"type":"log_line","work_request_id":"","line":"x"}"#, "bad_message", "`work_request_id`"),
            (r#"{"type":"log_line","work_request_id":"a/b","line":"x"}"#, "bad_message", "`work_request_id`"),
            (r#"{"type":"log_line","work_request_id":{},"line":"x"}"#, "bad_message", "`work_request_id`"),
            (r#"{"type":"log_line","work_request_id":1,"line":5}"#, "bad_message", "`line`"),
            (r#"{"type":"log_line_end","work_request_id":1,"exit_code":"zero"}"#, "bad_message", "`exit_code`"),
            (r#"{"type":"log_line_end","work_request_id":1,"signal":"SIGWHAT"}"#, "bad_message", "`signal`"),
            (r#"{"type":"task_start","work_request_id":1}"#, "bad_message", "`session`"),
            (r#"{"type":"task_start","work_request_id":1,"session":"s","labels":{"a":1}}"#, "bad_message", "`labels`"),
            (r#"{"type":"log_lines","work_request_id":1,"lines":[1]}"#, "bad_message", "`lines`"),
            (r#"{"type":"hello","protocol":9}"#, "bad_message", "`protocol`"),
        ];
        for (text, code, field) in cases {
            let error = WorkerMessage::parse(text, NOW).expect_err(text);
            assert_eq!(error.code, code, "{text}: {error}");
            assert!(error.message.contains(field), "{text}: {error}");
        }
    }

    #[test]
    fn one_bad_line_does_not_cost_its_neighbours() {
        let text = r#"{"type":"log_lines","work_request_id":"a","first_seq":1,"lines":[{"line":"x"},{"line":7},{"stream":"stdout"},{"line":"y","stream":"loud"},{"line":"z"}]}"#;
        let WorkerMessage::Lines { lines, .. } = WorkerMessage::parse(text, NOW).unwrap() else { panic!() };
        let shown: Vec<String> = lines
            .iter()
            .map(|line| match line {
                Ok(line) => line.line.text.to_string(),
                Err(error) => error.message.split('`').nth(1).unwrap().to_owned(),
            })
            .collect();
        assert_eq!(shown, ["x", "lines[1].line", "lines[2].line", "lines[3].stream", "z"]);
    }

    #[test]
    fn a_line_without_a_time_gets_the_servers() {
        for time in ["", r#","timestamp":"noon""#, r#","timestamp":null"#] {
            let text = format!(r#"{{"line":"x"{time}}}"#);
            let line = LineFields::parse(&text, NOW).unwrap();
            assert_eq!((line.line.timestamp, line.own_time), (NOW, true), "{text}");
        }
        assert!(LineFields::parse("{\"line\":\"a\\u0000b\"}", NOW).unwrap_err().message.contains("`line`"));
    }

    #[test]
    fn ids_are_echoed_in_the_form_they_came() {
        for id in ["42", "\"42\"", "\"build-7\""] {
            let task: TaskRef = serde_json::from_str(id).unwrap();
            assert_eq!(serde_json::to_string(&task).unwrap(), id);
        }
    }
}
