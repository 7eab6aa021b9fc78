//! Text measures and formats: widths, truncation, numbers and ages.

use std::time::Duration;

use ratatui::text::Span;

use crate::model::Timestamp;

/// Returns the width of a text in columns.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// Returns the text truncated to `columns`; a truncated text ends in `…`.
pub(super) fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for grapheme in Span::raw(text).styled_graphemes(ratatui::style::Style::default()) {
        let wide = width(grapheme.symbol);
        if used + wide + 1 > columns {
            break;
        }
        out.push_str(grapheme.symbol);
        used += wide;
    }
    if columns > 0 {
        out.push('…');
    }
    out
}

/// Returns the text padded or truncated to exactly `columns`.
pub(super) fn pad(text: &str, columns: usize) -> String {
    let mut out = fit(text, columns);
    out.extend(std::iter::repeat_n(' ', columns.saturating_sub(width(&out))));
    out
}

/// Returns the text without its first columns, replaced by `…`.
pub(super) fn without(text: &str, columns: usize) -> String {
    if columns == 0 {
        return text.to_owned();
    }
    let mut used = 0;
    let mut out = String::from("…");
    for grapheme in Span::raw(text).styled_graphemes(ratatui::style::Style::default()) {
        if used > columns {
            out.push_str(grapheme.symbol);
        }
        used += width(grapheme.symbol);
    }
    out
}

/// Joins words to lines of at most `columns`.
pub(super) fn wrap(words: &[String], joint: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if width(line) + width(joint) + width(word) <= columns => {
                line.push_str(joint);
                line.push_str(word);
            }
            Some(_) => lines.push(format!("{}{word}", joint.trim_start())),
            None => lines.push(word.clone()),
        }
    }
    lines
}

/// Returns `1,204`.
pub(super) fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Returns `just now`, `12.3s ago`, `5m 2s ago`.
pub(super) fn age(then: Timestamp, now: Timestamp) -> String {
    let ms = now.as_millis().saturating_sub(then.as_millis());
    match ms / 1000 {
        0 => "just now".to_owned(),
        1..60 => format!("{}.{}s ago", ms / 1000, ms % 1000 / 100),
        seconds @ 60..3600 => format!("{}m {}s ago", seconds / 60, seconds % 60),
        seconds @ 3600..86_400 => format!("{}h {}m ago", seconds / 3600, seconds % 3600 / 60),
        seconds => format!("{}d ago", seconds / 86_400),
    }
}

/// Returns `12.3s`, `11m 40s`.
pub(super) fn duration(seconds: f64) -> String {
    if seconds < 600.0 {
        return format!("{seconds:.1}s");
    }
    let whole = Duration::try_from_secs_f64(seconds).map_or(0, |duration| duration.as_secs());
    match whole {
        0..3600 => format!("{}m {}s", whole / 60, whole % 60),
        _ => format!("{}h {}m", whole / 3600, whole % 3600 / 60),
    }
}

/// Returns `10:15:05`, in UTC.
pub(super) fn clock(at: Timestamp) -> String {
    let day = at.as_millis() / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", day / 3600, day % 3600 / 60, day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fit_measures_wide_characters() {
        assert_eq!(fit("日本語のログ", 7), "日本語…");
        assert_eq!(fit("日本語のログ", 6), "日本…");
        assert_eq!((fit("ab", 2), fit("abc", 2), fit("abc", 0)), ("ab".into(), "a…".into(), String::new()));
        assert_eq!(pad("日本", 6), "日本  ");
        assert_eq!(width(&pad("日本語", 4)), 4);
        assert_eq!(without("abcdef", 2), "…def");
    }

    #[test]
    fn numbers_ages_and_durations_are_readable() {
        let at = Timestamp::from_millis;
        assert_eq!(
            (thousands(1204), thousands(999), thousands(1_000_000)),
            ("1,204".into(), "999".into(), "1,000,000".into())
        );
        assert_eq!(age(at(0), at(999)), "just now");
        assert_eq!(age(at(0), at(12_345)), "12.3s ago");
        assert_eq!(age(at(5000), at(0)), "just now", "a clock that is ahead");
        assert_eq!(
            (duration(12.34), duration(700.0), duration(7300.0)),
            ("12.3s".into(), "11m 40s".into(), "2h 1m".into())
        );
        let words = ["aa", "bb", "cc"].map(str::to_owned);
        assert_eq!(wrap(&words, " → ", 8), ["aa → bb", "→ cc"]);
    }
}
