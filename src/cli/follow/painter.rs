//! Draws a log on a terminal as the task's own terminal would have shown it: frames of progress are redrawn in place.
//!
//! The text is drawn on a [`TextScreen`] in memory, and only the text and colours of its rows are written, with cursor
//! movement of our own. So a log never reaches rows above its own first one, nor anything else of the terminal.
//! Rows that have left the terminal at its top can no longer change.

use std::rc::Rc;

use super::super::screen::{ScreenRow, TextScreen, columns, rows_of_line};

/// Number of rows in memory at which they are drawn.
const ROWS_HELD_MAX: usize = 2_000;
/// Number of columns of a row after which it is drawn and forgotten, so that a line of any length is printed.
const ROW_COLUMNS_MAX: usize = 16 * 1024;

/// A row on the terminal.
#[derive(Debug, PartialEq, Eq)]
struct PaintedRow {
    text: String,
    /// Rows that it takes on the terminal.
    height: usize,
}

/// A drawing on a terminal.
pub(super) struct Painter {
    screen: TextScreen,
    colours: bool,
    /// Columns and rows of the terminal.
    size: (usize, usize),
    /// The rows of `screen` that are on the terminal, from the first on.
    painted: Vec<PaintedRow>,
    /// Whether the cursor is at the end of the last row, not below it.
    open: bool,
    /// Whether the last line on `screen` is unfinished.
    unfinished: bool,
    /// Whether the first row of `screen` continues a row that is already on the terminal.
    continued: bool,
}

impl Painter {
    pub(super) fn new(colours: bool, size: (usize, usize)) -> Self {
        Self {
            screen: TextScreen::default(),
            colours,
            size,
            painted: Vec::new(),
            open: false,
            unfinished: false,
            continued: false,
        }
    }

    /// Adapts to the size of the terminal. After a change of its width, what was drawn stays as it is.
    pub(super) fn resize(&mut self, size: (usize, usize), out: &mut Vec<u8>) {
        if size.0 != self.size.0 {
            self.settle(out);
        }
        self.size = size;
    }

    /// Draws a piece of a line; `lead` precedes the rows that it writes to.
    pub(super) fn feed(&mut self, text: &str, lead: &Rc<str>, partial: bool, out: &mut Vec<u8>) {
        let none: Rc<str> = Rc::from("");
        self.screen.feed(text, if self.continued { &none } else { lead });
        self.unfinished = partial;
        if !partial {
            self.screen.newline();
        }
        if self.continued || (partial && self.screen.column() > ROW_COLUMNS_MAX) {
            self.settle(out);
        } else if self.screen.rows().len() > ROWS_HELD_MAX {
            self.paint(out);
        }
    }

    /// Writes the rows that have changed.
    pub(super) fn paint(&mut self, out: &mut Vec<u8>) {
        let rows = self.draw(&self.screen, usize::MAX);
        self.update(rows, self.unfinished && self.screen.is_in_last_row(), out);
        self.forget_first();
    }

    /// Writes the rows with a line that is still being written, cut at the right edge.
    pub(super) fn paint_provisional(&mut self, text: &str, lead: &Rc<str>, out: &mut Vec<u8>) {
        let mut screen = self.screen.clone();
        screen.feed(text, lead);
        let rows = self.draw(&screen, self.size.0.saturating_sub(columns_of_lead(lead)));
        self.update(rows, screen.is_in_last_row(), out);
    }

    /// Writes what is left and begins a new drawing below.
    pub(super) fn settle(&mut self, out: &mut Vec<u8>) {
        self.paint(out);
        self.screen = TextScreen::default();
        self.painted.clear();
        self.open = false;
        self.continued = self.unfinished;
    }

    /// Ends a row that is not finished, for what others print.
    pub(super) fn end_row(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.unfinished) {
            self.screen.newline();
        }
        self.settle(out);
    }

    fn draw(&self, screen: &TextScreen, columns_max: usize) -> Vec<PaintedRow> {
        let row = |row: &ScreenRow| {
            let text = format!("{}{}", row.lead, row.draw(self.colours, &[], columns_max));
            let wide = row.columns().min(columns_max) + columns_of_lead(&row.lead);
            PaintedRow { text, height: wide.div_ceil(self.size.0.max(1)).max(1) }
        };
        screen.rows().iter().map(row).collect()
    }

    /// Replaces what is painted by `rows`; with `open` the cursor stays at the end of the last one.
    fn update(&mut self, rows: Vec<PaintedRow>, open: bool, out: &mut Vec<u8>) {
        let open = open && !rows.is_empty();
        let mut same = self.painted.iter().zip(&rows).take_while(|(old, new)| old == new).count();
        if same == rows.len() && same == self.painted.len() && open == self.open {
            return;
        }
        if self.open && same == self.painted.len() {
            // The row continues, or only its end is missing.
            if same == rows.len() {
                out.push(b'\n');
                self.open = open;
                return;
            }
            out.push(b'\n');
            self.open = false;
        }
        // Rows that have left the screen at its top cannot be reached.
        let mut up = 0;
        let reach = self.size.1.saturating_sub(1);
        let heights = self.painted.iter().skip(same).rev();
        for (count, row) in heights.enumerate() {
            if up + row.height > reach {
                same = self.painted.len() - count;
                break;
            }
            up += row.height;
        }
        let up = if self.open { up.saturating_sub(1) } else { up };
        if same < self.painted.len() {
            if up > 0 {
                out.extend_from_slice(format!("\x1b[{up}A").as_bytes());
            }
            out.extend_from_slice(b"\r\x1b[J");
        }
        let last = rows.len().saturating_sub(1);
        for (at, row) in rows.iter().enumerate().skip(same) {
            out.extend_from_slice(row.text.as_bytes());
            if at < last || !open {
                out.push(b'\n');
            }
        }
        self.painted = rows;
        self.open = open;
    }

    /// Forgets the rows that have left the terminal at its top.
    fn forget_first(&mut self) {
        let reach = self.size.1.saturating_sub(1).max(1);
        let (mut height, mut kept) = (0, 0);
        for row in self.painted.iter().rev() {
            height += row.height;
            if height > reach {
                break;
            }
            kept += 1;
        }
        let gone = self.painted.len() - kept;
        self.painted.drain(..gone);
        self.screen.drop_first(gone);
    }
}

