//! `GET /api/v1/tasks/{id}/lines`: a page of the log, optionally filtered.
//!
//! A filter reads at most [`SCAN_LINES_MAX`] lines per request, and a search runs for at most
//! `search_time_max`. Then the response has fewer lines than `limit`, and its `cursor` and `next_line` follow
//! the last line examined, so the caller continues from there. The number of concurrent searches is limited.

use std::sync::Arc;
use std::time::{Duration, Instant};

use regex::{Regex, RegexBuilder};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use warp::reply::Response;

use super::error::ApiError;
use super::query::QueryParams;
use super::reply::uncached_json;
use super::route_request::RouteRequest;
use crate::model::limits::{Limit, Limits};
use crate::model::{ChannelSet, Cursor, Gap, Line, limits};
use crate::server::state::State;
use crate::tasks::{FollowStart, LogPage, PageLimits, TaskHandle, TasksError};

/// Maximum number of lines that a filtered request examines.
const SCAN_LINES_MAX: u64 = 200_000;
/// Lines per read.
const READ_LINES: u64 = 2_000;
/// Bytes of text per read.
const READ_BYTES: usize = 1024 * 1024;
/// Maximum bytes of text in one response, which has at least one line.
const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Maximum size of the lazy DFA of a search.
const DFA_BYTES_MAX: usize = 1024 * 1024;
/// Maximum nesting of groups in a pattern.
const NESTING_MAX: u32 = 50;
/// Maximum time that a search waits for a permit.
const SEARCH_WAIT: Duration = Duration::from_secs(10);

/// Handles the route.
pub(super) async fn page(request: RouteRequest) -> Result<Response, ApiError> {
    let (query, state) = (request.query()?, request.state.clone());
    let limit = query.limit(to_u64(limits::PAGE_LINES_DEFAULT), to_u64(limits::PAGE_LINES_MAX))?;
    let filter = LineFilter::parse(&query, &state)?;
    let start = query.start()?;
    let handle = request.task(start).await?;
    let searches = filter.pattern.is_some();
    let _permit = if searches { Some(acquire_search(&state).await?) } else { None };
    let deadline = searches.then(|| Instant::now() + state.options.limits.search_time_max);
    let mut scan = LineScan::new(handle, filter, deadline);
    match start {
        FollowStart::Tail(tail) if !scan.filter.matches_all() => scan.backward(tail.min(limit)).await?,
        FollowStart::Tail(tail) => {
            let tail = tail.min(limit);
            let last = scan.handle.details().last_line;
            scan.forward((last + 1).saturating_sub(tail).max(1), tail).await?;
        }
        FollowStart::From(from) => scan.forward(from, limit).await?,
        FollowStart::After(cursor) => {
            if cursor.epoch.incarnation != scan.handle.epoch().incarnation {
                let detail = "the cursor is from an earlier log of this task: start again with from=1";
                return Err(ApiError::new(409, "reset", detail));
            }
            scan.forward(cursor.n + 1, limit).await?;
            // If there are no new lines, the caller gets its own cursor back.
            if let Some((page, end)) = &mut scan.last
                && page.is_empty()
                && end.n == cursor.n
            {
                *end = cursor;
            }
        }
    }
    Ok(scan.into_response())
}

/// Acquires a permit for a search. Waiting requests are served in order.
async fn acquire_search(state: &State) -> Result<OwnedSemaphorePermit, ApiError> {
    if let Ok(permit) = state.searches.clone().try_acquire_owned() {
        return Ok(permit);
    }
    state.limit_counters.count(Limit::searches_max);
    match timeout(SEARCH_WAIT, state.searches.clone().acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => {
            let detail = format!("{} searches are running: try again", state.options.limits.searches_max);
            Err(ApiError::new(503, "busy", detail).retry_after(Duration::from_secs(1)))
        }
    }
}

/// A filter of lines by channel and pattern.
#[derive(Clone)]
struct LineFilter {
    channels: ChannelSet,
    pattern: Option<Regex>,
}

