//! Translates `-n`, `--since`, `--until` and `--after` of `follow` into line numbers or a cursor.

use super::super::show;
use super::grep::GrepFilter;
use super::history::tail_starts;
use super::pages::LogPages;
use super::{FollowArgs, TailCount};
use crate::client::HttpClient;
use crate::client::follow::TaskFollowStart;
use crate::model::{ChannelSet, TaskId, Timestamp};

/// The part of a log that is read.
pub(super) struct StartPoint {
    pub(super) start: TaskFollowStart,
    /// First number to print of each channel.
    pub(super) starts: [u64; 3],
    /// Number of the last line to print, if it is known.
    pub(super) stop_at: Option<u64>,
    /// Whether no line exists in that part, and none will be.
    pub(super) is_empty: bool,
}

impl StartPoint {
    /// Returns the part from a position to the end.
    pub(super) fn at(start: TaskFollowStart) -> Self {
        Self { start, starts: [0; 3], stop_at: None, is_empty: false }
    }
}

/// Finds the part of a task's log to print.
///
/// # Errors
/// There is no such task (without `--wait`), or there is no response.
pub(super) async fn find(
    args: &FollowArgs,
    grep: Option<&GrepFilter>,
    id: &TaskId,
    client: &HttpClient,
) -> anyhow::Result<StartPoint> {
    let now = Timestamp::now();
    let past_until = args.until.filter(|until| *until < now);
    let count = match args.lines {
        Some(TailCount::Last(count)) => Some(count),
        Some(TailCount::All) | None => None,
    };
    if args.since.is_none() && past_until.is_none() && count.is_none() && args.after.is_none() {
        return Ok(StartPoint::at(TaskFollowStart::Beginning));
    }
    let log = LogPages { task: id, client };
    let task = match show::get(client, id).await {
        Ok(task) => task,
        // All lines of a future task are new.
        Err(_) if args.wait => {
            return Ok(StartPoint::at(args.after.map_or(TaskFollowStart::Beginning, TaskFollowStart::After)));
        }
        Err(error) => return Err(error),
    };
    let first = task.first_line.max(1);
    let mut last = task.last_line;
    if let Some(until) = past_until {
        let after = Timestamp::from_millis(until.as_millis().saturating_add(1));
        last = log.first_since(after, first, last).await? - 1;
    }
    let stop_at = past_until.map(|_| last);
    if let Some(cursor) = args.after {
        let start = TaskFollowStart::After(cursor);
        let is_ended = args.no_follow || stop_at.is_some();
        let from = log.page(&[("after", cursor.to_string())]).await?.first().map(|line| line.n);
        let is_empty = is_ended && from.is_none_or(|from| from > last);
        return Ok(StartPoint { start, starts: [0; 3], stop_at, is_empty });
    }
    let mut from = first;
    if let Some(since) = args.since {
        from = log.first_since(since, first, task.last_line).await?;
    }
    let mut starts = [from; 3];
    if let Some(count) = count {
        let streams = args.stream.unwrap_or(ChannelSet::ALL);
        starts = tail_starts(&log, count, streams, grep, from, last).await?;
        from = starts.into_iter().min().unwrap_or(from);
    }
    let is_empty = from > last && (args.no_follow || stop_at.is_some());
    Ok(StartPoint { start: TaskFollowStart::From(from), starts, stop_at, is_empty })
}
