//! `GET /api/v1/search`: lines of all tasks that match a pattern, newest task first, as NDJSON.
//!
//! Each hit is sent as soon as it is found. A request ends after `limit` hits or after `search_time_max`, and its
//! last row has the cursor to continue with. Work is done only while the client reads.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use bytes::Bytes;
use futures::stream::unfold;
use serde::Serialize;
use serde_json::json;
use warp::http::{HeaderValue, header};
use warp::reply::{Reply, Response};

use super::auth::sees_task;
use super::error::ApiError;
use super::log_scan::{self, LogScan, ScanFilter, acquire_search};
use super::named_task::find_task;
use super::query::{self, QueryParams};
use super::reply::push_row;
use super::route_request::RouteRequest;
use super::sse::SyncStream;
use crate::auth::{Caller, Lease};
use crate::model::{Line, Task, TaskId, Timestamp};
use crate::server::state::SharedState;
use crate::tasks::{FollowStart, ListQuery, TaskHandle, TasksError};

/// Default and maximum number of hits in one response.
const HITS_DEFAULT: u64 = 1_000;
const HITS_MAX: u64 = 100_000;
/// Maximum number of lines of context before or after a hit.
const CONTEXT_MAX: u64 = 100;
/// Maximum number of tasks that one request names.
const TASKS_MAX: usize = 256;
/// Tasks per read of the list.
const LIST_TASKS: usize = 100;

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
    let search = Search {
        filter,
        since: query.get("since")?,
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

/// Returns the tasks of the parameters `task`, newest first, or `None` if there are none.
async fn named_tasks(
    query: &QueryParams,
    state: &SharedState,
    caller: &Caller,
) -> Result<Option<Vec<Position>>, ApiError> {
    let ids = query.all("task");
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

/// The position of a search: a line of a task, or the end of the task for line 0.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Position {
    line: u64,
    created: Timestamp,
    task: TaskId,
}

impl Position {
    /// Returns the key by which tasks are ordered.
    fn key(&self) -> (Timestamp, &TaskId) {
        (self.created, &self.task)
    }
}

/// Writes `LINE.MILLISECONDS.ID`.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.line, self.created.as_millis(), self.task)
    }
}

impl FromStr for Position {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (line, rest) = text.split_once('.')?;
            let (created, task) = rest.split_once('.')?;
            let created = Timestamp::from_millis(created.parse().ok()?);
            Some(Self { line: line.parse().ok()?, created, task: task.parse().ok()? })
        };
        parse().ok_or("is not the cursor of a search")
    }
}

/// The tasks that are still to be searched, newest first.
struct TaskQueue {
    ready: VecDeque<Position>,
    /// The query of the next page of the list; `None` at its end, and if the tasks were named.
    list: Option<ListQuery>,
}

impl TaskQueue {
    fn new(query: &QueryParams, named: Option<Vec<Position>>, after: Option<Position>) -> Result<Self, ApiError> {
        if let Some(named) = named {
            let mut ready: VecDeque<Position> = named.into();
            if let Some(after) = after {
                ready.retain(|position| position.key() < after.key());
                if after.line > 0 {
                    ready.push_front(after);
                }
            }
            return Ok(Self { ready, list: None });
        }
        let label = query.label()?;
        let list_after = after.as_ref().map(|after| format!("{}.{}", after.created.as_millis(), after.task));
        let list = Some(ListQuery { status: None, label, limit: LIST_TASKS, after: list_after });
        Ok(Self { ready: after.filter(|after| after.line > 0).into_iter().collect(), list })
    }
}

/// A search, between two parts of its response.
struct Search {
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
    context: Context,
}

impl Search {
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
                let context = Context { before: self.before, behind: self.behind, ..Context::default() };
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

/// A row of the response.
#[derive(Serialize)]
struct Hit<'a> {
    task: &'a TaskId,
    n: u64,
    line: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    context: bool,
}

/// The lines around the hits of one task.
#[derive(Default)]
struct Context {
    before: u64,
    behind: u64,
    /// The last line sent.
    sent: u64,
    /// The last line of the context of the hits so far.
    open_to: u64,
}

impl Context {
    /// Adds hits with their context, and with `flush` the lines after the last one.
    async fn push_rows(
        &mut self,
        rows: &mut Vec<u8>,
        task: &TaskHandle,
        hits: Vec<Line<'static>>,
        flush: bool,
    ) -> Result<(), TasksError> {
        for hit in hits {
            let from = hit.n.saturating_sub(self.before);
            let open_to = self.open_to.min(hit.n - 1);
            self.push_lines(rows, task, self.sent + 1, open_to).await?;
            self.push_lines(rows, task, from.max(self.sent + 1), hit.n - 1).await?;
            push_line(rows, task.id(), &hit, false);
            (self.sent, self.open_to) = (hit.n, hit.n + self.behind);
        }
        if flush {
            self.push_lines(rows, task, self.sent + 1, self.open_to).await?;
        }
        Ok(())
    }

    /// Adds lines of context.
    async fn push_lines(
        &mut self,
        rows: &mut Vec<u8>,
        task: &TaskHandle,
        from: u64,
        to: u64,
    ) -> Result<(), TasksError> {
        if from > to {
            return Ok(());
        }
        let count = usize::try_from(to + 1 - from).unwrap_or(usize::MAX);
        let page = task.read(from, crate::tasks::PageLimits { lines: count, bytes: usize::MAX }).await?;
        for line in page.lines.iter().filter(|line| line.n <= to) {
            push_line(rows, task.id(), line, true);
        }
        self.sent = self.sent.max(to);
        Ok(())
    }
}

fn push_line(rows: &mut Vec<u8>, task: &TaskId, line: &Line<'_>, context: bool) {
    push_row(rows, &Hit { task, n: line.n, line: &line.line, context });
}
