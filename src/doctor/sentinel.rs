//! What is sent: lines and events that nobody else could have sent.

use ulid::Ulid;

use crate::model::{Event, RunId, TaskId};

/// What stands in the message of the first event: everything that breaks careless parsers.
const MESSAGE: &str = "sentinel \"quoted\" { brace \\ backslash, caf\u{e9}";

/// The names and texts of one examination.
#[derive(Debug)]
pub(super) struct Sentinel {
    nonce: String,
}

impl Sentinel {
    pub(super) fn new() -> Self {
        Self { nonce: Ulid::generate().to_string().to_lowercase() }
    }

    /// The task that its lines belong to.
    pub(super) fn task(&self) -> Option<TaskId> {
        format!("doctor-{}", self.nonce).parse().ok()
    }

    /// The run that its events belong to.
    pub(super) fn run(&self) -> Option<RunId> {
        format!("doctor-{}", self.nonce).parse().ok()
    }

    /// The run of the file.
    pub(super) fn file_run(&self) -> Option<RunId> {
        format!("doctor-file-{}", self.nonce).parse().ok()
    }

    /// The name of its task, and of its run.
    pub(super) fn name(&self) -> String {
        format!("doctor-{}", self.nonce)
    }

    /// The event number `n` as its origin would print it.
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

    /// The begin and the end of a repetition.
    pub(super) fn events(&self) -> [Option<Event>; 2] {
        [("running", 1), ("done", 2)].map(|(status, n)| Event::parse(&self.object(n, status).to_string()).ok())
    }

    /// The lines of the task: a plain one, an event as a runner prints it, another as Ansible shows
    /// it, and the first once more.
    pub(super) fn lines(&self) -> Vec<String> {
        let first = format!("LB_EVENT {}", self.object(1, "running"));
        let second = format!("LB_EVENT {}", self.object(2, "done"));
        let shown = serde_json::json!({ "msg": second });
        vec![format!("tasktail doctor {}", self.nonce), first.clone(), format!("ok: [doctor] => {shown}"), first]
    }

    /// Whether an event carries the text as it was sent.
    pub(super) fn is_whole(event: &Event) -> bool {
        event.view().message.as_deref() == Some(MESSAGE)
    }
}