impl LineFilter {
    fn parse(query: &QueryParams, state: &State) -> Result<Self, ApiError> {
        let channels = query.get("stream")?.unwrap_or(ChannelSet::ALL);
        let pattern = query.text("q").map(|text| compile(text, &state.options.limits)).transpose();
        let pattern = pattern.map_err(|error| {
            if let Some(limit) = error.limit {
                state.limit_counters.count(limit);
            }
            ApiError::bad_query("q", error.reason)
        })?;
        Ok(Self { channels, pattern })
    }

    fn matches_all(&self) -> bool {
        self.channels.is_all() && self.pattern.is_none()
    }

    fn matches(&self, line: &Line<'_>) -> bool {
        self.channels.contains(line.channel) && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(&line.line))
    }
}

/// A pattern that cannot be compiled.
struct PatternError {
    /// The limit that it exceeds, if any.
    limit: Option<Limit>,
    reason: String,
}

/// Compiles a pattern within the limits.
fn compile(text: &str, limits: &Limits) -> Result<Regex, PatternError> {
    if text.len() as u64 > limits.search_pattern_bytes_max {
        let limit = Limit::search_pattern_bytes_max;
        let (max, name) = (limits.show(limit), limit.name());
        let reason = format!("the pattern has {} bytes, and {name} is {max}", text.len());
        return Err(PatternError { limit: Some(limit), reason });
    }
    let program_bytes = usize::try_from(limits.search_program_bytes_max).unwrap_or(usize::MAX);
    let mut builder = RegexBuilder::new(text);
    builder.size_limit(program_bytes).dfa_size_limit(DFA_BYTES_MAX).nest_limit(NESTING_MAX);
    builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            let limit = Limit::search_program_bytes_max;
            let (max, name) = (limits.show(limit), limit.name());
            let reason = format!("the compiled pattern is too large: {name} is {max}");
            PatternError { limit: Some(limit), reason }
        }
        other => PatternError { limit: None, reason: other.to_string() },
    })
}

/// A scan of a log for the lines of one response.
struct LineScan {
    handle: TaskHandle,
    filter: LineFilter,
    /// Deadline at which a search returns the lines found so far.
    deadline: Option<Instant>,
    lines: Vec<Line<'static>>,
    bytes: usize,
    gaps: Vec<Gap>,
    /// The last page read, and the cursor after the last line examined.
    last: Option<(Arc<LogPage>, Cursor)>,
}

impl LineScan {
    fn new(handle: TaskHandle, filter: LineFilter, deadline: Option<Instant>) -> Self {
        Self { handle, filter, deadline, lines: Vec::new(), bytes: 0, gaps: Vec::new(), last: None }
    }

