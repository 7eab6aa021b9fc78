//! `GET /api/v1/tasks/{id}/lines`: a page of the log, filtered if asked.
//!
//! A filter reads at most [`SCAN_LINES_MAX`] lines a request, and a search no longer than
//! `search_time_max`: the answer then has fewer lines than `limit`, and its `cursor` and `next_line` stand
//! behind the last line looked at, so the caller goes on from there. Searches take turns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use regex::{Regex, RegexBuilder};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use warp::reply::{Reply, Response};

use super::error::ApiError;
use super::query::Query;
use crate::model::limits::{Limit, Limits};
use crate::model::{ChannelSet, Cursor, Gap, Line, TaskId, limits};
use crate::server::state::SharedState;
use crate::tasks::{FollowStart, LogPage, PageLimits, TaskHandle, TasksError};

/// Lines that one request looks at when it filters.
const SCAN_LINES_MAX: u64 = 200_000;
/// Lines read at a time.
const READ_LINES: u64 = 2_000;
/// Bytes of text read at a time.
const READ_BYTES: usize = 1024 * 1024;
/// Bytes of text in one answer; at least one line is always given.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a search's cache of states.
const STATES_BYTES_MAX: usize = 1024 * 1024;
/// Groups within groups in a pattern.
const NESTING_MAX: u32 = 50;
/// How long a search waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(10);

/// Answers the route.
pub(in crate::server) async fn page(state: SharedState, id: TaskId, query: Query) -> Result<Response, ApiError> {
    let limit = query.number("limit")?.unwrap_or(to_u64(limits::PAGE_LINES_DEFAULT));
    if limit == 0 || limit > to_u64(limits::PAGE_LINES_MAX) {
        let why = format!("must be 1 to {}", limits::PAGE_LINES_MAX);
        return Err(ApiError::bad_query("limit", why));
    }
    let filter = Filter::parse(&query, &state)?;
    let start = query.start()?;
    let handle = state.tasks.get(&id).await?.ok_or_else(|| ApiError::no_task(&id))?;
    let _turn = if filter.pattern.is_some() { Some(turn(&state).await?) } else { None };
    let until = filter.pattern.is_some().then(|| Instant::now() + state.options.limits.search_time_max);
    let (lines, gaps) = (Vec::new(), Vec::new());
    let mut answer = Answer { handle, filter, until, lines, bytes: 0, gaps, last: None };
    match start {
        FollowStart::Tail(tail) if !answer.filter.takes_all() => answer.backward(tail.min(limit)).await?,
        FollowStart::Tail(tail) => {
            let tail = tail.min(limit);
            let last = answer.handle.details().last_line;
            answer.forward((last + 1).saturating_sub(tail).max(1), tail).await?;
        }
        FollowStart::From(from) => answer.forward(from, limit).await?,
        FollowStart::After(cursor) => {
            if cursor.epoch.incarnation != answer.handle.epoch().incarnation {
                let detail = "the cursor is of an earlier log of this task: begin again with from=1";
                return Err(ApiError::new(409, "reset", detail));
            }
            answer.forward(cursor.n + 1, limit).await?;
            // Nothing new: the caller keeps the very cursor it came with.
            if let Some((page, behind)) = &mut answer.last
                && page.is_empty()
                && behind.n == cursor.n
            {
                *behind = cursor;
            }
        }
    }
    Ok(answer.into_response())
}

/// Searches take turns, in the order in which they came.
async fn turn(state: &SharedState) -> Result<OwnedSemaphorePermit, ApiError> {
    if let Ok(turn) = state.searches.clone().try_acquire_owned() {
        return Ok(turn);
    }
    state.hits.count(Limit::searches_max);
    match timeout(TURN_WAIT, state.searches.clone().acquire_owned()).await {
        Ok(Ok(turn)) => Ok(turn),
        _ => {
            let detail = format!("{} searches are under way: try again", state.options.limits.searches_max);
            Err(ApiError::new(503, "busy", detail).retry_after(Duration::from_secs(1)))
        }
    }
}

