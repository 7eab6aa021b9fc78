//! Recognizers of errors and warnings, one file for each family of formats.
//!
//! A recognizer examines row by row and keeps at most the rows that it has to join. Each format is anchored at the
//! start of the row, so that a log that only mentions an error has none.

mod commands;
mod compilers;
mod suites;
mod tools;
mod traces;

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex::{Captures, Regex};

use super::view::{Annotation, Severity, cut};
use compilers::Compilers;
use suites::Suites;
use tools::Tools;
use traces::Traces;

/// Maximum characters of a file name.
const FILE_CHARS_MAX: usize = 300;

/// A compiled pattern; `None` only if it is invalid, which a test rules out.
type Pattern = LazyLock<Option<Regex>>;

/// Declares the patterns of a recognizer.
macro_rules! patterns {
    ($($name:ident = $text:expr;)+) => {
        $(static $name: $crate::analysis::recognizers::Pattern =
            std::sync::LazyLock::new(|| regex::Regex::new($text).ok());)+

        #[cfg(test)]
        pub(super) fn all_patterns() -> Vec<(&'static str, bool)> {
            vec![$((stringify!($name), $name.is_some())),+]
        }
    };
}
use patterns;

/// Matches a pattern.
fn captures<'t>(pattern: &Pattern, text: &'t str) -> Option<Captures<'t>> {
    pattern.as_ref()?.captures(text)
}

/// Returns the text of a group, or an empty one.
fn group<'t>(found: &Captures<'t>, at: usize) -> &'t str {
    found.get(at).map_or("", |group| group.as_str())
}

/// A finding of a recognizer in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// An annotation.
    New(Annotation),
    /// The place of the last annotation in a source file.
    Place(Place),
    /// More text of the last annotation.
    Detail(String),
    /// The error of the last annotation was expected.
    Ignored,
}

/// A place in a source file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    file: String,
    line: Option<u64>,
    column: Option<u64>,
}

impl Place {
    fn new(file: &str, line: &str, column: &str) -> Self {
        let file = file.chars().take(FILE_CHARS_MAX).collect();
        Self { file, line: line.parse().ok(), column: column.parse().ok() }
    }

    /// Sets the place of an annotation.
    pub(super) fn apply(self, annotation: &mut Annotation) {
        if !self.file.is_empty() {
            (annotation.file, annotation.file_line, annotation.column) = (Some(self.file), self.line, self.column);
        }
    }
}

/// Creates an annotation.
fn annotation(n: u64, level: Severity, source: &str, message: &str) -> Annotation {
    Annotation { n, level, source: source.to_owned(), message: cut(message), file: None, file_line: None, column: None }
}

/// Creates an annotation of a place.
fn placed(n: u64, level: Severity, source: &str, message: &str, place: Place) -> Annotation {
    let mut annotation = annotation(n, level, source, message);
    place.apply(&mut annotation);
    annotation
}

/// Words of which every row has one that the recognizers begin with.
const WORDS: [&str; 17] = [
    "error",
    "warning",
    "notice",
    "fail",
    "panic",
    "traceback",
    "exception",
    "##vso[",
    "fatal",
    "*** ",
    "not found",
    "not ok",
    "e: ",
    "assert",
    ".go:",
    "fault",
    "such file",
];

/// Words of which every row has one that looks like an error.
const SUSPICIOUS_WORDS: [&str; 9] =
    ["error", "exception", "fatal", "fail", "panic", "critical", "denied", "refused", "abort"];

static CANDIDATE: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| words(&WORDS));

static MAY_BE_SUSPICIOUS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| words(&SUSPICIOUS_WORDS));

/// Returns a searcher for words in any case. Most rows of a log have none of them, and all rows are searched.
fn words(words: &[&str]) -> Option<AhoCorasick> {
    AhoCorasick::builder().ascii_case_insensitive(true).kind(Some(AhoCorasickKind::DFA)).build(words).ok()
}

/// Reports whether a row has one of the words.
fn has_word(words: &LazyLock<Option<AhoCorasick>>, text: &str) -> bool {
    words.as_ref().is_some_and(|words| words.is_match(text))
}

/// All recognizers, with the rows that they have to join.
#[derive(Debug, Default)]
pub(super) struct Recognizers {
    compilers: Compilers,
    suites: Suites,
    traces: Traces,
    tools: Tools,
}

impl Recognizers {
    /// Examines the next row of line `n`.
    pub(super) fn examine(&mut self, n: u64, row: &str) -> Option<Finding> {
        let text = without_time(row.trim_end());
        let continues =
            self.compilers.is_open() || self.suites.is_open() || self.traces.is_open() || self.tools.is_open();
        let is_candidate = continues || has_word(&CANDIDATE, text);
        // The first one that knows a row has it.
        let found = is_candidate.then(|| {
            commands::examine(n, text)
                .or_else(|| self.traces.examine(n, text))
                .or_else(|| self.suites.examine(n, text))
                .or_else(|| self.compilers.examine(n, text))
                .or_else(|| self.tools.examine(n, text))
        });
        self.compilers.note_file(text);
        found.flatten()
    }
}

/// Words of a line that looks like an error, in a log of any format.
static SUSPICIOUS: Pattern = LazyLock::new(|| {
    let words = r"(?i)(?:^|[^a-z0-9_-])(?:error|errors|exception|fatal|failed|failure|panic|panicked|critical|denied|refused|abort|aborted)(?:[^a-z0-9_=-]|$)";
    Regex::new(words).ok()
});

/// Words of a line that says that there is none.
static HARMLESS: Pattern = LazyLock::new(|| {
    Regex::new(r"(?i)\b(?:0|no|without) (?:errors?|fail)|\b(?:errors?|failed|failures?)[:=] ?0\b").ok()
});

/// Reports whether a line looks like an error, whatever its format is.
pub(super) fn is_suspicious(text: &str) -> bool {
    let is_match = |pattern: &Pattern| pattern.as_ref().is_some_and(|pattern| pattern.is_match(text));
    has_word(&MAY_BE_SUSPICIOUS, text) && is_match(&SUSPICIOUS) && !is_match(&HARMLESS)
}

/// Returns a row without a time at its start, which CI systems write before each line.
fn without_time(row: &str) -> &str {
    let bytes = row.as_bytes();
    let is_date = bytes.len() > 20
        && bytes.first().is_some_and(u8::is_ascii_digit)
        && bytes.get(4) == Some(&b'-')
        && bytes.get(7) == Some(&b'-')
        && bytes.get(13) == Some(&b':');
    if !is_date {
        return row;
    }
    let rest = row.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '-' | ':' | 'T' | '.' | ','));
    let rest = rest.strip_prefix(' ').map_or(rest, |rest| {
        // A space between the date and the time.
        rest.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, ':' | '.' | ','))
    });
    let rest = rest.strip_prefix('Z').unwrap_or(rest);
    rest.strip_prefix(' ').unwrap_or(rest)
}

#[cfg(test)]
mod tests;
