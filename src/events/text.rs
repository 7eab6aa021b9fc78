//! An event as one line for people. All text of an event is untrusted: it must not move a
//! terminal's cursor or end the line.

use std::fmt::Write as _;

use crate::model::{EventSchema, EventView};

/// Maximum characters of an excerpt of a rejected text.
const EXCERPT_CHARS_MAX: usize = 80;

/// Returns the text without control characters: each becomes U+FFFD, a tab a space, a newline `⏎`;
/// escape sequences of a terminal are removed completely.
pub fn clean(text: &str) -> String {
    let stripped = anstream::adapter::strip_str(text).to_string();
    let visible = |c: char| match c {
        '\t' => ' ',
        '\n' => '⏎',
        c if c.is_control() || is_bidi(c) => '\u{fffd}',
        c => c,
    };
    stripped.chars().map(visible).collect()
}

/// Returns the start of a rejected text, without control characters.
pub fn excerpt(text: &[u8]) -> String {
    let start = text.get(..text.len().min(EXCERPT_CHARS_MAX * 4)).unwrap_or_default();
    let start = clean(String::from_utf8_lossy(start).trim());
    match start.char_indices().nth(EXCERPT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &start[..end]),
        None => start,
    }
}

/// Reports whether a character changes the direction of the text around it.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// Returns `2026-02-16T23:05:12.000Z gate.failed [phase_benchmark] error=hard_gate_failed reason="..."`,
/// or `... fio@h1 1/3 running ERROR message [K6ExecutionError]`.
pub fn one_line(event: &EventView<'_>) -> String {
    let mut out = String::new();
    if let Some(at) = event.origin().or_else(|| event.received()) {
        write!(out, "{at} ").ok();
    }
    out.push_str(&without_time(event));
    out
}

/// Returns the same line without the time.
pub fn without_time(event: &EventView<'_>) -> String {
    let mut out = String::new();
    let mut word = |text: &str| {
        out.push_str(&clean(text));
        out.push(' ');
    };
    match event.schema() {
        EventSchema::Pipeline => {
            word(event.type_word());
            if let Some(step) = &event.step_id {
                word(&format!("[{}]", &**step));
            }
            if let Some(attempt) = event.attempt.filter(|attempt| attempt.0 > 0) {
                word(&format!("attempt={}", attempt.0));
            }
            match (&event.previous_state, &event.new_state) {
                (Some(from), Some(to)) => word(&format!("{}->{}", &**from, &**to)),
                (None, Some(to)) => word(&format!("->{}", &**to)),
                _ => {}
            }
            if let Some(class) = &event.error_class {
                word(&format!("error={}", &**class));
            }
            if let Some(reason) = &event.reason {
                word(&format!("reason={:?}", &**reason));
            }
        }
        EventSchema::Benchmark => {
            let (workload, host) = (event.workload.as_deref(), event.host.as_deref());
            word(&format!("{}@{}", workload.unwrap_or("?"), host.unwrap_or("?")));
            let number = event.repetition.map_or(0, |number| number.0);
            match event.repetitions() {
                Some(total) => word(&format!("{number}/{total}")),
                None => word(&number.to_string()),
            }
            if event.is_log() {
                word(event.level.as_deref().unwrap_or("INFO"));
            } else {
                word(event.status.as_deref().unwrap_or("running"));
            }
            if let Some(message) = event.message.as_deref().filter(|text| !text.is_empty()) {
                word(message);
            }
            if let Some(error) = &event.error_type {
                word(&format!("[{}]", &**error));
            }
        }
    }
    out.truncate(out.trim_end().len());
    out
}
