//! Removes one level of quoting: JSON strings, YAML scalars, Python's repr, and terminal colours.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

/// Maximum size of a terminal title or link.
const TITLE_BYTES_MAX: usize = 4096;
/// Initial size of the output, and the space always kept free in it.
const OUT_BYTES: usize = 4096;
const SLACK_BYTES: usize = 16;

const LOW: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

/// A kind of quoting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quoting {
    /// A JSON string, or a YAML scalar in `"`: the additional escapes of YAML do no harm in JSON.
    Double,
    /// A YAML scalar in `'`, where `''` is one quote.
    Single,
    /// Python's `repr` of a string that contains `"`.
    Repr,
    /// None, only folding.
    Plain,
}

/// Returns the offset of the closing quote of a string that starts at `bytes`.
pub(super) fn string_end(bytes: &[u8], quoting: Quoting) -> Option<usize> {
    let quote = match quoting {
        Quoting::Double => b'"',
        Quoting::Single | Quoting::Repr => b'\'',
        Quoting::Plain => return None,
    };
    let mut at = 0;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(quote, b'\\', rest)) {
        at += found;
        match quoting {
            Quoting::Single if bytes[at] == b'\\' => at += 1,
            Quoting::Single if bytes.get(at + 1) == Some(&b'\'') => at += 2,
            _ if bytes[at] == quote => return Some(at),
            _ => at += 2,
        }
    }
    None
}

/// Removes one level of quoting. Returns the text, and the offset in it of each newline of `text`.
/// A newline is a fold: a single one becomes a space, a run of them loses one.
pub(super) fn unescape(text: &str, quoting: Quoting) -> (String, Vec<usize>) {
    let mut out = UnescapeBuffer::of(text);
    out.unescape(text, quoting, false);
    (out.text(), out.breaks)
}

/// Removes one level of quoting up to the closing quote, or to the end. Also returns that offset.
pub(super) fn unescape_string(text: &str, quoting: Quoting) -> (String, usize) {
    let mut out = UnescapeBuffer::of(text);
    let end = out.unescape(text, quoting, true);
    (out.text(), end)
}

/// An output buffer.
struct UnescapeBuffer {
    /// Longer than the filled part, so that eight more bytes always fit.
    bytes: Vec<u8>,
    filled: usize,
    breaks: Vec<usize>,
}

impl UnescapeBuffer {
    fn of(text: &str) -> Self {
        Self { bytes: vec![0; text.len().min(OUT_BYTES) + SLACK_BYTES], filled: 0, breaks: Vec::new() }
    }

    fn text(&mut self) -> String {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.truncate(self.filled);
        // Only whole characters were written, in their order.
        String::from_utf8(bytes).unwrap_or_default()
    }

    fn make_room(&mut self) {
        if self.bytes.len() < self.filled + SLACK_BYTES {
            self.bytes.resize(self.bytes.len() * 2, 0);
        }
    }

    fn byte(&mut self, byte: u8) {
        self.make_room();
        self.bytes[self.filled] = byte;
        self.filled += 1;
    }

