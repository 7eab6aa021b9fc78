//! Splits terminal text into plain text, control characters and escape sequences, like the page's `escapes.js`.
//!
//! Log text is untrusted: device queries, clipboard and title sequences are recognized and dropped, and a
//! sequence that is cut short or malformed hides nothing of the text after it.

/// A receiver of the parts of a text, in order.
pub(super) trait Sink {
    /// Receives text without control characters, except tabs.
    fn text(&mut self, text: &str);
    /// Receives a C0 control other than tab, or a bidirectional control.
    fn control(&mut self, control: char);
    /// Receives a control sequence: its final character and its parameters.
    fn csi(&mut self, last: char, parameters: &str);
    /// Receives a sequence of ESC and one character.
    fn escape(&mut self, last: char);
}

/// Reports whether a character is not drawn as it is. Bidirectional controls can disguise the text of a line.
pub(super) fn is_special(c: char) -> bool {
    match c {
        '\t' => false,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => true,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        _ => false,
    }
}

/// Calls `sink` for each part of a text.
pub(super) fn scan(text: &str, sink: &mut impl Sink) {
    let mut rest = text;
    // If an earlier string was not closed, a later one is not either; searching again would take quadratic time.
    let mut unclosed = false;
    while !rest.is_empty() {
        let plain = rest.find(is_special).unwrap_or(rest.len());
        let (before, after) = rest.split_at(plain);
        if !before.is_empty() {
            sink.text(before);
        }
        let mut chars = after.chars();
        rest = match chars.next() {
            None => return,
            Some('\u{1b}') => escape(chars.as_str(), &mut unclosed, sink),
            Some('\u{9b}') => control_sequence(chars.as_str(), sink),
            Some(control) => {
                sink.control(control);
                chars.as_str()
            }
        };
    }
}

/// Consumes a sequence after ESC and returns the rest.
fn escape<'a>(rest: &'a str, unclosed: &mut bool, sink: &mut impl Sink) -> &'a str {
    let mut chars = rest.chars();
    match chars.next() {
        Some('[') => return control_sequence(chars.as_str(), sink),
        Some(']' | 'P' | 'X' | '^' | '_') => return string(chars.as_str(), unclosed),
        _ => {}
    }
    // ESC, intermediates (space to slash), one final: character sets, keypad modes and the like.
    let end = rest.find(|c: char| !(' '..='/').contains(&c)).unwrap_or(rest.len());
    let mut chars = rest.get(end..).unwrap_or_default().chars();
    match chars.next() {
        Some(last @ '0'..='~') => {
            if end == 0 {
                sink.escape(last);
            }
            chars.as_str()
        }
        _ => rest.get(end..).unwrap_or_default(),
    }
}

fn control_sequence<'a>(rest: &'a str, sink: &mut impl Sink) -> &'a str {
    let parameters = rest.find(|c: char| !('0'..='?').contains(&c)).unwrap_or(rest.len());
    let (parameters, after) = rest.split_at(parameters);
    let intermediates = after.find(|c: char| !(' '..='/').contains(&c)).unwrap_or(after.len());
    let mut chars = after.get(intermediates..).unwrap_or_default().chars();
    match chars.next() {
        Some(last @ '@'..='~') => {
            let words = parameters.strip_prefix('?').unwrap_or(parameters);
            if intermediates == 0 && words.chars().all(|c| matches!(c, '0'..='9' | ';' | ':')) {
                sink.csi(last, parameters);
            }
            chars.as_str()
        }
        _ => after.get(intermediates..).unwrap_or_default(),
    }
}

/// Drops a command string. Without an end, only the introducer is dropped, so that the text after it cannot be
/// hidden.
fn string<'a>(rest: &'a str, unclosed: &mut bool) -> &'a str {
    if !*unclosed {
        for (at, c) in rest.char_indices() {
            let width = match c {
                '\u{7}' => 1,
                '\u{9c}' => c.len_utf8(),
                '\u{1b}' if rest.get(at + 1..).is_some_and(|more| more.starts_with('\\')) => 2,
                _ => continue,
            };
            return rest.get(at + width..).unwrap_or_default();
        }
        *unclosed = true;
    }
    rest
}
