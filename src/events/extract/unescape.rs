//! One level of quoting taken off a text: JSON strings, YAML scalars, Python's repr, and the colours
//! of a terminal.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

/// Bytes of a title or a link that is taken for one.
const TITLE_BYTES_MAX: usize = 4096;

/// Which quoting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quoting {
    /// A JSON string, or a YAML scalar in `"`: what the second has more does no harm in the first.
    Double,
    /// A YAML scalar in `'`, where `''` is one.
    Single,
    /// What Python's `repr` makes of a string with `"` in it.
    Repr,
    /// None: only folds.
    Plain,
}

/// Where the string ends in which `bytes` stand: the place of its closing quote.
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

/// The text without one level of quoting, and where in it each newline of `text` stood. A newline is
/// a fold: one space, or one newline less than there are.
pub(super) fn unescape(text: &str, quoting: Quoting) -> (String, Vec<usize>) {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut breaks = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let special = bytes[at..].iter().position(|byte| matches!(byte, b'\\' | b'\'' | b'\n'));
        let next = special.map_or(bytes.len(), |offset| at + offset);
        out.push_str(&text[at..next]);
        at = next;
        match bytes.get(at) {
            None => break,
            Some(b'\n') => at = fold(bytes, at, &mut out, &mut breaks),
            Some(b'\'') => {
                out.push('\'');
                at += if quoting == Quoting::Single && bytes.get(at + 1) == Some(&b'\'') { 2 } else { 1 };
            }
            Some(_) if matches!(quoting, Quoting::Single | Quoting::Plain) => {
                out.push('\\');
                at += 1;
            }
            Some(_) => at = escape(text, at, quoting, &mut out, &mut breaks),
        }
    }
    (out, breaks)
}

/// A run of newlines at `at`.
fn fold(bytes: &[u8], mut at: usize, out: &mut String, breaks: &mut Vec<usize>) -> usize {
    let mut newlines = 0;
    while bytes.get(at) == Some(&b'\n') {
        newlines += 1;
        breaks.push(out.len());
        at += 1;
    }
    match newlines {
        1 => out.push(' '),
        _ => out.extend(std::iter::repeat_n('\n', newlines - 1)),
    }
    at
}

/// The escape at `at`; gives the place behind it. What is none stays as it is.
fn escape(text: &str, at: usize, quoting: Quoting, out: &mut String, breaks: &mut Vec<usize>) -> usize {
    let yaml = quoting == Quoting::Double;
    let Some(letter) = text[at + 1..].chars().next() else {
        out.push('\\');
        return at + 1;
    };
    let simple = match letter {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'b' => '\u{8}',
        'f' => '\u{c}',
        '"' | '\\' | '/' | '\'' => letter,
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
            breaks.push(out.len());
            return at + 2;
        }
        'x' => return coded(text, at, 2, out),
        'u' => return coded(text, at, 4, out),
        'U' => return coded(text, at, 8, out),
        other => {
            out.push('\\');
            other
        }
    };
    out.push(simple);
    at + 1 + letter.len_utf8()
}

/// A character by its number, in so many hex digits; two halves of a pair make one.
fn coded(text: &str, at: usize, digits: usize, out: &mut String) -> usize {
    let number = |at: usize| {
        let digits = text.get(at + 2..at + 2 + digits)?;
        digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    };
    let Some(first) = number(at) else {
        out.push('\\');
        return at + 1;
    };
    let end = at + 2 + digits;
    if (0xd800..0xdc00).contains(&first)
        && text[end..].starts_with("\\u")
        && let Some(second) = number(end).filter(|second| (0xdc00..0xe000).contains(second))
    {
        out.extend(char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)));
        return end + 6;
    }
    out.push(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
    end
}

/// The line without the escape sequences of a terminal. None stands in JSON: there ESC is `\u001b`.
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

/// Bytes of the escape sequence that `bytes` begin with.
fn sequence(bytes: &[u8]) -> usize {
    match bytes.get(1) {
        Some(b'[') => {
            let parameters = bytes[2..].iter().take_while(|byte| (0x20..0x40).contains(*byte)).count();
            (2 + parameters + 1).min(bytes.len())
        }
        // Of a title or a link that does not end here only its begin goes: what follows may be an event.
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
