//! Translates `-n`, `--since`, `--after` and `--stream` of `follow` into a line number or a cursor.

use serde::Deserialize;

use super::super::output::{Output, task_error};
use super::super::show;
use super::FollowArgs;
use crate::client::follow::TaskFollowStart;
use crate::client::{ClientError, HttpClient};
use crate::model::units;
use crate::model::{Channel, ChannelSet, Line, Timestamp, limits};

/// The position where reading starts.
pub(super) struct StartPoint {
    pub(super) start: TaskFollowStart,
    /// Whether no line exists yet from that position on.
    pub(super) is_empty: bool,
}

#[derive(Debug, Deserialize)]
struct LineListPage {
    lines: Vec<Line<'static>>,
}

/// Finds the first line to print.
///
/// # Errors
/// The time is invalid, there is no such task (without `--wait`), or there is no response.
pub(super) async fn find(args: &FollowArgs, client: &HttpClient, output: Output) -> anyhow::Result<StartPoint> {
    let at = |start| StartPoint { start, is_empty: false };
    let since = args.since.as_deref().map(|text| since(text, Timestamp::now())).transpose()?;
    if since.is_none() && args.lines.is_none() && args.after.is_none() {
        return Ok(at(TaskFollowStart::Beginning));
    }
    let query = LineSearch { args, client };
    let task = match show::get(client, &args.task).await {
        Ok(task) => task,
        // All lines of a future task are new.
        Err(_) if args.wait => return Ok(at(args.after.map_or(TaskFollowStart::Beginning, TaskFollowStart::After))),
        Err(error) => return Err(error),
    };
    if let Some(cursor) = args.after {
        let is_empty = args.no_follow && query.page(&[("after", cursor.to_string())]).await?.is_empty();
        return Ok(StartPoint { start: TaskFollowStart::After(cursor), is_empty });
    }
    let mut from = task.first_line.max(1);
    if let Some(since) = since {
        from = query.first_since(since, from, task.last_line).await?;
    }
    if let Some(count) = args.lines {
        from = from.max(query.tail(count, task.last_line, output).await?);
    } else if from > task.last_line && !args.no_follow {
        return Ok(at(TaskFollowStart::From(from)));
    }
    Ok(StartPoint { start: TaskFollowStart::From(from), is_empty: from > task.last_line })
}

struct LineSearch<'a> {
    args: &'a FollowArgs,
    client: &'a HttpClient,
}

impl LineSearch<'_> {
    async fn page(&self, parameters: &[(&str, String)]) -> anyhow::Result<Vec<Line<'static>>> {
        let with_limit = parameters.iter().any(|(name, _)| *name == "limit");
        let mut query: Vec<_> = parameters.iter().map(|(name, value)| (*name, Some(value.clone()))).collect();
        if !with_limit {
            query.push(("limit", Some("1".to_owned())));
        }
        let page: Result<LineListPage, ClientError> =
            self.client.get(&format!("/api/v1/tasks/{}/lines", self.args.task), &query).await;
        Ok(page.map_err(|error| task_error(error, &self.args.task, self.client.endpoint()))?.lines)
    }

    /// Returns the first line that is not older than `since`, by binary search: the times of a task's
    /// lines increase, except for small reorderings between two pipes.
    async fn first_since(&self, since: Timestamp, first: u64, last: u64) -> anyhow::Result<u64> {
        let (mut low, mut high) = (first, last + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.page(&[("from", middle.to_string())]).await?.first() {
                Some(line) if line.timestamp < since => low = line.n.max(middle) + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// Returns the first of the last `count` lines of the selected streams.
    async fn tail(&self, count: u64, last: u64, output: Output) -> anyhow::Result<u64> {
        let streams = self.args.stream.unwrap_or(ChannelSet::ALL);
        if streams.is_all() || count == 0 {
            return Ok((last + 1).saturating_sub(count).max(1));
        }
        let most = limits::PAGE_LINES_MAX as u64;
        if count > most {
            output.note(format_args!("with --stream at most the last {most} lines are searched"));
        }
        let count = count.min(most).to_string();
        let names = Channel::ALL.into_iter().filter(|channel| streams.contains(*channel));
        let names = names.map(Channel::as_str).collect::<Vec<_>>().join(",");
        let lines = self.page(&[("tail", count.clone()), ("limit", count), ("stream", names)]).await?;
        Ok(lines.first().map_or(last + 1, |line| line.n))
    }
}

/// Parses a duration before now, such as `5m`, or a time.
fn since(text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let ago = units::duration(text).map_err(|_| {
        anyhow::anyhow!("--since: `{text}` is neither a duration such as 5m nor a time such as 2026-05-09T14:23:01Z")
    })?;
    let ago_ms = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
    Ok(Timestamp::from_millis(now.as_millis().saturating_sub(ago_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_accepts_durations_and_times() {
        let now = Timestamp::from_millis(1_000_000);
        assert_eq!(since("5m", now).unwrap(), Timestamp::from_millis(700_000));
        assert_eq!(since("1970-01-01T00:00:01Z", now).unwrap(), Timestamp::from_millis(1_000));
        assert_eq!(since("24h", now).unwrap(), Timestamp::from_millis(0), "before the beginning of time");
        assert!(since("yesterday", now).unwrap_err().to_string().contains("--since"));
    }
}
