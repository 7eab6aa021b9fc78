//! A notice: an event of a task, as receivers get it.

use std::time::Duration;

use serde::Serialize;
use ulid::Ulid;

use super::rule::NoticeRule;
use crate::analysis::displayed;
use crate::model::{Line, Task, Timestamp};

/// Maximum bytes of a line in a notice.
const LINE_BYTES_MAX: usize = 1_000;

/// A notice.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Notice {
    /// A unique id, the same in each attempt to deliver it.
    pub(super) id: String,
    /// Name of the rule.
    pub(super) rule: String,
    /// `status`, `pattern`, `silence` or `slower`.
    pub(super) trigger: &'static str,
    /// One sentence for people.
    pub(super) text: String,
    /// Time of the event.
    pub(super) at: Timestamp,
    /// The address of the task's page.
    pub(super) url: String,
    /// Details of the task.
    pub(super) task: Task,
    /// The line that matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<NoticeLine>,
}

/// A line that matched.
#[derive(Clone, Debug, Serialize)]
pub(super) struct NoticeLine {
    n: u64,
    line: String,
}

/// The event that a notice reports.
#[derive(Clone, Debug)]
pub(super) enum Happening<'a> {
    /// The task ended, or is lost.
    Status,
    /// A line matched.
    Matched(&'a Line<'a>),
    /// No line came for this long.
    Silent(Duration),
    /// It takes longer than this many times its usual duration.
    Slow(f64, Duration),
}

impl Notice {
    /// Creates a notice. `base` is the address of the server's pages.
    pub(super) fn new(rule: &NoticeRule, task: Task, happening: &Happening<'_>, base: &str) -> Self {
        let id = task.exact_id();
        let line = match happening {
            Happening::Matched(line) => Some(NoticeLine { n: line.n, line: short(&line.line) }),
            _ => None,
        };
        let place = line.as_ref().map_or_else(String::new, |line| format!("#L{}", line.n));
        let text = match (happening, &line) {
            (Happening::Status, _) => format!("{id} {}", outcome(&task)),
            (Happening::Matched(_), Some(line)) => format!("{id}, line {}: {}", line.n, line.line.replace('\n', " ")),
            (Happening::Matched(_), None) => format!("{id}: a line matched"),
            (Happening::Silent(silence), _) => format!("{id} has had no output for {}", span(*silence)),
            (Happening::Slow(factor, usual), _) => {
                format!("{id} takes longer than {factor} times its usual {}", span(*usual))
            }
        };
        Self {
            id: Ulid::generate().to_string(),
            rule: rule.name.clone(),
            trigger: rule.trigger.kind(),
            text,
            at: Timestamp::now(),
            url: format!("{base}/tasks/{id}{place}"),
            task,
            line,
        }
    }
}

/// Returns how a task ended.
fn outcome(task: &Task) -> String {
    let from = task.started.unwrap_or(task.created);
    let took = task.ended.map(|ended| Duration::from_millis(ended.as_millis().saturating_sub(from.as_millis())));
    let after = took.map_or_else(String::new, |took| format!(" after {}", span(took)));
    match (task.is_failed(), task.exit_code, task.signal) {
        (true, Some(code), _) => format!("failed with exit code {code}{after}"),
        (true, None, Some(signal)) => format!("was ended by signal {signal}{after}"),
        (_, None, None) => format!("is {}{after}", task.status),
        (false, ..) => format!("{}{after}", task.status),
    }
}

/// Returns a duration in its two largest units.
fn span(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}

/// Returns the start of a line's displayed text.
fn short(line: &str) -> String {
    let shown = displayed(line);
    let end = (0..=LINE_BYTES_MAX.min(shown.len())).rev().find(|at| shown.is_char_boundary(*at)).unwrap_or(0);
    let cut = if end < shown.len() { "…" } else { "" };
    format!("{}{cut}", &shown[..end])
}
