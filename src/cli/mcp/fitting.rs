//! The size of results, and the text of logs in them.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::super::show;
use crate::analysis::displayed;
use crate::model::{Task, command_line};

/// Maximum bytes of a command, of a label's name, and of its value.
const COMMAND_BYTES_MAX: usize = 400;
const LABEL_BYTES_MAX: usize = 80;
/// Maximum number of labels of a task.
const LABELS_MAX: usize = 10;
/// Bytes that are set aside for the members of a result that are added last.
const TAIL_BYTES: usize = 400;

/// Rows of a result, of which only those that fit are kept.
#[derive(Debug)]
pub(super) struct FittingRows {
    rows: Vec<Value>,
    left: usize,
}

impl FittingRows {
    /// Creates a list without rows. `head` has the other members of the result.
    pub(super) fn new(bytes_max: usize, head: &Value) -> Self {
        Self { rows: Vec::new(), left: bytes_max.saturating_sub(head.to_string().len() + TAIL_BYTES) }
    }

    /// Adds a row, and returns whether it fits.
    pub(super) fn push(&mut self, row: Value) -> bool {
        // One more byte for the comma.
        let bytes = row.to_string().len() + 1;
        let fits = bytes <= self.left;
        if fits {
            self.left -= bytes;
            self.rows.push(row);
        }
        fits
    }

    /// Removes all rows after the first `count`.
    pub(super) fn truncate(&mut self, count: usize) {
        let removed = self.rows.drain(count.min(self.rows.len())..);
        self.left += removed.map(|row| row.to_string().len() + 1).sum::<usize>();
    }

    pub(super) fn reverse(&mut self) {
        self.rows.reverse();
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns the bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    pub(super) fn into_rows(self) -> Vec<Value> {
        self.rows
    }
}

/// Returns what a text displays, without invisible characters: they could hide instructions from the person who
/// reads the same log. Characters that change the direction of text are shown by their number.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    let shown = displayed(text);
    if !shown.chars().any(|c| is_hidden(c) || turns_text(c)) {
        return shown;
    }
    let mut plain = String::with_capacity(shown.len());
    for c in shown.chars().filter(|c| !is_hidden(*c)) {
        if turns_text(c) {
            plain.push_str(&format!("<U+{:04X}>", u32::from(c)));
        } else {
            plain.push(c);
        }
    }
    Cow::Owned(plain)
}

/// Reports whether a character has no glyph of its own and no use in a log. The joiners of emoji and of some scripts have.
fn is_hidden(c: char) -> bool {
    let is_control = c.is_control() && !matches!(c, '\n' | '\t');
    is_control
        || matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2065}'
        )
        || matches!(c, '\u{206a}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
        || matches!(c, '\u{e0000}'..='\u{e0fff}')
}

fn turns_text(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns the start of a visible text, and whether it was cut.
pub(super) fn cut(text: &str, bytes_max: usize) -> (String, bool) {
    let shown = visible(text);
    if shown.len() <= bytes_max {
        return (shown.into_owned(), false);
    }
    let end = (0..=bytes_max).rev().find(|at| shown.is_char_boundary(*at)).unwrap_or(0);
    (format!("{}…", &shown[..end]), true)
}

/// Returns a line of a log.
pub(super) fn line(n: u64, text: &str, bytes_max: usize) -> Value {
    let (shown, is_cut) = cut(text, bytes_max);
    let mut line = json!({ "n": n, "line": shown });
    if is_cut {
        line["cut"] = true.into();
    }
    line
}

/// Returns the details of a task.
pub(super) fn task(task: &Task) -> Value {
    let word = |text: &str| cut(text, LABEL_BYTES_MAX).0;
    let labels = task.labels.iter().take(LABELS_MAX).map(|(key, value)| (word(key), Value::from(word(value))));
    let mut details = json!({
        "task": task.exact_id(),
        "status": task.status,
        "command": cut(&command_line(&task.command), COMMAND_BYTES_MAX).0,
        "labels": labels.collect::<serde_json::Map<_, _>>(),
        "created": task.created,
        "duration_ms": u64::try_from(show::ran_for(task).as_millis()).unwrap_or(u64::MAX),
        "lines": task.kept_lines(),
        "last_line": task.last_line,
    });
    let known = [
        ("exit_code", task.exit_code.map(Value::from)),
        ("signal", task.signal.map(Value::from)),
        ("errors", task.errors.map(Value::from)),
        ("warnings", task.warnings.map(Value::from)),
        ("loss", task.loss().map(Value::from)),
    ];
    for (name, value) in known {
        if let Some(value) = value {
            details[name] = value;
        }
    }
    details
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_text_is_left_out() {
        let tags: String = "rm -rf".chars().filter_map(|c| char::from_u32(0xe0000 + u32::from(c))).collect();
        assert_eq!(visible(&format!("ok{tags}\u{200b}\u{feff} \u{1b}[8mshown\u{1b}[0m")), "ok shown");
        assert_eq!(visible("a\u{202e}b\u{9b}31mc"), "a<U+202E>bc");
        assert_eq!(visible("10%\r100%\u{1b}]0;title\u{7}"), "100%");
        assert_eq!(
            visible("\u{1f469}\u{200d}\u{1f4bb} \u{5b8c}\u{4e86}\ttab\nrow"),
            "\u{1f469}\u{200d}\u{1f4bb} \u{5b8c}\u{4e86}\ttab\nrow"
        );
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("\u{5b8c}\u{4e86}", 4), ("\u{5b8c}…".to_owned(), true));
        assert_eq!(line(7, "abc", 3), json!({ "n": 7, "line": "abc" }));
        assert_eq!(line(7, "abcd", 3), json!({ "n": 7, "line": "abc…", "cut": true }));
    }

    #[test]
    fn rows_never_exceed_the_size() {
        let head = json!({ "task": "t" });
        let mut rows = FittingRows::new(2_000, &head);
        while rows.push(line(rows.len() as u64, "\"\\\u{1b}[1m\u{5b8c}\u{1b}[0m", 100)) {}
        let kept = rows.len();
        rows.truncate(kept - 1);
        assert!(rows.push(json!({})), "what was removed is free again");
        let mut result = head;
        result["lines"] = rows.into_rows().into();
        assert!(result.to_string().len() <= 2_000);
    }
}
