//! The events on one line of a file or of a request body.
//!
//! A line usually is one event. A writer that lost a newline, or wrote an array, has several on one line, with
//! white space, commas or brackets between them. After a part that is not an event (of a writer that was
//! killed), the events at the end of the line are still found.

use std::borrow::Cow;

use super::check::check;
use super::json::{JsonObject, lenient};
use super::{Event, EventError, limits};

/// Objects tried as the begin of the events after a part that is not an event.
const RESTARTS_MAX: usize = 64;

/// A part of a line: an event, or text that is not an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinePart {
    /// Offset of the part in the line, in bytes.
    pub offset: usize,
    /// The event, or the reason why it is not one.
    pub event: Result<Event, EventError>,
    /// The line ends inside this part: an object has no end.
    pub is_cut: bool,
}

/// Reports whether a character may stand between events: white space, a comma, a bracket of an array, a byte order
/// mark, the padding NUL, or the record separator of RFC 7464.
pub(super) fn is_separator(c: char) -> bool {
    c.is_whitespace() || matches!(c, ',' | '[' | ']' | '\u{feff}' | '\0' | '\u{1e}')
}

/// Passes each part of a line to `each`, in order; nothing for a blank line. Bytes that are not UTF-8 become U+FFFD.
pub fn events_in_line(line: &[u8], each: &mut dyn FnMut(LinePart)) {
    let text = std::str::from_utf8(line).map_or_else(|_| String::from_utf8_lossy(line), Cow::Borrowed);
    let trimmed = text.trim();
    if let Some(event) = JsonObject::read(trimmed).as_ref().and_then(Event::of) {
        let offset = text.len() - text.trim_start().len();
        return each(LinePart { offset: offset_in(line, offset), event: Ok(event), is_cut: false });
    }
    let mut at = 0;
    loop {
        let rest = text[at..].trim_start_matches(is_separator);
        at = text.len() - rest.len();
        if rest.is_empty() {
            return;
        }
        let offset = offset_in(line, at);
        let (event, length) = first(rest);
        let next = match length {
            Some(length) => Some(at + length),
            None => restart(rest).map(|skipped| at + skipped),
        };
        let is_cut = next.is_none() && matches!(event, Err(EventError::NotJson(_))) && rest.starts_with('{');
        each(LinePart { offset, event, is_cut });
        match next {
            Some(next) => at = next,
            None => return,
        }
    }
}

/// Parses the object at the start of a text. Returns its length too, if it has an end.
fn first(text: &str) -> (Result<Event, EventError>, Option<usize>) {
    if let Some((object, length)) = JsonObject::read_first(text) {
        let event = Event::of(&object).map_or_else(|| Event::parse(&text[..length]), Ok);
        return (event, Some(length));
    }
    if let Some((strict, length)) = lenient::read_first(text) {
        // Strict JSON that is only unusual is kept as it is.
        let event = Event::parse(&text[..length]).or_else(|_| Event::of_strict(strict));
        return (event, Some(length));
    }
    let end = if text.starts_with('{') { text.trim_end().len() } else { text.trim_end_matches(is_separator).len() };
    let error = match check(&text[..end]) {
        _ if end > limits::EVENT_BYTES_MAX => EventError::TooLong(end),
        Ok(()) => EventError::NotJson("it is nested too deeply".to_owned()),
        Err(error) => error,
    };
    (Err(error), None)
}

/// Returns the offset of the first object after the start of a text from which on there are only objects.
fn restart(text: &str) -> Option<usize> {
    let begins = text.match_indices('{').map(|(at, _)| at).filter(|at| *at > 0);
    let begins = begins.filter(|at| text[at + 1..].trim_start().starts_with('"'));
    begins.take(RESTARTS_MAX).find(|at| is_objects(&text[*at..]))
}

