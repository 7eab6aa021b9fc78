//! Detection of repetition. Pure: it uses only keys of lines and ids of rows, neither texts nor
//! time.
//!
//! Consecutive lines with the same key (see [`super::normalise`]) are a *run*. Runs that repeat in
//! the same order are a *cycle*; from its second repetition on it is one row. A line that does not
//! fit ends it. Failures are never passed to the collapser.

use std::collections::{HashMap, VecDeque};

/// Maximum number of runs in a cycle: a polling loop of five Ansible tasks on several hosts.
const PERIOD_MAX: usize = 32;
/// Maximum number of event runs in a cycle: progress reported in a few lines.
const EVENT_PERIOD_MAX: usize = 4;
/// Maximum number of lanes; one more clears all.
const LANES_MAX: usize = 256;

/// A lane: the lines of one source among those of others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Text of this phase and host; empty for all other text.
    Text(String),
    /// Log events of one repetition. Identical sequences are not merged; repetition of a single
    /// event, and progress (equal except for numbers), is one row.
    Event(String),
}

/// The placement of a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// A new row.
    New,
    /// A repetition of the row's last line.
    Repeat {
        /// The row.
        row: u64,
    },
    /// The second repetition of a new cycle of length `period`: its rows, in order, and this line.
    Formed {
        /// The rows; the first one becomes the cycle's row.
        rows: Vec<u64>,
        /// Length of one repetition.
        period: usize,
    },
    /// The line number `slot` of an existing cycle.
    Again {
        /// The row.
        row: u64,
        /// Index of the line in the cycle.
        slot: usize,
        /// Complete repetitions.
        repeats: u64,
    },
}

/// A detector of repetition.
#[derive(Debug, Default)]
pub struct Collapser {
    lanes: HashMap<Lane, LaneState>,
}

#[derive(Debug, Default)]
struct LaneState {
    runs: VecDeque<LineRun>,
    cycle: Option<Cycle>,
}

#[derive(Debug)]
struct LineRun {
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
    /// Places a line: `key` is the hash of its normal form, `exact` that of its text, `row` its id
    /// if it becomes a new row.
    pub fn place(&mut self, lane: &Lane, key: u64, exact: u64, row: u64) -> Placement {
        if !self.lanes.contains_key(lane) && self.lanes.len() >= LANES_MAX {
            self.lanes.clear();
        }
        let is_text = matches!(lane, Lane::Text(_));
        let state = self.lanes.entry(lane.clone()).or_default();
        if let Some(cycle) = &mut state.cycle {
            if let Some(placement) = cycle.advance(key) {
                return placement;
            }
            state.cycle = None;
        }
        state.push(LineRun { key, exact, row }, is_text)
    }

    /// Ends the repetition in a lane, before a line that is not collapsed.
    pub fn end(&mut self, lane: &Lane) {
        self.lanes.remove(lane);
    }

    /// Ends all repetition, so that no existing row changes.
    pub fn end_all(&mut self) {
        self.lanes.clear();
    }
}

impl Cycle {
    fn advance(&mut self, key: u64) -> Option<Placement> {
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

impl LaneState {
    fn push(&mut self, run: LineRun, is_text: bool) -> Placement {
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

    /// Reports whether the last `period` runs repeat the ones before them.
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

    /// Each letter is a line; returns `N` for new, `=` for repeated, `F` for formed, a digit for
    /// the slot in a cycle.
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
    fn text_cycle_is_one_row_from_its_second_repetition() {
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
    fn identical_event_cycles_are_not_merged_but_progress_is() {
        let event = Lane::Event("h1 fio 1".to_owned());
        assert_eq!(trace("ababab", &event), "NNNNNN");
        assert_eq!(trace("abAbab", &event), "NNNF01", "the first differs in a number");
        assert_eq!(trace("aab", &event), "N=N");
    }

    #[test]
    fn cycle_rows_and_repeats_are_reported() {
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
