//! The lines that one log has and another has not.
//!
//! Lines are compared without what changes from run to run, and as sets: two runs of a parallel job print the same
//! lines in another order, which a line-by-line difference would report as changes.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::normalize::line_hash;
use super::recognizers::is_suspicious;
use super::text::displayed;
use super::view::{Severity, cut};

/// Maximum number of different lines of one log; further ones are not told apart.
const DISTINCT_MAX: usize = 400_000;
/// Maximum number of lines of a difference, for each side.
pub const DIFF_LINES_MAX: usize = 2_000;

/// The different lines of a log, with their number and the first one of each.
#[derive(Debug, Default)]
pub struct LineSet {
    lines: HashMap<u64, Kept>,
    count: u64,
    truncated: bool,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    first: u64,
    count: u32,
}

impl LineSet {
    /// Adds a line of the log.
    pub fn push(&mut self, n: u64, line: &str) {
        self.count += 1;
        let hash = line_hash(&displayed(line));
        if self.lines.len() >= DISTINCT_MAX && !self.lines.contains_key(&hash) {
            self.truncated = true;
            return;
        }
        let kept = self.lines.entry(hash).or_insert(Kept { first: n, count: 0 });
        kept.count = kept.count.saturating_add(1);
    }

    /// Returns the number of lines.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Reports whether the log has too many different lines to tell all of them apart.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Returns the hash of a displayed text that no line of the log has, or `None` if one has it.
    pub(super) fn missing_hash(&self, shown: &str) -> Option<u64> {
        let hash = line_hash(shown);
        (!self.lines.contains_key(&hash)).then_some(hash)
    }

    /// Returns the first lines, by number, of the texts that the other log does not have, and how many lines have
    /// each text. They are in the order of the log.
    pub fn missing_in(&self, other: &LineSet) -> Vec<(u64, u32)> {
        let missing = self.lines.iter().filter(|(hash, _)| !other.lines.contains_key(hash));
        let mut found: Vec<(u64, u32)> = missing.map(|(_, kept)| (kept.first, kept.count)).collect();
        found.sort_unstable();
        found
    }
}

/// A line that only one of two logs has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffLine {
    /// Its number: that of the first line, if several are equal.
    pub n: u64,
    /// Its displayed text.
    pub line: String,
    /// The number of lines that are equal, apart from values that change from run to run.
    pub count: u32,
    /// Whether it reports an error, or looks like it.
    pub error: bool,
}

impl DiffLine {
    /// Creates a row of a difference.
    pub fn new(n: u64, text: &str, count: u32) -> Self {
        let shown = displayed(text);
        let error = is_suspicious(&shown);
        Self { n, line: cut(&shown), count, error }
    }
}

/// Sorts new lines so that errors are first, both in the order of the log.
pub fn errors_first(lines: &mut [DiffLine]) {
    lines.sort_by_key(|line| (!line.error, line.n));
}

/// Returns a name of a severity for people.
pub(super) const fn word(level: Severity) -> &'static str {
    match level {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Notice => "notice",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(lines: &[&str]) -> LineSet {
        let mut set = LineSet::default();
        (1..).zip(lines).for_each(|(n, line)| set.push(n, line));
        set
    }

    #[test]
    fn lines_differ_in_text_not_in_numbers_or_order() {
        let good = set(&["start 12:00:01", "a ok in 3ms", "b ok in 4ms", "end"]);
        let bad = set(&["start 13:10:09", "b ok in 40ms", "a ok in 1ms", "c failed", "c failed", "end"]);
        assert_eq!(bad.missing_in(&good), [(4, 2)]);
        assert_eq!(good.missing_in(&bad), []);
        assert!(good.missing_hash("a ok in 99ms").is_none() && good.missing_hash("c failed").is_some());
    }

    #[test]
    fn errors_are_first() {
        let mut lines: Vec<DiffLine> =
            [(1, "new note"), (2, "error: bad"), (3, "x failed")].map(|(n, text)| DiffLine::new(n, text, 1)).into();
        errors_first(&mut lines);
        assert_eq!(lines.iter().map(|line| line.n).collect::<Vec<_>>(), [2, 3, 1]);
    }
}
