//! Notes in a task's own log, about events that could not be read.

use std::collections::{BTreeMap, HashSet};

use crate::events::{TOKEN, clean};

/// Lines in a task's log that tell of an event that could not be read.
pub(super) const NOTES_MAX: usize = 100;
/// What such a note begins with.
const NOTE: &str = "[event on line ";

/// Notes for the task's log.
pub(super) struct Notes {
    /// Up to here the log may hold notes of an earlier reading.
    pub(super) known_through: u64,
    /// Lines that were told of.
    pub(super) told: HashSet<u64>,
    /// Still to be told, by line.
    pub(super) due: BTreeMap<u64, String>,
    silenced: bool,
}

impl Notes {
    /// Nothing was told yet by this reading.
    pub(super) fn new(known_through: u64) -> Self {
        Self { known_through, told: HashSet::new(), due: BTreeMap::new(), silenced: false }
    }

    /// An event on this line could not be read.
    pub(super) fn add(&mut self, line: u64, why: &str) {
        if self.told.len() + self.due.len() < NOTES_MAX {
            // It must not look like an event itself.
            let why = clean(why).replace(TOKEN, "event");
            self.due.entry(line).or_insert_with(|| format!("{NOTE}{line} not read: {why}]"));
        } else if !std::mem::replace(&mut self.silenced, true) {
            let text = format!("[over {NOTES_MAX} events could not be read; from here on they are only counted]");
            self.due.insert(u64::MAX, text);
        }
    }

    /// A line of the server's own: an earlier reading may have told.
    pub(super) fn seen(&mut self, text: &str) {
        let line = text.strip_prefix(NOTE).and_then(|rest| rest.split_once(' ')?.0.parse().ok());
        if let Some(line) = line {
            self.told.insert(line);
            self.due.remove(&line);
        } else if text.starts_with("[over ") && text.contains("events could not be read") {
            self.silenced = true;
            self.due.remove(&u64::MAX);
        }
    }
}
