//! How events look on stdout, and what is wrong with a file on stderr.
//!
//! JSON goes out byte for byte as it is stored; text for people is cleaned, and coloured on a
//! terminal only.

use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::path::Path;

use clap::builder::styling::{AnsiColor, Style};

use super::args::ViewArgs;
use crate::cli::output::Output;
use crate::cli::text;
use crate::events::budget::{self, EventLineFormat, EventScope};
use crate::events::{FollowNotice, LogFault, clean, one_line};
use crate::model::{Event, EventView, RunState, RunStatus};

/// Faults of one file that are told one by one.
const FAULTS_TOLD_MAX: usize = 100;

/// Which events are wanted, by their type.
#[derive(Clone, Debug, Default)]
pub(super) struct Types(Vec<String>);

/// Prints events.
pub(super) struct Printer {
    view: ViewArgs,
    types: Types,
    lines: Lines,
}

/// Lines on stdout that are gathered until they are flushed.
pub(super) struct Lines {
    stdout: BufWriter<io::Stdout>,
    terminal: bool,
    colours: bool,
}

impl Types {
    pub(super) fn new(patterns: Vec<String>) -> Self {
        Self(patterns.into_iter().filter(|pattern| !pattern.is_empty()).collect())
    }

    /// Whether all events are wanted.
    pub(super) fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this one is; not read where all are.
    pub(super) fn wants(&self, event: &Event) -> bool {
        self.is_all() || self.matches(&event.view())
    }

    /// Whether one that looks so is.
    pub(super) fn matches(&self, event: &EventView<'_>) -> bool {
        self.is_all() || self.0.iter().any(|pattern| glob(pattern, event.type_word()))
    }
}

/// `*` stands for any characters, also none.
fn glob(pattern: &str, word: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| word.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    true
}

impl Printer {
    pub(super) fn new(mut view: ViewArgs, output: Output) -> Self {
        view.pretty &= !output.json();
        let types = Types::new(std::mem::take(&mut view.types));
        Self { view, types, lines: Lines::new() }
    }

    pub(super) fn types(&self) -> &Types {
        &self.types
    }

    /// Prints an event if it is of a wanted type.
    pub(super) fn event(&mut self, event: &Event) -> io::Result<()> {
        if !self.types.wants(event) {
            return Ok(());
        }
        match &self.view.fields {
            Some(fields) => self.lines.json(&budget::object(event, fields)),
            None if self.view.pretty => self.lines.pretty(&event.view()),
            None => self.lines.json(event.as_str()),
        }
    }

    /// Prints the most telling events within a size.
    pub(super) fn within(
        &mut self,
        events: &[Event],
        run: &RunState,
        scope: EventScope,
        bytes: u64,
    ) -> anyhow::Result<()> {
        let wanted: Vec<&Event> = events.iter().filter(|event| self.types.wants(event)).collect();
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let form = EventLineFormat {
            summary: if self.view.pretty { &pretty_summary } else { &json_summary },
            event: if self.view.pretty { &pretty_event } else { &str::to_owned },
            fields: self.view.fields.as_deref(),
        };
        let lines =
            budget::within(&wanted, run, scope, bytes, &form).map_err(|error| anyhow::anyhow!("--budget: {error}"))?;
        for line in lines {
            self.lines.plain(&line)?;
        }
        Ok(self.flush()?)
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.lines.flush()
    }
}

impl Lines {
    pub(super) fn new() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let colours = anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
        Self { stdout: BufWriter::new(stdout), terminal, colours }
    }

    /// A JSON object on a line.
    pub(super) fn json(&mut self, object: &str) -> io::Result<()> {
        writeln!(self.stdout, "{}", text::json(object, self.terminal))
    }

    /// A line of clean text or JSON.
    pub(super) fn plain(&mut self, line: &str) -> io::Result<()> {
        self.json(line)
    }

    /// A line of clean text in a style.
    pub(super) fn styled(&mut self, line: &str, style: Style) -> io::Result<()> {
        if self.colours && style != Style::new() {
            writeln!(self.stdout, "{style}{line}{style:#}")
        } else {
            writeln!(self.stdout, "{line}")
        }
    }

    fn pretty(&mut self, event: &EventView<'_>) -> io::Result<()> {
        self.styled(&one_line(event), style(event))
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }
}

