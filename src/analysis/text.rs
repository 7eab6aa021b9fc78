//! The displayed text of a line: the one definition that search, filters and the analysis of logs use.
//!
//! A line is displayed as a terminal shows it, on its own: colours and other control sequences are removed,
//! and text that `\r`, `\b` or a column move overwrites is replaced. Moves to other rows do nothing, since a line
//! knows nothing of its neighbours. A record with newlines has several rows.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Chars;

use smallvec::SmallVec;
use unicode_width::UnicodeWidthChar as _;

/// Columns beyond the written text that a cursor move may reach.
const COLUMNS_MAX: usize = 1_000;

/// Returns the displayed text of a line. A line without control characters is returned as it is.
pub fn displayed(text: &str) -> Cow<'_, str> {
    let Some(first) = first_control(text.as_bytes()) else { return Cow::Borrowed(text) };
    // Most lines with a control character end in `\r\n`.
    if text.as_bytes().get(first) == Some(&b'\r') && first + 1 == text.len() {
        return Cow::Borrowed(&text[..first]);
    }
    let mut rows = text.split('\n');
    let mut shown = rows.next().map(row).unwrap_or_default();
    for next in rows {
        shown.push('\n');
        shown.push_str(&row(next));
    }
    Cow::Owned(shown)
}

/// Returns the offset of the first byte of a control character that changes what is displayed.
fn first_control(text: &[u8]) -> Option<usize> {
    let is_c1 = |at: usize| text.get(at + 1).is_some_and(|next| (0x80..0xa0).contains(next));
    text.iter().enumerate().position(|(at, byte)| match byte {
        b'\t' | b'\n' => false,
        0..0x20 | 0x7f => true,
        0xc2 => is_c1(at),
        _ => false,
    })
}

/// Returns a row whose only control sequences are colours and others that move nothing; `None` for another one.
fn without_colours(text: &str) -> Option<String> {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        let (before, sequence) = rest.split_at(at);
        let parameters = sequence.get(1..)?.strip_prefix('[')?;
        let end = parameters.bytes().position(|byte| !(b' '..=b'?').contains(&byte))?;
        if !matches!(parameters.as_bytes().get(end), Some(b'm' | b'h' | b'l' | b'q' | b'n')) {
            return None;
        }
        shown.push_str(before);
        rest = parameters.get(end + 1..)?;
    }
    shown.push_str(rest);
    first_control(shown.as_bytes()).is_none().then_some(shown)
}

/// Draws one row.
fn row(text: &str) -> String {
    let text = text.trim_end_matches('\r');
    if let Some(shown) = without_colours(text) {
        return shown;
    }
    let mut row = Row::default();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => escape(&mut chars, &mut row),
            '\u{9b}' => control_sequence(&mut chars, &mut row),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_string(&mut chars),
            '\r' => row.move_to(0),
            '\u{8}' => row.move_to(row.column.saturating_sub(1)),
            '\t' => row.write('\t', 1),
            c if c.is_control() => {}
            c => row.write(c, c.width().unwrap_or(0)),
        }
    }
    row.into_text()
}

/// One row of cells. The cell after a wide character is empty.
#[derive(Default)]
struct Row {
    cells: Vec<SmallVec<[char; 2]>>,
    column: usize,
    /// Whether text was overwritten or erased; then spaces at the end are what remains of it.
    redrawn: bool,
}

impl Row {
    fn write(&mut self, c: char, width: usize) {
        if width == 0 {
            // A combining character belongs to the cell before.
            let before = self.column.checked_sub(1).and_then(|at| self.cells.get_mut(at));
            if let Some(cell) = before.filter(|cell| cell.len() < 8) {
                cell.push(c);
            }
            return;
        }
        if self.cells.len() < self.column {
            self.cells.resize_with(self.column, blank);
        }
        self.redrawn |= self.column < self.cells.len();
        for (offset, at) in (self.column..self.column + width).enumerate() {
            let cell = if offset == 0 { SmallVec::from_elem(c, 1) } else { SmallVec::new() };
            match self.cells.get_mut(at) {
                Some(old) => *old = cell,
                None => self.cells.push(cell),
            }
        }
        self.column += width;
        self.repair(self.column);
    }

    /// Blanks the rest of a wide character whose first half was overwritten.
    fn repair(&mut self, at: usize) {
        if let Some(cell) = self.cells.get_mut(at).filter(|cell| cell.is_empty()) {
            *cell = blank();
        }
    }

    fn move_to(&mut self, column: usize) {
        self.column = column.min(self.cells.len().max(COLUMNS_MAX));
    }

    fn erase(&mut self, mode: usize) {
        self.redrawn = true;
        let here = self.column.min(self.cells.len());
        match mode {
            0 => self.cells.truncate(here),
            1 => self.cells.iter_mut().take(here + 1).for_each(|cell| *cell = blank()),
            _ => self.cells.clear(),
        }
    }

    fn into_text(self) -> String {
        let mut text: String = self.cells.iter().flatten().collect();
        if self.redrawn {
            text.truncate(text.trim_end_matches(' ').len());
        }
        text
    }
}

fn blank() -> SmallVec<[char; 2]> {
    SmallVec::from_elem(' ', 1)
}

