//! `tasktail follow`: prints a task's lines, history then live.

mod printer;
mod start;

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use tokio::time::timeout;

use super::locate::{Locator, Purpose};
use super::output::Output;
use super::run::exit_byte;
use super::values::channels;
use super::{Context, EXIT_INTERRUPTED, interrupted};
use crate::client::follow::{FollowError, LogFollower, Relocate, TaskFollowStart, TaskUpdate};
use crate::model::{ChannelSet, Cursor, Gap, GapReason, Task, TaskId, TaskStatus};
use printer::LinePrinter;

/// Maximum wait for the next message with `--no-follow`.
const LAST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// `tasktail follow`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints lines of stdout to stdout, lines of stderr to stderr, and internal
messages of the worker and the server to stderr, prefixed with `# `. A terminal
receives only colours as control sequences; a pipe receives the text unchanged.
On a terminal the line that is still being written (a prompt, a progress bar) is
shown in place until it is complete.
The exit code is 0 at the end of the task. With --exit-status it is the task's:
its exit code, 128+N for signal N, and 1 for a lost task or one that was aborted
without an exit code.

Examples:
  tasktail follow nightly-7
  tasktail follow nightly-7 -n 100 -t
  tasktail follow nightly-7 --since 5m --stream stderr,internal
  tasktail follow nightly-7 --no-follow | grep error
  tasktail follow nightly-7 --wait --exit-status && ./deploy")]
pub struct FollowArgs {
    /// The task
    #[arg(value_name = "TASK")]
    task: TaskId,
    /// Start with the last N lines
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<u64>,
    /// Start this long ago (`5m`) or at this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Print only these streams: stdout, stderr, internal; separated by commas
    #[arg(long, value_name = "S,..", value_parser = channels)]
    stream: Option<ChannelSet>,
    /// Start after this cursor
    #[arg(long, value_name = "CURSOR", conflicts_with_all = ["lines", "since"])]
    after: Option<Cursor>,
    /// Print existing lines and exit
    #[arg(long)]
    no_follow: bool,
    /// Wait for a task that does not exist yet
    #[arg(long)]
    wait: bool,
    /// Prefix each line with its timestamp
    #[arg(short = 't', long)]
    timestamps: bool,
    /// Exit with the task's exit code
    #[arg(long, conflicts_with = "no_follow")]
    exit_status: bool,
}

pub(super) async fn run(args: FollowArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let explicit = settings.url.is_some();
    let locator = Arc::new(Locator::new(settings, output, Purpose::Query));
    let result = tokio::select! {
        result = follow(&args, &locator, explicit, output) => result,
        result = interrupted() => result.map(|()| EXIT_INTERRUPTED),
    };
    locator.close().await;
    result
}

async fn follow(args: &FollowArgs, locator: &Arc<Locator>, explicit: bool, output: Output) -> anyhow::Result<u8> {
    let client = locator.client().await?;
    let begin = start::find(args, &client, output).await?;
    if args.no_follow && begin.is_empty {
        return Ok(0);
    }
    let mut follower = LogFollower::new(client.endpoint().clone(), args.task.clone(), begin.start.clone(), args.wait);
    if !explicit {
        follower = follower.with_relocate(relocate(locator));
    }
    let printer = LinePrinter::new(args.stream.unwrap_or(ChannelSet::ALL), args.timestamps, output.json());
    follower = follower.with_partials(!args.no_follow && printer.shows_partials());
    let mut session = FollowSession {
        task: &args.task,
        output,
        printer,
        no_follow: args.no_follow,
        start: begin.start,
        seen: 0,
        stop_at: None,
        last: None,
    };
    let result = session.read(&mut follower).await;
    // Complete the output also before an error.
    session.printer.finish()?;
    follower.close().await;
    result?;
    Ok(if args.exit_status { session.last.as_ref().map_or(1, status_code) } else { 0 })
}

/// The state of one `follow`, from the first message to the end.
struct FollowSession<'a> {
    task: &'a TaskId,
    output: Output,
    printer: LinePrinter,
    no_follow: bool,
    start: TaskFollowStart,
    /// Number of the last line that was received or is part of a gap.
    seen: u64,
    /// Number of the line to stop after.
    stop_at: Option<u64>,
    /// Last known details of the task.
    last: Option<Task>,
}

