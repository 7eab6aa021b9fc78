//! The scan of a log for lines that match a pattern: in slices on blocking threads, two at a time.
//!
//! Nothing is queued beyond the slices in flight, and dropping the scan stops them.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::error::ApiError;
use super::query::QueryParams;
use crate::analysis::{LogPattern, PatternError, PatternLimits, RowScan};
use crate::model::limits::Limit;
use crate::model::{ChannelSet, Gap, GapReason, Line};
use crate::server::state::State;
use crate::tasks::{TaskHandle, TasksError};

/// Lines of one slice.
const SLICE_LINES: u64 = 20_000;
/// Slices that are searched at the same time.
const SLICES_MAX: usize = 2;
/// Bytes of matching text at which a slice ends early.
const SLICE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Maximum time that a search waits for a permit.
const SEARCH_WAIT: Duration = Duration::from_secs(10);

/// Acquires a permit for a search. Waiting requests are served in order.
pub(super) async fn acquire_search(state: &State) -> Result<OwnedSemaphorePermit, ApiError> {
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

/// Compiles the pattern of the parameter `q`, within the limits. With `raw=1` it matches the stored text.
pub(super) fn pattern(query: &QueryParams, state: &State) -> Result<Option<Arc<LogPattern>>, ApiError> {
    let Some(text) = query.text("q") else { return Ok(None) };
    let limits = &state.options.limits;
    let pattern_limits = PatternLimits {
        text_bytes_max: usize::try_from(limits.search_pattern_bytes_max).unwrap_or(usize::MAX),
        program_bytes_max: usize::try_from(limits.search_program_bytes_max).unwrap_or(usize::MAX),
    };
    let compiled = LogPattern::new(text, query.flag("raw")?, pattern_limits);
    compiled.map(|pattern| Some(Arc::new(pattern))).map_err(|error| {
        let limit = match &error {
            PatternError::TooLong(_) => Some(Limit::search_pattern_bytes_max),
            PatternError::TooLarge => Some(Limit::search_program_bytes_max),
            PatternError::Syntax(_) => None,
        };
        let Some(limit) = limit else { return ApiError::bad_query("q", error) };
        state.limit_counters.count(limit);
        ApiError::bad_query("q", format!("{error}: {} is {}", limit.name(), limits.show(limit)))
    })
}

/// The target of a scan, and its deadline.
#[derive(Clone, Debug)]
pub(super) struct ScanFilter {
    pub(super) pattern: Arc<LogPattern>,
    pub(super) channels: ChannelSet,
    /// Time at which a slice returns what it has found. It examines at least one line.
    pub(super) deadline: Instant,
}

/// The result of one slice.
#[derive(Debug, Default)]
pub(super) struct ScanSlice {
    /// The matching lines, in order.
    pub(super) lines: Vec<Line<'static>>,
    /// Missing lines in the range.
    pub(super) gaps: Vec<Gap>,
    /// The first line that was not examined.
    pub(super) next: u64,
}

/// A scan of lines `next..=to` of a task's log.
pub(super) struct LogScan {
    task: TaskHandle,
    filter: ScanFilter,
    /// The first line that was not examined.
    next: u64,
    to: u64,
    /// The first line that no slice in flight covers.
    ahead: u64,
    /// Slices, each with its last line.
    in_flight: VecDeque<(u64, JoinHandle<Result<ScanSlice, TasksError>>)>,
    cancelled: CancellationToken,
    _guard: DropGuard,
}

impl LogScan {
    /// Creates a scan from line `from` to the last line at this time.
    pub(super) fn new(task: TaskHandle, filter: ScanFilter, from: u64) -> Self {
        let (from, to) = (from.max(1), task.details().last_line);
        let cancelled = CancellationToken::new();
        let guard = cancelled.clone().drop_guard();
        Self { task, filter, next: from, to, ahead: from, in_flight: VecDeque::new(), cancelled, _guard: guard }
    }

    /// Returns the task.
    pub(super) fn task(&self) -> &TaskHandle {
        &self.task
    }

    /// Returns the first line that was not examined.
    pub(super) fn position(&self) -> u64 {
        self.next
    }

    /// Returns the next slice, with at most `limit` lines, or `None` at the end of the log.
    pub(super) async fn next_slice(&mut self, limit: usize) -> Result<Option<ScanSlice>, TasksError> {
        if self.next > self.to || limit == 0 {
            return Ok(None);
        }
        while self.in_flight.len() < SLICES_MAX && self.ahead <= self.to {
            let last = self.ahead.saturating_add(SLICE_LINES - 1).min(self.to);
            self.spawn(self.ahead, last);
            self.ahead = last + 1;
        }
        let Some((last, slice)) = self.in_flight.pop_front() else { return Ok(None) };
        let mut slice = slice.await.map_err(|_| TasksError::Closed)??;
        if let Some(line) = slice.lines.get(limit) {
            slice.next = line.n;
            slice.gaps.retain(|gap| gap.from < slice.next);
            slice.lines.truncate(limit);
        }
        self.next = slice.next;
        // It ended early, or a gap goes on in the slices in flight.
        if self.next != last + 1 {
            self.in_flight.clear();
            self.ahead = self.next;
        }
        Ok(Some(slice))
    }

    fn spawn(&mut self, from: u64, to: u64) {
        let (task, filter, cancelled) = (self.task.clone(), self.filter.clone(), self.cancelled.clone());
        let slice = tokio::task::spawn_blocking(move || scan_slice(&task, &filter, &cancelled, from, to));
        self.in_flight.push_back((to, slice));
    }
}

/// Searches lines `from..=to`.
fn scan_slice(
    task: &TaskHandle,
    filter: &ScanFilter,
    cancelled: &CancellationToken,
    from: u64,
    to: u64,
) -> Result<ScanSlice, TasksError> {
    let mut slice = ScanSlice { next: from, ..ScanSlice::default() };
    let mut bytes = 0;
    let first = task.details().first_line;
    if first > from {
        let last = to.min(first - 1);
        let count = last + 1 - from;
        slice.gaps.push(Gap { from, to: last, reason: GapReason::Trimmed, count, marked: false });
        slice.next = last + 1;
    }
    while slice.next <= to && !cancelled.is_cancelled() {
        if let Some(gap) = task.gap_at(slice.next) {
            slice.next = gap.to + 1;
            slice.gaps.push(gap);
            continue;
        }
        let Some((chunk, next)) = task.ndjson(slice.next, to)? else {
            slice.next = to + 1;
            break;
        };
        let flow = scan_chunk(&chunk, filter, &mut slice, &mut bytes);
        if flow.is_break() {
            break;
        }
        slice.next = next;
        if Instant::now() >= filter.deadline {
            break;
        }
    }
    Ok(slice)
}

/// Collects the matching lines of a chunk. Breaks if it was not examined as a whole; `next` is set then.
fn scan_chunk(chunk: &[u8], filter: &ScanFilter, slice: &mut ScanSlice, bytes: &mut usize) -> ControlFlow<()> {
    let mut scan = RowScan::new(chunk, &filter.pattern, filter.channels);
    while let Some(row) = scan.next_examined() {
        if row.matches {
            // Written by the store, so it is a line.
            if let Ok(line) = serde_json::from_slice::<Line<'static>>(row.json) {
                *bytes += line.line.len();
                slice.lines.push(line);
            }
        }
        if Instant::now() < filter.deadline && *bytes < SLICE_BYTES_MAX {
            continue;
        }
        if let Some(next) = scan.position() {
            slice.next = next;
            return ControlFlow::Break(());
        }
    }
    ControlFlow::Continue(())
}
