//! Sanitizes untrusted text for a terminal.
//!
//! A log is hostile: it may contain sequences that move the cursor, set the window's title, write to
//! the clipboard or inject input. Only colours (SGR) may pass, and only if enabled.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::CharIndices;
use std::time::Duration;

/// Maximum bytes of a colour sequence; longer ones are dropped.
const SGR_BYTES_MAX: usize = 64;

/// Returns a line of a log for a terminal: the last state of progress drawn with `\r`, colours if
/// enabled (reset at the end of the line), and no other control sequences or characters except tab.
pub(super) fn for_terminal(line: &str, colours: bool) -> Cow<'_, str> {
    let line = last_state(line);
    if !line.chars().any(is_control) {
        return Cow::Borrowed(line);
    }
    let mut safe = String::with_capacity(line.len());
    let mut coloured = false;
    let mut chars = line.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\u{1b}' => coloured |= escape(line, at, &mut chars, colours, &mut safe),
            '\u{9b}' => coloured |= control_sequence(line, at, &mut chars, colours, &mut safe),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_string(line, &mut chars),
            c if is_control(c) => {}
            c => safe.push(c),
        }
    }
    if coloured {
        safe.push_str("\u{1b}[0m");
    }
    Cow::Owned(safe)
}

/// Returns text for a cell or a message: without control characters, with spaces for newlines and tabs.
pub(super) fn words(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c.is_control()) {
        return Cow::Borrowed(text);
    }
    let spaced: String = text.chars().map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c }).collect();
    Cow::Owned(for_terminal(&spaced, false).into_owned())
}