impl FollowSession<'_> {
    async fn read(&mut self, follower: &mut LogFollower) -> anyhow::Result<()> {
        while !self.is_done() {
            let next = match (self.no_follow, self.stop_at) {
                (true, Some(_)) => timeout(LAST_MESSAGE_TIMEOUT, follower.next()).await.unwrap_or(Ok(None)),
                _ => follower.next().await,
            };
            match next.map_err(|error| self.explain(error))? {
                None => break,
                Some(update) => self.handle(update)?,
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.stop_at.is_some_and(|stop| self.seen >= stop)
    }

    fn handle(&mut self, update: TaskUpdate) -> anyhow::Result<()> {
        // Lines, and notes on the same terminal, take its place.
        self.printer.erase_partial()?;
        match update {
            TaskUpdate::Partial(line) => self.printer.print_partial(&line)?,
            TaskUpdate::Open { task, last_line, .. } => {
                if self.no_follow {
                    self.stop_at = Some(last_line);
                    if let TaskFollowStart::From(n) = self.start {
                        self.seen = n.saturating_sub(1);
                    }
                }
                self.status(task);
            }
            TaskUpdate::Lines(mut lines) => {
                if self.no_follow
                    && let Some(stop) = self.stop_at
                {
                    lines.retain(|line| line.n <= stop);
                }
                self.seen = lines.last().map_or(self.seen, |line| line.n);
                self.printer.print(&lines)?;
            }
            TaskUpdate::Gap(gap) => {
                self.seen = self.seen.max(gap.to);
                self.gap(gap);
            }
            TaskUpdate::Status(task) => self.status(task),
            TaskUpdate::Reset(reason) => {
                self.seen = 0;
                self.output.note(format_args!("the log was replaced ({reason}); printing it from its first line"));
            }
            TaskUpdate::Disconnected(why) => self.output.note(format_args!("connection lost ({why}); retrying")),
            TaskUpdate::Reconnected => self.output.note("reconnected; no line is missing"),
            TaskUpdate::End(task) => self.last = Some(task),
        }
        Ok(())
    }

    /// Updates the task's details. A lost task has no worker to end it, so its log is read up to the last line.
    fn status(&mut self, task: Task) {
        if !self.no_follow {
            let lost = task.status == TaskStatus::Lost;
            if lost && self.stop_at.is_none() {
                self.output.note("the task is lost: its worker stopped responding before it reported the end");
            }
            self.stop_at = lost.then_some(task.last_line);
        }
        self.last = Some(task);
    }

    /// Reports a gap, unless a printed marker line already shows it.
    fn gap(&self, gap: Gap) {
        let Gap { from, to, reason, count, marked } = gap;
        if marked && self.printer.shows_internal() {
            return;
        }
        match reason {
            GapReason::Trimmed => self.output.note(format_args!("lines {from} to {to} were deleted")),
            GapReason::Quota if marked => {
                self.output.note(format_args!("{count} lines before line {from} exceeded the task's limit"));
            }
            GapReason::Quota => self.output.note(format_args!(
                "lines {from} to {to} were dropped: the log exceeded its limit, which keeps its start and its end"
            )),
            GapReason::Skipped => self.output.note(format_args!("{count} lines were skipped before line {from}")),
            GapReason::LostInTransit => {
                self.output.note(format_args!("{count} lines were lost in transit before line {from}"));
            }
        }
    }

    fn explain(&self, error: FollowError) -> anyhow::Error {
        match error {
            FollowError::Refused { code, .. } if code == "not_found" => {
                anyhow!("there is no task `{}`; use --wait to wait for it", self.task)
            }
            error => error.into(),
        }
    }
}

/// Returns a function that locates the server again: an embedded server ends with its `run`, and then this
/// process serves the log.
fn relocate(locator: &Arc<Locator>) -> Relocate {
    let locator = Arc::clone(locator);
    Box::new(move || {
        let locator = Arc::clone(&locator);
        Box::pin(async move { locator.endpoint_after_loss().await.ok() })
    })
}

/// Returns the exit code for `--exit-status`, as in a shell; 1 for an end without a code.
fn status_code(task: &Task) -> u8 {
    match (task.status, task.exit_code, task.signal) {
        (TaskStatus::Lost, ..) => 1,
        (_, Some(code), _) => exit_byte(code),
        (_, None, Some(signal)) => exit_byte(128 + signal),
        (_, None, None) => 1,
    }
}
