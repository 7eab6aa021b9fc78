//! The rows of a log, bounded, and the part of them that is seen.

use std::collections::VecDeque;

use super::collapse::Placement;
use super::row::{Level, Row};

/// Rows that are kept; older ones go, and the first row says how many went.
pub const ROWS_MAX: usize = 10_000;
/// Columns that a text is moved by at once.
const SHIFT: usize = 16;

/// Rows in their order, and a window on them.
#[derive(Debug, Default)]
pub struct Log {
    rows: VecDeque<Row>,
    /// Ids begin with 1.
    last_id: u64,
    gone: Gone,
    /// The id of the last row in the window; `None` follows the newest.
    bottom: Option<u64>,
    pause: Option<Pause>,
    /// The failure that was gone to.
    mark: Option<u64>,
    shift: usize,
    /// Rows that fit on the screen, as it was drawn last.
    page: usize,
    /// Items that came, all told.
    taken: u64,
}

/// What went to keep the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// Rows.
    pub rows: u64,
    /// Lines of text they stood for.
    pub lines: u64,
    /// Events they stood for.
    pub events: u64,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    last_id: u64,
    taken: u64,
}

impl Log {
    /// The id that the next new row will have.
    pub fn next_id(&self) -> u64 {
        self.last_id + 1
    }

    /// A row at the end.
    pub fn push(&mut self, mut row: Row) {
        self.last_id += 1;
        self.taken += 1;
        row.id = self.last_id;
        self.rows.push_back(row);
        while self.rows.len() > ROWS_MAX {
            if let Some(old) = self.rows.pop_front() {
                self.gone.rows += 1;
                self.gone.lines += old.lines;
                self.gone.events += old.events;
            }
        }
    }

    /// A row where the collapser says; one whose row has gone is a new row.
    pub fn place(&mut self, row: Row, placement: &Placement) {
        let target = match placement {
            Placement::New => None,
            Placement::Repeat { row } | Placement::Again { row, .. } => self.position(*row),
            Placement::Formed { rows, period } => return self.form(row, rows, *period),
        };
        let Some(known) = target.and_then(|at| self.rows.get_mut(at)) else { return self.push(row) };
        self.taken += 1;
        known.at = row.at;
        known.lines += row.lines;
        known.events += row.events;
        let Some(text) = row.texts.into_iter().next() else { return };
        match placement {
            Placement::Again { slot, repeats, .. } => {
                known.repeats = *repeats;
                if let Some(said) = known.texts.get_mut(*slot) {
                    *said = text;
                }
            }
            _ => {
                known.repeats += 1;
                known.texts = vec![text];
            }
        }
    }

    fn form(&mut self, row: Row, rows: &[u64], period: usize) {
        let Some(first) = rows.first().and_then(|id| self.position(*id)) else { return self.push(row) };
        self.taken += 1;
        let (mut lines, mut events) = (row.lines, row.events);
        let mut texts = Vec::with_capacity(period);
        for (nth, id) in rows.iter().enumerate() {
            let Some(at) = self.position(*id) else { continue };
            let Some(known) = self.rows.get(at) else { continue };
            (lines, events) = (lines + known.lines, events + known.events);
            if nth >= period {
                texts.extend(known.texts.last().cloned());
            }
            if nth > 0 {
                self.rows.remove(at);
            }
        }
        texts.extend(row.texts);
        if let Some(cycle) = self.rows.get_mut(first) {
            (cycle.at, cycle.texts, cycle.repeats, cycle.lines, cycle.events) = (row.at, texts, 2, lines, events);
        }
    }