/// Which lines are wanted.
#[derive(Clone)]
struct Filter {
    channels: ChannelSet,
    pattern: Option<Regex>,
}

impl Filter {
    fn parse(query: &Query, state: &SharedState) -> Result<Self, ApiError> {
        let channels = query.get("stream")?.unwrap_or(ChannelSet::ALL);
        let compile = |text: &str| {
            compile(text, &state.options.limits).map_err(|(limit, why)| {
                if let Some(limit) = limit {
                    state.hits.count(limit);
                }
                ApiError::bad_query("q", why)
            })
        };
        Ok(Self { channels, pattern: query.text("q").map(compile).transpose()? })
    }

    fn takes_all(&self) -> bool {
        self.channels.is_all() && self.pattern.is_none()
    }

    fn takes(&self, line: &Line<'_>) -> bool {
        self.channels.contains(line.channel) && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(&line.line))
    }
}

/// Builds a pattern within the limits; else says which of them it is over, if one, and what is wrong.
fn compile(text: &str, limits: &Limits) -> Result<Regex, (Option<Limit>, String)> {
    if text.len() as u64 > limits.search_pattern_bytes_max {
        let limit = Limit::search_pattern_bytes_max;
        let (max, name) = (limits.show(limit), limit.name());
        return Err((Some(limit), format!("the pattern has {} bytes, and {name} is {max}", text.len())));
    }
    let program_bytes = usize::try_from(limits.search_program_bytes_max).unwrap_or(usize::MAX);
    let mut builder = RegexBuilder::new(text);
    builder.size_limit(program_bytes).dfa_size_limit(STATES_BYTES_MAX).nest_limit(NESTING_MAX);
    builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            let limit = Limit::search_program_bytes_max;
            let (max, name) = (limits.show(limit), limit.name());
            (Some(limit), format!("the pattern is too large once it is compiled: {name} is {max}"))
        }
        other => (None, other.to_string()),
    })
}

struct Answer {
    handle: TaskHandle,
    filter: Filter,
    /// When a search has to answer with what it has.
    until: Option<Instant>,
    lines: Vec<Line<'static>>,
    bytes: usize,
    gaps: Vec<Gap>,
    /// The page read last, and the place behind the last line looked at.
    last: Option<(Arc<LogPage>, Cursor)>,
}