/// The colour of an event's line.
pub(super) fn style(event: &EventView<'_>) -> Style {
    let warns = event.level.as_deref().is_some_and(|level| level.to_ascii_uppercase().starts_with("WARN"));
    let ended = matches!(event.new_state.as_deref(), Some("succeeded")) || event.status.as_deref() == Some("done");
    if event.is_failure() {
        AnsiColor::Red.on_default()
    } else if warns {
        AnsiColor::Yellow.on_default()
    } else if ended && !event.is_log() {
        AnsiColor::Green.on_default()
    } else {
        Style::new()
    }
}

/// The colour of a status.
pub(super) fn status_style(status: RunStatus) -> Style {
    match status {
        RunStatus::Failed => AnsiColor::Red.on_default(),
        RunStatus::Done => AnsiColor::Green.on_default(),
        RunStatus::Running => AnsiColor::Cyan.on_default(),
        RunStatus::Blocked | RunStatus::Partial | RunStatus::Skipped => AnsiColor::Yellow.on_default(),
        RunStatus::Pending => Style::new(),
    }
}

fn json_summary(summary: &budget::BudgetSummary) -> String {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        summary: &'a budget::BudgetSummary,
    }
    // Numbers and two words: nothing in it can fail.
    serde_json::to_string(&Line { summary }).unwrap_or_default()
}

fn pretty_summary(summary: &budget::BudgetSummary) -> String {
    let budget::BudgetSummary { run, status, events, failures, shown, left_out } = summary;
    let s = if *failures == 1 { "" } else { "s" };
    format!("# {run} {status}: {events} events, {failures} failure{s}; {shown} shown, {left_out} left out")
}

/// An event for people, perhaps one of which not all fields are left.
fn pretty_event(object: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Repeated {
        repeated: Option<u64>,
    }
    let Ok(view) = serde_json::from_str::<EventView<'_>>(object) else { return clean(object) };
    let mut line = one_line(&view);
    if let Ok(Repeated { repeated: Some(repeated) }) = serde_json::from_str(object) {
        line.push_str(&format!(" (x{repeated})"));
    }
    line
}

/// Tells what is wrong with lines of a file.
pub(super) fn faults(path: &Path, faults: &[LogFault], output: Output) {
    for fault in faults.iter().take(FAULTS_TOLD_MAX) {
        tell_fault(path, fault, output);
    }
    if let Some(more) = faults.len().checked_sub(FAULTS_TOLD_MAX).filter(|more| *more > 0) {
        output.announce(format_args!("{}: {more} more lines that are no events", clean(&path.display().to_string())));
    }
}

/// Tells what is wrong with a line of a file.
pub(super) fn tell_fault(path: &Path, fault: &LogFault, output: Output) {
    let line = if fault.line > 0 { format!(":{}", fault.line) } else { String::new() };
    let why = match &fault.fault {
        Some(fault) => fault.to_string(),
        None => "the last line is not whole: it has no newline".to_owned(),
    };
    let place = format!("{}{line} (byte {})", path.display(), fault.offset);
    output.announce(format_args!("{}: {}", clean(&place), clean(&why)));
}

/// Tells what happened to a followed file.
pub(super) fn notice(path: &Path, notice: &FollowNotice, output: Output) {
    output.note(format_args!("{}: {notice}", path.display()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_matched_with_stars() {
        for (pattern, word, wanted) in [
            ("step.*", "step.failed", true),
            ("step.*", "run.created", false),
            ("*.failed", "gate.failed", true),
            ("gate.failed", "gate.failed", true),
            ("gate.failed", "gate.failed2", false),
            ("*", "anything", true),
            ("s*p.*ed", "step.started", true),
            ("s*p.*ed", "step.starts", false),
        ] {
            assert_eq!(glob(pattern, word), wanted, "{pattern} {word}");
        }
    }
}
