//! Control sequences that move the cursor, and that erase, insert and delete text.

use std::rc::Rc;

use super::row::{Glyph, ScreenCell};
use super::style::CellStyle;
use super::{
    Alternate, COLUMNS_ASSUMED, COLUMNS_MAX, ROWS_MAX, SCREEN_ROWS_MAX, SavedCursor, ScreenRow, TextScreen, split,
};

/// Maximum repetitions of one character.
const REPEAT_MAX: usize = 1_000;

impl TextScreen {
    /// Applies a control sequence.
    pub(super) fn control_sequence(&mut self, last: char, parameters: &str) {
        if parameters.starts_with('?') {
            if matches!(parameters, "?47" | "?49" | "?1047" | "?1049") {
                self.switch_screen(last);
            }
            return;
        }
        if last == 'm' {
            self.style = self.style.apply(parameters);
            return;
        }
        let numbers: Vec<usize> = parameters.split(';').map(leading_number).collect();
        let first = numbers.first().copied().unwrap_or(0);
        let count = first.clamp(1, COLUMNS_MAX);
        let second = numbers.get(1).copied();
        match last {
            'A' => self.move_up(count),
            'B' | 'e' => self.move_down(count),
            'C' | 'a' => self.move_to_column(self.column.saturating_add(first.max(1))),
            'D' => self.column = self.column.saturating_sub(first.max(1)),
            'E' => {
                self.column = 0;
                self.move_down(count);
            }
            'F' => {
                self.column = 0;
                self.move_up(count);
            }
            'G' | '`' => self.move_to_column(first.max(1) - 1),
            'd' => self.move_to(first.max(1) - 1, None),
            'H' | 'f' => self.move_to(first.max(1) - 1, Some(second.unwrap_or(1).max(1) - 1)),
            'r' => {
                let (top, bottom) = (first.max(1), second.unwrap_or(0));
                self.region = (bottom > top).then(|| (top - 1, bottom - 1));
            }
            's' if numbers.len() == 1 => self.save(),
            'u' if numbers.len() == 1 => self.restore(),
            _ if self.elsewhere => {}
            'J' => self.erase_display(first),
            'K' if first <= 2 => self.erase_in_row(first),
            'L' => self.insert_rows(count),
            'M' => self.delete_rows(count),
            'P' => self.edit_row(count, 0),
            '@' => self.edit_row(0, count),
            'X' => self.erase_cells(count),
            'b' => self.repeat(count),
            _ => {}
        }
    }

    fn move_up(&mut self, rows: usize) {
        if !self.flat && !self.elsewhere {
            self.row = self.row.saturating_sub(rows);
        }
    }

    fn move_down(&mut self, rows: usize) {
        if self.flat || self.elsewhere {
            return;
        }
        // The last row is at the bottom of the screen, unless absolute moves gave the screen a place.
        let lowest = self.origin.map_or(self.lowest, |origin| self.lowest.max(origin + SCREEN_ROWS_MAX));
        self.row = (self.row + rows).min(lowest).min(ROWS_MAX);
    }

    fn move_to_column(&mut self, column: usize) {
        self.column = if column < COLUMNS_MAX { column } else { self.column.max(COLUMNS_ASSUMED - 1) };
    }

    /// Moves to an absolute row, and to a column unless it is to be kept.
    fn move_to(&mut self, row: usize, column: Option<usize>) {
        if self.saved.is_some_and(|saved| saved.open) && self.alternate.is_none() {
            self.elsewhere = true;
        }
        if let Some(column) = column {
            self.move_to_column(column);
        }
        if !self.flat && !self.elsewhere {
            self.row = (self.home() + row.min(SCREEN_ROWS_MAX)).min(ROWS_MAX);
            self.lowest = self.lowest.max(self.row);
        }
    }

    /// Returns the first row of the screen.
    fn home(&mut self) -> usize {
        if let Some(origin) = self.origin
            && (origin..=origin + SCREEN_ROWS_MAX).contains(&self.row)
        {
            return origin;
        }
        let written = self.rows.get(self.row).is_some_and(|row| !row.is_empty());
        let home = self.row + usize::from(written);
        self.origin = Some(home);
        home
    }

    pub(super) fn save(&mut self) {
        self.saved = Some(SavedCursor { row: self.row, column: self.column, style: self.style, open: true });
    }

    pub(super) fn restore(&mut self) {
        self.elsewhere = false;
        let Some(saved) = &mut self.saved else { return };
        saved.open = false;
        self.column = saved.column;
        self.style = saved.style;
        if !self.flat {
            self.row = saved.row;
        }
    }

    pub(super) fn reset(&mut self) {
        self.style = CellStyle::default();
        self.region = None;
        self.clear();
        if !self.flat {
            self.row = self.home();
        }
        self.column = 0;
    }

