//! The most telling lines of a log, within a number of bytes.
//!
//! The budget is given to the kinds of lines in the order of their worth: errors, the lines around the first one, the
//! last lines, the lines that are new since the last good run, then warnings. Each kind has a share, so that one
//! does not leave nothing for the others; what it does not use is for the next ones.

use std::collections::{BTreeMap, HashSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::diff::{LineSet, word};
use super::outline::Outline;
use super::recognizers::is_suspicious;
use super::rows::NdjsonRow;
use super::text::displayed;
use super::view::{Annotation, Severity};
use crate::model::Channel;

/// Lines before the first error, and after it.
const BEFORE: usize = 12;
const BEHIND: usize = 12;
/// Last lines that are kept.
const TAIL: usize = 200;
/// Maximum number of new lines that are kept.
const NEW_MAX: usize = 500;
/// Maximum bytes of a kept line.
const LINE_BYTES_MAX: usize = 1_000;
/// Smallest budget.
pub const BUDGET_MIN: usize = 500;

/// The reason why a line is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It reports an error.
    Error,
    /// It is near the first error.
    Context,
    /// It is one of the last lines.
    Tail,
    /// The last good run has no such line.
    New,
    /// It reports a warning.
    Warning,
}

/// A line of an explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TellingLine {
    /// Its number.
    pub n: u64,
    /// Its displayed text, which may be cut.
    pub line: String,
    /// The reason for showing it.
    pub reason: Reason,
}

/// A collector of the telling lines of a log.
pub struct LogExplainer<'a> {
    good: Option<&'a LineSet>,
    outline: Outline,
    around: Vec<(u64, String)>,
    /// Lines that are still to be kept after the first error.
    behind: usize,
    /// The last lines.
    tail: VecDeque<(u64, String)>,
    new: Vec<(u64, String)>,
    seen_new: HashSet<u64>,
    /// Lines that look like an error, for a log without a known format.
    suspicious: Vec<(u64, String)>,
}

impl<'a> LogExplainer<'a> {
    /// Creates a collector. `good` has the lines of the last good run.
    pub fn new(good: Option<&'a LineSet>) -> Self {
        Self {
            good,
            outline: Outline::default(),
            around: Vec::new(),
            behind: 0,
            tail: VecDeque::new(),
            new: Vec::new(),
            seen_new: HashSet::new(),
            suspicious: Vec::new(),
        }
    }

    /// Adds the next line of the log.
    pub fn push(&mut self, row: &NdjsonRow<'_>) {
        let errors = self.outline.counts().0;
        let shown = displayed(&row.line);
        self.outline.push_shown(row, &shown);
        let is_own = row.channel == Channel::Internal;
        if !is_own && self.suspicious.len() < NEW_MAX && is_suspicious(&shown) {
            self.suspicious.push((row.n, clip(&shown)));
        }
        if errors == 0 && self.outline.counts().0 > 0 {
            let skipped = self.tail.len().saturating_sub(BEFORE);
            self.around.extend(self.tail.iter().skip(skipped).cloned());
            self.behind = BEHIND + 1;
        }
        if self.behind > 0 {
            self.around.push((row.n, clip(&shown)));
            self.behind -= 1;
        }
        if let Some(good) = self.good.filter(|_| !is_own && self.new.len() < NEW_MAX)
            && let Some(hash) = good.missing_hash(&shown)
            && self.seen_new.insert(hash)
        {
            self.new.push((row.n, clip(&shown)));
        }
        // A buffer is used again: this happens for each line of the log.
        let mut text =
            if self.tail.len() == TAIL { self.tail.pop_front().unwrap_or_default().1 } else { String::new() };
        clip_into(&shown, &mut text);
        self.tail.push_back((row.n, text));
    }

    /// Returns the number of errors and of warnings so far.
    pub fn counts(&self) -> (u64, u64) {
        self.outline.counts()
    }

