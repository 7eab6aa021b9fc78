//! `tasktail follow`: a task's lines in this terminal, history then live.

mod begin;
mod printer;

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use tokio::time::timeout;

use super::args::FollowArgs;
use super::locate::{Locator, Purpose};
use super::output::Output;
use super::run::exit_byte;
use super::{Context, EXIT_INTERRUPTED, interrupted};
use crate::client::follow::{FollowError, FollowStart, Relocate, TaskFollower, TaskUpdate};
use crate::model::{ChannelSet, Gap, GapReason, Task, TaskId, TaskStatus};
use printer::Printer;

/// After the last line that was there, for `--no-follow`: a server that says no more is done.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn run(args: FollowArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let explicit = settings.url.is_some();
    let locator = Arc::new(Locator::new(settings, output, Purpose::Look));
    let result = tokio::select! {
        result = follow(&args, &locator, explicit, output) => result,
        result = interrupted() => result.map(|()| EXIT_INTERRUPTED),
    };
    locator.close().await;
    result
}

async fn follow(args: &FollowArgs, locator: &Arc<Locator>, explicit: bool, output: Output) -> anyhow::Result<u8> {
    let client = locator.client().await?;
    let begin = begin::find(args, &client, output).await?;
    if args.no_follow && begin.nothing_there {
        return Ok(0);
    }
    let mut follower = TaskFollower::new(client.endpoint().clone(), args.task.clone(), begin.start.clone(), args.wait);
    if !explicit {
        follower = follower.with_relocate(relocate(locator));
    }
    let mut session = Session {
        task: &args.task,
        output,
        printer: Printer::new(args.stream.unwrap_or(ChannelSet::ALL), args.timestamps, output.json()),
        no_follow: args.no_follow,
        start: begin.start,
        seen: 0,
        stop_at: None,
        last: None,
    };
    let result = session.read(&mut follower).await;
    // What is printed is printed, also before an error.
    session.printer.finish()?;
    follower.close().await;
    result?;
    Ok(if args.exit_status { session.last.as_ref().map_or(1, status_code) } else { 0 })
}

/// One reading, from the first message to the end.
struct Session<'a> {
    task: &'a TaskId,
    output: Output,
    printer: Printer,
    no_follow: bool,
    start: FollowStart,
    /// The last line number that was given or named in a gap.
    seen: u64,
    /// The reading ends with this line.
    stop_at: Option<u64>,
    /// The task's facts as they were told last.
    last: Option<Task>,
}

impl Session<'_> {
    async fn read(&mut self, follower: &mut TaskFollower) -> anyhow::Result<()> {
        while !self.is_done() {
            let next = match (self.no_follow, self.stop_at) {
                (true, Some(_)) => timeout(LAST_WORD_TIMEOUT, follower.next()).await.unwrap_or(Ok(None)),
                _ => follower.next().await,
            };
            match next.map_err(|error| self.explain(error))? {
                None => break,
                Some(event) => self.tell(event)?,
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.stop_at.is_some_and(|stop| self.seen >= stop)
    }

    fn tell(&mut self, event: TaskUpdate) -> anyhow::Result<()> {
        match event {
            TaskUpdate::Open { task, last_line, .. } => {
                if self.no_follow {
                    self.stop_at = Some(last_line);
                    if let FollowStart::From(n) = self.start {
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
                self.output.note(format_args!("the log begins anew: {reason}"));
            }
            TaskUpdate::Disconnected(why) => self.output.note(format_args!("connection lost ({why}); trying again")),
            TaskUpdate::Reconnected => self.output.note("connected again, nothing is missing"),
            TaskUpdate::End(task) => self.last = Some(task),
        }
        Ok(())
    }

    /// A lost task has nobody who would end it: its log is read up to what is there.
    fn status(&mut self, task: Task) {
        if !self.no_follow {
            let lost = task.status == TaskStatus::Lost;
            if lost && self.stop_at.is_none() {
                self.output.note("the task is lost: its worker has gone silent without saying the end");
            }
            self.stop_at = lost.then_some(task.last_line);
        }
        self.last = Some(task);
    }

    /// A marked gap has a line in its place that says so; of the others nothing is to be seen.
    fn gap(&self, gap: Gap) {
        let Gap { from, to, reason, count, marked } = gap;
        if marked && self.printer.shows_internal() {
            return;
        }
        match reason {
            GapReason::Trimmed => self.output.note(format_args!("lines {from} to {to} are no longer there")),
            GapReason::Quota if marked => {
                self.output.note(format_args!("{count} lines were over the task's limit before line {from}"));
            }
            GapReason::Quota => self.output.note(format_args!(
                "lines {from} to {to} were not kept: the log was over its limit, which leaves its head and its tail"
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
                anyhow!("there is no task `{}`; with --wait it is waited for", self.task)
            }
            error => error.into(),
        }
    }
}

/// The server may have ended with the `run` it lived in: then the log is read here.
fn relocate(locator: &Arc<Locator>) -> Relocate {
    let locator = Arc::clone(locator);
    Box::new(move || {
        let locator = Arc::clone(&locator);
        Box::pin(async move { locator.endpoint_after_loss().await.ok() })
    })
}

/// `--exit-status`: as a shell gives it; 1 for an end without a code.
fn status_code(task: &Task) -> u8 {
    match (task.status, task.exit_code, task.signal) {
        (TaskStatus::Lost, ..) => 1,
        (_, Some(code), _) => exit_byte(code),
        (_, None, Some(signal)) => exit_byte(128 + signal),
        (_, None, None) => 1,
    }
}
