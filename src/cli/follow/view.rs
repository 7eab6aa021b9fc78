//! One followed task: what is printed of it, and how far it was read.

use super::assemble::LineAssembler;
use super::grep::GrepProgress;
use super::stamp::LineClock;
use super::start::StartPoint;
use crate::client::follow::TaskFollowStart;
use crate::model::{Line, Task, TaskId, TaskStatus, Timestamp};

/// The state of one followed task, from the first message to the end.
pub(super) struct TaskView {
    /// Exact id.
    pub(super) id: TaskId,
    /// Position among all followed tasks, which decides its colour.
    pub(super) place: usize,
    pub(super) assembler: LineAssembler,
    pub(super) grep: GrepProgress,
    pub(super) clock: LineClock,
    /// Last known details.
    pub(super) details: Option<Task>,
    /// First number to print of each channel: an older line may reach beyond the start.
    starts: [u64; 3],
    /// Latest time to print.
    until: Option<Timestamp>,
    no_follow: bool,
    /// Number of the last line that was received or is part of a gap.
    seen: u64,
    /// Number of the line to stop after.
    stop_at: Option<u64>,
    /// Last line of a lost task, while it is lost.
    lost_at: Option<u64>,
}

impl TaskView {
    /// Creates the view of a task that is read from `begin` on.
    pub(super) fn new(id: TaskId, place: usize, begin: StartPoint, until: Option<Timestamp>, no_follow: bool) -> Self {
        let seen = if let TaskFollowStart::From(n) = begin.start { n.saturating_sub(1) } else { 0 };
        Self {
            id,
            place,
            assembler: LineAssembler::default(),
            grep: GrepProgress::default(),
            clock: LineClock::default(),
            details: None,
            starts: begin.starts,
            until,
            no_follow,
            seen,
            stop_at: begin.stop_at,
            lost_at: None,
        }
    }

    /// Reports whether everything wanted was received.
    pub(super) fn is_done(&self) -> bool {
        [self.stop_at, self.lost_at].into_iter().flatten().any(|stop| self.seen >= stop)
    }

    /// Reports whether the number of the last line is known, so that the rest must arrive soon.
    pub(super) fn is_bounded(&self) -> bool {
        self.no_follow && self.stop_at.is_some()
    }

    /// Applies the first message.
    pub(super) fn open(&mut self, task: &Task, last_line: u64) {
        self.clock.start = Some(task.started.unwrap_or(task.created));
        if self.no_follow {
            self.stop_at = Some(self.stop_at.map_or(last_line, |stop| stop.min(last_line)));
        }
    }

    /// Updates the details. A lost task has no worker to end it, so its log is read up to the last line. Returns
    /// whether it has just been lost.
    pub(super) fn update(&mut self, task: Task) -> bool {
        let lost = task.status == TaskStatus::Lost;
        let newly = lost && self.lost_at.is_none();
        self.lost_at = lost.then_some(task.last_line);
        self.details = Some(task);
        newly && !self.no_follow
    }

    /// Marks lines up to a number as received.
    pub(super) fn advance(&mut self, n: u64) {
        self.seen = self.seen.max(n);
    }

    /// Starts from the first line again: the log was replaced.
    pub(super) fn reset(&mut self) {
        self.seen = 0;
        self.starts = [0; 3];
    }

    /// Removes lines that are not wanted and marks all as received.
    pub(super) fn select(&mut self, lines: &mut Vec<Line<'static>>) {
        let seen = lines.last().map_or(self.seen, |line| line.n);
        lines.retain(|line| {
            self.stop_at.is_none_or(|stop| line.n <= stop)
                && self.until.is_none_or(|until| line.timestamp <= until)
                && self.starts.get(line.channel as usize).is_none_or(|start| line.n >= *start)
        });
        self.seen = seen;
    }
}
