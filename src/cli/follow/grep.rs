//! `follow --grep`: selects lines by their displayed text, with context.

use std::collections::VecDeque;
use std::ops::Range;

use clap::Args;
use regex::{Regex, RegexBuilder};

use super::assemble::WrittenLine;

/// Maximum number of lines of context.
const CONTEXT_LINES_MAX: u64 = 10_000;
/// Maximum bytes of lines that are held as context; the oldest are dropped.
const HELD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Flags that select lines, as those of `grep`.
#[derive(Debug, Args)]
pub(super) struct GrepArgs {
    /// Print only lines that match this regular expression: their displayed text, without colours and without what
    /// was overwritten in place; repeatable: lines that match one of them
    #[arg(long = "grep", value_name = "RE", value_parser = pattern)]
    patterns: Vec<String>,
    /// Ignore case
    #[arg(short, long, requires = "patterns")]
    ignore_case: bool,
    /// Print the lines that do not match
    #[arg(short = 'v', long, requires = "patterns")]
    invert_match: bool,
    /// Also print N lines after each match
    #[arg(short = 'A', long, value_name = "N", requires = "patterns", value_parser = context_lines())]
    after_context: Option<u64>,
    /// Also print N lines before each match
    #[arg(short = 'B', long, value_name = "N", requires = "patterns", value_parser = context_lines())]
    before_context: Option<u64>,
    /// Also print N lines before and after each match
    #[arg(short = 'C', long, value_name = "N", requires = "patterns", value_parser = context_lines())]
    context: Option<u64>,
}

fn context_lines() -> impl clap::builder::TypedValueParser<Value = u64> {
    clap::value_parser!(u64).range(..=CONTEXT_LINES_MAX)
}

/// Checks a pattern.
fn pattern(text: &str) -> Result<String, String> {
    Regex::new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

impl GrepArgs {
    /// Returns the filter, if there is a pattern.
    ///
    /// # Errors
    /// The patterns are too large together.
    pub(super) fn filter(&self) -> anyhow::Result<Option<GrepFilter>> {
        if self.patterns.is_empty() {
            return Ok(None);
        }
        let all: Vec<String> = self.patterns.iter().map(|pattern| format!("(?:{pattern})")).collect();
        // In a record of several rows, ^ and $ match at each.
        let regex = RegexBuilder::new(&all.join("|")).case_insensitive(self.ignore_case).multi_line(true).build()?;
        let lines = |own: Option<u64>| own.or(self.context).unwrap_or(0);
        Ok(Some(GrepFilter {
            regex,
            invert: self.invert_match,
            before: lines(self.before_context),
            after: lines(self.after_context),
        }))
    }
}

/// A pattern with its context.
#[derive(Debug)]
pub(super) struct GrepFilter {
    regex: Regex,
    invert: bool,
    before: u64,
    after: u64,
}

impl GrepFilter {
    /// Reports whether lines without a match are printed around those with one.
    pub(super) fn has_context(&self) -> bool {
        self.before > 0 || self.after > 0
    }

    /// Reports whether a line is selected.
    pub(super) fn selects(&self, line: &WrittenLine) -> bool {
        self.regex.is_match(&line.displayed()) != self.invert
    }

    /// Returns the matches in a line's displayed text, to highlight them.
    pub(super) fn marks(&self, displayed: &str) -> Vec<Range<usize>> {
        if self.invert { Vec::new() } else { self.regex.find_iter(displayed).map(|found| found.range()).collect() }
    }
}

/// A line to print.
#[derive(Debug)]
pub(super) struct SelectedLine {
    pub(super) line: WrittenLine,
    /// Number of the line among all lines of its task that were filtered.
    pub(super) index: u64,
    /// Whether it is selected itself, not as context.
    pub(super) is_match: bool,
}

/// The filter's progress in one task.
#[derive(Debug, Default)]
pub(super) struct GrepProgress {
    next: u64,
    /// Lines that are printed if a match follows soon.
    held: VecDeque<(u64, WrittenLine)>,
    held_bytes: usize,
    after_left: u64,
}

impl GrepProgress {
    /// Filters a line: returns the lines to print now.
    pub(super) fn filter(&mut self, filter: &GrepFilter, line: WrittenLine) -> Vec<SelectedLine> {
        let index = self.next;
        self.next += 1;
        if filter.selects(&line) {
            self.after_left = filter.after;
            self.held_bytes = 0;
            let context = self.held.drain(..).map(|(index, line)| SelectedLine { line, index, is_match: false });
            return context.chain([SelectedLine { line, index, is_match: true }]).collect();
        }
        if self.after_left > 0 {
            self.after_left -= 1;
            return vec![SelectedLine { line, index, is_match: false }];
        }
        if filter.before > 0 {
            self.held_bytes += line.bytes();
            self.held.push_back((index, line));
            while self.held.len() as u64 > filter.before || (self.held_bytes > HELD_BYTES_MAX && self.held.len() > 1) {
                let dropped = self.held.pop_front();
                self.held_bytes -= dropped.map_or(0, |(_, line)| line.bytes());
            }
        }
        Vec::new()
    }
}