    fn switch_screen(&mut self, last: char) {
        if self.flat {
            return;
        }
        match (last, self.alternate) {
            ('h', None) => {
                let (row, column) = (self.row, self.column);
                self.origin = None;
                let first = self.home();
                self.alternate = Some(Alternate { row, column, first });
                self.row = first;
            }
            ('l', Some(Alternate { row, column, first })) => {
                self.rows.truncate(first);
                self.row = row;
                self.column = column;
                self.origin = None;
                self.alternate = None;
            }
            _ => {}
        }
    }

    pub(super) fn reverse_index(&mut self) {
        if self.flat || self.elsewhere {
            return;
        }
        if self.row > 0 {
            self.row -= 1;
        } else {
            self.insert_rows(1);
        }
    }

    fn insert_rows(&mut self, count: usize) {
        if self.flat {
            return;
        }
        let bottom = self.bottom();
        let count = count.min(bottom + 1 - self.row);
        self.row_at(self.row);
        if self.rows.len() > bottom {
            self.rows.drain(bottom + 1 - count..=bottom);
        }
        self.insert_blank_rows(self.row, count);
        self.column = 0;
    }

    fn delete_rows(&mut self, count: usize) {
        if self.flat {
            return;
        }
        let bottom = self.bottom();
        let count = count.min(bottom + 1 - self.row);
        let beyond = self.rows.len() > bottom + 1;
        let (from, to) = (self.row.min(self.rows.len()), (self.row + count).min(self.rows.len()));
        self.rows.drain(from..to);
        if beyond {
            self.insert_blank_rows(bottom + 1 - count, count);
        }
        self.column = 0;
    }

    fn insert_blank_rows(&mut self, at: usize, count: usize) {
        let lead = Rc::clone(&self.lead);
        let at = at.min(self.rows.len());
        self.rows.splice(at..at, std::iter::repeat_with(|| ScreenRow::new(&lead)).take(count));
        self.rows.truncate(ROWS_MAX + 1);
    }

    /// Returns the last row that inserting and deleting rows moves.
    fn bottom(&self) -> usize {
        match (self.region, self.origin) {
            (Some((_, bottom)), Some(origin)) => self.row.max(origin + bottom),
            _ => self.row + SCREEN_ROWS_MAX,
        }
    }

    fn erase_in_row(&mut self, mode: usize) {
        let column = self.column;
        let cells = self.row_at(self.row).cells();
        let from = if mode == 0 { column } else { 0 };
        let to = if mode == 1 { (column + 1).min(cells.len()) } else { cells.len() };
        erase(cells, from, to);
    }

    fn erase_display(&mut self, mode: usize) {
        match mode {
            0 => {
                self.erase_in_row(0);
                if !self.flat {
                    let end = self.row + 1;
                    self.rows.truncate(end);
                }
            }
            1 => {
                self.erase_in_row(1);
                let from = self.origin.unwrap_or(0).max(self.row.saturating_sub(SCREEN_ROWS_MAX));
                let to = self.row;
                self.rows.get_mut(from..to).unwrap_or_default().iter_mut().for_each(ScreenRow::clear);
            }
            2 => self.clear(),
            _ => {}
        }
    }

    fn clear(&mut self) {
        if self.flat {
            // In a single row, clearing the screen hides no text before the cursor.
            return self.erase_in_row(0);
        }
        let first = self.home();
        self.rows.truncate(first);
        self.row = self.row.max(first);
    }

    /// Removes cells at the cursor and inserts blank ones.
    fn edit_row(&mut self, removed: usize, inserted: usize) {
        let from = self.column;
        let cells = self.row_at(self.row).cells();
        if from >= cells.len() {
            return;
        }
        split(cells, from);
        split(cells, from + removed);
        let to = (from + removed).min(cells.len());
        cells.splice(from..to, std::iter::repeat_n(ScreenCell::BLANK, inserted));
        cells.truncate(super::WRITTEN_COLUMNS_MAX);
    }

    fn erase_cells(&mut self, count: usize) {
        let from = self.column;
        let cells = self.row_at(self.row).cells();
        let to = (from + count).min(cells.len());
        split(cells, from);
        split(cells, to);
        cells.get_mut(from..to).unwrap_or_default().fill(ScreenCell::BLANK);
    }

    fn repeat(&mut self, count: usize) {
        let Some(before) = self.column.checked_sub(1) else { return };
        let Some(cell) = self.row_at(self.row).cells().get(before).cloned() else { return };
        let text = match cell.glyph {
            Glyph::Char(c) => c.to_string(),
            Glyph::Cluster(cluster) => cluster.to_string(),
            Glyph::Half => return,
        };
        let style = std::mem::replace(&mut self.style, cell.style);
        self.write(&text.repeat(count.min(REPEAT_MAX)));
        self.style = style;
    }
}

/// Erases the cells of a range; at the end of the row they are removed.
fn erase(cells: &mut Vec<ScreenCell>, from: usize, to: usize) {
    split(cells, from);
    split(cells, to);
    if to >= cells.len() {
        cells.truncate(from);
    } else {
        cells.get_mut(from..to).unwrap_or_default().fill(ScreenCell::BLANK);
    }
}

/// Returns the number at the start of a parameter; 0 without one.
fn leading_number(word: &str) -> usize {
    let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    word.get(..digits).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}
