//! The rows of a log, bounded, and the window of visible rows.

use std::collections::VecDeque;

use super::collapse::Placement;
use super::row::{LogRow, RowLevel};

/// Maximum number of rows; older ones are dropped, and the first line of the log reports how many.
pub const ROWS_MAX: usize = 10_000;
/// Columns of one horizontal scroll step.
const SHIFT: usize = 16;

/// The rows in order, and a window on them.
#[derive(Debug, Default)]
pub struct LogPanel {
    rows: VecDeque<LogRow>,
    /// Id of the newest row; ids start at 1.
    last_id: u64,
    dropped: DroppedRows,
    /// Id of the last row in the window; `None` follows the newest.
    bottom: Option<u64>,
    pause: Option<PausePoint>,
    /// Id of the failure last jumped to.
    mark: Option<u64>,
    shift: usize,
    /// Number of rows that fit on the screen, as of the last draw.
    page: usize,
    /// Number of rows added, including merged ones.
    added: u64,
}

/// The rows dropped to make space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DroppedRows {
    /// Number of rows.
    pub rows: u64,
    /// Lines of text in them.
    pub lines: u64,
    /// Events in them.
    pub events: u64,
}

#[derive(Clone, Copy, Debug)]
struct PausePoint {
    last_id: u64,
    added: u64,
}

impl LogPanel {
    /// Returns the id of the next new row.
    pub fn next_id(&self) -> u64 {
        self.last_id + 1
    }

    /// Appends a row.
    pub fn push(&mut self, mut row: LogRow) {
        self.last_id += 1;
        self.added += 1;
        row.id = self.last_id;
        self.rows.push_back(row);
        while self.rows.len() > ROWS_MAX {
            if let Some(old) = self.rows.pop_front() {
                self.dropped.rows += 1;
                self.dropped.lines += old.lines;
                self.dropped.events += old.events;
            }
        }
    }

    /// Adds a row as the collapser decided; if its target was dropped, it becomes a new row.
    pub fn place(&mut self, row: LogRow, placement: &Placement) {
        let target = match placement {
            Placement::New => None,
            Placement::Repeat { row } | Placement::Again { row, .. } => self.position(*row),
            Placement::Formed { rows, period } => return self.form(row, rows, *period),
        };
        let Some(known) = target.and_then(|at| self.rows.get_mut(at)) else { return self.push(row) };
        self.added += 1;
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

    fn form(&mut self, row: LogRow, rows: &[u64], period: usize) {
        let Some(first) = rows.first().and_then(|id| self.position(*id)) else { return self.push(row) };
        self.added += 1;
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

    /// Returns all rows.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = &LogRow> {
        self.rows.iter()
    }

    /// Returns the totals of the dropped rows.
    pub fn dropped(&self) -> DroppedRows {
        self.dropped
    }

    fn position(&self, id: u64) -> Option<usize> {
        self.rows.binary_search_by_key(&id, |row| row.id).ok()
    }

    /// Sets the number of rows that fit on the screen.
    pub fn set_page(&mut self, rows: usize) {
        self.page = rows;
    }

    /// Returns the number of columns hidden on the left of each text.
    pub fn shift(&self) -> usize {
        self.shift
    }

    /// Returns the row to highlight, last jumped to.
    pub fn mark(&self) -> Option<u64> {
        self.mark
    }

    /// Reports whether the newest row is always visible.
    pub fn follows(&self) -> bool {
        self.bottom.is_none() && self.pause.is_none()
    }

    /// Returns the number of rows added since the pause, or `None` without one.
    pub fn paused(&self) -> Option<u64> {
        self.pause.map(|pause| self.added - pause.added)
    }

    /// Returns the rows in the window, and whether to show the dropped rows above them.
    pub fn window(&self, filter: &str) -> (bool, Vec<&LogRow>) {
        let last = self.bottom.unwrap_or(u64::MAX).min(self.limit());
        let wanted = |row: &&LogRow| filter.is_empty() || row.contains(filter);
        let end = self.rows.partition_point(|row| row.id <= last);
        let mut rows: Vec<&LogRow> = self.rows.range(..end).rev().filter(wanted).take(self.page).collect();
        let at_first = rows.len() < self.page || rows.last().map(|row| row.id) == self.rows.front().map(|row| row.id);
        let shows_dropped = self.dropped.rows > 0 && at_first;
        if shows_dropped && rows.len() == self.page && self.page > 1 {
            rows.pop();
        }
        rows.reverse();
        (shows_dropped, rows)
    }

    fn limit(&self) -> u64 {
        self.pause.map_or(u64::MAX, |pause| pause.last_id)
    }

    /// Scrolls by rows; past the last row the log follows the newest again.
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

    /// Scrolls by whole pages.
    pub fn scroll_pages(&mut self, by: isize, filter: &str) {
        let page = isize::try_from(self.page.max(2) - 1).unwrap_or(isize::MAX);
        self.scroll(by.saturating_mul(page), filter);
    }

    /// Scrolls to the newest row and follows it.
    pub fn to_end(&mut self) {
        self.bottom = None;
        self.mark = None;
    }

    /// Scrolls the texts left or right.
    pub fn shift_by(&mut self, right: bool) {
        self.shift = if right { (self.shift + SHIFT).min(2000) } else { self.shift.saturating_sub(SHIFT) };
    }

    /// Pauses or resumes the window.
    pub fn toggle_pause(&mut self) {
        self.pause = match self.pause {
            Some(_) => None,
            None => Some(PausePoint { last_id: self.last_id, added: self.added }),
        };
    }

    /// Jumps to the next failure, wrapping around. Returns whether there is one.
    pub fn to_next_failure(&mut self, filter: &str) -> bool {
        let limit = self.limit();
        let wanted = |row: &&LogRow| row.is_failure() && row.id <= limit && (filter.is_empty() || row.contains(filter));
        let after = self.mark.unwrap_or(0);
        let found =
            self.rows.iter().filter(wanted).find(|row| row.id > after).or_else(|| self.rows.iter().find(wanted));
        let Some(id) = found.map(|row| row.id) else { return false };
        self.mark = Some(id);
        self.bottom = Some(id);
        // Keeps some rows after the failure visible.
        self.scroll(isize::try_from(self.page / 2).unwrap_or(0), filter);
        true
    }

    /// Returns the number of failures.
    pub fn failures(&self) -> usize {
        self.rows.iter().filter(|row| row.level == RowLevel::Error).count()
    }
}