/// Returns JSON that is safe to print: a terminal would execute the control characters that JSON
/// allows unescaped (DEL and C1), so they are escaped, which is equivalent.
pub(super) fn json(object: &str, terminal: bool) -> Cow<'_, str> {
    if !terminal || !object.chars().any(|c| c.is_control()) {
        return Cow::Borrowed(object);
    }
    let mut safe = String::with_capacity(object.len());
    for c in object.chars() {
        if c.is_control() {
            // Writing to a String does not fail.
            write!(safe, "\\u{:04x}", u32::from(c)).ok();
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// Returns a readable duration: `250ms`, `12.3s`, `3m05s`, `2h07m`, `3d04h`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..60 => format!("{}.{}s", seconds, duration.subsec_millis() / 100),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// Returns a count with its noun: `1 line`, `2 lines`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Returns an approximate age: `1s`, `5m`, `2h`, `3d`.
pub(super) fn age(age: Duration) -> String {
    let seconds = age.as_secs().max(1);
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn is_control(c: char) -> bool {
    c.is_control() && c != '\t'
}

/// Returns the part of a line after its last carriage return.
fn last_state(line: &str) -> &str {
    let line = line.trim_end_matches('\r');
    line.rsplit_once('\r').map_or(line, |(_, last)| last)
}

/// Consumes a sequence after ESC: copies a colour and returns true, or drops anything else.
fn escape(line: &str, at: usize, chars: &mut Peekable<CharIndices<'_>>, colours: bool, safe: &mut String) -> bool {
    match chars.peek().map(|(_, c)| *c) {
        Some('[') => {
            chars.next();
            return control_sequence(line, at, chars, colours, safe);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            skip_string(line, chars);
        }
        _ => {
            while chars.next_if(|(_, c)| matches!(c, ' '..='/')).is_some() {}
            chars.next_if(|(_, c)| matches!(c, '0'..='~'));
        }
    }
    false
}

/// Consumes a sequence after CSI, like [`escape`].
fn control_sequence(
    line: &str,
    at: usize,
    chars: &mut Peekable<CharIndices<'_>>,
    colours: bool,
    safe: &mut String,
) -> bool {
    let mut parameters_only = true;
    while let Some((_, c)) = chars.next_if(|(_, c)| matches!(c, ' '..='?')) {
        parameters_only &= matches!(c, '0'..=';');
    }
    let Some((end, last)) = chars.next_if(|(_, c)| matches!(c, '@'..='~')) else { return false };
    let passes = colours && last == 'm' && parameters_only && end - at <= SGR_BYTES_MAX;
    if passes {
        let introducer =
            if line.get(at..).is_some_and(|rest| rest.starts_with('\u{1b}')) { 2 } else { '\u{9b}'.len_utf8() };
        safe.push_str("\u{1b}[");
        safe.push_str(line.get(at + introducer..=end).unwrap_or("m"));
    }
    passes
}

/// Drops a command string up to its end. Without an end, only the introducer is dropped, so that
/// the text after it cannot be hidden.
fn skip_string(line: &str, chars: &mut Peekable<CharIndices<'_>>) {
    let Some((from, _)) = chars.peek().copied() else { return };
    let rest = line.get(from..).unwrap_or_default();
    let end = rest.char_indices().find_map(|(at, c)| match c {
        '\u{7}' | '\u{9c}' => Some(at + c.len_utf8()),
        '\u{1b}' if rest.get(at + 1..).is_some_and(|more| more.starts_with('\\')) => Some(at + 2),
        _ => None,
    });
    if let Some(end) = end {
        while chars.next_if(|(at, _)| *at < from + end).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn colours_pass_and_are_reset_at_the_end() {
        assert_eq!(for_terminal("\u{1b}[1;31mred", true), "\u{1b}[1;31mred\u{1b}[0m");
        assert_eq!(for_terminal("\u{1b}[38:2:1:2:3mx\u{1b}[m", true), "\u{1b}[38:2:1:2:3mx\u{1b}[m\u{1b}[0m");
        assert_eq!(for_terminal("\u{9b}31mred", true), "\u{1b}[31mred\u{1b}[0m");
        assert_eq!(for_terminal("\u{1b}[1;31mred\u{1b}[0m", false), "red");
    }

    #[test]
    fn other_sequences_are_dropped() {
        for (hostile, safe) in [
            ("a\u{1b}[2Jb", "ab"),
            ("a\u{1b}[10;10Hb", "ab"),
            ("a\u{1b}[?25lb", "ab"),
            ("a\u{1b}[>4mb", "ab"),
            ("a\u{1b}]0;title\u{7}b", "ab"),
            ("a\u{1b}]52;c;ZXZpbA==\u{1b}\\b", "ab"),
            ("a\u{1b}]8;;http://evil\u{1b}\\link\u{1b}]8;;\u{1b}\\b", "alinkb"),
            ("a\u{1b}]0;no end b", "a0;no end b"),
            ("a\u{1b}P1$r\u{1b}\\b", "ab"),
            ("a\u{9d}0;t\u{9c}b", "ab"),
            ("a\u{1b}cb\u{1b}(0", "ab"),
            ("a\u{7}\u{8}\u{7f}\u{0}b", "ab"),
            ("a\u{1b}", "a"),
            ("a\u{1b}[31", "a"),
            ("tab\tstays", "tab\tstays"),
        ] {
            assert_eq!(for_terminal(hostile, true), safe, "{hostile:?}");
        }
    }

    #[test]
    fn json_for_a_terminal_is_equivalent() {
        let object = serde_json::to_string("a\u{9b}31m\u{7f}").unwrap();
        assert_eq!(json(&object, true), "\"a\\u009b31m\\u007f\"");
        assert_eq!(json(&object, false), object);
    }

    #[test]
    fn progress_shows_its_last_state() {
        assert_eq!(for_terminal("10%\r50%\r100%", true), "100%");
        assert_eq!(for_terminal("windows line\r", true), "windows line");
    }

    #[test]
    fn durations_are_readable() {
        let shown = |ms| duration(Duration::from_millis(ms));
        assert_eq!(
            [shown(250), shown(12_340), shown(185_000), shown(7_620_000), shown(273_600_000)],
            ["250ms", "12.3s", "3m05s", "2h07m", "3d04h"]
        );
        assert_eq!(age(Duration::from_millis(40)) + &age(Duration::from_secs(7_300)), "1s2h");
    }

    proptest! {
        #[test]
        fn control_characters_never_pass(line in "[\u{0}-\u{ff}\\[\\]m;0-9]{0,60}") {
            let safe = for_terminal(&line, true).into_owned();
            let mut rest = safe.as_str();
            while let Some(at) = rest.find(is_control) {
                let sequence = &rest[at..];
                prop_assert!(sequence.starts_with("\u{1b}["), "{safe:?}");
                let end = sequence.find('m').unwrap();
                prop_assert!(sequence[2..end].chars().all(|c| matches!(c, '0'..=';')), "{safe:?}");
                rest = &sequence[end + 1..];
            }
            prop_assert!(!words(&line).chars().any(|c| c.is_control()));
        }
    }
}