    /// All rows that are there.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = &Row> {
        self.rows.iter()
    }

    /// What went.
    pub fn gone(&self) -> Gone {
        self.gone
    }

    fn position(&self, id: u64) -> Option<usize> {
        self.rows.binary_search_by_key(&id, |row| row.id).ok()
    }

    /// How many rows fit; told by whoever draws.
    pub fn set_page(&mut self, rows: usize) {
        self.page = rows;
    }

    /// Columns of each text that are left out on its left.
    pub fn shift(&self) -> usize {
        self.shift
    }

    /// The row that was gone to, to be shown.
    pub fn mark(&self) -> Option<u64> {
        self.mark
    }

    /// Whether the newest row is always in the window.
    pub fn follows(&self) -> bool {
        self.bottom.is_none() && self.pause.is_none()
    }

    /// What came since the pause; `None` where there is none.
    pub fn paused(&self) -> Option<u64> {
        self.pause.map(|pause| self.taken - pause.taken)
    }

    /// The rows in the window, and whether what went is to be told above them.
    pub fn window(&self, filter: &str) -> (bool, Vec<&Row>) {
        let last = self.bottom.unwrap_or(u64::MAX).min(self.limit());
        let wanted = |row: &&Row| filter.is_empty() || row.contains(filter);
        let end = self.rows.partition_point(|row| row.id <= last);
        let mut rows: Vec<&Row> = self.rows.range(..end).rev().filter(wanted).take(self.page).collect();
        let at_first = rows.len() < self.page || rows.last().map(|row| row.id) == self.rows.front().map(|row| row.id);
        let tells = self.gone.rows > 0 && at_first;
        if tells && rows.len() == self.page && self.page > 1 {
            rows.pop();
        }
        rows.reverse();
        (tells, rows)
    }

    fn limit(&self) -> u64 {
        self.pause.map_or(u64::MAX, |pause| pause.last_id)
    }

    /// Moves the window by rows; behind the last row it follows again.
    pub fn scroll(&mut self, by: isize, filter: &str) {
        let limit = self.limit();
        let ids: Vec<u64> = self
            .rows
            .iter()
            .filter(|row| row.id <= limit && (filter.is_empty() || row.contains(filter)))
            .map(|row| row.id)
            .collect();
        let Some(last) = ids.len().checked_sub(1) else { return };
        let now = self.bottom.map_or(last, |id| ids.partition_point(|known| *known <= id).saturating_sub(1));
        let first = self.page.saturating_sub(1).min(last);
        let to = now.saturating_add_signed(by).clamp(first, last);
        self.bottom = if to >= last { None } else { ids.get(to).copied() };
    }

    /// Moves the window by whole pages.
    pub fn scroll_pages(&mut self, by: isize, filter: &str) {
        let page = isize::try_from(self.page.max(2) - 1).unwrap_or(isize::MAX);
        self.scroll(by.saturating_mul(page), filter);
    }

    /// To the newest, and follows it.
    pub fn to_end(&mut self) {
        self.bottom = None;
        self.mark = None;
    }

    /// Moves the texts left or right.
    pub fn shift_by(&mut self, right: bool) {
        self.shift = if right { (self.shift + SHIFT).min(2000) } else { self.shift.saturating_sub(SHIFT) };
    }

    /// Stops the window, or lets it go on.
    pub fn toggle_pause(&mut self) {
        self.pause = match self.pause {
            Some(_) => None,
            None => Some(Pause { last_id: self.last_id, taken: self.taken }),
        };
    }

    /// To the next failure behind the last one gone to; behind the last of all, to the first. Whether there is one.
    pub fn to_next_failure(&mut self, filter: &str) -> bool {
        let limit = self.limit();
        let wanted = |row: &&Row| row.is_failure() && row.id <= limit && (filter.is_empty() || row.contains(filter));
        let after = self.mark.unwrap_or(0);
        let found =
            self.rows.iter().filter(wanted).find(|row| row.id > after).or_else(|| self.rows.iter().find(wanted));
        let Some(id) = found.map(|row| row.id) else { return false };
        self.mark = Some(id);
        self.bottom = Some(id);
        // Some of what came after it is to be seen too.
        self.scroll(isize::try_from(self.page / 2).unwrap_or(0), filter);
        true
    }

    /// Failures among the rows.
    pub fn failures(&self) -> usize {
        self.rows.iter().filter(|row| row.level == Level::Error).count()
    }
}