    /// Returns the telling lines in the order of the log, whose rendered form has at most `budget` bytes. `size` is
    /// the number of bytes of one line.
    pub fn finish(self, budget: usize, size: impl Fn(&TellingLine) -> usize) -> Vec<TellingLine> {
        let view = self.outline.view(true);
        let message = |annotation: &Annotation| {
            let place = annotation
                .file
                .as_ref()
                .map(|file| format!("{file}{}", annotation.file_line.map_or(String::new(), |line| format!(":{line}"))));
            let place = place.map_or(String::new(), |place| format!(" ({place})"));
            let text = format!("{} [{}]: {}{place}", word(annotation.level), annotation.source, annotation.message);
            (annotation.n, clip(&text))
        };
        let of = |level: Severity| view.annotations.iter().filter(move |found| found.level == level).map(message);
        let mut errors: Vec<(u64, String)> = of(Severity::Error).collect();
        if errors.is_empty() {
            errors.clone_from(&self.suspicious);
        }
        let warnings: Vec<(u64, String)> = of(Severity::Warning).collect();
        let tail: Vec<(u64, String)> = self.tail.into_iter().rev().collect();
        let mut chosen = ChosenLines { lines: BTreeMap::new(), left: budget };
        // The last line first: the end of a log says how it went.
        chosen.add(tail.iter().take(3), Reason::Tail, budget / 4, &size);
        chosen.add(errors.iter(), Reason::Error, budget / 2, &size);
        chosen.add(self.around.iter(), Reason::Context, budget / 3, &size);
        chosen.add(tail.iter().take(40), Reason::Tail, budget / 3, &size);
        chosen.add(self.new.iter(), Reason::New, budget / 2, &size);
        chosen.add(warnings.iter(), Reason::Warning, budget / 4, &size);
        for (lines, reason) in [(&errors, Reason::Error), (&self.new, Reason::New), (&tail, Reason::Tail)] {
            chosen.add(lines.iter(), reason, budget, &size);
        }
        chosen.lines.into_values().collect()
    }
}

/// The lines that are chosen so far.
struct ChosenLines {
    lines: BTreeMap<u64, TellingLine>,
    /// Bytes that are left.
    left: usize,
}

impl ChosenLines {
    /// Adds lines that are not there yet, as long as they fit into the share and the rest.
    fn add<'l>(
        &mut self,
        lines: impl Iterator<Item = &'l (u64, String)>,
        reason: Reason,
        share: usize,
        size: &impl Fn(&TellingLine) -> usize,
    ) {
        let mut share = share.min(self.left);
        for (n, text) in lines {
            if self.lines.contains_key(n) {
                continue;
            }
            let line = TellingLine { n: *n, line: text.clone(), reason };
            let bytes = size(&line);
            if bytes > share {
                // A shorter one may fit, but would be less telling.
                break;
            }
            share -= bytes;
            self.left -= bytes;
            self.lines.insert(*n, line);
        }
    }
}

/// Returns a text of at most [`LINE_BYTES_MAX`] bytes, in one row.
fn clip(text: &str) -> String {
    let mut clipped = String::new();
    clip_into(text, &mut clipped);
    clipped
}

fn clip_into(text: &str, out: &mut String) {
    out.clear();
    let end = (0..=LINE_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    for (at, row) in text[..end].split('\n').enumerate() {
        if at > 0 {
            out.push_str(" ⏎ ");
        }
        out.push_str(row);
    }
    if end < text.len() {
        out.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn explain(text: &str, good: Option<&LineSet>, budget: usize) -> Vec<TellingLine> {
        let mut explainer = LogExplainer::new(good);
        for (n, line) in (1..).zip(text.lines()) {
            let timestamp = Timestamp::from_millis(n);
            explainer.push(&NdjsonRow { n, timestamp, channel: Channel::Stdout, line: line.into(), partial: false });
        }
        explainer.finish(budget, |line| line.line.len() + 1)
    }

    fn log(error: &str) -> String {
        let line = |n: u32| if n == 20_000 { format!("{error}\n") } else { format!("step {n} of 40000 ok\n") };
        (1..=40_000).map(line).collect()
    }

    #[test]
    fn the_error_and_the_end_are_within_any_budget() {
        let text = log("src/a.c:3:5: error: expected ';'");
        for budget in [500, 1_000, 4_000, 100_000] {
            let lines = explain(&text, None, budget);
            let bytes: usize = lines.iter().map(|line| line.line.len() + 1).sum();
            assert!(bytes <= budget, "{bytes} of {budget}");
            assert!(lines.iter().any(|line| line.n == 20_000 && line.reason == Reason::Error), "{budget}");
            assert_eq!(lines.last().map(|line| line.n), Some(40_000), "{budget}");
            assert!(lines.is_sorted_by_key(|line| line.n));
        }
        let lines = explain(&text, None, 4_000);
        assert!(lines.iter().any(|line| line.n == 19_995 && line.reason == Reason::Context));
    }

    #[test]
    fn lines_new_since_the_last_good_run_are_shown() {
        let mut good = LineSet::default();
        (1..).zip(log("step 0 of 40000 ok").lines()).for_each(|(n, line)| good.push(n, line));
        let lines = explain(&log("the frobnicator is out of blue paint"), Some(&good), 1_000);
        assert!(lines.iter().any(|line| line.n == 20_000 && line.reason == Reason::New), "{lines:?}");
    }

    #[test]
    fn a_log_of_an_unknown_format_shows_likely_errors() {
        let lines = explain(&log("2026-05-09 ERROR db: connection refused"), None, 1_000);
        assert!(lines.iter().any(|line| line.n == 20_000 && line.reason == Reason::Error), "{lines:?}");
    }
}
