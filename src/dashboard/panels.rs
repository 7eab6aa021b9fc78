//! The panels above the log: Run Journal and Event Status, as lines that fit.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::state::{Link, State};
use super::text::{duration, fit, pad, width, wrap};
use super::{counts, hint};
use crate::events::clean;
use crate::model::{FailedGate, PipelineStep, RunState, RunStatus, StepState, Timestamp, WorkloadRow};

/// Cells of a bar of progress.
const BAR: u64 = 8;

/// One row of the Run Journal.
pub(super) struct Entry {
    label: [String; 2],
    status: RunStatus,
    /// Its state, where it is no status of a run.
    word: Option<&'static str>,
    progress: (u64, u64, u64),
    action: String,
    last: String,
}

/// The Run Journal: its title, its header and its rows, at most `rows` of them, `columns` wide.
pub(super) fn journal(state: &State, entries: &[Entry], rows: usize, columns: usize) -> (String, Vec<Line<'static>>) {
    let left_out = entries.len().saturating_sub(rows);
    let title = journal_title(state, left_out);
    if entries.is_empty() {
        return (title, vec![Line::styled("no repetition or step is known yet", Modifier::DIM)]);
    }
    let pipeline = entries.iter().all(|entry| entry.label[1].is_empty());
    let widths = Widths::new(entries, columns, pipeline);
    let mut lines = vec![widths.header(pipeline)];
    lines.extend(choose(entries, rows).into_iter().map(|entry| widths.line(entry)));
    (title, lines)
}

/// All rows that the journal has.
pub(super) fn entries(state: &State) -> Vec<Entry> {
    state.run().map(run_entries).unwrap_or_default()
}

fn journal_title(state: &State, left_out: usize) -> String {
    let mut title = "Run Journal".to_owned();
    if let Some(id) =
        state.run().map(|run| run.id.to_string()).or_else(|| state.named.as_ref().map(ToString::to_string))
    {
        title.push_str(&format!(" (ID: {id})"));
    }
    if let Some(run) = state.run() {
        title.push_str(&format!(" {} {}", mark(run.status), run.status));
        if let Some(reason) = &run.reason {
            title.push_str(&format!(": {}", clean(reason)));
        }
    }
    if left_out > 0 {
        title.push_str(&format!(" · {left_out} more rows"));
    }
    title
}

fn run_entries(run: &RunState) -> Vec<Entry> {
    let steps = run.steps.iter().map(step);
    run.rows().iter().map(repetitions).chain(steps).chain(run.gates.iter().map(gate)).collect()
}

fn repetitions(row: &WorkloadRow<'_>) -> Entry {
    let action = match row.status {
        RunStatus::Failed => row.error.or(row.action),
        _ => row.action,
    };
    Entry {
        label: [clean(row.host), clean(row.workload)],
        status: row.status,
        word: None,
        progress: (row.ended, row.current.max(row.ended), row.total),
        action: clean(action.unwrap_or_default()),
        last: row.last_duration_s.map(duration).unwrap_or_default(),
    }
}

fn step(step: &PipelineStep) -> Entry {
    let status = match step.state {
        StepState::Pending => RunStatus::Pending,
        StepState::Running => RunStatus::Running,
        StepState::Succeeded => RunStatus::Done,
        StepState::Failed => RunStatus::Failed,
        StepState::Compensated | StepState::Skipped => RunStatus::Skipped,
    };
    let parts = [step.error_class.as_deref(), step.reason.as_deref()];
    let tries = step.attempt.max(step.retries) + 1;
    Entry {
        label: [clean(&step.step_id), String::new()],
        status,
        word: (step.state == StepState::Compensated).then_some("undone"),
        progress: (0, if tries > 1 { tries } else { 0 }, 0),
        action: clean(&parts.into_iter().flatten().collect::<Vec<_>>().join(": ")),
        last: step.duration_s.map(duration).unwrap_or_default(),
    }
}

