//! The test message: unique lines and events.

use ulid::Ulid;

use crate::model::{Event, RunId, TaskId};

/// Message of the first event, with characters that break careless parsers.
const MESSAGE: &str = "sentinel \"quoted\" { brace \\ backslash, caf\u{e9}";

/// The names and texts of one doctor run.
#[derive(Debug)]
pub(super) struct TestMessage {
    nonce: String,
}

impl TestMessage {
    pub(super) fn new() -> Self {
        Self { nonce: Ulid::generate().to_string().to_lowercase() }
    }

    /// Returns the task of the lines.
    pub(super) fn task(&self) -> Option<TaskId> {
        format!("doctor-{}", self.nonce).parse().ok()
    }

    /// Returns the run of the events.
    pub(super) fn run(&self) -> Option<RunId> {
        format!("doctor-{}", self.nonce).parse().ok()
    }

    /// Returns the run of the events file.
    pub(super) fn file_run(&self) -> Option<RunId> {
        format!("doctor-file-{}", self.nonce).parse().ok()
    }

    /// Returns the name of the task and of the run.
    pub(super) fn name(&self) -> String {
        format!("doctor-{}", self.nonce)
    }

    /// Returns event number `n` as a runner would print it.
    fn object(&self, n: u32, status: &str) -> serde_json::Value {
        serde_json::json!({
            "event_id": format!("doctor-{}-{n}", self.nonce),
            "run_id": self.name(),
            "host": "doctor",
            "workload": "sentinel",
            "repetition": 1,
            "total_repetitions": 1,
            "status": status,
            "message": MESSAGE,
        })
    }

    /// Returns the start and the end of a repetition.
    pub(super) fn events(&self) -> [Option<Event>; 2] {
        [("running", 1), ("done", 2)].map(|(status, n)| Event::parse(&self.object(n, status).to_string()).ok())
    }

    /// Returns the lines of the task: a plain one, an event as a runner prints it, another as
    /// Ansible shows it, and the first event again.
    pub(super) fn lines(&self) -> Vec<String> {
        let first = format!("LB_EVENT {}", self.object(1, "running"));
        let second = format!("LB_EVENT {}", self.object(2, "done"));
        let shown = serde_json::json!({ "msg": second });
        vec![format!("tasktail doctor {}", self.nonce), first.clone(), format!("ok: [doctor] => {shown}"), first]
    }

    /// Reports whether an event has the text that was sent.
    pub(super) fn is_whole(event: &Event) -> bool {
        event.view().message.as_deref() == Some(MESSAGE)
    }
}
