//! Repetition: which line is one more of what was there just before. Pure: it knows keys of lines and
//! ids of rows, neither texts nor time.
//!
//! Lines that have the same key (see [`super::normalise`]) one after the other are a *run*. Runs that
//! repeat in the same order are a *cycle*; from its second repetition on it is one row. A line that
//! does not fit ends it. What tells of a failure is never brought here.

use std::collections::{HashMap, VecDeque};

/// Runs in one cycle at most: a polling loop of five Ansible tasks on several hosts.
const PERIOD_MAX: usize = 32;
/// Runs of events in one cycle at most: a progress that is told in a few lines.
const EVENT_PERIOD_MAX: usize = 4;
/// Sources whose repetition is watched at once; with one more all begin anew.
const LANES_MAX: usize = 256;

/// Where lines follow each other: the lines of one source among those of others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Text of this phase and host; empty for all other text.
    Text(String),
    /// Log events of one repetition. Several that are repeated whole stay apart: only one that is
    /// said again, and progress (the same but for its numbers), is one row.
    Event(String),
}

/// Where a line goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// It is a row of its own.
    New,
    /// It is once more what this row says last.
    Repeat {
        /// The row.
        row: u64,
    },
    /// With it, rows became a cycle of the length `period`: all of them, in order, twice but for the line itself.
    Formed {
        /// The rows; the first stays, as the cycle's.
        rows: Vec<u64>,
        /// How many make one repetition.
        period: usize,
    },
    /// It is the line in the place `slot` of the cycle that this row is.
    Again {
        /// The row.
        row: u64,
        /// Which of the cycle's lines.
        slot: usize,
        /// Repetitions that are whole.
        repeats: u64,
    },
}

/// Watches for repetition.
#[derive(Debug, Default)]
pub struct Collapser {
    lanes: HashMap<Lane, Watch>,
}

#[derive(Debug, Default)]
struct Watch {
    runs: VecDeque<Run>,
    cycle: Option<Cycle>,
}

#[derive(Debug)]
struct Run {
    key: u64,
    exact: u64,
    row: u64,
}

#[derive(Debug)]
struct Cycle {
    keys: Vec<u64>,
    next: usize,
    repeats: u64,
    row: u64,
}

impl Collapser {
    /// Places a line: `key` is that of its normal form, `exact` that of its text, `row` the id it has
    /// if it becomes a row.
    pub fn place(&mut self, lane: &Lane, key: u64, exact: u64, row: u64) -> Placement {
        if !self.lanes.contains_key(lane) && self.lanes.len() >= LANES_MAX {
            self.lanes.clear();
        }
        let is_text = matches!(lane, Lane::Text(_));
        let watch = self.lanes.entry(lane.clone()).or_default();
        if let Some(cycle) = &mut watch.cycle {
            if let Some(placement) = cycle.take(key) {
                return placement;
            }
            watch.cycle = None;
        }
        watch.take(Run { key, exact, row }, is_text)
    }

    /// Something came in this lane that is not to be collapsed.
    pub fn end(&mut self, lane: &Lane) {
        self.lanes.remove(lane);
    }

    /// No row that is there changes any more.
    pub fn end_all(&mut self) {
        self.lanes.clear();
    }
}

impl Cycle {
    fn take(&mut self, key: u64) -> Option<Placement> {
        let last = (self.next + self.keys.len() - 1) % self.keys.len();
        let slot = if self.keys.get(self.next) == Some(&key) {
            self.next = (self.next + 1) % self.keys.len();
            self.repeats += u64::from(self.next == 0);
            (last + 1) % self.keys.len()
        } else if self.keys.get(last) == Some(&key) {
            last
        } else {
            return None;
        };
        Some(Placement::Again { row: self.row, slot, repeats: self.repeats })
    }
}

