//! `GET /api/v1/search`: lines of all tasks that match a pattern, newest task first, as NDJSON.
//!
//! Each hit is sent as soon as it is found. A request ends after `limit` hits or after `search_time_max`, and its
//! last row has the cursor to continue with. Work is done only while the client reads.

mod context;
mod queue;

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::unfold;
use serde_json::json;
use warp::http::{HeaderValue, header};
use warp::reply::{Reply, Response};

use self::context::HitContext;
use self::queue::{Position, TaskQueue};
use crate::auth::{Caller, Lease};
use crate::model::{Task, Timestamp, units};
use crate::server::http::auth::sees_task;
use crate::server::http::error::ApiError;
use crate::server::http::log_scan::{self, LogScan, ScanFilter, acquire_search};
use crate::server::http::named_task::find_task;
use crate::server::http::query::{self, QueryParams};
use crate::server::http::reply::push_row;
use crate::server::http::route_request::RouteRequest;
use crate::server::http::sse::SyncStream;
use crate::server::state::SharedState;
use crate::tasks::{FollowStart, TasksError};

/// Default and maximum number of hits in one response.
const HITS_DEFAULT: u64 = 1_000;
const HITS_MAX: u64 = 100_000;
/// Maximum number of lines of context before or after a hit.
const CONTEXT_MAX: u64 = 100;
/// Maximum number of tasks that one request names.
const TASKS_MAX: usize = 256;