/// Returns the columns of the text before a row, which may be coloured.
fn columns_of_lead(lead: &str) -> usize {
    if !lead.contains('\u{1b}') {
        return columns(lead);
    }
    rows_of_line(lead).first().map_or(0, ScreenRow::columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what a terminal shows after these bytes.
    fn shown(bytes: &[u8]) -> Vec<String> {
        let mut screen = TextScreen::default();
        let lead: Rc<str> = Rc::from("");
        screen.feed(&String::from_utf8(bytes.to_vec()).unwrap().replace('\n', "\r\n"), &lead);
        screen.rows().iter().map(|row| row.text().trim_end().to_owned()).collect()
    }

    fn painter() -> (Painter, Rc<str>, Vec<u8>) {
        (Painter::new(false, (80, 24)), Rc::from(""), Vec::new())
    }

    #[test]
    fn frames_are_redrawn_in_place() {
        let (mut painter, lead, mut out) = painter();
        for line in ["first", "a 1", "b 1", "\u{1b}[2A\u{1b}[Ka 2", "\u{1b}[Kb 2", "\u{1b}[9Atop"] {
            painter.feed(line, &lead, false, &mut out);
            painter.paint(&mut out);
        }
        assert_eq!(shown(&out), ["topst", "a 2", "b 2"]);
        painter.settle(&mut out);
        painter.feed("\u{1b}[9Abelow", &lead, false, &mut out);
        painter.paint(&mut out);
        assert_eq!(shown(&out), ["topst", "a 2", "b 2", "below"], "nothing above the start is reached");
    }

    #[test]
    fn a_provisional_line_is_replaced() {
        let (mut painter, lead, mut out) = painter();
        painter.feed("begun", &lead, false, &mut out);
        painter.paint(&mut out);
        painter.paint_provisional("50%", &lead, &mut out);
        assert_eq!(shown(&out), ["begun", "50%"]);
        painter.paint_provisional("50%\r100% of\u{1b}[Aup", &lead, &mut out);
        assert_eq!(shown(&out), ["begun  up", "100% of"]);
        painter.paint(&mut out);
        assert_eq!(shown(&out), ["begun"]);
        painter.feed("done", &lead, false, &mut out);
        painter.paint(&mut out);
        assert_eq!(shown(&out), ["begun", "done"]);
    }

    #[test]
    fn pieces_of_a_line_are_joined_and_rows_beyond_the_screen_stay() {
        let (mut painter, lead, mut out) = painter();
        painter.feed("ab", &lead, true, &mut out);
        painter.paint(&mut out);
        painter.feed("cd", &lead, false, &mut out);
        painter.paint(&mut out);
        assert_eq!(shown(&out), ["abcd"]);
        for n in 0..100 {
            painter.feed(&format!("row {n}"), &lead, false, &mut out);
        }
        painter.paint(&mut out);
        painter.feed("\u{1b}[200Atop of the screen", &lead, false, &mut out);
        painter.paint(&mut out);
        let rows = shown(&out);
        assert_eq!((rows.len(), rows[78].as_str()), (101, "top of the screen"), "{rows:?}");
        assert_eq!((rows[77].as_str(), rows[79].as_str()), ("row 76", "row 78"));
    }

    #[test]
    fn only_text_and_own_movement_are_written() {
        let (mut painter, lead, mut out) = painter();
        painter.feed(
            "\u{1b}]0;title\u{7}\u{1b}[?1000h\u{1b}[2J\u{1b}[31mred\u{1b}]52;c;eA==\u{7}",
            &lead,
            false,
            &mut out,
        );
        painter.settle(&mut out);
        assert_eq!(out, b"red\n");
    }

    #[test]
    fn a_line_of_any_length_is_printed() {
        let (mut painter, lead, mut out) = painter();
        for _ in 0..10 {
            painter.feed(&"x".repeat(65_536), &lead, true, &mut out);
            painter.paint(&mut out);
        }
        painter.feed("end", &lead, false, &mut out);
        painter.paint(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, format!("{}end\n", "x".repeat(655_360)));
    }
}
