//! Handles what the server sends of a followed task: prints lines, reports what is missing.

use super::super::output::Output;
use super::super::run::exit_byte;
use super::printer::LinePrinter;
use super::view::TaskView;
use crate::client::follow::TaskUpdate;
use crate::model::{Gap, GapReason, Task, TaskStatus};

/// The output of one `follow`.
pub(super) struct FollowSession {
    pub(super) output: Output,
    pub(super) printer: LinePrinter,
    /// Whether messages name the task.
    pub(super) names_tasks: bool,
}

impl FollowSession {
    /// Applies an item of a task. Returns whether the task has ended.
    ///
    /// # Errors
    /// Stdout or stderr is closed.
    pub(super) fn handle(&mut self, view: &mut TaskView, update: TaskUpdate) -> anyhow::Result<bool> {
        match update {
            TaskUpdate::Partial(line) => self.printer.print_partial(view, &line)?,
            TaskUpdate::Open { task, last_line, .. } => {
                view.open(&task, last_line);
                self.status(view, task)?;
            }
            TaskUpdate::Lines(mut lines) => {
                view.select(&mut lines);
                self.printer.print(view, lines)?;
            }
            TaskUpdate::Gap(gap) => {
                view.advance(gap.to);
                self.gap(view, gap)?;
            }
            TaskUpdate::Status(task) => self.status(view, task)?,
            TaskUpdate::Reset(reason) => {
                view.reset();
                self.note(view, format_args!("the log was replaced ({reason}); printing it from its first line"))?;
            }
            TaskUpdate::Disconnected(why) => self.disconnected(&why)?,
            TaskUpdate::Reconnected => self.reconnected()?,
            TaskUpdate::End(task) => {
                view.details = Some(task);
                return Ok(true);
            }
        }
        Ok(view.is_done())
    }

    /// Completes the output of a task.
    ///
    /// # Errors
    /// Stdout or stderr is closed.
    pub(super) fn finish(&mut self, view: &mut TaskView) -> anyhow::Result<()> {
        Ok(self.printer.finish(view)?)
    }

    /// Reports a lost connection.
    ///
    /// # Errors
    /// Stdout or stderr is closed.
    pub(super) fn disconnected(&mut self, why: &str) -> anyhow::Result<()> {
        self.printer.settle()?;
        self.output.note(format_args!("connection lost ({why}); retrying"));
        Ok(())
    }

    /// Reports that the connection is open again.
    ///
    /// # Errors
    /// Stdout or stderr is closed.
    pub(super) fn reconnected(&mut self) -> anyhow::Result<()> {
        self.printer.settle()?;
        self.output.note("reconnected; no line is missing");
        Ok(())
    }

    fn note(&mut self, view: &TaskView, note: std::fmt::Arguments<'_>) -> anyhow::Result<()> {
        self.printer.settle()?;
        if self.names_tasks {
            self.output.note(format_args!("{}: {note}", view.id));
        } else {
            self.output.note(note);
        }
        Ok(())
    }

    fn status(&mut self, view: &mut TaskView, task: Task) -> anyhow::Result<()> {
        if view.update(task) {
            let lost = "the task is lost: its worker stopped responding before it reported the end";
            self.note(view, format_args!("{lost}"))?;
        }
        Ok(())
    }

    /// Reports a gap, unless a printed marker line already shows it.
    fn gap(&mut self, view: &TaskView, gap: Gap) -> anyhow::Result<()> {
        let Gap { from, to, reason, count, marked } = gap;
        if marked && self.printer.shows_internal() {
            return Ok(());
        }
        match reason {
            GapReason::Trimmed => self.note(view, format_args!("lines {from} to {to} were deleted")),
            GapReason::Quota if marked => {
                self.note(view, format_args!("{count} lines before line {from} exceeded the task's limit"))
            }
            GapReason::Quota => self.note(
                view,
                format_args!(
                    "lines {from} to {to} were dropped: the log exceeded its limit, which keeps its start and its end"
                ),
            ),
            GapReason::Skipped => self.note(view, format_args!("{count} lines were skipped before line {from}")),
            GapReason::LostInTransit => {
                self.note(view, format_args!("{count} lines were lost in transit before line {from}"))
            }
        }
    }
}

/// Returns the exit code for `--exit-status`, as in a shell; 1 for an end without a code, or without an end.
pub(super) fn status_code(task: Option<&Task>) -> u8 {
    match task.map(|task| (task.status, task.exit_code, task.signal)) {
        None | Some((TaskStatus::Lost, ..) | (_, None, None)) => 1,
        Some((_, Some(code), _)) => exit_byte(code),
        Some((_, None, Some(signal))) => exit_byte(128 + signal),
    }
}