/// Handles the route.
pub(super) async fn search(request: RouteRequest) -> Result<Response, ApiError> {
    let (query, caller, lease, state) = (request.query()?, request.caller()?, request.lease()?, request.state.clone());
    let pattern = log_scan::pattern(&query, &state)?.ok_or_else(|| ApiError::bad_query("q", "is missing"))?;
    let context = |name| -> Result<u64, ApiError> {
        let lines = query.number(name)?.unwrap_or(0);
        if lines > CONTEXT_MAX {
            return Err(ApiError::bad_query(name, format!("must be at most {CONTEXT_MAX}")));
        }
        Ok(lines)
    };
    let deadline = Instant::now() + state.options.limits.search_time_max;
    let filter = ScanFilter { pattern, channels: query.get("stream")?.unwrap_or_default(), deadline };
    let named = named_tasks(&query, &state, &caller).await?;
    let search = LogSearch {
        filter,
        since: query.text("since").map(|text| since(text, Timestamp::now())).transpose()?,
        before: context("before")?,
        behind: context("behind")?,
        hits_left: usize::try_from(query.limit(HITS_DEFAULT, HITS_MAX)?).unwrap_or(usize::MAX),
        queue: TaskQueue::new(&query, named, query.get("after")?)?,
        current: None,
        lease,
        caller,
        state,
        ended: false,
    };
    // A search that has to wait for too long is rejected before the response begins.
    drop(acquire_search(&search.state).await?);
    let rows = unfold(search, |mut search| async move { search.next().await.map(|rows| (rows, search)) });
    let mut response = warp::reply::stream(SyncStream::new(rows)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies must not buffer the stream.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Parses a time in RFC 3339, a date or a time without an offset in UTC, `today`, `yesterday`, or a duration before now.
fn since(text: &str, now: Timestamp) -> Result<Timestamp, ApiError> {
    let text = text.trim();
    let ago = |ago: Duration| {
        let ago_ms = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_millis(now.as_millis().saturating_sub(ago_ms))
    };
    let day = |time: Timestamp| time.to_string().get(..10).map(|date| format!("{date}T00:00:00Z"));
    let start_of = |time: Timestamp| day(time).and_then(|text| text.parse().ok());
    let known = match text {
        "now" => Some(now),
        "today" => start_of(now),
        "yesterday" => start_of(ago(Duration::from_hours(24))),
        _ => None,
    };
    let known = known.or_else(|| text.parse().ok()).or_else(|| units::duration(text).ok().map(ago));
    let spaced = text.replacen(' ', "T", 1);
    let known =
        known.or_else(|| ["Z", ":00Z", "T00:00:00Z"].iter().find_map(|end| format!("{spaced}{end}").parse().ok()));
    let forms = "must be a time such as 2026-11-30T10:00:00Z, a date, `today`, `yesterday`, or a duration such as 2h";
    known.ok_or_else(|| ApiError::bad_query("since", forms))
}

/// Returns the tasks of the parameters `task`, newest first, or `None` if there are none.
async fn named_tasks(
    query: &QueryParams,
    state: &SharedState,
    caller: &Caller,
) -> Result<Option<Vec<Position>>, ApiError> {
    let ids: Vec<&str> = query.texts("task").collect();
    if ids.is_empty() {
        return Ok(None);
    }
    if ids.len() > TASKS_MAX {
        return Err(ApiError::bad_query("task", format!("at most {TASKS_MAX} tasks can be named")));
    }
    let mut named = Vec::new();
    for id in ids {
        let id = query::parse_task_id(id)?;
        let found = if sees_task(state, caller, &id) {
            find_task(state, caller, &id, FollowStart::From(1)).await?
        } else {
            None
        };
        let task = found.ok_or_else(|| ApiError::task_not_found(&id))?;
        named.push(Position { line: 1, created: task.details().created, task: task.id().clone() });
    }
    named.sort_by(|a, b| b.key().cmp(&a.key()));
    named.dedup();
    Ok(Some(named))
}

/// A search, between two parts of its response.
struct LogSearch {
    state: SharedState,
    caller: Caller,
    lease: Lease,
    filter: ScanFilter,
    since: Option<Timestamp>,
    /// Lines of context before and after a hit.
    before: u64,
    behind: u64,
    hits_left: usize,
    queue: TaskQueue,
    current: Option<TaskSearch>,
    ended: bool,
}

/// The search of one task.
struct TaskSearch {
    scan: LogScan,
    created: Timestamp,
    context: HitContext,
}

impl LogSearch {
    /// Returns the next rows, or `None` after the last one.
    async fn next(&mut self) -> Option<Result<Bytes, Box<dyn std::error::Error + Send + Sync>>> {
        if self.ended {
            return None;
        }
        let mut lease = self.lease.clone();
        let state = self.state.clone();
        let rows = tokio::select! {
            biased;
            () = state.shutdown.cancelled() => Err(TasksError::Closed.to_string()),
            end = lease.ended() => Err(end.reason().to_owned()),
            rows = self.advance() => rows.map_err(|error| error.to_string()),
        };
        // An error ends the response before its last row, so that the client cannot take it for complete.
        self.ended |= rows.is_err();
        Some(rows.map_err(Into::into))
    }

    /// Searches until there are rows.
    async fn advance(&mut self) -> Result<Bytes, TasksError> {
        let _permit = match acquire_search(&self.state).await {
            Ok(permit) => permit,
            Err(_) => return Ok(self.finish(Vec::new())),
        };
        loop {
            if self.current.is_none() && !self.open_next().await? {
                return Ok(self.finish(Vec::new()));
            }
            let Some(task) = &mut self.current else { continue };
            let slice = task.scan.next_slice(self.hits_left).await?;
            let is_last = slice.is_none();
            let mut hits = slice.map(|slice| slice.lines).unwrap_or_default();
            if let Some(since) = self.since {
                hits.retain(|line| line.timestamp >= since);
            }
            self.hits_left -= hits.len();
            let is_over = self.hits_left == 0 || Instant::now() >= self.filter.deadline;
            let mut rows = Vec::new();
            task.context.push_rows(&mut rows, task.scan.task(), hits, is_last || is_over).await?;
            if is_over {
                return Ok(self.finish(rows));
            }
            if is_last {
                self.current = None;
            }
            if !rows.is_empty() {
                return Ok(rows.into());
            }
        }
    }

    /// Opens the next task that may have lines. Returns false if there is none.
    async fn open_next(&mut self) -> Result<bool, TasksError> {
        loop {
            while let Some(position) = self.queue.ready.pop_front() {
                if !sees_task(&self.state, &self.caller, &position.task) {
                    continue;
                }
                let Some(task) = self.state.tasks.get(&position.task).await? else { continue };
                let context = HitContext { before: self.before, behind: self.behind, ..HitContext::default() };
                let scan = LogScan::new(task, self.filter.clone(), position.line);
                self.current = Some(TaskSearch { scan, created: position.created, context });
                return Ok(true);
            }
            let Some(list) = &mut self.queue.list else { return Ok(false) };
            let page = self.state.tasks.list_where(list, |task| sees_task(&self.state, &self.caller, task)).await?;
            let since = self.since;
            let may_match = |task: &Task| since.is_none_or(|since| task.ended.is_none_or(|ended| ended >= since));
            let tasks = page.tasks.into_iter().filter(may_match);
            let ready = tasks.map(|task| Position { line: 1, created: task.created, task: task.id });
            self.queue.ready.extend(ready);
            match page.next {
                Some(next) => list.after = Some(next),
                None => self.queue.list = None,
            }
            tokio::task::yield_now().await;
        }
    }

    /// Adds the last row: the position of the next task or line, or null.
    fn finish(&mut self, mut rows: Vec<u8>) -> Bytes {
        self.ended = true;
        let position = match &self.current {
            Some(task) => Some(Position {
                line: task.scan.position(),
                created: task.created,
                task: task.scan.task().id().clone(),
            }),
            None => self.queue.ready.front().cloned(),
        };
        push_row(&mut rows, &json!({ "next": position.map(|position| position.to_string()) }));
        rows.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_accepts_times_dates_and_durations() {
        let now = "2026-11-30T10:30:00Z".parse().unwrap();
        for (text, wanted) in [
            ("2026-11-30T10:00:00+01:00", "2026-11-30T09:00:00.000Z"),
            ("2026-11-30", "2026-11-30T00:00:00.000Z"),
            ("2026-11-30 10:15", "2026-11-30T10:15:00.000Z"),
            ("2026-11-30T10:15:20", "2026-11-30T10:15:20.000Z"),
            ("today", "2026-11-30T00:00:00.000Z"),
            ("yesterday", "2026-11-29T00:00:00.000Z"),
            (" 2h ", "2026-11-30T08:30:00.000Z"),
            ("now", "2026-11-30T10:30:00.000Z"),
        ] {
            assert_eq!(since(text, now).unwrap().to_string(), wanted, "{text}");
        }
        for bad in ["soon", "tuesday", "2026-13-01", "-2h", "10:15"] {
            assert!(since(bad, now).is_err(), "{bad}");
        }
    }
}
