//! The tool `wait_for_task`.

use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use super::super::follow::relocate;
use super::super::task_ref::resolve;
use super::access::{SharedAccess, task_id};
use super::fields::{ToolArguments, invalid};
use super::fitting;
use crate::analysis::{LogPattern, PatternLimits};
use crate::client::follow::{LogFollower, TaskFollowStart, TaskUpdate};
use crate::model::{Channel, Line, Task, TaskId, TaskStatus};

/// Default maximum time: less than what clients wait for.
const TIMEOUT_DEFAULT_S: u64 = 50;
/// Maximum bytes of a line that matched.
const LINE_BYTES_MAX: usize = 1_000;

/// Waits for the end of a task, or for a line.
///
/// # Errors
/// An argument is invalid, there is no such task, or no response.
pub(super) async fn call(access: &SharedAccess, arguments: &ToolArguments) -> anyhow::Result<Value> {
    let pattern = arguments.parsed("pattern", |text| LogPattern::new(text, false, PatternLimits::default()))?;
    if pattern.is_none() && arguments.number("from").is_some() {
        return Err(invalid("from", &"it has no effect without `pattern`; leave it out, or add a pattern"));
    }
    let limit = Duration::from_secs(arguments.number("timeout_s").unwrap_or(TIMEOUT_DEFAULT_S));
    let client = access.locator.client().await?;
    let task = resolve(&client, task_id(arguments, "task")?.as_ref()).await?;
    let id: TaskId = task.exact_id().parse()?;
    let start = match (&pattern, arguments.number("from")) {
        (None, _) => TaskFollowStart::Tail(0),
        (Some(_), None) => TaskFollowStart::Beginning,
        (Some(_), Some(from)) => TaskFollowStart::From(from),
    };
    let mut follower = LogFollower::new(client.endpoint().clone(), id, start, false);
    if !access.explicit {
        follower = follower.with_relocate(relocate(&access.locator));
    }
    let seen = arguments.number("from").map_or(0, |from| from - 1);
    let mut waited = WaitState { task, pattern, seen, matched: None };
    let reason = timeout(limit, waited.read(&mut follower)).await.unwrap_or(Ok("timeout"));
    follower.close().await;
    let mut result = fitting::task(&waited.task);
    result["reason"] = reason?.into();
    if let Some(line) = waited.matched {
        result["match"] = fitting::line(line.n, &line.line, LINE_BYTES_MAX);
    }
    Ok(result)
}

/// The details of the task so far, and the line that matched.
struct WaitState {
    task: Task,
    pattern: Option<LogPattern>,
    /// The last line that was examined.
    seen: u64,
    matched: Option<Line<'static>>,
}

impl WaitState {
    /// Reads the log until something to report happens, and returns its name.
    async fn read(&mut self, follower: &mut LogFollower) -> anyhow::Result<&'static str> {
        while let Some(update) = follower.next().await? {
            match update {
                TaskUpdate::Open { task, .. } | TaskUpdate::Status(task) => self.task = task,
                TaskUpdate::Lines(lines) => {
                    self.seen = lines.last().map_or(self.seen, |line| line.n);
                    let matches = |line: &Line<'_>| {
                        line.channel != Channel::Internal
                            && self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(&line.line))
                    };
                    if let Some(line) = lines.into_iter().find(matches) {
                        self.matched = Some(line);
                        return Ok("matched");
                    }
                }
                TaskUpdate::Gap(gap) => self.seen = self.seen.max(gap.to),
                TaskUpdate::End(task) => {
                    self.task = task;
                    return Ok("ended");
                }
                TaskUpdate::Reset(_) => self.seen = 0,
                TaskUpdate::Partial(_) | TaskUpdate::Disconnected(_) | TaskUpdate::Reconnected => {}
            }
            // A lost task has no end; its lines may still match.
            let all_seen = self.pattern.is_none() || self.seen >= self.task.last_line;
            if self.task.status == TaskStatus::Lost && all_seen {
                return Ok("lost");
            }
        }
        Ok("ended")
    }
}
