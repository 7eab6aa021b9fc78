//! Stack traces: Python, Rust, Go, Node and Java. The message of a trace is one annotation.

use super::{Finding, Place, captures, group, patterns, placed};
use crate::analysis::view::Severity;

patterns! {
    PYTHON_FRAME = r#"^\s+File "([^"]{1,300})", line (\d{1,7})"#;
    PYTHON_END = r"^([A-Za-z_][\w.]{0,200})(?:: (.*))?$";
    RUST_OLD = r"^thread '(.{0,200}?)' (?:\(\d+\) )?panicked at '(.*)', ([^\s:]+):(\d{1,7}):(\d{1,7})$";
    RUST = r"^thread '(.{0,200}?)' (?:\(\d+\) )?panicked at ([^\s:][^:]{0,300}):(\d{1,7}):(\d{1,7}):$";
    GO = r"^(panic|fatal error): (.+)$";
    GO_FRAME = r"^\t(\S+\.go):(\d{1,7})(?: \+0x[0-9a-f]+)?$";
    // The message of Node and of Java, which a frame follows.
    HEAD = r#"^(?:Exception in thread "[^"]{0,200}" |Uncaught |Unhandled rejection )?([\w.$]{0,200}(?:Error|Exception))(?: \[[^\]]{1,80}\])?(?:: (.*))?$"#;
    NODE_FRAME = r"^\s+at (?:.*\()?(?:file://)?([^\s()]+):(\d{1,7}):(\d{1,7})\)?$";
    JAVA_FRAME = r"^\s+at [\w.$<>/]+\(([\w.]+):(\d{1,7})\)$";
}

/// Maximum number of rows of a trace of Python.
const PYTHON_ROWS: u16 = 2_000;
/// Rows after the message of Node or Java in which its first frame may follow.
const HEAD_ROWS: u8 = 6;
/// Rows after a panic of Go in which its first frame may follow.
const GO_ROWS: u8 = 12;

/// The trace that the next row may belong to.
#[derive(Debug, Default)]
enum TraceState {
    #[default]
    None,
    /// Inside a trace of Python, with the last frame.
    Python { place: Place, rows: u16 },
    /// After the first row of a panic of Rust: its message follows.
    Rust { n: u64, place: Place },
    /// After a panic of Go: its place follows.
    Go { rows: u8 },
    /// After a row that may be the message of Node or Java: a frame confirms it.
    Head { n: u64, message: String, rows: u8 },
}

/// The state of the recognizer.
#[derive(Debug, Default)]
pub(super) struct Traces(TraceState);

impl Traces {
    /// Reports whether the next row may belong to the last ones.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.0, TraceState::None)
    }

    /// Examines a row.
    pub(super) fn examine(&mut self, n: u64, text: &str) -> Option<Finding> {
        match std::mem::take(&mut self.0) {
            TraceState::None => self.begin(n, text),
            TraceState::Python { place, rows } => self.python(n, text, place, rows),
            TraceState::Rust { n: at, place } => Some(Finding::New(placed(at, Severity::Error, "panic", text, place))),
            TraceState::Go { rows } => {
                if let Some(found) = captures(&GO_FRAME, text) {
                    return Some(Finding::Place(Place::new(group(&found, 1), group(&found, 2), "")));
                }
                self.0 = if rows > 0 { TraceState::Go { rows: rows - 1 } } else { TraceState::None };
                None
            }
            TraceState::Head { n: at, message, rows } => {
                let node = captures(&NODE_FRAME, text).map(|found| ("node", found));
                if let Some((source, found)) = node.or_else(|| captures(&JAVA_FRAME, text).map(|found| ("java", found)))
                {
                    let place = Place::new(group(&found, 1), group(&found, 2), found.get(3).map_or("", |c| c.as_str()));
                    return Some(Finding::New(placed(at, Severity::Error, source, &message, place)));
                }
                let begun = self.begin(n, text);
                if begun.is_none() && !self.is_open() && rows > 0 {
                    self.0 = TraceState::Head { n: at, message, rows: rows - 1 };
                }
                begun
            }
        }
    }

    fn begin(&mut self, n: u64, text: &str) -> Option<Finding> {
        if text.trim_start_matches(['|', ' ', '+']).starts_with("Traceback (most recent call last):") {
            self.0 = TraceState::Python { place: Place::default(), rows: PYTHON_ROWS };
            return None;
        }
        if text.starts_with("thread '") {
            if let Some(found) = captures(&RUST_OLD, text) {
                let place = Place::new(group(&found, 3), group(&found, 4), group(&found, 5));
                return Some(Finding::New(placed(n, Severity::Error, "panic", group(&found, 2), place)));
            }
            let found = captures(&RUST, text)?;
            self.0 = TraceState::Rust { n, place: Place::new(group(&found, 2), group(&found, 3), group(&found, 4)) };
            return None;
        }
        if let Some(found) = captures(&GO, text)
            && (group(&found, 1) == "panic" || is_go_fatal(group(&found, 2)))
        {
            self.0 = TraceState::Go { rows: GO_ROWS };
            return Some(Finding::New(placed(n, Severity::Error, "panic", text, Place::default())));
        }
        let found = captures(&HEAD, text)?;
        if !group(&found, 1).is_empty() {
            self.0 = TraceState::Head { n, message: text.to_owned(), rows: HEAD_ROWS };
        }
        None
    }

    fn python(&mut self, n: u64, text: &str, mut place: Place, rows: u16) -> Option<Finding> {
        let inside = text.trim_start_matches(['|', '+']);
        if let Some(found) = captures(&PYTHON_FRAME, inside) {
            place = Place::new(group(&found, 1), group(&found, 2), "");
        } else if !inside.is_empty() && !inside.starts_with(' ') {
            let found = captures(&PYTHON_END, inside)?;
            let is_name = group(&found, 1).contains(char::is_uppercase) || group(&found, 1).contains('.');
            return is_name.then(|| Finding::New(placed(n, Severity::Error, "python", inside, place)));
        }
        if rows > 0 {
            self.0 = TraceState::Python { place, rows: rows - 1 };
        }
        None
    }
}

/// Reports whether a `fatal error` is one of Go's runtime. Compilers have fatal errors, too.
fn is_go_fatal(message: &str) -> bool {
    ["all goroutines are asleep", "concurrent map", "stack overflow", "unexpected signal", "out of memory"]
        .iter()
        .any(|known| message.starts_with(known))
}