impl Watch {
    fn take(&mut self, run: Run, is_text: bool) -> Placement {
        if let Some(last) = self.runs.back_mut().filter(|last| last.key == run.key) {
            last.exact = run.exact;
            return Placement::Repeat { row: last.row };
        }
        let max = if is_text { PERIOD_MAX } else { EVENT_PERIOD_MAX };
        if self.runs.len() >= 2 * max {
            self.runs.pop_front();
        }
        self.runs.push_back(run);
        let found = (2..=max.min(self.runs.len() / 2)).find(|period| self.repeats(*period, is_text));
        let Some(period) = found else { return Placement::New };
        let twice = self.runs.split_off(self.runs.len() - 2 * period);
        self.runs.clear();
        let keys = twice.iter().take(period).map(|run| run.key).collect();
        let rows: Vec<u64> = twice.iter().take(2 * period - 1).map(|run| run.row).collect();
        let row = rows.first().copied().unwrap_or_default();
        self.cycle = Some(Cycle { keys, next: 0, repeats: 2, row });
        Placement::Formed { rows, period }
    }

    /// Whether the last runs are the same twice.
    fn repeats(&self, period: usize, is_text: bool) -> bool {
        let from = self.runs.len() - 2 * period;
        let first = self.runs.range(from..from + period);
        let second = self.runs.range(from + period..);
        let mut pairs = first.zip(second);
        pairs.clone().all(|(a, b)| a.key == b.key) && (is_text || pairs.any(|(a, b)| a.exact != b.exact))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each letter is a line; gives `N` new, `=` repeated, `F` formed, a digit for the place in a cycle.
    fn trace(lines: &str, lane: &Lane) -> String {
        let mut collapser = Collapser::default();
        let place = |(at, letter): (usize, char)| {
            let key = u64::from(letter.to_ascii_lowercase());
            match collapser.place(lane, key, u64::from(letter), at as u64) {
                Placement::New => 'N',
                Placement::Repeat { .. } => '=',
                Placement::Formed { .. } => 'F',
                Placement::Again { slot, .. } => char::from_digit(u32::try_from(slot).unwrap(), 10).unwrap(),
            }
        };
        lines.chars().enumerate().map(place).collect()
    }

    #[test]
    fn cycles_of_text_are_one_row_from_their_second_time_on() {
        let text = Lane::Text(String::new());
        for (lines, expected) in [
            ("abc", "NNN"),
            ("aaa", "N=="),
            ("ababab", "NNNF01"),
            ("xabcabcabcy", "NNNNNNF012N"),
            ("aabaabaab", "N=NN=F001"),
            ("ababxabab", "NNNFNNNNF"),
        ] {
            assert_eq!(trace(lines, &text), expected, "{lines}");
        }
    }

    #[test]
    fn events_that_are_repeated_whole_stay_apart_but_progress_does_not() {
        let event = Lane::Event("h1 fio 1".to_owned());
        assert_eq!(trace("ababab", &event), "NNNNNN");
        assert_eq!(trace("abAbab", &event), "NNNF01", "the first differs in a number");
        assert_eq!(trace("aab", &event), "N=N");
    }

    #[test]
    fn the_rows_of_a_cycle_are_named_and_counted() {
        let (mut collapser, lane) = (Collapser::default(), Lane::Text(String::new()));
        let mut last = Placement::New;
        for (at, key) in [7, 1, 2, 1, 2].iter().enumerate() {
            last = collapser.place(&lane, *key, *key, at as u64);
        }
        assert_eq!(last, Placement::Formed { rows: vec![1, 2, 3], period: 2 });
        assert_eq!(collapser.place(&lane, 1, 1, 5), Placement::Again { row: 1, slot: 0, repeats: 2 });
        assert_eq!(collapser.place(&lane, 2, 2, 6), Placement::Again { row: 1, slot: 1, repeats: 3 });
        assert_eq!(collapser.place(&lane, 2, 2, 7), Placement::Again { row: 1, slot: 1, repeats: 3 }, "a longer run");
        assert_eq!(collapser.place(&lane, 9, 9, 8), Placement::New);
    }
}