impl Answer {
    /// From a line on, `limit` lines that are wanted.
    async fn forward(&mut self, from: u64, limit: u64) -> Result<(), ApiError> {
        let (mut at, mut scanned) = (from.max(1), 0);
        let plain = self.filter.takes_all();
        loop {
            let rest = limit.saturating_sub(to_u64(self.lines.len()));
            let budget = if plain { rest } else { SCAN_LINES_MAX - scanned };
            let count = budget.min(READ_LINES);
            if rest == 0 || count == 0 || self.bytes >= ANSWER_BYTES_MAX {
                break;
            }
            let page = self.handle.read(at, page_limits(count)).await?;
            self.gaps.extend(page.gap);
            let mut cursor = match &self.last {
                Some((_, behind)) if page.is_empty() => *behind,
                _ => page.cursor,
            };
            let (wanted, seen) = self.wanted(&page).await?;
            for line in wanted.into_iter().filter_map(|at| page.lines.get(at)) {
                self.take(line);
                if to_u64(self.lines.len()) == limit {
                    cursor = Cursor { epoch: page.cursor.epoch, n: line.n, id: line.id };
                    break;
                }
            }
            let cut = page.lines.get(seen).and(page.lines.get(seen.saturating_sub(1)));
            if let Some(line) = cut.filter(|line| line.n < cursor.n) {
                cursor = Cursor { epoch: page.cursor.epoch, n: line.n, id: line.id };
            }
            let time_is_up = self.time_is_up();
            scanned += to_u64(page.lines.len());
            let over = page.lines.is_empty() || page.next > page.last_line;
            at = page.next;
            self.last = Some((page, cursor));
            if over || time_is_up {
                break;
            }
            // A scan should not hold up what else this thread has to do.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// The last `tail` lines that are wanted, found from the end.
    async fn backward(&mut self, tail: u64) -> Result<(), ApiError> {
        let facts = self.handle.details();
        let (first, mut end, mut scanned) = (facts.first_line.max(1), facts.last_line + 1, 0);
        let mut found: Vec<Vec<Line<'static>>> = Vec::new();
        let mut count = 0;
        while count < tail && end > first && scanned < SCAN_LINES_MAX && !self.time_is_up() {
            if let Some(gap) = self.handle.gap_at(end - 1) {
                self.gaps.push(gap);
                end = gap.from;
                continue;
            }
            let begin = end.saturating_sub(READ_LINES).max(first);
            // A gap that begins before is met with the next step.
            let begin = self.handle.gap_at(begin).map_or(begin, |gap| gap.to + 1);
            let mut at = begin;
            while at < end {
                let page = self.handle.read(at, page_limits(end - at)).await?;
                self.gaps.extend(page.gap);
                let (wanted, _) = self.wanted(&page).await?;
                for line in wanted.into_iter().filter_map(|at| page.lines.get(at)).filter(|line| line.n < end) {
                    self.take(line);
                }
                let stuck = page.lines.is_empty() || page.next <= at;
                at = page.next;
                if self.last.is_none() || end > facts.last_line {
                    self.last = Some((page.clone(), page.cursor));
                }
                if stuck {
                    break;
                }
            }
            let window = std::mem::take(&mut self.lines);
            count += to_u64(window.len());
            found.push(window);
            scanned += end - begin;
            end = begin;
            tokio::task::yield_now().await;
        }
        let over = usize::try_from(count.saturating_sub(tail)).unwrap_or(0);
        self.lines = found.into_iter().rev().flatten().skip(over).collect();
        if let Some(first) = self.lines.first() {
            let first = first.n;
            self.gaps.retain(|gap| gap.to >= first);
        }
        self.gaps.sort_by_key(|gap| gap.from);
        Ok(())
    }

    /// Which lines of a page are wanted, and how many were looked at before the time was up: one at
    /// least. A pattern is matched on a thread of its own, it may take long.
    async fn wanted(&self, page: &Arc<LogPage>) -> Result<(Vec<usize>, usize), ApiError> {
        let Some(until) = self.until else {
            let wanted = page.lines.iter().enumerate().filter(|(_, line)| self.filter.takes(line));
            return Ok((wanted.map(|(at, _)| at).collect(), page.lines.len()));
        };
        let (page, filter) = (page.clone(), self.filter.clone());
        let search = tokio::task::spawn_blocking(move || {
            let mut wanted = Vec::new();
            for (at, line) in page.lines.iter().enumerate() {
                if at > 0 && Instant::now() >= until {
                    return (wanted, at);
                }
                if filter.takes(line) {
                    wanted.push(at);
                }
            }
            (wanted, page.lines.len())
        });
        search.await.map_err(|_| TasksError::Closed.into())
    }

    fn time_is_up(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    fn take(&mut self, line: &Line<'static>) {
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
        let body = json!({
            "lines": self.lines,
            "cursor": cursor,
            // A filter can stop anywhere; a caller that must not read a cursor needs the number.
            "next_line": cursor.n + 1,
            "first_line": first_line,
            "last_line": last_line,
            "gaps": self.gaps,
        });
        let response = warp::reply::json(&body);
        warp::reply::with_header(response, "cache-control", "no-store").into_response()
    }
}

fn page_limits(lines: u64) -> PageLimits {
    PageLimits { lines: usize::try_from(lines).unwrap_or(usize::MAX), bytes: READ_BYTES }
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
