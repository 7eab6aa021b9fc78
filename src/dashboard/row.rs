//! One row of the log: what it says, and for how much of the input it stands.

use std::sync::Arc;

use super::normal::{done_in, header, phase_and_host};
use crate::events::clean;
use crate::model::{EventSchema, EventView, Timestamp};

/// Characters of a row's text that are kept; the whole line stands in the pipe's log or at the server.
const TEXT_CHARS_MAX: usize = 2000;

/// How much a row wants to be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Text of the process.
    #[default]
    Text,
    /// A word of the dashboard itself.
    Note,
    /// Below what a person asked for.
    Debug,
    /// What goes on.
    Info,
    /// It may matter.
    Warning,
    /// It failed.
    Error,
}

/// One row. Its texts are clean: nothing in them moves a cursor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Its place among the rows; it only grows.
    pub id: u64,
    /// When the newest of what it stands for happened.
    pub at: Timestamp,
    /// How much it wants to be seen.
    pub level: Level,
    /// Whose it is: `fio@h1 1/3`, `[step]`.
    pub place: Option<Arc<str>>,
    /// The newest text of each line of a cycle; one text where it is none.
    pub texts: Vec<Arc<str>>,
    /// The error's kind.
    pub error: Option<Arc<str>>,
    /// How often it came: whole repetitions of a cycle, else lines.
    pub repeats: u64,
    /// Lines of text it stands for.
    pub lines: u64,
    /// Events it stands for.
    pub events: u64,
}

impl Row {
    /// A row of one line of text, or of the dashboard's own words.
    pub fn text(text: &str, level: Level, at: Timestamp) -> Self {
        Self { at, level, texts: vec![brief(text)], repeats: 1, lines: 1, ..Self::default() }
    }

    /// A row of one event.
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

    /// Whether it tells of a failure.
    pub fn is_failure(&self) -> bool {
        self.level == Level::Error
    }

    /// What it says: its text, or the names of what repeats in it and how long the last took.
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

    /// The row as a line of its own: text as it came, an event with its time, level and place.
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

    /// Whether any of what it shows holds the text; case does not count.
    pub fn contains(&self, wanted: &str) -> bool {
        let wanted = wanted.to_lowercase();
        let all = self.texts.iter().chain(&self.place).chain(&self.error);
        all.into_iter().any(|text| text.to_lowercase().contains(&wanted))
            || self.level.word().is_some_and(|word| word.to_lowercase().contains(&wanted))
    }
}

impl Level {
    /// The word for those that are to be seen without their colour.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Level::Warning => Some("WARNING"),
            Level::Error => Some("ERROR"),
            _ => None,
        }
    }
}

/// The name in a line of a task that began or ended.
fn label(text: &str) -> Option<&str> {
    if let Some(name) = header(text) {
        return Some(name);
    }
    let what = phase_and_host(text).map(|(_, what)| what)?;
    Some(done_in(what).map_or(what.strip_suffix(" skipped").unwrap_or(what), |(name, _)| name))
}

fn level(view: &EventView<'_>) -> Level {
    let is = |words: &[&str]| view.level.as_deref().is_some_and(|l| words.iter().any(|w| l.eq_ignore_ascii_case(w)));
    match () {
        () if view.is_failure() => Level::Error,
        () if is(&["WARNING", "WARN"]) => Level::Warning,
        () if is(&["DEBUG", "TRACE"]) => Level::Debug,
        () => Level::Info,
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
        // Most events of a step say its state already.
        (None, Some(to)) if !says(view.type_word(), to) => text.push_str(&format!(" →{to}")),
        _ => {}
    }
    for said in [view.reason.as_deref(), view.artifact_path.as_deref()].into_iter().flatten() {
        text.push_str(": ");
        text.push_str(said);
    }
    text
}

/// Whether the type of an event names the state it leads to.
fn says(kind: &str, state: &str) -> bool {
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
