//! Rows of NDJSON: lines for a task, events for a run; and bytes that are split into lines.

use tasktail::model::limits::EVENT_BYTES_MAX;
use tasktail::model::{Event, Timestamp};
use tasktail::wire::worker::LineFields;
use tasktail::worker::{LineSplitter, SplitLine};

const LINE_BYTES_MAX: usize = 40;

/// The lines of bytes that come in such pieces.
fn split<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<SplitLine> {
    let mut splitter = LineSplitter::new(LINE_BYTES_MAX);
    let mut lines = Vec::new();
    for mut piece in pieces {
        while let Some(line) = splitter.next_line(&mut piece) {
            lines.push(line);
        }
    }
    while let Some(line) = splitter.finish() {
        lines.push(line);
    }
    assert!(lines.iter().all(|line| line.text.len() <= LINE_BYTES_MAX));
    lines
}

/// Holds what is said above for these bytes.
pub(crate) fn check(bytes: &[u8]) {
    let now = Timestamp::from_millis(1_778_336_581_000);
    for row in bytes.split(|byte| *byte == b'\n') {
        let Ok(text) = std::str::from_utf8(row) else { continue };
        if let Ok(line) = LineFields::parse(text, now) {
            assert!(!line.line.text.contains('\0'));
        }
        if let Ok(event) = Event::parse(text) {
            assert!(event.as_str().len() <= EVENT_BYTES_MAX);
            assert_eq!(Event::parse(event.as_str()).as_ref(), Ok(&event));
        }
    }
    let whole = split(std::iter::once(bytes));
    for size in [1, 3, 64] {
        assert_eq!(split(bytes.chunks(size)), whole);
    }
}