/// Consumes a sequence after ESC.
fn escape(chars: &mut Peekable<Chars<'_>>, row: &mut Row) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            control_sequence(chars, row);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            skip_string(chars);
        }
        _ => {
            while chars.next_if(|c| matches!(c, ' '..='/')).is_some() {}
            chars.next_if(|c| matches!(c, '0'..='~'));
        }
    }
}

/// Consumes a sequence after CSI, and applies it if it moves within the row or erases.
fn control_sequence(chars: &mut Peekable<Chars<'_>>, row: &mut Row) {
    let mut number: Option<usize> = None;
    let (mut is_first, mut is_private) = (true, false);
    while let Some(c) = chars.next_if(|c| matches!(c, ' '..='?')) {
        match c {
            '0'..='9' if is_first => {
                let digit = c as usize - '0' as usize;
                number = Some(number.unwrap_or(0).saturating_mul(10).saturating_add(digit));
            }
            '<'..='?' => is_private = true,
            _ => is_first = false,
        }
    }
    let Some(last) = chars.next_if(|c| matches!(c, '@'..='~')) else { return };
    if is_private {
        return;
    }
    let count = number.filter(|number| *number > 0).unwrap_or(1);
    match last {
        'C' | 'a' => row.move_to(row.column.saturating_add(count)),
        'D' => row.move_to(row.column.saturating_sub(count)),
        'G' | '`' => row.move_to(count - 1),
        'E' | 'F' => row.move_to(0),
        'K' => row.erase(number.unwrap_or(0)),
        'J' => row.erase(number.unwrap_or(0)),
        'P' => {
            let from = row.column.min(row.cells.len());
            let to = row.column.saturating_add(count).min(row.cells.len());
            row.cells.drain(from..to);
            row.repair(from);
        }
        _ => {}
    }
}

/// Drops a command string up to its end. Without an end only the introducer is dropped, so that the text after
/// it cannot be hidden.
fn skip_string(chars: &mut Peekable<Chars<'_>>) {
    let mut ahead = chars.clone();
    while let Some(c) = ahead.next() {
        let ended = match c {
            '\u{7}' | '\u{9c}' => true,
            '\u{1b}' => ahead.next_if_eq(&'\\').is_some(),
            _ => false,
        };
        if ended {
            *chars = ahead;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_sequences_and_overwritten_text_are_not_displayed() {
        for (raw, shown) in [
            ("plain\ttext", "plain\ttext"),
            ("tests/login \u{1b}[31mFAILED\u{1b}[0m [ 28%]", "tests/login FAILED [ 28%]"),
            ("\u{1b}[1mnpm\u{1b}[22m \u{1b}[33mwarn\u{1b}[39m deprecated", "npm warn deprecated"),
            ("alpha done\r", "alpha done"),
            ("alpha done\r\r", "alpha done"),
            ("10%\r50%\r100%", "100%"),
            ("100%\r50%", "50%%"),
            ("downloading\r\u{1b}[Kdone", "done"),
            ("downloading\r\u{1b}[2Kdone", "done"),
            ("long text\rdone     ", "done"),
            ("abc\u{8}\u{8}X", "aXc"),
            ("spin \u{1b}[1G\u{1b}[0Kfetched 12 packages", "fetched 12 packages"),
            ("ab\u{1b}[3Cc", "ab   c"),
            ("\u{1b}]8;;https://ci.example/1\u{1b}\\job 1\u{1b}]8;;\u{1b}\\ failed", "job 1 failed"),
            ("\u{1b}]0;title\u{7}text", "text"),
            ("\u{1b}]0;never ended text", "0;never ended text"),
            ("\u{9b}31mred\u{9b}0m", "red"),
            ("download 100%\r完了しました", "完了しました%"),
            ("完\ra", "a"),
            ("cafe\u{301} \u{1b}[1mx", "cafe\u{301} x"),
            ("a\u{7}b\u{0}c\u{7f}", "abc"),
            ("Traceback\n  File\r\n\u{1b}[31mValueError: bad\u{1b}[0m", "Traceback\n  File\nValueError: bad"),
            ("\u{1b}[99999999999999999999Cx", &format!("{}x", " ".repeat(COLUMNS_MAX))),
            ("\u{1b}", ""),
            ("\u{1b}[31", ""),
        ] {
            assert_eq!(displayed(raw), shown, "{raw:?}");
        }
        assert!(matches!(displayed("ümläut – «quotes»"), Cow::Borrowed(_)), "no copy without control characters");
    }

    proptest! {
        #[test]
        fn no_control_character_is_displayed(raw in "[\u{0}-\u{ff}完\u{301}\\[\\]mKGCD;0-9]{0,80}") {
            let shown = displayed(&raw);
            prop_assert!(!shown.chars().any(|c| c.is_control() && c != '\t' && c != '\n'), "{shown:?}");
        }

        #[test]
        fn colours_alone_are_removed_as_by_drawing(raw in "([ab完\u{7}]|\u{1b}\\[[0-9;?]{0,4}[mhlKG]|\u{1b}x){0,12}") {
            // A move by nothing takes the other way.
            let drawn = row(&format!("{raw}\u{1b}[0D\u{1b}[1C"));
            prop_assume!(!raw.ends_with('\u{7}'));
            if let Some(shown) = without_colours(&raw) {
                prop_assert_eq!(shown, drawn);
            }
        }

        #[test]
        fn text_without_control_characters_is_unchanged(raw in "[ -~ä完\t\n]{0,80}") {
            prop_assert_eq!(displayed(&raw), raw.as_str());
        }
    }
}
