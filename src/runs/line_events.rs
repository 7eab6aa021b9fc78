//! Lines as events, for `tasktail run --emit-events`.
//!
//! For tools that do not write events (k6, fio): each line becomes a log event, and the start and end of the
//! task become the status of one repetition. Labels of the task describe it: `events=lines`, `run`,
//! `workload`, `repetition=1/3`, `config`, `host`.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::{EventSource, IncomingEvent};
use crate::model::{Event, Line, RunId, Task, TaskStatus, Timestamp, limits};
use crate::tasks::EVENTS_LABEL;

/// Default configuration name.
const CONFIG_DEFAULT: &str = "stream";
/// Maximum bytes of a line in its event. JSON encodes a byte in at most six, so the event is never too long.
const LINE_BYTES_MAX: usize = 128 * 1024;

/// Converts the lines of one task into events.
#[derive(Debug)]
pub(super) struct LineEventAdapter {
    run: RunId,
    source: Arc<str>,
    /// Prefix of the event ids; differs for a later task with the same name.
    id_prefix: String,
    host: String,
    workload: String,
    repetition: u64,
    total: Option<u64>,
    /// `k6[stream]`.
    name: String,
    started: Timestamp,
}

/// The event of a line, with its fields in the order of a runner's output.
#[derive(Serialize)]
struct LineEvent<'a> {
    event_id: String,
    run_id: &'a RunId,
    host: &'a str,
    workload: &'a str,
    repetition: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_repetitions: Option<u64>,
    status: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    timestamp: f64,
}

impl LineEventAdapter {
    /// Returns an adapter if the labels of the task request one.
    pub(super) fn new(task: &Task, incarnation: u64, run: &RunId) -> Option<Self> {
        let label = |name: &str| task.labels.get(name).map(String::as_str).filter(|value| !value.is_empty());
        if label(EVENTS_LABEL) != Some("lines") {
            return None;
        }
        let program = task.command.first().map_or("task", String::as_str);
        let program = Path::new(program).file_name().map_or("task".into(), |name| name.to_string_lossy());
        let program = &program[..program.floor_char_boundary(limits::WORD_BYTES_MAX)];
        let repetition = label("repetition").unwrap_or("1");
        let (number, total) = match repetition.split_once('/') {
            Some((number, total)) => (number.parse().ok(), total.parse().ok()),
            None => (repetition.parse().ok(), None),
        };
        Some(Self {
            run: run.clone(),
            source: format!("task:{}", task.id).into(),
            id_prefix: format!("task:{}:{incarnation:x}", task.id),
            host: label("host").or(task.host.as_deref()).unwrap_or("localhost").to_owned(),
            workload: label("workload").unwrap_or(program).to_owned(),
            repetition: number.unwrap_or(1),
            total,
            name: format!("{program}[{}]", label("config").unwrap_or(CONFIG_DEFAULT)),
            started: task.started.unwrap_or(task.created),
        })
    }

    /// Returns the events before the first line.
    pub(super) fn start(&self) -> Vec<IncomingEvent> {
        let started = format!("{} log stream started", self.name);
        let running = self.event("running", "running", None, None, self.started);
        let mark = self.event("started", "running", Some("INFO"), Some(&started), self.started);
        running.into_iter().chain(mark).collect()
    }

    /// Returns the event of a line.
    pub(super) fn line(&self, n: u64, is_stderr: bool, line: &Line<'_>) -> Option<IncomingEvent> {
        let text = &line.line[..line.line.floor_char_boundary(LINE_BYTES_MAX)];
        let note = if text.len() < line.line.len() {
            format!(" [truncated: {} bytes in total]", line.line.len())
        } else {
            String::new()
        };
        let text = text.strip_suffix('\r').unwrap_or(text);
        let message = format!("{} {}: {text}{note}", self.name, if is_stderr { "stderr" } else { "stdout" });
        let mut event = self.event(&n.to_string(), "running", Some(level(text)), Some(&message), line.timestamp)?;
        event.source = Some(EventSource { name: self.source.clone(), seq: Some(n) });
        Some(event)
    }

    /// Returns the events after the last line.
    pub(super) fn end(&self, task: &Task) -> Vec<IncomingEvent> {
        let ended = task.ended.unwrap_or_else(Timestamp::now);
        let tenths = ended.as_millis().saturating_sub(self.started.as_millis()) / 100;
        let duration = format!("duration={}.{}s", tenths / 10, tenths % 10);
        let (status, message) = match (task.status, task.exit_code, task.signal) {
            (TaskStatus::Completed, Some(0), None) => ("done", duration),
            (TaskStatus::Aborted, _, _) => ("stopped", format!("stopped {duration}")),
            (TaskStatus::Lost, _, _) => ("failed", format!("worker lost {duration}")),
            (_, _, Some(signal)) => ("failed", format!("signal {signal} {duration}")),
            (_, Some(code), None) => ("failed", format!("exit code {code} {duration}")),
            (_, None, None) => ("failed", format!("no exit code {duration}")),
        };
        let stopped = format!("{} log stream stopped", self.name);
        let mark = self.event("stopped", "running", Some("INFO"), Some(&stopped), ended);
        let end = self.event("end", status, None, Some(&message), ended);
        mark.into_iter().chain(end).collect()
    }

    /// Returns a log event if there is a level, else a status event. `key` identifies it within the task.
    fn event(
        &self,
        key: &str,
        status: &str,
        level: Option<&str>,
        message: Option<&str>,
        at: Timestamp,
    ) -> Option<IncomingEvent> {
        let fields = LineEvent {
            event_id: format!("{}:{key}", self.id_prefix),
            run_id: &self.run,
            host: &self.host,
            workload: &self.workload,
            repetition: self.repetition,
            total_repetitions: self.total,
            status,
            kind: if level.is_some() { "log" } else { "status" },
            level,
            message,
            timestamp: seconds(at),
        };
        let event = Event::parse(&serde_json::to_string(&fields).unwrap_or_default());
        let event = event.inspect_err(|error| tracing::warn!(%error, "failed to convert a line into an event")).ok()?;
        Some(IncomingEvent { event, source: Some(EventSource { name: self.source.clone(), seq: None }) })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a time in milliseconds is far below 2^52")]
fn seconds(at: Timestamp) -> f64 {
    at.as_millis() as f64 / 1000.0
}

/// Returns the level of a line in logfmt (`level=warning`, as k6 writes it), in the terms of the benchmark's
/// own logger.
fn level(line: &str) -> &'static str {
    let word = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("level="));
    match word.map(|word| word.trim_matches('"')) {
        Some("trace" | "debug") => "DEBUG",
        Some("warn" | "warning") => "WARNING",
        Some("error") => "ERROR",
        Some("fatal" | "panic" | "critical") => "CRITICAL",
        _ => "INFO",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_is_read_only_from_logfmt() {
        for (line, wanted) in [
            ("time=\"2026-01-03T11:55:41Z\" level=warning msg=\"Request Failed\"", "WARNING"),
            ("level=error", "ERROR"),
            ("running (0m05.0s), 10/10 VUs", "INFO"),
            ("an error of some level=loud kind", "INFO"),
        ] {
            assert_eq!(level(line), wanted, "{line}");
        }
    }
}