    fn push(&mut self, letter: char) {
        letter.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| self.byte(byte));
    }

    /// Unescapes up to the closing quote with `stops`, else everything. Returns the end offset.
    fn unescape(&mut self, text: &str, quoting: Quoting, stops: bool) -> usize {
        let bytes = text.as_bytes();
        let quote = match quoting {
            Quoting::Double if stops => b'"',
            Quoting::Single | Quoting::Repr => b'\'',
            Quoting::Double | Quoting::Plain => b'\n',
        };
        let escaped = matches!(quoting, Quoting::Double | Quoting::Repr);
        let specials = [quote, if escaped { b'\\' } else { b'\n' }, b'\n'].map(|byte| LOW * u64::from(byte));
        let mut at = 0;
        loop {
            at = self.plain(bytes, at, specials);
            match bytes.get(at) {
                None => return at,
                Some(b'\n') => at = self.fold(bytes, at),
                Some(b'\\') if escaped => at = self.escape(text, at, quoting),
                Some(byte) if *byte != quote => {
                    self.byte(*byte);
                    at += 1;
                }
                Some(b'\'') if quoting == Quoting::Single && bytes.get(at + 1) == Some(&b'\'') => {
                    self.byte(b'\'');
                    at += 2;
                }
                Some(_) if stops => return at,
                Some(byte) => {
                    self.byte(*byte);
                    at += 1;
                }
            }
        }
    }

    /// Copies bytes up to the next special one, eight at a time, but never the last seven.
    #[inline]
    fn plain(&mut self, bytes: &[u8], mut at: usize, specials: [u64; 3]) -> usize {
        while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            self.make_room();
            let word = u64::from_le_bytes(*eight);
            let [a, b, c] = specials.map(|special| (word ^ special).wrapping_sub(LOW) & !(word ^ special));
            self.bytes[self.filled..self.filled + 8].copy_from_slice(eight);
            // The lowest set bit is exact: borrows only move upwards.
            let plain = ((a | b | c) & HIGH).trailing_zeros() as usize / 8;
            self.filled += plain;
            at += plain;
            if plain < 8 {
                break;
            }
        }
        at
    }

    /// Folds a run of newlines at `at`. Returns the offset after it.
    fn fold(&mut self, bytes: &[u8], mut at: usize) -> usize {
        let mut newlines = 0;
        while bytes.get(at) == Some(&b'\n') {
            newlines += 1;
            self.breaks.push(self.filled);
            at += 1;
        }
        match newlines {
            1 => self.byte(b' '),
            _ => (1..newlines).for_each(|_| self.byte(b'\n')),
        }
        at
    }

    /// Unescapes the sequence at `at`. Returns the offset after it. An unknown escape is copied.
    fn escape(&mut self, text: &str, at: usize, quoting: Quoting) -> usize {
        if let Some(byte @ (b'"' | b'\\')) = text.as_bytes().get(at + 1) {
            self.byte(*byte);
            return at + 2;
        }
        let yaml = quoting == Quoting::Double;
        let Some(letter) = text[at + 1..].chars().next() else {
            self.byte(b'\\');
            return at + 1;
        };
        let simple = match letter {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            '/' | '\'' => letter,
            ' ' if yaml => ' ',
            '0' if yaml => '\0',
            'a' if yaml => '\u{7}',
            'v' if yaml => '\u{b}',
            'e' if yaml => '\u{1b}',
            'N' if yaml => '\u{85}',
            '_' if yaml => '\u{a0}',
            'L' if yaml => '\u{2028}',
            'P' if yaml => '\u{2029}',
            '\n' => {
                self.breaks.push(self.filled);
                return at + 2;
            }
            'x' => return self.coded(text, at, 2),
            'u' => return self.coded(text, at, 4),
            'U' => return self.coded(text, at, 8),
            other => {
                self.byte(b'\\');
                other
            }
        };
        self.push(simple);
        at + 1 + letter.len_utf8()
    }

    /// Unescapes a character code of `digits` hex digits; a surrogate pair becomes one character.
    fn coded(&mut self, text: &str, at: usize, digits: usize) -> usize {
        let number = |at: usize| {
            let digits = text.get(at + 2..at + 2 + digits)?;
            digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
        };
        let Some(first) = number(at) else {
            self.byte(b'\\');
            return at + 1;
        };
        let end = at + 2 + digits;
        if (0xd800..0xdc00).contains(&first)
            && text[end..].starts_with("\\u")
            && let Some(second) = number(end).filter(|second| (0xdc00..0xe000).contains(second))
        {
            if let Some(letter) = char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)) {
                self.push(letter);
            }
            return end + 6;
        }
        self.push(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        end
    }
}

/// Returns the line without terminal escape sequences. JSON contains none: there ESC is `\u001b`.
pub(super) fn without_colours(line: &[u8]) -> Cow<'_, [u8]> {
    let Some(mut escape) = memchr(0x1b, line) else { return Cow::Borrowed(line) };
    let mut out = Vec::with_capacity(line.len());
    let mut at = 0;
    loop {
        out.extend_from_slice(&line[at..escape]);
        at = escape + sequence(&line[escape..]);
        let Some(next) = memchr(0x1b, &line[at..]) else { break };
        escape = at + next;
    }
    out.extend_from_slice(&line[at..]);
    Cow::Owned(out)
}

/// Returns the length of the escape sequence at the start of `bytes`.
fn sequence(bytes: &[u8]) -> usize {
    match bytes.get(1) {
        Some(b'[') => {
            let parameters = bytes[2..].iter().take_while(|byte| (0x20..0x40).contains(*byte)).count();
            (2 + parameters + 1).min(bytes.len())
        }
        // Of an unterminated title or link only the introducer is removed: an event may follow.
        Some(b']') => memchr(0x07, &bytes[..bytes.len().min(TITLE_BYTES_MAX)]).map_or(2, |end| end + 1),
        Some(0x20..0x7f) => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_comes_off_as_it_was_put_on() {
        for text in ["a\"b\\c\nd\te\u{1}", "caffè 日本語 😀", "\\\\server\\n", "it's \\u00e8"] {
            let quoted = serde_json::Value::from(text).to_string();
            assert_eq!(unescape(&quoted[1..quoted.len() - 1], Quoting::Double).0, text);
            assert_eq!(string_end(&quoted.as_bytes()[1..], Quoting::Double), Some(quoted.len() - 2));
        }
        assert_eq!(unescape("\\ud83d\\ude00\\u00e8\\ud83d \\q \\u12", Quoting::Double).0, "😀è\u{fffd} \\q \\u12");
        assert_eq!(unescape("it\\'s \\\\\"", Quoting::Repr).0, "it's \\\"");
    }

    #[test]
    fn folds_are_one_space_or_the_newlines_that_were_meant() {
        assert_eq!(unescape("it''s\nfolded\n\ntwice\\n", Quoting::Single).0, "it's folded\ntwice\\n");
        assert_eq!(unescape("a\n\\ b\\\nc \\U0001F600\\x41", Quoting::Double).0, "a  bc 😀A");
    }

    #[test]
    fn colours_go_and_text_stays() {
        let line = b"\x1b[0;32mok: \x1b]8;;http://x\x07link\x1b]0;unended {\x1b[0m";
        assert_eq!(&*without_colours(line), b"ok: link0;unended {");
        assert_eq!(&*without_colours(b"\x1b"), b"");
    }
}
