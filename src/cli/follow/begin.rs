//! Where `follow` begins: `-n`, `--since`, `--after`, `--stream` turned into a line or a cursor.

use serde::Deserialize;

use super::super::args::FollowArgs;
use super::super::output::Output;
use super::super::show::{self, task_error};
use crate::client::follow::FollowStart;
use crate::client::{ClientError, HttpClient};
use crate::model::units;
use crate::model::{Channel, ChannelSet, Line, Timestamp, limits};

/// The answer to a search.
pub(super) struct Begin {
    pub(super) start: FollowStart,
    /// No line is there from that place on, now.
    pub(super) nothing_there: bool,
}

#[derive(Debug, Deserialize)]
struct Page {
    lines: Vec<Line<'static>>,
}

/// Looks for the first line to print.
///
/// # Errors
/// A time that is none, no such task (unless it is waited for), no answer.
pub(super) async fn find(args: &FollowArgs, client: &HttpClient, output: Output) -> anyhow::Result<Begin> {
    let at = |start| Begin { start, nothing_there: false };
    let since = args.since.as_deref().map(|text| since(text, Timestamp::now())).transpose()?;
    if since.is_none() && args.lines.is_none() && args.after.is_none() {
        return Ok(at(FollowStart::Beginning));
    }
    let query = Query { args, client };
    let task = match show::get(client, &args.task).await {
        Ok(task) => task,
        // All that is going to be there is new.
        Err(_) if args.wait => return Ok(at(args.after.map_or(FollowStart::Beginning, FollowStart::After))),
        Err(error) => return Err(error),
    };
    if let Some(cursor) = args.after {
        let nothing_there = args.no_follow && query.page(&[("after", cursor.to_string())]).await?.is_empty();
        return Ok(Begin { start: FollowStart::After(cursor), nothing_there });
    }
    let mut from = task.first_line.max(1);
    if let Some(since) = since {
        from = query.first_since(since, from, task.last_line).await?;
    }
    if let Some(count) = args.lines {
        from = from.max(query.tail(count, task.last_line, output).await?);
    } else if from > task.last_line && !args.no_follow {
        return Ok(at(FollowStart::From(from)));
    }
    Ok(Begin { start: FollowStart::From(from), nothing_there: from > task.last_line })
}

struct Query<'a> {
    args: &'a FollowArgs,
    client: &'a HttpClient,
}

impl Query<'_> {
    async fn page(&self, parameters: &[(&str, String)]) -> anyhow::Result<Vec<Line<'static>>> {
        let with_limit = parameters.iter().any(|(name, _)| *name == "limit");
        let mut query: Vec<_> = parameters.iter().map(|(name, value)| (*name, Some(value.clone()))).collect();
        if !with_limit {
            query.push(("limit", Some("1".to_owned())));
        }
        let page: Result<Page, ClientError> =
            self.client.get(&format!("/api/v1/tasks/{}/lines", self.args.task), &query).await;
        Ok(page.map_err(|error| task_error(error, &self.args.task, self.client.endpoint()))?.lines)
    }

    /// The first line that is not older, found by halving: a task's times go up with its lines,
    /// but for the little that two pipes may be out of order.
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

    /// The first of the last `count` lines, of the wanted streams if not all are wanted.
    async fn tail(&self, count: u64, last: u64, output: Output) -> anyhow::Result<u64> {
        let streams = self.args.stream.unwrap_or(ChannelSet::ALL);
        if streams.is_all() || count == 0 {
            return Ok((last + 1).saturating_sub(count).max(1));
        }
        let most = limits::PAGE_LINES_MAX as u64;
        if count > most {
            output.note(format_args!("with --stream at most the last {most} lines are looked up"));
        }
        let count = count.min(most).to_string();
        let names = Channel::ALL.into_iter().filter(|channel| streams.contains(*channel));
        let names = names.map(Channel::as_str).collect::<Vec<_>>().join(",");
        let lines = self.page(&[("tail", count.clone()), ("limit", count), ("stream", names)]).await?;
        Ok(lines.first().map_or(last + 1, |line| line.n))
    }
}

/// `5m` ago, or a time.
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
    fn since_takes_durations_and_times() {
        let now = Timestamp::from_millis(1_000_000);
        assert_eq!(since("5m", now).unwrap(), Timestamp::from_millis(700_000));
        assert_eq!(since("1970-01-01T00:00:01Z", now).unwrap(), Timestamp::from_millis(1_000));
        assert_eq!(since("24h", now).unwrap(), Timestamp::from_millis(0), "before the beginning of time");
        assert!(since("yesterday", now).unwrap_err().to_string().contains("--since"));
    }
}
