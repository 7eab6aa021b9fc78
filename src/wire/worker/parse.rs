//! The fast parser: one pass per message, text borrowed from the frame.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::{BadMessage, PROTOCOL, ReceivedLine, TaskEnd, TaskRef, TaskStart, WorkerMessage};
use crate::model::limits::{COMMAND_BYTES_MAX, LABELS_MAX, SESSION_BYTES_MAX, WORD_BYTES_MAX};
use crate::model::{AttemptMode, Channel, LineText, ReportedTotals, Timestamp, signal_number};

/// The JSON fields of one line: a member of `log_lines`, an NDJSON row of the append route, or a part
/// of `log_line`.
#[derive(Debug, Default, Deserialize)]
pub struct LineFields<'a> {
    #[serde(borrow)]
    pub(super) line: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) stream: Option<Cow<'a, str>>,
    pub(super) partial: Option<bool>,
    pub(super) lossy: Option<bool>,
}

/// The position of a line in its message, for the names of its fields in errors.
#[derive(Clone, Copy)]
pub(super) enum LinePosition {
    Whole,
    Index(usize),
}

impl std::fmt::Display for LinePosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LinePosition::Whole => Ok(()),
            LinePosition::Index(index) => write!(f, "lines[{index}]."),
        }
    }
}

impl<'a> LineFields<'a> {
    pub(super) fn into_line(self, prefix: LinePosition, now: Timestamp) -> Result<ReceivedLine<'a>, BadMessage> {
        let Some(text) = self.line else {
            let message = format!("field `{prefix}line` is missing: it holds the line's text");
            return Err(BadMessage::new("bad_line", message));
        };
        let timestamp = self.timestamp.and_then(|text| text.parse().ok());
        let line = LineText {
            timestamp: timestamp.unwrap_or(now),
            channel: Channel::Stdout,
            partial: self.partial.unwrap_or(false),
            lossy: self.lossy.unwrap_or(false),
            text,
        };
        let mut received = ReceivedLine { line, own_time: timestamp.is_none(), fault: None };
        if memchr::memchr(0, received.line.text.as_bytes()).is_some() {
            received.line.text = received.line.text.replace('\0', "\u{fffd}").into();
            received.add_fault(format!("field `{prefix}line` holds a NUL character: it is stored as U+FFFD"));
        }
        match self.stream.as_deref().map(str::parse) {
            None => {}
            Some(Ok(channel)) => received.line.channel = channel,
            Some(Err(error)) => received.add_fault(format!("field `{prefix}stream`: {error}; the line is in stdout")),
        }
        Ok(received)
    }
}

impl ReceivedLine<'_> {
    /// Marks the line as altered. The first reason remains.
    pub(super) fn add_fault(&mut self, message: String) {
        self.line.lossy = true;
        self.fault.get_or_insert_with(|| Box::new(BadMessage::new("bad_line", message)));
    }
}

/// Every field of every message, parsed without buffering.
#[derive(Debug, Deserialize)]
pub(super) struct RawMessage<'a> {
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
    count: Option<u64>,
    #[serde(borrow)]
    hash: Option<Cow<'a, str>>,
    #[serde(borrow)]
    attempt: Option<Cow<'a, str>>,
}

impl<'a> WorkerMessage<'a> {
    /// Returns the message with these lines, in whose errors and faults the task is entered.
    pub(super) fn lines(
        task: TaskRef,
        first_seq: Option<u64>,
        lines: impl IntoIterator<Item = Result<ReceivedLine<'a>, BadMessage>>,
    ) -> Self {
        let with_task = |mut line: Result<ReceivedLine<'a>, BadMessage>| {
            match &mut line {
                Err(error) => error.task = Some(task.clone()),
                Ok(ReceivedLine { fault: Some(fault), .. }) => fault.task = Some(task.clone()),
                Ok(_) => {}
            }
            line
        };
        let lines = lines.into_iter().map(with_task).collect();
        WorkerMessage::Lines { task, first_seq, lines }
    }
}