    /// Collects up to `limit` matching lines, starting at a line number.
    async fn forward(&mut self, from: u64, limit: u64) -> Result<(), ApiError> {
        let (mut at, mut scanned) = (from.max(1), 0);
        let unfiltered = self.filter.matches_all();
        loop {
            let rest = limit.saturating_sub(to_u64(self.lines.len()));
            let budget = if unfiltered { rest } else { SCAN_LINES_MAX - scanned };
            let count = budget.min(READ_LINES);
            if rest == 0 || count == 0 || self.bytes >= RESPONSE_BYTES_MAX {
                break;
            }
            let page = self.handle.read(at, page_limits(count)).await?;
            self.gaps.extend(page.gap);
            let mut cursor = match &self.last {
                Some((_, end)) if page.is_empty() => *end,
                _ => page.cursor,
            };
            let (matching, examined) = self.matching(&page).await?;
            for line in matching.into_iter().filter_map(|at| page.lines.get(at)) {
                self.push(line);
                if to_u64(self.lines.len()) == limit {
                    cursor = Cursor { epoch: page.cursor.epoch, n: line.n, id: line.id };
                    break;
                }
            }
            let cut = page.lines.get(examined).and(page.lines.get(examined.saturating_sub(1)));
            if let Some(line) = cut.filter(|line| line.n < cursor.n) {
                cursor = Cursor { epoch: page.cursor.epoch, n: line.n, id: line.id };
            }
            let timed_out = self.timed_out();
            scanned += to_u64(page.lines.len());
            let finished = page.lines.is_empty() || page.next > page.last_line;
            at = page.next;
            self.last = Some((page, cursor));
            if finished || timed_out {
                break;
            }
            // A long scan must not block other tasks of this thread.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Collects the last `tail` matching lines, scanning windows from the end.
    async fn backward(&mut self, tail: u64) -> Result<(), ApiError> {
        let facts = self.handle.details();
        let (first, mut end, mut scanned) = (facts.first_line.max(1), facts.last_line + 1, 0);
        let mut windows: Vec<Vec<Line<'static>>> = Vec::new();
        let mut count = 0;
        while count < tail && end > first && scanned < SCAN_LINES_MAX && !self.timed_out() {
            if let Some(gap) = self.handle.gap_at(end - 1) {
                self.gaps.push(gap);
                end = gap.from;
                continue;
            }
            let start = end.saturating_sub(READ_LINES).max(first);
            // A gap that starts earlier is handled in the next step.
            let start = self.handle.gap_at(start).map_or(start, |gap| gap.to + 1);
            self.scan_window(start, end, facts.last_line).await?;
            let window = std::mem::take(&mut self.lines);
            count += to_u64(window.len());
            windows.push(window);
            scanned += end - start;
            end = start;
            tokio::task::yield_now().await;
        }
        let excess = usize::try_from(count.saturating_sub(tail)).unwrap_or(0);
        self.lines = windows.into_iter().rev().flatten().skip(excess).collect();
        if let Some(first) = self.lines.first() {
            let first = first.n;
            self.gaps.retain(|gap| gap.to >= first);
        }
        self.gaps.sort_by_key(|gap| gap.from);
        Ok(())
    }

    /// Collects the matching lines of `start..end`.
    async fn scan_window(&mut self, start: u64, end: u64, last_line: u64) -> Result<(), ApiError> {
        let mut at = start;
        while at < end {
            let page = self.handle.read(at, page_limits(end - at)).await?;
            self.gaps.extend(page.gap);
            let (matching, _) = self.matching(&page).await?;
            for line in matching.into_iter().filter_map(|at| page.lines.get(at)).filter(|line| line.n < end) {
                self.push(line);
            }
            let stuck = page.lines.is_empty() || page.next <= at;
            at = page.next;
            if self.last.is_none() || end > last_line {
                self.last = Some((page.clone(), page.cursor));
            }
            if stuck {
                break;
            }
        }
        Ok(())
    }

    /// Returns the indexes of the matching lines of a page, and the number of lines examined before the
    /// deadline, which is at least one. Patterns are matched on a blocking thread, because it may be slow.
    async fn matching(&self, page: &Arc<LogPage>) -> Result<(Vec<usize>, usize), ApiError> {
        let Some(deadline) = self.deadline else {
            let matching = page.lines.iter().enumerate().filter(|(_, line)| self.filter.matches(line));
            return Ok((matching.map(|(at, _)| at).collect(), page.lines.len()));
        };
        let (page, filter) = (page.clone(), self.filter.clone());
        let search = tokio::task::spawn_blocking(move || {
            let mut matching = Vec::new();
            for (at, line) in page.lines.iter().enumerate() {
                if at > 0 && Instant::now() >= deadline {
                    return (matching, at);
                }
                if filter.matches(line) {
                    matching.push(at);
                }
            }
            (matching, page.lines.len())
        });
        search.await.map_err(|_| TasksError::Closed.into())
    }

    fn timed_out(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn push(&mut self, line: &Line<'static>) {
        self.gaps.extend(line.gap());
        self.bytes += line.line.len();
        self.lines.push(line.clone());
    }

    fn into_response(self) -> Response {
        let (first_line, last_line, cursor) = match &self.last {
            Some((page, cursor)) => (page.first_line, page.last_line, *cursor),
            None => {
                let facts = self.handle.details();
                (facts.first_line, facts.last_line, self.handle.cursor_at(facts.last_line))
            }
        };
        uncached_json(&json!({
            "lines": self.lines,
            "cursor": cursor,
            // A filter can stop at any line; callers treat the cursor as opaque, so they need the number.
            "next_line": cursor.n + 1,
            "first_line": first_line,
            "last_line": last_line,
            "gaps": self.gaps,
        }))
    }
}

fn page_limits(lines: u64) -> PageLimits {
    PageLimits { lines: usize::try_from(lines).unwrap_or(usize::MAX), bytes: READ_BYTES }
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
