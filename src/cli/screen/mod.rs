//! Draws text with cursor movement as a terminal would have shown it, by the rules of the page's `screen.js`.
//!
//! The rows have no fixed number: they are the terminal's scrollback and screen together. A newline adds
//! a row, and a later line can change the rows above it. The size of the original terminal is not known:
//!
//! - Rows do not wrap, and the cursor moves up to the first row at most.
//! - Absolute row numbers count from the row at the first absolute move or the first cleared screen.
//!   An absolute move between "save cursor" and "restore cursor" leaves the flow of the text: apt draws its
//!   progress bar so, below the scroll region. What is written there is not kept.
//! - A cleared screen erases what was drawn since then. Earlier rows stay, as in the scrollback.

mod escapes;
mod moves;
mod row;
mod style;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use escapes::{Sink, is_special, scan};
use row::{ScreenCell, combine, each_cluster, glyph};
pub(super) use row::{ScreenRow, columns};
use style::CellStyle;

const TAB_COLUMNS: usize = 8;
/// A move to a column from here on means the right edge of the screen.
const COLUMNS_MAX: usize = 500;
const COLUMNS_ASSUMED: usize = 80;
/// Maximum columns of a row, which bounds the memory of a hostile line.
const WRITTEN_COLUMNS_MAX: usize = 1 << 17;
/// Maximum number of rows.
const ROWS_MAX: usize = 1 << 17;
/// An absolute move reaches at most this many rows from the first one.
const SCREEN_ROWS_MAX: usize = 200;

/// A saved position of the cursor.
#[derive(Clone, Copy, Debug)]
struct SavedCursor {
    row: usize,
    column: usize,
    style: CellStyle,
    /// Whether it was not restored yet.
    open: bool,
}

/// The normal screen's cursor, while the alternate screen is shown.
#[derive(Clone, Copy, Debug)]
struct Alternate {
    row: usize,
    column: usize,
    first: usize,
}

/// A terminal's rows.
#[derive(Clone, Debug, Default)]
pub(super) struct TextScreen {
    rows: Vec<ScreenRow>,
    row: usize,
    lowest: usize,
    column: usize,
    style: CellStyle,
    saved: Option<SavedCursor>,
    /// First row of the screen, once an absolute move or a cleared screen gave it a place.
    origin: Option<usize>,
    /// First and last row of the scroll region, from 0, relative to the screen.
    region: Option<(usize, usize)>,
    alternate: Option<Alternate>,
    /// Whether the cursor left the flow of the text.
    elsewhere: bool,
    /// Text before a row that is written now.
    lead: Rc<str>,
    /// All text is drawn in one row, and vertical moves do nothing.
    flat: bool,
}

/// Returns the rows that a terminal shows of one line of a log; cursor movement to other lines does nothing.
pub(super) fn rows_of_line(line: &str) -> Vec<ScreenRow> {
    let mut screen = TextScreen { flat: true, ..TextScreen::default() };
    for (at, part) in line.split('\n').enumerate() {
        if at > 0 {
            screen.newline();
        }
        screen.feed(part, &Rc::from(""));
    }
    screen.newline();
    let end = screen.row;
    screen.rows.truncate(end);
    screen.rows
}

impl TextScreen {
    /// Draws one line of the log, without the newline at its end.
    pub(super) fn feed(&mut self, text: &str, lead: &Rc<str>) {
        self.lead = Rc::clone(lead);
        let text = text.trim_end_matches('\r');
        let is_fresh = self.column == 0 && !self.elsewhere && self.style == CellStyle::PLAIN;
        if is_fresh && !text.contains(|c: char| c == '\t' || is_special(c)) && text.len() <= WRITTEN_COLUMNS_MAX {
            let row = self.row_at(self.row);
            if row.is_empty() {
                row.set_plain(text);
                row.lead = Rc::clone(lead);
                self.column = columns(text);
                return;
            }
        }
        scan(text, self);
    }

    /// Ends the line.
    pub(super) fn newline(&mut self) {
        self.elsewhere = false;
        let lead = Rc::clone(&self.lead);
        let row = self.row_at(self.row);
        if row.is_empty() {
            row.lead = lead;
        }
        self.down(1);
        self.column = 0;
    }