fn is_objects(mut text: &str) -> bool {
    while !text.is_empty() {
        let length = JsonObject::read_first(text).map(|(_, length)| length);
        let Some(length) = length.or_else(|| lenient::read_first(text).map(|(_, length)| length)) else {
            return false;
        };
        text = text[length..].trim_start_matches(is_separator);
    }
    true
}

/// Returns the offset in the line of an offset in its text, in which each invalid sequence is U+FFFD.
fn offset_in(line: &[u8], offset: usize) -> usize {
    let (mut in_line, mut in_text) = (0, 0);
    for chunk in line.utf8_chunks() {
        let (valid, invalid) = (chunk.valid().len(), chunk.invalid().len());
        if offset <= in_text + valid {
            return in_line + offset - in_text;
        }
        in_text += valid + char::REPLACEMENT_CHARACTER.len_utf8();
        in_line += valid + invalid;
    }
    in_line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the offset and the type of each event, or the reason why a part is not one.
    fn parts(line: &[u8]) -> Vec<(usize, String)> {
        let mut parts = Vec::new();
        events_in_line(line, &mut |part| {
            let word = part.event.map_or_else(|e| e.reason().to_owned(), |e| e.view().type_word().to_owned());
            parts.push((part.offset, word + if part.is_cut { " cut" } else { "" }));
        });
        parts
    }

    #[test]
    fn every_event_of_a_line_is_found() {
        let (a, b) = (r#"{"event_type":"a"}"#, r#"{"event_type":"b","x":NaN}"#);
        let at = |offset: usize, word: &str| (offset, word.to_owned());
        for (line, wanted) in [
            (format!("{a}{b}"), vec![at(0, "a"), at(18, "b")]),
            (format!("\u{feff}{a}\r\n"), vec![at(3, "a")]),
            (format!("\u{feff}{b} , {a}\u{feff}{a}"), vec![at(3, "b"), at(32, "a"), at(53, "a")]),
            (format!("[{a}, {b}]\n"), vec![at(1, "a"), at(21, "b")]),
            (format!("{a}\r{b}\r"), vec![at(0, "a"), at(19, "b")]),
            (format!("\0\0\0{a}\0\n"), vec![at(3, "a")]),
            (format!("\u{1e}{a}\n"), vec![at(1, "a")]),
            (format!("{{\"event_type\":\"st{a}\n"), vec![at(0, "not_json"), at(17, "a")]),
            (format!("{a} tail"), vec![at(0, "a"), at(19, "not_json")]),
            (format!("{a}{{\"event_type\":\"b"), vec![at(0, "a"), at(18, "not_json cut")]),
            (format!("{{\"x\":1}}{a}"), vec![at(0, "missing_field"), at(7, "a")]),
            (format!("{{\"bad\":, \"in\":{a}}}"), vec![at(0, "not_json cut")]),
            ("[\n".to_owned(), vec![]),
            ("5".to_owned(), vec![at(0, "not_an_object")]),
            ("[1]".to_owned(), vec![at(1, "not_an_object")]),
            ("\"x\"".to_owned(), vec![at(0, "not_an_object")]),
            (" \t\r\n".to_owned(), vec![]),
        ] {
            assert_eq!(parts(line.as_bytes()), wanted, "{line:?}");
        }
        let latin = [b"{\"event_type\":\"a\",\"m\":\"caf\xe9 \xe9\"}".as_slice(), a.as_bytes()].concat();
        assert_eq!(parts(&latin), [at(0, "a"), at(31, "a")]);
    }

    #[test]
    fn a_hostile_line_costs_a_multiple_of_its_length() {
        for unit in ["{\"a\":", "{\"a\":[", "{\"", "{\"a\":1,", "{\"a\":1}{"] {
            let begin = std::time::Instant::now();
            let line = unit.repeat(1024 * 1024 / unit.len());
            events_in_line(line.as_bytes(), &mut |part| assert!(part.event.is_err()));
            assert!(begin.elapsed() < std::time::Duration::from_secs(20), "{unit}");
        }
    }
}