impl<'a> RawMessage<'a> {
    pub(super) fn into_message(self, now: Timestamp) -> Result<WorkerMessage<'a>, BadMessage> {
        let kind = self.kind.as_deref().ok_or_else(|| {
            missing("type", "one of log_line, log_lines, partial, log_line_end, task_start, hello", None)
        })?;
        match kind {
            "log_line" => self.into_one_line(now),
            "log_lines" => self.into_lines(now),
            "partial" => self.into_partial(now),
            "log_line_end" => self.into_end(),
            "task_start" => self.into_start(),
            "hello" => self.into_hello(),
            other => Err(unknown_type(other, self.work_request_id)),
        }
    }

    fn into_one_line(self, now: Timestamp) -> Result<WorkerMessage<'a>, BadMessage> {
        let task = need(self.work_request_id, "work_request_id", "the task's id", None)?;
        let Self { line, timestamp, stream, partial, lossy, seq, .. } = self;
        let line = LineFields { line, timestamp, stream, partial, lossy }.into_line(LinePosition::Whole, now);
        Ok(WorkerMessage::lines(task, seq, [line]))
    }

    fn into_lines(self, now: Timestamp) -> Result<WorkerMessage<'a>, BadMessage> {
        let task = need(self.work_request_id, "work_request_id", "the task's id", None)?;
        let lines = need(self.lines, "lines", "an array of lines", Some(&task))?;
        let line = |(index, fields): (usize, LineFields<'a>)| fields.into_line(LinePosition::Index(index), now);
        Ok(WorkerMessage::lines(task, self.first_seq, lines.into_iter().enumerate().map(line)))
    }

    fn into_partial(self, now: Timestamp) -> Result<WorkerMessage<'a>, BadMessage> {
        let task = need(self.work_request_id, "work_request_id", "the task's id", None)?;
        let Self { line, timestamp, stream, lossy, .. } = self;
        let fields = LineFields { line, timestamp, stream, partial: None, lossy };
        match fields.into_line(LinePosition::Whole, now) {
            Ok(line) => Ok(WorkerMessage::Partial { task, line }),
            Err(error) => Err(BadMessage { task: Some(task), ..error }),
        }
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
        let reported = ReportedTotals { lines: self.count, sum: self.hash.and_then(|text| text.parse().ok()) };
        let (seq, exit_code) = (self.seq, self.exit_code);
        Ok(WorkerMessage::End(TaskEnd { task, seq, exit_code, signal, aborted, timestamp, reported }))
    }

    fn into_start(self) -> Result<WorkerMessage<'a>, BadMessage> {
        let task = need(self.work_request_id, "work_request_id", "the task's id", None)?;
        let session = need(self.session, "session", "an id of this worker process", Some(&task))?;
        let (command, labels) = (self.command.unwrap_or_default(), self.labels.unwrap_or_default());
        if session.is_empty() || session.len() > SESSION_BYTES_MAX {
            return Err(in_task(format!("field `session` must have 1 to {SESSION_BYTES_MAX} bytes"), &task));
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
        let attempt = match self.attempt.as_deref() {
            None => AttemptMode::Join,
            Some("new") => AttemptMode::New,
            Some("replace") => AttemptMode::Replace,
            Some(_) => return Err(in_task("field `attempt` must be new or replace".to_owned(), &task)),
        };
        let timestamp = self.timestamp.and_then(|text| text.parse().ok());
        let host = self.host;
        Ok(WorkerMessage::TaskStart(TaskStart { task, session, command, host, labels, timestamp, attempt }))
    }

    fn into_hello(self) -> Result<WorkerMessage<'a>, BadMessage> {
        match self.protocol {
            None | Some(PROTOCOL) => Ok(WorkerMessage::Hello { worker: self.worker }),
            Some(other) => Err(BadMessage::new(
                "bad_message",
                format!("field `protocol` is {other}: this server supports version {PROTOCOL}"),
            )),
        }
    }
}

/// A signal as number or as name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Signal {
    Number(i32),
    Name(String),
}

impl Signal {
    fn number(self) -> Result<i32, String> {
        match self {
            Signal::Number(number) => Ok(number),
            Signal::Name(name) => signal_number(&name)
                .or_else(|| name.parse().ok())
                .ok_or_else(|| "field `signal` must be a number, or a name such as SIGTERM".to_owned()),
        }
    }
}

fn need<T>(field: Option<T>, name: &str, what: &str, task: Option<&TaskRef>) -> Result<T, BadMessage> {
    field.ok_or_else(|| missing(name, what, task.cloned()))
}

pub(super) fn missing(name: &str, what: &str, task: Option<TaskRef>) -> BadMessage {
    BadMessage { code: "bad_message", message: format!("field `{name}` is missing: {what}"), task }
}

fn in_task(message: String, task: &TaskRef) -> BadMessage {
    BadMessage { code: "bad_message", message, task: Some(task.clone()) }
}

fn unknown_type(kind: &str, task: Option<TaskRef>) -> BadMessage {
    let kind: String = kind.chars().take(64).collect();
    let message =
        format!("field `type` is {kind:?}: it must be log_line, log_lines, partial, log_line_end, task_start or hello");
    BadMessage { code: "unknown_type", message, task }
}
