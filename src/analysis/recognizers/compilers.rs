//! Compilers, type checkers and linters: `file:line:column: error: text` and its relatives.

use super::{Finding, Place, annotation, captures, group, patterns, placed};
use crate::analysis::view::Severity;

patterns! {
    // gcc, clang, javac, mypy, protoc: `src/a.c:3:5: error: text`, with a drive letter on Windows.
    COLONS = r"^((?:[A-Za-z]:)?[^\s:()\[\]'\x22][^:()'\x22]{0,250}):(\d{1,7})(?::(\d{1,7}))?: (?:fatal )?(error|warning)(?:\[[^\]]*\])?: (.+)$";
    // msvc, tsc, csc: `src/a.ts(3,5): error TS2322: text`.
    PARENTHESES = r"^\s*(?:\d+>)?((?:[A-Za-z]:)?[^\s:()'\x22][^:()'\x22]{0,250})\((\d{1,7})(?:,(\d{1,7}))?(?:,[\d,]*)?\) ?: (?:fatal )?(error|warning) ([A-Z]{1,8}\d{1,6}: .+)$";
    // tsc with colours: `src/a.ts:3:5 - error TS2322: text`.
    DASH = r"^([^\s:][^:]{0,250}):(\d{1,7}):(\d{1,7}) - (error|warning) (.+)$";
    // go build and go vet: `./a.go:3:5: text`.
    GO = r"^(?:vet: )?([^\s:]{1,250}\.go):(\d{1,7}):(\d{1,7}): (.+)$";
    // rustc: `error[E0425]: text`, then `  --> src/a.rs:3:5`.
    RUST = r"^(error|warning)(?:\[([^\]\s]{1,80})\])?: (.+)$";
    RUST_PLACE = r"^\s*--> ([^\s:][^:]{0,250}):(\d{1,7}):(\d{1,7})$";
    RUST_SUMMARY = r"^(?:aborting due to|could not compile|test failed, to rerun|`.*` \(.*\) generated \d+ warning|\d+ warnings? emitted|build failed|doctest failed|\d+ targets? failed)";
    // eslint: the file on its own row, then `  3:5  error  text  rule`.
    LINT_FILE = r"^((?:/|[A-Za-z]:\\|\./)?[\w@./\\-]+\.[A-Za-z]{1,5})$";
    LINT = r"^\s+(\d{1,7}):(\d{1,7})\s+(error|warning)\s+(.+?)(?:\s{2,}([\w@/-]+))?$";
    CMAKE = r"^CMake (Error|Warning)(?: \(dev\))?(?: at ([^\s:]+):(\d{1,7}) \([^)]*\))?:\s*(.*)$";
}

/// Rows after `error: text` in which its place may follow.
const PLACE_ROWS: u8 = 3;

/// The state of the recognizer.
#[derive(Debug, Default)]
pub(super) struct Compilers {
    /// Rows in which the place of the last message may follow.
    place_rows: u8,
    /// The name of a file, if the rows since are messages of a linter.
    lint_file: Option<String>,
    /// The last message of CMake has its text in the next rows.
    cmake: Option<(u64, Severity, Place, u8)>,
}

impl Compilers {
    /// Reports whether the next row may belong to the last ones.
    pub(super) fn is_open(&self) -> bool {
        self.place_rows > 0 || self.cmake.is_some() || self.lint_file.is_some()
    }

    /// Examines a row.
    pub(super) fn examine(&mut self, n: u64, text: &str) -> Option<Finding> {
        if self.place_rows > 0 {
            self.place_rows -= 1;
            if let Some(found) = captures(&RUST_PLACE, text) {
                self.place_rows = 0;
                return Some(Finding::Place(Place::new(group(&found, 1), group(&found, 2), group(&found, 3))));
            }
        }
        self.examine_cmake(n, text)
            .or_else(|| self.examine_lint(n, text))
            .or_else(|| examine_places(n, text))
            .or_else(|| self.examine_rust(n, text))
    }

    fn examine_rust(&mut self, n: u64, text: &str) -> Option<Finding> {
        let found = captures(&RUST, text)?;
        let message = group(&found, 3);
        if RUST_SUMMARY.as_ref().is_some_and(|summary| summary.is_match(message)) {
            return None;
        }
        self.place_rows = PLACE_ROWS;
        let code = group(&found, 2);
        let message = if code.is_empty() { message.to_owned() } else { format!("{message} [{code}]") };
        Some(Finding::New(annotation(n, severity(group(&found, 1)), "compiler", &message)))
    }

    fn examine_lint(&mut self, n: u64, text: &str) -> Option<Finding> {
        let file = self.lint_file.take()?;
        if let Some(found) = captures(&LINT, text) {
            let place = Place::new(&file, group(&found, 1), group(&found, 2));
            let rule = group(&found, 5);
            let message = group(&found, 4);
            let message = if rule.is_empty() { message.to_owned() } else { format!("{message} [{rule}]") };
            self.lint_file = Some(file);
            return Some(Finding::New(placed(n, severity(group(&found, 3)), "eslint", &message, place)));
        }
        None
    }

    fn examine_cmake(&mut self, n: u64, text: &str) -> Option<Finding> {
        if let Some((at, level, place, rows)) = self.cmake.take() {
            if !text.trim().is_empty() {
                return Some(Finding::New(placed(at, level, "cmake", text, place)));
            }
            self.cmake = (rows > 0).then_some((at, level, place, rows.saturating_sub(1)));
            return None;
        }
        let found = captures(&CMAKE, text)?;
        let level = severity(group(&found, 1));
        let place = Place::new(group(&found, 2), group(&found, 3), "");
        let message = group(&found, 4);
        if message.is_empty() {
            self.cmake = Some((n, level, place, 3));
            return None;
        }
        Some(Finding::New(placed(n, level, "cmake", message, place)))
    }

    /// Notes a row that is the name of a file alone. Called for every row of a log that may be a linter's.
    pub(super) fn note_file(&mut self, text: &str) {
        let is_short = text.len() < 300 && !text.starts_with(' ') && !text.contains(' ') && text.contains('.');
        if is_short && LINT_FILE.as_ref().is_some_and(|file| file.is_match(text)) {
            self.lint_file = Some(text.to_owned());
        }
    }
}

fn examine_places(n: u64, text: &str) -> Option<Finding> {
    if let Some(found) = captures(&COLONS, text) {
        let place = Place::new(group(&found, 1), group(&found, 2), group(&found, 3));
        let (level, message) = (severity(group(&found, 4)), group(&found, 5));
        return Some(Finding::New(placed(n, level, "compiler", message, place)));
    }
    if let Some(found) = captures(&PARENTHESES, text).or_else(|| captures(&DASH, text)) {
        let place = Place::new(group(&found, 1), group(&found, 2), group(&found, 3));
        let (level, message) = (severity(group(&found, 4)), group(&found, 5));
        return Some(Finding::New(placed(n, level, "compiler", message, place)));
    }
    let found = captures(&GO, text)?;
    let place = Place::new(group(&found, 1), group(&found, 2), group(&found, 3));
    Some(Finding::New(placed(n, Severity::Error, "go", group(&found, 4), place)))
}

fn severity(word: &str) -> Severity {
    if word.eq_ignore_ascii_case("warning") { Severity::Warning } else { Severity::Error }
}