fn gate(gate: &FailedGate) -> Entry {
    let parts = [gate.error_class.as_deref(), gate.reason.as_deref()];
    Entry {
        label: [format!("gate {}", clean(&gate.step_id)), String::new()],
        status: RunStatus::Failed,
        word: Some("gate"),
        progress: (0, 0, 0),
        action: clean(&parts.into_iter().flatten().collect::<Vec<_>>().join(": ")),
        last: String::new(),
    }
}

/// What is most worth seeing of too many, in its order: first what failed, then what runs.
fn choose(entries: &[Entry], rows: usize) -> Vec<&Entry> {
    let mut order: Vec<(u8, usize)> =
        entries.iter().enumerate().map(|(at, entry)| (urgency(entry.status), at)).collect();
    order.sort_unstable();
    order.truncate(rows);
    order.sort_unstable_by_key(|(_, at)| *at);
    order.into_iter().filter_map(|(_, at)| entries.get(at)).collect()
}

fn urgency(status: RunStatus) -> u8 {
    match status {
        RunStatus::Failed => 0,
        RunStatus::Blocked => 1,
        RunStatus::Running => 2,
        RunStatus::Partial => 3,
        RunStatus::Pending => 4,
        RunStatus::Skipped => 5,
        RunStatus::Done => 6,
    }
}

/// Columns of each part; 0 leaves it out.
struct Widths {
    label: [usize; 2],
    state: usize,
    progress: usize,
    action: usize,
    last: usize,
}

impl Widths {
    fn new(entries: &[Entry], columns: usize, pipeline: bool) -> Self {
        let widest = |part: usize, least: usize| {
            entries.iter().map(|entry| width(&entry.label[part])).max().unwrap_or(0).max(least)
        };
        let share = if pipeline { columns * 2 / 5 } else { columns / 5 };
        let mut widths = Self {
            label: [widest(0, 6).min(share.max(6)), if pipeline { 0 } else { widest(1, 8).min(share.max(8)) }],
            state: 9,
            progress: if pipeline { 5 } else { 14 },
            action: 0,
            last: 8,
        };
        if columns < 64 && !pipeline {
            widths.progress = 5;
        }
        if columns < 48 {
            widths.last = 0;
        }
        widths.action = columns.saturating_sub(widths.used());
        widths
    }

    fn used(&self) -> usize {
        let parts = [self.label[0], self.label[1], self.state, self.progress, self.last];
        parts.iter().filter(|part| **part > 0).map(|part| part + 1).sum()
    }

    fn header(&self, pipeline: bool) -> Line<'static> {
        let words = if pipeline {
            ["Step", "", "State", "Try", "Reason", "Took"]
        } else {
            ["Host", "Workload", "State", "Progress", "Action", "Last"]
        };
        let widths = [self.label[0], self.label[1], self.state, self.progress, self.action, self.last];
        let mut text = String::new();
        for (word, columns) in words.iter().zip(widths).filter(|(_, columns)| *columns > 0) {
            text.push_str(&pad(word, columns));
            text.push(' ');
        }
        Line::styled(text.trim_end().to_owned(), Modifier::BOLD)
    }

    fn line(&self, entry: &Entry) -> Line<'static> {
        let mut spans = Vec::with_capacity(12);
        let mut put = |text: &str, columns: usize, style: Style| {
            if columns > 0 {
                spans.push(Span::styled(pad(text, columns), style));
                spans.push(Span::raw(" "));
            }
        };
        let color = Style::new().fg(color(entry.status));
        let word = entry.word.map_or_else(|| entry.status.to_string(), str::to_owned);
        put(&entry.label[0], self.label[0], Style::new());
        put(&entry.label[1], self.label[1], Style::new());
        put(&format!("{} {word}", mark(entry.status)), self.state, color);
        put(&self.progress(entry), self.progress, Style::new());
        let failed = entry.status == RunStatus::Failed;
        put(&entry.action, self.action, if failed { color } else { Style::new() });
        put(&entry.last, self.last, Style::new().add_modifier(Modifier::DIM));
        Line::from(spans)
    }

    fn progress(&self, entry: &Entry) -> String {
        let (ended, current, total) = entry.progress;
        let count = match (current, total) {
            (0, 0) => return String::new(),
            (_, 0) => current.to_string(),
            _ => format!("{current}/{total}"),
        };
        if total == 0 || self.progress < 14 {
            return count;
        }
        let full = (ended.min(total) * BAR / total).min(BAR);
        let cells = |symbol: &str, count: u64| symbol.repeat(usize::try_from(count).unwrap_or(0));
        format!("{}{} {count}", cells("█", full), cells("░", BAR - full))
    }
}

