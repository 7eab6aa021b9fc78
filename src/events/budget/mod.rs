//! The most relevant events of a run within a size limit, for a reader that pays by the byte.
//!
//! ```text
//! 1  the first failure, and the line before it
//! 2  the end: gates, the run's end, the last failure
//! 3  the first failure of each step or repetition, unresolved ones first, rare ones before frequent
//!    ones; each with the line before it
//! 4  other failures, then state changes, events before the first failure, warnings, and the rest, the
//!    newest first
//! ```
//! Similar events (the same text except for numbers) are one line with `"repeated":N`. Long texts are
//! truncated in the middle. The selected events are returned in their own order, after a summary.
//!
//! Pure: events in, lines out. The caller formats a line (as JSON, or as text for people).

mod cut;
mod rank;

use std::collections::HashSet;

use serde::Serialize;

pub use cut::object;
use rank::{Candidate, EventRanking};

use crate::model::{Event, RunState, RunStatus};

/// Minimum budget: it fits the summary and the reason of one failure.
pub const BUDGET_BYTES_MIN: usize = 200;
/// Maximum length of the run's id in the summary, in characters.
const RUN_CHARS_MAX: usize = 24;
/// The selection ends after this many consecutive candidates that do not fit.
const MISSES_MAX: u32 = 64;
/// The selection ends when less than this is left.
const LINE_BYTES_MIN: usize = 12;
/// Initial maximum length of one text of an event, however large the budget is.
const TEXT_CHARS_MAX: usize = 2_000;
/// Initially one text may use at most this fraction of the budget.
const TEXT_SHARE: usize = 4;

/// The set of events to select from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventScope {
    /// All events.
    All,
    /// Failures and the events before them.
    Failures,
}

/// The first line of the output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BudgetSummary {
    /// The run's id, possibly truncated.
    pub run: String,
    /// Status of the run.
    pub status: RunStatus,
    /// Number of events to select from.
    pub events: usize,
    /// Number of events that report a failure.
    pub failures: usize,
    /// Number of lines after the summary.
    pub shown: usize,
    /// Events neither shown nor counted in a line's `repeated`.
    pub left_out: usize,
}

/// The format of the lines. None of them ends with a newline.
pub struct EventLineFormat<'a> {
    /// Formats the summary.
    pub summary: &'a dyn Fn(&BudgetSummary) -> String,
    /// Formats an event, passed as a JSON object.
    pub event: &'a dyn Fn(&str) -> String,
    /// The fields to include, in order; all if `None`.
    pub fields: Option<&'a [String]>,
}

/// A budget below the minimum.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a budget of {0} bytes is too small; use at least {min}", min = BUDGET_BYTES_MIN)]
pub struct BudgetTooSmall(pub usize);

/// Returns the most relevant of `events`, which are those of `run` in order, in at most `bytes`
/// bytes including a newline per line: first the summary, then events in order.
///
/// # Errors `bytes` is less than [`BUDGET_BYTES_MIN`].
pub fn within(
    events: &[&Event],
    run: &RunState,
    scope: EventScope,
    bytes: usize,
    form: &EventLineFormat<'_>,
) -> Result<Vec<String>, BudgetTooSmall> {
    if bytes < BUDGET_BYTES_MIN {
        return Err(BudgetTooSmall(bytes));
    }
    let facts = EventRanking::of(events);
    let failures = facts.failures();
    let mut summary = BudgetSummary {
        run: cut::truncate_middle(run.id.as_str(), RUN_CHARS_MAX),
        status: run.status,
        events: events.len(),
        failures,
        // The largest possible values, to reserve enough space.
        shown: events.len(),
        left_out: events.len(),
    };
    let room = bytes.saturating_sub((form.summary)(&summary).len() + 1);
    let selection = select(events, &facts, scope, room, bytes, form);
    summary.shown = selection.lines.len();
    summary.left_out = events.len().saturating_sub(selection.covered);
    let mut lines = Vec::with_capacity(selection.lines.len() + 1);
    lines.push((form.summary)(&summary));
    lines.extend(selection.lines.into_iter().map(|(_, line)| line));
    Ok(lines)
}

/// The selected events.
struct Selection {
    /// Lines with the index of their event.
    lines: Vec<(usize, String)>,
    /// Events that are shown or counted in a line.
    covered: usize,
}

fn select(
    events: &[&Event],
    facts: &EventRanking,
    scope: EventScope,
    mut room: usize,
    bytes: usize,
    form: &EventLineFormat<'_>,
) -> Selection {
    let mut selection = Selection { lines: Vec::new(), covered: 0 };
    let (mut groups, mut selected) = (HashSet::new(), HashSet::new());
    let mut misses = 0;
    let text_max = (bytes / TEXT_SHARE).min(TEXT_CHARS_MAX);
    for Candidate { at, required } in facts.candidates(scope) {
        if room < LINE_BYTES_MIN || misses >= MISSES_MAX {
            break;
        }
        let Some(event) = events.get(at) else { continue };
        let group = facts.group(at);
        // The line before the first failure is shown itself, not a similar one.
        if selected.contains(&at) || groups.contains(&group) && !required {
            continue;
        }
        let repeated = if groups.contains(&group) { 1 } else { facts.count(group) };
        let fitting = cut::detail_levels(text_max, required || selection.lines.is_empty())
            .map(|level| (form.event)(&cut::brief(event, form.fields, level, repeated)))
            .find(|line| line.len() < room);
        let Some(line) = fitting else {
            misses += 1;
            continue;
        };
        misses = 0;
        room -= line.len() + 1;
        selection.covered += repeated;
        selection.lines.push((at, line));
        groups.insert(group);
        selected.insert(at);
    }
    selection.lines.sort_unstable_by_key(|(at, _)| *at);
    selection
}

#[cfg(test)]
mod tests;