    /// Returns the rows: those before the cursor, and all with text.
    pub(super) fn rows(&self) -> &[ScreenRow] {
        let last = self.rows.iter().rposition(|row| !row.is_empty()).map_or(0, |last| last + 1);
        self.rows.get(..last.max(self.row).min(self.rows.len())).unwrap_or_default()
    }

    /// Reports whether the cursor is in the last row.
    pub(super) fn is_in_last_row(&self) -> bool {
        self.row + 1 == self.rows().len()
    }

    /// Returns the number of columns before the cursor.
    pub(super) fn column(&self) -> usize {
        self.column
    }

    /// Removes the first rows: they can no longer change.
    pub(super) fn drop_first(&mut self, count: usize) {
        let count = count.min(self.rows.len());
        self.rows.drain(..count);
        let less = |row: &mut usize| *row = row.saturating_sub(count);
        less(&mut self.row);
        less(&mut self.lowest);
        if let Some(origin) = &mut self.origin {
            less(origin);
        }
        if let Some(saved) = &mut self.saved {
            less(&mut saved.row);
        }
        if let Some(alternate) = &mut self.alternate {
            less(&mut alternate.row);
            less(&mut alternate.first);
        }
    }

    fn row_at(&mut self, index: usize) -> &mut ScreenRow {
        let lead = &self.lead;
        if self.rows.len() <= index {
            self.rows.resize_with(index + 1, || ScreenRow::new(lead));
        }
        &mut self.rows[index]
    }

    fn down(&mut self, rows: usize) {
        self.row = (self.row + rows).min(ROWS_MAX);
        self.lowest = self.lowest.max(self.row);
    }

    fn write(&mut self, text: &str) {
        let style = self.style;
        each_cluster(text, |cluster, width| {
            if width == 0 {
                self.combine(cluster);
            } else if self.column + width <= WRITTEN_COLUMNS_MAX {
                self.put(cluster, width, style);
                self.column += width;
            }
        });
        let lead = Rc::clone(&self.lead);
        self.row_at(self.row).lead = lead;
    }

    fn put(&mut self, text: &str, width: usize, style: CellStyle) {
        let column = self.column;
        let cells = self.row_at(self.row).cells();
        while cells.len() < column {
            cells.push(ScreenCell::BLANK);
        }
        split(cells, column);
        split(cells, column + width);
        for (at, glyph) in [glyph(text), row::Glyph::Half].into_iter().take(width).enumerate() {
            let cell = ScreenCell { glyph, style };
            match cells.get_mut(column + at) {
                Some(place) => *place = cell,
                None => cells.push(cell),
            }
        }
    }

    fn combine(&mut self, mark: &str) {
        let column = self.column;
        let cells = self.row_at(self.row).cells();
        let end = column.min(cells.len());
        let before = cells.get_mut(..end).unwrap_or_default();
        if let Some(cell) = before.iter_mut().rev().take(2).find(|cell| cell.glyph != row::Glyph::Half) {
            combine(cell, mark);
        }
    }
}

/// Replaces both halves of a wide character whose right half is at `column`.
fn split(cells: &mut [ScreenCell], column: usize) {
    if column > 0 && cells.get(column).is_some_and(|cell| cell.glyph == row::Glyph::Half) {
        cells[column - 1] = ScreenCell::BLANK;
        cells[column] = ScreenCell::BLANK;
    }
}

impl Sink for TextScreen {
    fn text(&mut self, text: &str) {
        if self.elsewhere {
            return;
        }
        for (at, part) in text.split('\t').enumerate() {
            if at > 0 {
                self.column += TAB_COLUMNS - self.column % TAB_COLUMNS;
            }
            if !part.is_empty() {
                self.write(part);
            }
        }
    }

    fn control(&mut self, control: char) {
        match control {
            '\r' => self.column = 0,
            '\u{8}' => self.column = self.column.saturating_sub(1),
            '\n' if !self.flat => self.newline(),
            control if control >= '\u{200e}' && !self.elsewhere => {
                self.write(&format!("<U+{:X}>", u32::from(control)));
            }
            _ => {}
        }
    }

    fn csi(&mut self, last: char, parameters: &str) {
        self.control_sequence(last, parameters);
    }

    fn escape(&mut self, last: char) {
        match last {
            '7' => self.save(),
            '8' => self.restore(),
            'D' if !self.flat => self.down(1),
            'M' => self.reverse_index(),
            'E' if !self.flat => self.newline(),
            'c' => self.reset(),
            _ => {}
        }
    }
}
