//! Notes in a task's own log about invalid events.

use std::collections::{BTreeMap, HashSet};

use crate::events::{TOKEN, clean};

/// Maximum notes per task.
pub(super) const NOTES_MAX: usize = 100;
/// Prefix of a note.
const NOTE: &str = "[event on line ";

/// The notes of one task's log.
pub(super) struct LogNotes {
    /// Last line that may be a note of an earlier read.
    pub(super) known_through: u64,
    /// Lines that have a note.
    pub(super) written: HashSet<u64>,
    /// Notes to append, by line.
    pub(super) due: BTreeMap<u64, String>,
    /// Set once the final note was added.
    is_full: bool,
}

impl LogNotes {
    /// Returns an empty set of notes.
    pub(super) fn new(known_through: u64) -> Self {
        Self { known_through, written: HashSet::new(), due: BTreeMap::new(), is_full: false }
    }

    /// Adds a note about an invalid event on this line.
    pub(super) fn add(&mut self, line: u64, reason: &str) {
        if self.written.len() + self.due.len() < NOTES_MAX {
            // A note must not look like an event itself.
            let reason = clean(reason).replace(TOKEN, "event");
            self.due.entry(line).or_insert_with(|| format!("{NOTE}{line} not read: {reason}]"));
        } else if !std::mem::replace(&mut self.is_full, true) {
            let text = format!("[over {NOTES_MAX} events could not be read; from here on they are only counted]");
            self.due.insert(u64::MAX, text);
        }
    }

    /// Observes an internal line, which may be a note of an earlier read.
    pub(super) fn observe(&mut self, text: &str) {
        let line = text.strip_prefix(NOTE).and_then(|rest| rest.split_once(' ')?.0.parse().ok());
        if let Some(line) = line {
            self.written.insert(line);
            self.due.remove(&line);
        } else if text.starts_with("[over ") && text.contains("events could not be read") {
            self.is_full = true;
            self.due.remove(&u64::MAX);
        }
    }
}
