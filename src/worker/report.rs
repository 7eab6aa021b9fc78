//! The delivery of a task's lines, for programs and in words.

use std::path::Path;

use crate::model::{TaskId, units};

/// The delivery state of a task's lines at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// The server has confirmed everything, including the end.
    pub complete: bool,
    /// Lines of the task that the server has confirmed, without the worker's own.
    pub lines: u64,
    /// Lines that it has not confirmed.
    pub undelivered_lines: u64,
    /// Lines that were dropped; gap markers in the log count them.
    pub skipped_lines: u64,
    /// The reason for the end of the delivery.
    pub end: DeliveryEnd,
    /// The place of the undelivered lines.
    pub retained: Retained,
}

/// The reason why a delivery ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeliveryEnd {
    /// The server has confirmed everything.
    Complete,
    /// No server was reached.
    #[default]
    NotReached,
    /// The server confirmed no more lines.
    Stalled,
    /// A signal asked to stop.
    Interrupted,
    /// The task was ended at the server, which accepts no more lines of it.
    TaskEnded,
}

/// The remainder of undelivered lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retained {
    /// They are lost with the process, or there are none.
    #[default]
    Nothing,
    /// The spool has them.
    All,
    /// The spool has a part of them.
    Part,
}

impl Delivery {
    /// Reports whether the server has every line that the task has written, and its end.
    pub fn is_whole(&self) -> bool {
        self.complete && self.skipped_lines == 0
    }

    /// Returns one line for the user: how many lines were kept, or what is missing and why.
    pub fn report(&self, task: &TaskId, spool: Option<&Path>) -> String {
        let Self { lines, undelivered_lines, skipped_lines, .. } = *self;
        let all = lines + undelivered_lines + skipped_lines;
        let kept = if lines == all {
            format!("kept {}", count(all))
        } else {
            format!("kept {} of {}", units::grouped(lines), count(all))
        };
        if self.is_whole() {
            return format!("{kept} · tasktail follow {task}");
        }
        let skipped = match skipped_lines {
            0 => None,
            1 => Some("1 line exceeded the limit of the local log (spool_bytes_max) and was skipped".to_owned()),
            n => Some(format!(
                "{} lines exceeded the limit of the local log (spool_bytes_max) and were skipped",
                units::grouped(n)
            )),
        };
        let why = match self.end {
            DeliveryEnd::Complete => {
                return format!("{kept}: {} · tasktail follow {task}", skipped.unwrap_or_default());
            }
            DeliveryEnd::NotReached => "the server was not reached",
            DeliveryEnd::Stalled => "the server confirms no more lines",
            DeliveryEnd::Interrupted => "sending was interrupted",
            DeliveryEnd::TaskEnded => "the task was ended at the server",
        };
        let rest = match undelivered_lines {
            0 => "the end of the task",
            _ => "the rest",
        };
        let rest = match (self.retained, spool.map(Path::display)) {
            (Retained::All, Some(dir)) => {
                format!("{rest} is stored in {dir}; send it with `tasktail spool send {dir}`")
            }
            (Retained::Part, Some(dir)) => {
                format!("{rest} is only partly stored in {dir}; send that with `tasktail spool send {dir}`")
            }
            _ if undelivered_lines == 0 => "the end of the task is not recorded".to_owned(),
            _ => "the rest is lost; `--spool DIR` keeps it for `tasktail spool send DIR`".to_owned(),
        };
        let skipped = skipped.map(|text| format!("{text}; ")).unwrap_or_default();
        format!("{kept}: {skipped}{why}; {rest}")
    }
}

fn count(lines: u64) -> String {
    if lines == 1 { "1 line".to_owned() } else { format!("{} lines", units::grouped(lines)) }
}
