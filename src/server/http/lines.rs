//! `GET /api/v1/tasks/{id}/lines`: a page of the log, optionally filtered.
//!
//! A pattern is matched against the displayed text of a line, with `raw=1` against the stored text.
//! A filter of channels reads at most [`SCAN_LINES_MAX`] lines per request, and a search runs for at most
//! `search_time_max`. Then the response has fewer lines than `limit`, and its `cursor` and `next_line` follow
//! the last line examined, so the caller continues from there. The number of concurrent searches is limited.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use warp::reply::Response;

use super::error::ApiError;
use super::log_scan::{self, LogScan, ScanFilter, acquire_search};
use super::query::QueryParams;
use super::reply::uncached_json;
use super::route_request::RouteRequest;
use crate::analysis::LogPattern;
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
            if let Some(end) = scan.end.as_mut().filter(|end| end.n == cursor.n) {
                *end = cursor;
            }
        }
    }
    Ok(scan.into_response())
}

/// A filter of lines by channel and pattern.
#[derive(Clone)]
struct LineFilter {
    channels: ChannelSet,
    pattern: Option<Arc<LogPattern>>,
}

impl LineFilter {
    fn parse(query: &QueryParams, state: &State) -> Result<Self, ApiError> {
        let channels = query.get("stream")?.unwrap_or(ChannelSet::ALL);
        Ok(Self { channels, pattern: log_scan::pattern(query, state)? })
    }

    fn matches_all(&self) -> bool {
        self.channels.is_all() && self.pattern.is_none()
    }

    fn matches(&self, line: &Line<'_>) -> bool {
        self.channels.contains(line.channel) && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(&line.line))
    }
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
    /// The cursor after the last line examined.
    end: Option<Cursor>,
    /// First and last readable line when the last page was read.
    readable: Option<(u64, u64)>,
}

impl LineScan {
    fn new(handle: TaskHandle, filter: LineFilter, deadline: Option<Instant>) -> Self {
        Self { handle, filter, deadline, lines: Vec::new(), bytes: 0, gaps: Vec::new(), end: None, readable: None }
    }

    /// Collects up to `limit` matching lines, starting at a line number.
    async fn forward(&mut self, from: u64, limit: u64) -> Result<(), ApiError> {
        if let (Some(pattern), Some(deadline)) = (self.filter.pattern.clone(), self.deadline) {
            let filter = ScanFilter { pattern, channels: self.filter.channels, deadline };
            return self.search(LogScan::new(self.handle.clone(), filter, from), limit).await;
        }
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
            let mut cursor = match self.end {
                Some(end) if page.is_empty() => end,
                _ => page.cursor,
            };
            for line in page.lines.iter().filter(|line| self.filter.channels.contains(line.channel)) {
                self.gaps.extend(line.gap());
                self.bytes += line.line.len();
                self.lines.push(line.clone());
                if to_u64(self.lines.len()) == limit {
                    cursor = Cursor { epoch: page.cursor.epoch, n: line.n, id: line.id };
                    break;
                }
            }
            scanned += to_u64(page.lines.len());
            let finished = page.lines.is_empty() || page.next > page.last_line;
            at = page.next;
            (self.end, self.readable) = (Some(cursor), Some((page.first_line, page.last_line)));
            if finished {
                break;
            }
            // A long scan must not block other tasks of this thread.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Collects up to `limit` lines of a search.
    async fn search(&mut self, mut scan: LogScan, limit: u64) -> Result<(), ApiError> {
        loop {
            let rest = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(self.lines.len());
            let rest = if self.bytes >= RESPONSE_BYTES_MAX { 0 } else { rest };
            let Some(slice) = scan.next_slice(rest).await? else { break };
            self.gaps.extend(slice.gaps);
            slice.lines.iter().for_each(|line| self.push(line));
            if self.timed_out() {
                break;
            }
        }
        self.end = Some(self.handle.cursor_at(scan.position() - 1));
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
            if self.end.is_none() || end > last_line {
                (self.end, self.readable) = (Some(page.cursor), Some((page.first_line, page.last_line)));
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
        let (first_line, last_line) = self.readable.unwrap_or_else(|| {
            let facts = self.handle.details();
            (facts.first_line, facts.last_line)
        });
        let cursor = self.end.unwrap_or_else(|| self.handle.cursor_at(last_line));
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
