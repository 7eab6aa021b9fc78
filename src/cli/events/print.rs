//! Prints events on stdout, and the faults of a file on stderr.
//!
//! JSON is printed byte for byte as it is stored. Text for people is sanitized, and coloured only on
//! a terminal.

use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::path::Path;

use clap::Args;
use clap::builder::styling::{AnsiColor, Style};

use crate::cli::output::Output;
use crate::cli::text;
use crate::events::budget::{self, EventLineFormat, EventScope};
use crate::events::{FollowNotice, LogFault, clean, one_line};
use crate::model::{Event, EventView, RunState, RunStatus};

/// Maximum number of faults of one file that are reported one by one.
const FAULTS_PRINTED_MAX: usize = 100;

/// Flags for the format and the selection of events.
#[derive(Clone, Debug, Args)]
pub(super) struct ViewArgs {
    /// Print a line of text for each event instead of JSON
    #[arg(long, conflicts_with = "fields")]
    pub(super) pretty: bool,
    /// Print only these fields, in this order; absent ones are omitted
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(super) fields: Option<Vec<String>>,
    /// Print only events of these types, such as `step.*,gate.failed`; a benchmark's are `status` and `log`
    #[arg(long = "type", value_name = "T,..", value_delimiter = ',')]
    pub(super) types: Vec<String>,
}

/// A filter of events by type.
#[derive(Clone, Debug, Default)]
pub(super) struct TypeFilter(Vec<String>);

/// A printer of events with a filter and a format.
pub(super) struct EventPrinter {
    view: ViewArgs,
    types: TypeFilter,
    lines: StdoutLines,
}

/// Buffered lines for stdout.
pub(super) struct StdoutLines {
    stdout: BufWriter<io::Stdout>,
    terminal: bool,
    colours: bool,
}

impl TypeFilter {
    pub(super) fn new(patterns: Vec<String>) -> Self {
        Self(patterns.into_iter().filter(|pattern| !pattern.is_empty()).collect())
    }

    /// Reports whether all events match.
    pub(super) fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Reports whether the event matches. Does not parse it if all events match.
    pub(super) fn matches_event(&self, event: &Event) -> bool {
        self.is_all() || self.matches(&event.view())
    }

    /// Reports whether a parsed event matches.
    pub(super) fn matches(&self, event: &EventView<'_>) -> bool {
        self.is_all() || self.0.iter().any(|pattern| glob(pattern, event.type_word()))
    }
}

/// Reports whether `word` matches `pattern`, in which `*` matches any characters, also none.
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

impl EventPrinter {
    pub(super) fn new(mut view: ViewArgs, output: Output) -> Self {
        view.pretty &= !output.json();
        let types = TypeFilter::new(std::mem::take(&mut view.types));
        Self { view, types, lines: StdoutLines::new() }
    }

    pub(super) fn types(&self) -> &TypeFilter {
        &self.types
    }

    /// Prints an event if its type matches.
    pub(super) fn event(&mut self, event: &Event) -> io::Result<()> {
        if !self.types.matches_event(event) {
            return Ok(());
        }
        match &self.view.fields {
            Some(fields) => self.lines.json(&budget::object(event, fields)),
            None if self.view.pretty => self.lines.pretty(&event.view()),
            None => self.lines.json(event.as_str()),
        }
    }

    /// Prints the most relevant events, up to `bytes`.
    pub(super) fn within(
        &mut self,
        events: &[Event],
        run: &RunState,
        scope: EventScope,
        bytes: u64,
    ) -> anyhow::Result<()> {
        let wanted: Vec<&Event> = events.iter().filter(|event| self.types.matches_event(event)).collect();
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

impl StdoutLines {
    pub(super) fn new() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let colours = anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
        Self { stdout: BufWriter::new(stdout), terminal, colours }
    }

    /// Appends a line with a JSON object.
    pub(super) fn json(&mut self, object: &str) -> io::Result<()> {
        writeln!(self.stdout, "{}", text::json(object, self.terminal))
    }

    /// Appends a line of sanitized text or JSON.
    pub(super) fn plain(&mut self, line: &str) -> io::Result<()> {
        self.json(line)
    }

    /// Appends a line of sanitized text in a style.
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

/// Returns the colour of an event's line.
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

/// Returns the colour of a status.
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
    struct SummaryLine<'a> {
        summary: &'a budget::BudgetSummary,
    }
    // Numbers and two words always serialize.
    serde_json::to_string(&SummaryLine { summary }).unwrap_or_default()
}

fn pretty_summary(summary: &budget::BudgetSummary) -> String {
    let budget::BudgetSummary { run, status, events, failures, shown, left_out } = summary;
    let s = if *failures == 1 { "" } else { "s" };
    format!("# {run} {status}: {events} events, {failures} failure{s}; {shown} shown, {left_out} left out")
}

/// Formats an event for people; some of its fields may have been removed.
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

/// Reports the invalid lines of a file.
pub(super) fn print_faults(path: &Path, faults: &[LogFault], output: Output) {
    for fault in faults.iter().take(FAULTS_PRINTED_MAX) {
        print_fault(path, fault, output);
    }
    if let Some(more) = faults.len().checked_sub(FAULTS_PRINTED_MAX).filter(|more| *more > 0) {
        output.announce(format_args!("{}: {more} more lines that are not events", clean(&path.display().to_string())));
    }
}

/// Reports an invalid line of a file.
pub(super) fn print_fault(path: &Path, fault: &LogFault, output: Output) {
    let line = if fault.line > 0 { format!(":{}", fault.line) } else { String::new() };
    let why = match &fault.fault {
        Some(fault) => fault.to_string(),
        None => "the last line is incomplete: it has no newline".to_owned(),
    };
    let place = format!("{}{line} (byte {})", path.display(), fault.offset);
    output.announce(format_args!("{}: {}", clean(&place), clean(&why)));
}

/// Reports a change of a followed file.
pub(super) fn print_notice(path: &Path, notice: &FollowNotice, output: Output) {
    output.note(format_args!("{}: {notice}", path.display()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_match_with_wildcards() {
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