pub(super) fn mark(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Pending => "·",
        RunStatus::Running => "⟳",
        RunStatus::Blocked => "‖",
        RunStatus::Done => "✓",
        RunStatus::Failed => "✗",
        RunStatus::Skipped => "⊘",
        RunStatus::Partial => "◑",
    }
}

pub(super) fn color(status: RunStatus) -> Color {
    match status {
        RunStatus::Pending => Color::DarkGray,
        RunStatus::Running => Color::Cyan,
        RunStatus::Blocked => Color::Magenta,
        RunStatus::Done => Color::Green,
        RunStatus::Failed => Color::Red,
        RunStatus::Skipped => Color::Blue,
        RunStatus::Partial => Color::Yellow,
    }
}

/// The Event Status: whether it is live, the hops, and what does not look right, in at most `room` lines.
pub(super) fn status(state: &State, now: Timestamp, columns: usize, room: usize) -> Vec<Line<'static>> {
    let stream = hint::stream(state, now);
    let words = state.counts.here(state.of_text);
    let here = words.join(" → ");
    let style = stream_style(state);
    let mut lines = Vec::with_capacity(room);
    if state.pipeline.is_some() && width(&stream) + 3 + width(&here) <= columns {
        lines.push(Line::from(vec![Span::styled(stream, style), Span::raw(format!(" · {here}"))]));
    } else {
        lines.push(Line::styled(fit(&stream, columns), style));
        lines.extend(wrap(&words, " → ", columns).iter().take(2).map(|hops| Line::raw(fit(hops, columns))));
    }
    if let Some(pipeline) = &state.pipeline {
        let hops = wrap(&counts::there(pipeline), " → ", columns.saturating_sub(8));
        // Where they end is what is looked for: of too many lines the last ones.
        let hidden = hops.len().saturating_sub(room.saturating_sub(lines.len() + 1).max(1));
        for (nth, hops) in hops.into_iter().skip(hidden).enumerate() {
            let begin = match (nth, hidden) {
                (0, 0) => "server: ",
                (0, _) => "server … ",
                _ => "        ",
            };
            lines.push(Line::raw(fit(&format!("{begin}{hops}"), columns)));
        }
    }
    let warnings = hint::warnings(state, now);
    let space = room.saturating_sub(lines.len()).max(1);
    for (nth, warning) in warnings.iter().take(space).enumerate() {
        let left = warnings.len() - nth - 1;
        let more = if nth + 1 == space && left > 0 { format!(" (+{left} more: ?)") } else { String::new() };
        let text = fit(warning, columns.saturating_sub(2 + width(&more)));
        lines.push(Line::styled(format!("! {text}{more}"), Color::Yellow));
    }
    if warnings.is_empty() {
        lines.push(Line::styled("no warnings", Modifier::DIM));
    }
    lines
}

fn stream_style(state: &State) -> Style {
    match (&state.link, &state.last) {
        (Link::Broken { .. }, _) => Style::new().fg(Color::Red),
        (Link::Open, Some(_)) => Style::new().fg(Color::Green),
        _ => Style::new().fg(Color::Yellow),
    }
}
