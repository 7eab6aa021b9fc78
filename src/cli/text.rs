//! Text that came from elsewhere, made safe for a terminal.
//!
//! A log is hostile: it may hold sequences that move the cursor, set the window's title, write to
//! the clipboard or make the terminal type. Only colours (SGR) may pass, and only where wanted.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::CharIndices;
use std::time::Duration;

/// Parameters of a colour sequence longer than this are not meant for people.
const SGR_BYTES_MAX: usize = 64;

/// A line of a log for a terminal: of progress drawn with `\r` the last state, colours if wanted
/// (ended at the end of the line), no other control sequence or character but tab.
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

/// Text for one cell or sentence: no control character at all, newlines and tabs as spaces.
pub(super) fn words(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c.is_control()) {
        return Cow::Borrowed(text);
    }
    let spaced: String = text.chars().map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c }).collect();
    Cow::Owned(for_terminal(&spaced, false).into_owned())
}

/// JSON as it may go out: a terminal would obey the control characters that JSON lets stand (DEL
/// and C1), so there they are escaped, which means the same.
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

/// A duration as one reads it: `250ms`, `12.3s`, `3m05s`, `2h07m`, `3d04h`.
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

/// How long ago, roughly: `1s`, `5m`, `2h`, `3d`.
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

/// What a terminal would show of a line that went back to its start.
fn last_state(line: &str) -> &str {
    let line = line.trim_end_matches('\r');
    line.rsplit_once('\r').map_or(line, |(_, last)| last)
}

/// After ESC: passes a colour on (true), drops anything else.
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

/// After CSI: the same.
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

/// Drops a command string up to its end; one without an end loses its introducer only, so that
/// the text behind it cannot be hidden.
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
    fn colours_pass_and_end_with_the_line() {
        assert_eq!(for_terminal("\u{1b}[1;31mred", true), "\u{1b}[1;31mred\u{1b}[0m");
        assert_eq!(for_terminal("\u{1b}[38:2:1:2:3mx\u{1b}[m", true), "\u{1b}[38:2:1:2:3mx\u{1b}[m\u{1b}[0m");
        assert_eq!(for_terminal("\u{9b}31mred", true), "\u{1b}[31mred\u{1b}[0m");
        assert_eq!(for_terminal("\u{1b}[1;31mred\u{1b}[0m", false), "red");
    }

    #[test]
    fn everything_else_is_neutralised() {
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
    fn json_on_a_terminal_means_the_same() {
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
        fn no_control_character_ever_passes(line in "[\u{0}-\u{ff}\\[\\]m;0-9]{0,60}") {
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
