//! One row of the log: its text, and the amount of input it represents.

use std::sync::Arc;

use super::normal::{done_in, header, phase_and_host};
use crate::events::clean;
use crate::model::{EventSchema, EventView, Timestamp};

/// Maximum length of a row's text, in characters; the whole line is in the pipe's copy or on the
/// server.
const TEXT_CHARS_MAX: usize = 2000;

/// The severity of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowLevel {
    /// Output of the process.
    #[default]
    Text,
    /// A note of the dashboard itself.
    Note,
    /// Debug output.
    Debug,
    /// Progress.
    Info,
    /// A warning.
    Warning,
    /// A failure.
    Error,
}

/// One row. Its texts are clean: they contain no terminal escapes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogRow {
    /// Sequence number of the row.
    pub id: u64,
    /// Time of the newest entry in the row.
    pub at: Timestamp,
    /// Severity.
    pub level: RowLevel,
    /// Origin: `fio@h1 1/3`, `[step]`.
    pub place: Option<Arc<str>>,
    /// The newest text of each line of a cycle; otherwise a single text.
    pub texts: Vec<Arc<str>>,
    /// Type of the error.
    pub error: Option<Arc<str>>,
    /// Number of repetitions: of the whole cycle, else of the line.
    pub repeats: u64,
    /// Lines of text in the row.
    pub lines: u64,
    /// Events in the row.
    pub events: u64,
}

impl LogRow {
    /// Returns a row of one line of text, or of a note of the dashboard.
    pub fn text(text: &str, level: RowLevel, at: Timestamp) -> Self {
        Self { at, level, texts: vec![brief(text)], repeats: 1, lines: 1, ..Self::default() }
    }

    /// Returns a row of one event.
    pub fn event(view: &EventView<'_>, at: Timestamp) -> Self {
        let (place, text) = match view.schema() {
            EventSchema::Pipeline => (view.step_id.as_deref().map(|step| format!("[{step}]")), pipeline(view)),
            EventSchema::Benchmark => (Some(place(view)), benchmark(view)),
        };
        let error = view.error_type.as_deref().or(view.error_class.as_deref());
        Self {
            at,
            level: level(view),
            place: place.map(|place| brief(&place)),
            texts: vec![brief(&text)],
            error: error.map(brief),
            repeats: 1,
            events: 1,
            ..Self::default()
        }
    }

    /// Reports whether the row is a failure.
    pub fn is_failure(&self) -> bool {
        self.level == RowLevel::Error
    }

    /// Returns the text, or the names of the repeating tasks and the duration of the last one.
    pub fn message(&self) -> String {
        if let [text] = &self.texts[..] {
            return if self.repeats > 1 { format!("↻ ×{} {text}", self.repeats) } else { text.to_string() };
        }
        let named = self.texts.iter().any(|text| label(text).is_some());
        let mut names: Vec<&str> = Vec::new();
        for text in &self.texts {
            match label(text).or((!named).then_some(text)) {
                Some(name) if !names.contains(&name) => names.push(name),
                _ => {}
            }
        }
        let lane = self.texts.iter().find_map(|text| phase_and_host(text)).map(|(lane, _)| format!("{lane} "));
        let last = self.texts.iter().rev().find_map(|text| done_in(text)).map(|(_, last)| format!(" (last {last})"));
        let (lane, last) = (lane.unwrap_or_default(), last.unwrap_or_default());
        format!("↻ ×{} {lane}{}{last}", self.repeats, names.join(" · "))
    }

    /// Returns the row as a line: text as received, an event with its time, level and place.
    pub fn plain(&self) -> String {
        if self.events == 0 {
            return self.message();
        }
        let mut line = self.at.to_string();
        let error = self.error.as_ref().map(|error| format!("[{error}]"));
        let message = self.message();
        let parts = [self.level.word(), self.place.as_deref(), Some(message.as_str()), error.as_deref()];
        for part in parts.into_iter().flatten() {
            line.push(' ');
            line.push_str(part);
        }
        line
    }

    /// Reports whether any visible text contains `wanted`, ignoring case.
    pub fn contains(&self, wanted: &str) -> bool {
        let wanted = wanted.to_lowercase();
        let all = self.texts.iter().chain(&self.place).chain(&self.error);
        all.into_iter().any(|text| text.to_lowercase().contains(&wanted))
            || self.level.word().is_some_and(|word| word.to_lowercase().contains(&wanted))
    }
}

impl RowLevel {
    /// Returns the word for levels that must be visible without colour.
    pub fn word(self) -> Option<&'static str> {
        match self {
            RowLevel::Warning => Some("WARNING"),
            RowLevel::Error => Some("ERROR"),
            _ => None,
        }
    }
}

/// Returns the task name in a line about the start or end of a task.
fn label(text: &str) -> Option<&str> {
    if let Some(name) = header(text) {
        return Some(name);
    }
    let what = phase_and_host(text).map(|(_, what)| what)?;
    Some(done_in(what).map_or(what.strip_suffix(" skipped").unwrap_or(what), |(name, _)| name))
}

fn level(view: &EventView<'_>) -> RowLevel {
    let is = |words: &[&str]| view.level.as_deref().is_some_and(|l| words.iter().any(|w| l.eq_ignore_ascii_case(w)));
    match () {
        () if view.is_failure() => RowLevel::Error,
        () if is(&["WARNING", "WARN"]) => RowLevel::Warning,
        () if is(&["DEBUG", "TRACE"]) => RowLevel::Debug,
        () => RowLevel::Info,
    }
}

fn place(view: &EventView<'_>) -> String {
    let (workload, host) = (view.workload.as_deref().unwrap_or("?"), view.host.as_deref().unwrap_or("?"));
    let number = view.repetition.map_or(0, |number| number.0);
    match view.repetitions() {
        Some(total) => format!("{workload}@{host} {number}/{total}"),
        None => format!("{workload}@{host} {number}"),
    }
}

fn benchmark(view: &EventView<'_>) -> String {
    let message = view.message.as_deref().unwrap_or_default();
    if view.is_log() {
        return message.to_owned();
    }
    format!("{} {message}", view.status.as_deref().unwrap_or("running")).trim_end().to_owned()
}

fn pipeline(view: &EventView<'_>) -> String {
    let mut text = view.type_word().to_owned();
    if let Some(attempt) = view.attempt.filter(|attempt| attempt.0 > 0) {
        text.push_str(&format!(" attempt={}", attempt.0));
    }
    match (view.previous_state.as_deref(), view.new_state.as_deref()) {
        (Some(from), Some(to)) => text.push_str(&format!(" {from}→{to}")),
        // Most events of a step already name its state.
        (None, Some(to)) if !names_state(view.type_word(), to) => text.push_str(&format!(" →{to}")),
        _ => {}
    }
    for detail in [view.reason.as_deref(), view.artifact_path.as_deref()].into_iter().flatten() {
        text.push_str(": ");
        text.push_str(detail);
    }
    text
}

/// Reports whether an event's type names the state it leads to.
fn names_state(kind: &str, state: &str) -> bool {
    kind.ends_with(state) || kind.ends_with(".started") && state == "running"
}

fn brief(text: &str) -> Arc<str> {
    let mut text = clean(text);
    if let Some((end, _)) = text.char_indices().nth(TEXT_CHARS_MAX) {
        text.truncate(end);
        text.push('…');
    }
    text.into()
}
