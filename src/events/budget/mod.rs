//! The most telling events of a run within a size, for a reader that pays by the byte.
//!
//! ```text
//! 1  the first failure, and the line before it
//! 2  how it ended: gates, the run's end, the last failure
//! 3  the first failure of each step or repetition, those that were never made good first, rare
//!    ones before frequent ones; each with the line before it
//! 4  other failures, then what changed a state, what led to the first failure, warnings, the rest,
//!    the newest first
//! ```
//! Look-alikes (the same text but for its numbers) are one line with `"repeated":N`. Long texts are
//! cut in their middle. What is chosen comes out in the events' own order, behind a summary.
//!
//! Pure: events in, lines out. What a line looks like is the caller's (JSON, or text for people).

mod cut;
mod rank;

use std::collections::HashSet;

use serde::Serialize;

pub use cut::object;
use rank::{Candidate, Facts};

use crate::model::{Event, RunState, RunStatus};

/// No budget may be smaller: the summary and the reason of one failure have room in it.
pub const BUDGET_BYTES_MIN: usize = 200;
/// Characters of the run's id in the summary.
const RUN_CHARS_MAX: usize = 24;
/// Candidates in a row that have no room before the choice is over.
const MISSES_MAX: u32 = 64;
/// With less than this left nothing more is tried.
const LINE_BYTES_MIN: usize = 12;
/// Characters of one text of an event at first, however large the budget is.
const TEXT_CHARS_MAX: usize = 2_000;
/// One text takes at most this part of the budget at first.
const TEXT_SHARE: usize = 4;

/// Which events may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    All,
    /// Failures, and what led to them.
    Failures,
}

/// The first line of what is within a budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The run, its id perhaps cut.
    pub run: String,
    /// Where the run is.
    pub status: RunStatus,
    /// Events there were to choose from.
    pub events: usize,
    /// How many of these tell of a failure.
    pub failures: usize,
    /// Lines behind this one.
    pub shown: usize,
    /// Events that are neither shown nor counted in a line's `repeated`.
    pub left_out: usize,
}

/// What lines look like. None of them ends with a newline.
pub struct Form<'a> {
    /// The summary.
    pub summary: &'a dyn Fn(&Summary) -> String,
    /// An event, given as a JSON object.
    pub event: &'a dyn Fn(&str) -> String,
    /// The only fields of events that are wanted, in their order.
    pub fields: Option<&'a [String]>,
}

/// A budget in which nothing useful has room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a budget of {0} bytes has no room for anything useful: give at least {min}", min = BUDGET_BYTES_MIN)]
pub struct BudgetTooSmall(pub usize);

/// The most telling of `events`, which are those of `run` in their order, in at most `bytes` bytes
/// with a newline behind each line: first the summary, then events in their order.
///
/// # Errors
/// `bytes` is under [`BUDGET_BYTES_MIN`].
pub fn within(
    events: &[&Event],
    run: &RunState,
    scope: Scope,
    bytes: usize,
    form: &Form<'_>,
) -> Result<Vec<String>, BudgetTooSmall> {
    if bytes < BUDGET_BYTES_MIN {
        return Err(BudgetTooSmall(bytes));
    }
    let facts = Facts::of(events);
    let failures = facts.failures();
    let mut summary = Summary {
        run: cut::middle(run.id.as_str(), RUN_CHARS_MAX),
        status: run.status,
        events: events.len(),
        failures,
        // As large as they can become, so that the room they need is known.
        shown: events.len(),
        left_out: events.len(),
    };
    let room = bytes.saturating_sub((form.summary)(&summary).len() + 1);
    let chosen = choose(events, &facts, scope, room, bytes, form);
    summary.shown = chosen.lines.len();
    summary.left_out = events.len().saturating_sub(chosen.told);
    let mut lines = Vec::with_capacity(chosen.lines.len() + 1);
    lines.push((form.summary)(&summary));
    lines.extend(chosen.lines.into_iter().map(|(_, line)| line));
    Ok(lines)
}

/// What was chosen.
struct Chosen {
    /// Lines with the place of their event, in their order.
    lines: Vec<(usize, String)>,
    /// Events that are shown or counted in a line.
    told: usize,
}

fn choose(events: &[&Event], facts: &Facts, scope: Scope, mut room: usize, bytes: usize, form: &Form<'_>) -> Chosen {
    let mut chosen = Chosen { lines: Vec::new(), told: 0 };
    let (mut groups, mut taken) = (HashSet::new(), HashSet::new());
    let mut misses = 0;
    let text_max = (bytes / TEXT_SHARE).min(TEXT_CHARS_MAX);
    for Candidate { at, must } in facts.candidates(scope) {
        if room < LINE_BYTES_MIN || misses >= MISSES_MAX {
            break;
        }
        let Some(event) = events.get(at) else { continue };
        let group = facts.group(at);
        // The line before the first failure is wanted itself, not one that looks like it.
        if taken.contains(&at) || groups.contains(&group) && !must {
            continue;
        }
        let repeated = if groups.contains(&group) { 1 } else { facts.count(group) };
        let fitting = cut::levels(text_max, must || chosen.lines.is_empty())
            .map(|level| (form.event)(&cut::brief(event, form.fields, level, repeated)))
            .find(|line| line.len() < room);
        let Some(line) = fitting else {
            misses += 1;
            continue;
        };
        misses = 0;
        room -= line.len() + 1;
        chosen.told += repeated;
        chosen.lines.push((at, line));
        groups.insert(group);
        taken.insert(at);
    }
    chosen.lines.sort_unstable_by_key(|(at, _)| *at);
    chosen
}

#[cfg(test)]
mod tests;
