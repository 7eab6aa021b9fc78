//! Test suites: the results of pytest, cargo test, go test and TAP.

use super::{Finding, Place, annotation, captures, group, patterns};
use crate::analysis::view::Severity;

patterns! {
    // The short summary: `FAILED tests/a.py::test_x - AssertionError: text`.
    PYTEST = r"^(FAILED|ERROR) (\S+\.py(?:::.+?)?)(?: - (.*))?$";
    PYTEST_TOTAL = r"^=+ (.*\b\d+ (?:failed|errors?)\b.*) in [\d.:]+ ?s?.* =+$";
    CARGO = r"^test (.{1,300}) \.\.\. FAILED$";
    CARGO_TOTAL = r"^test result: FAILED\. (.*)$";
    GO = r"^\s*--- FAIL: (\S+) \([\d.]+s\)$";
    GO_PLACE = r"^\s+([\w./-]+\.go):(\d{1,7}): (.*)$";
    GO_PACKAGE = r"^FAIL\t(\S+)(?:\s+[\d.]+s| \[(.*)\])$";
    TAP = r"^not ok \d+ ?-? ?(.*)$";
    JUNIT = r"^(?:\[ERROR\] )?Tests run: \d+, Failures: (\d+), Errors: (\d+)";
}

/// Rows after a failed test in which its place may follow.
const PLACE_ROWS: u8 = 5;

/// The state of the recognizer.
#[derive(Debug, Default)]
pub(super) struct Suites {
    /// Rows in which the place of the last failure may follow.
    place_rows: u8,
    /// Failures since the last total. A total is only reported if it has none of its own.
    failures: u64,
}

impl Suites {
    /// Reports whether the next row may belong to the last ones.
    pub(super) fn is_open(&self) -> bool {
        self.place_rows > 0
    }

    /// Examines a row.
    pub(super) fn examine(&mut self, n: u64, text: &str) -> Option<Finding> {
        if self.place_rows > 0 {
            self.place_rows -= 1;
            if let Some(found) = captures(&GO_PLACE, text) {
                self.place_rows = 0;
                return Some(Finding::Place(Place::new(group(&found, 1), group(&found, 2), "")));
            }
        }
        let error = |source: &str, message: &str| Some(Finding::New(annotation(n, Severity::Error, source, message)));
        match text.as_bytes().first()? {
            b'F' | b'E' => {
                if let Some(found) = captures(&PYTEST, text) {
                    self.failures += 1;
                    let (test, reason) = (group(&found, 2), group(&found, 3));
                    let message = if reason.is_empty() { test.to_owned() } else { format!("{test}: {reason}") };
                    let word = if group(&found, 1) == "ERROR" { "error in " } else { "" };
                    return error("pytest", &format!("{word}{message}"));
                }
                let found = captures(&GO_PACKAGE, text)?;
                let failures = std::mem::take(&mut self.failures);
                let (package, reason) = (group(&found, 1), group(&found, 2));
                match (failures, reason) {
                    (0, "") => error("go", &format!("{package} failed")),
                    (0, reason) => error("go", &format!("{package}: {reason}")),
                    _ => None,
                }
            }
            b'=' => {
                let found = captures(&PYTEST_TOTAL, text)?;
                (std::mem::take(&mut self.failures) == 0).then(|| error("pytest", group(&found, 1)))?
            }
            b't' => {
                if let Some(found) = captures(&CARGO, text) {
                    self.failures += 1;
                    return error("cargo", &format!("test {} failed", group(&found, 1)));
                }
                let found = captures(&CARGO_TOTAL, text)?;
                (std::mem::take(&mut self.failures) == 0).then(|| error("cargo", group(&found, 1)))?
            }
            b'-' | b' ' => {
                let found = captures(&GO, text)?;
                self.failures += 1;
                self.place_rows = PLACE_ROWS;
                error("go", &format!("{} failed", group(&found, 1)))
            }
            b'n' => {
                let found = captures(&TAP, text)?;
                let is_expected = group(&found, 1).contains("# TODO") || group(&found, 1).contains("# SKIP");
                (!is_expected).then(|| error("tap", &format!("not ok: {}", group(&found, 1))))?
            }
            b'T' | b'[' => {
                let found = captures(&JUNIT, text)?;
                let is_clean = group(&found, 1) == "0" && group(&found, 2) == "0";
                (!is_clean).then(|| error("junit", text))?
            }
            _ => None,
        }
    }
}
