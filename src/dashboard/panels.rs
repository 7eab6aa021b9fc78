//! The panels above the log: Run Journal and Event Status, as lines that fit.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::playbook::{PlaybookHost, PlaybookView};
use super::state::{DashboardState, LinkState};
use super::text::{duration, fit, pad, width, wrap};
use super::{counts, hint};
use crate::events::clean;
use crate::model::{FailedGate, PipelineStep, RunState, RunStatus, StepState, Timestamp, WorkloadRow};

/// Cells of a progress bar.
const BAR: u64 = 8;

/// One row of the Run Journal.
pub(super) struct JournalRow {
    label: [String; 2],
    status: RunStatus,
    /// State text for rows that are not in a run status.
    word: Option<&'static str>,
    progress: (u64, u64, u64),
    action: String,
    last: String,
}

/// Returns the Run Journal's title, and its header and rows, at most `rows` of them, `columns`
/// wide.
pub(super) fn journal(
    state: &DashboardState,
    entries: &[JournalRow],
    rows: usize,
    columns: usize,
) -> (String, Vec<Line<'static>>) {
    let left_out = entries.len().saturating_sub(rows);
    let title = journal_title(state, left_out);
    if entries.is_empty() {
        return (title, vec![Line::styled("no repetitions or steps yet", Modifier::DIM)]);
    }
    let pipeline = entries.iter().all(|entry| entry.label[1].is_empty());
    let widths = Widths::new(entries, columns, pipeline);
    let words = match (state.run().is_some(), pipeline) {
        (true, true) => ["Step", "", "State", "Try", "Reason", "Took"],
        (true, false) => ["Host", "Workload", "State", "Progress", "Action", "Last"],
        (false, _) => ["Host", "Play", "State", "Tasks", "Task", ""],
    };
    let mut lines = vec![widths.header(words)];
    lines.extend(choose(entries, rows).into_iter().map(|entry| widths.line(entry)));
    (title, lines)
}

/// Returns all rows of the journal.
pub(super) fn entries(state: &DashboardState) -> Vec<JournalRow> {
    state.run().map_or_else(|| state.playbook.hosts.iter().map(host).collect(), run_entries)
}

/// Returns the row of a host of an ordinary playbook.
fn host(host: &PlaybookHost) -> JournalRow {
    JournalRow {
        label: [clean(&host.name), host.play.clone()],
        status: host.status,
        word: None,
        progress: (0, host.tasks, 0),
        action: clean(&host.action),
        last: String::new(),
    }
}

fn journal_title(state: &DashboardState, left_out: usize) -> String {
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
    if state.run().is_none() && state.playbook.is_seen() {
        title = playbook_title(&state.playbook);
    }
    if left_out > 0 {
        title.push_str(&format!(" · {left_out} more rows"));
    }
    title
}

/// Returns the play and the task that run, or the outcome.
fn playbook_title(playbook: &PlaybookView) -> String {
    let status = playbook.status();
    let mut title = format!("Playbook {} {status}", mark(status));
    if !playbook.ended {
        title.push_str(&format!(" · {}", playbook.play));
        if !playbook.task.is_empty() {
            title.push_str(&format!(" · task {}: {}", playbook.tasks, playbook.task));
        }
    }
    title
}

fn run_entries(run: &RunState) -> Vec<JournalRow> {
    let steps = run.steps.iter().map(step);
    run.rows().iter().map(repetitions).chain(steps).chain(run.gates.iter().map(gate)).collect()
}

fn repetitions(row: &WorkloadRow<'_>) -> JournalRow {
    let action = match row.status {
        RunStatus::Failed => row.error.or(row.action),
        _ => row.action,
    };
    JournalRow {
        label: [clean(row.host), clean(row.workload)],
        status: row.status,
        word: None,
        progress: (row.ended, row.current.max(row.ended), row.total),
        action: clean(action.unwrap_or_default()),
        last: row.last_duration_s.map(duration).unwrap_or_default(),
    }
}

fn step(step: &PipelineStep) -> JournalRow {
    let status = match step.state {
        StepState::Pending => RunStatus::Pending,
        StepState::Running => RunStatus::Running,
        StepState::Succeeded => RunStatus::Done,
        StepState::Failed => RunStatus::Failed,
        StepState::Compensated | StepState::Skipped => RunStatus::Skipped,
    };
    let parts = [step.error_class.as_deref(), step.reason.as_deref()];
    let tries = step.attempt.max(step.retries) + 1;
    JournalRow {
        label: [clean(&step.step_id), String::new()],
        status,
        word: (step.state == StepState::Compensated).then_some("undone"),
        progress: (0, if tries > 1 { tries } else { 0 }, 0),
        action: clean(&parts.into_iter().flatten().collect::<Vec<_>>().join(": ")),
        last: step.duration_s.map(duration).unwrap_or_default(),
    }
}

fn gate(gate: &FailedGate) -> JournalRow {
    let parts = [gate.error_class.as_deref(), gate.reason.as_deref()];
    JournalRow {
        label: [format!("gate {}", clean(&gate.step_id)), String::new()],
        status: RunStatus::Failed,
        word: Some("gate"),
        progress: (0, 0, 0),
        action: clean(&parts.into_iter().flatten().collect::<Vec<_>>().join(": ")),
        last: String::new(),
    }
}

/// Selects the most important rows and returns them in their order: failures first, then running
/// ones.
fn choose(entries: &[JournalRow], rows: usize) -> Vec<&JournalRow> {
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

/// Width of each column; 0 omits it.
struct Widths {
    label: [usize; 2],
    state: usize,
    progress: usize,
    action: usize,
    last: usize,
}

impl Widths {
    fn new(entries: &[JournalRow], columns: usize, pipeline: bool) -> Self {
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

    fn header(&self, words: [&str; 6]) -> Line<'static> {
        let widths = [self.label[0], self.label[1], self.state, self.progress, self.action, self.last];
        let mut text = String::new();
        for (word, columns) in words.iter().zip(widths).filter(|(_, columns)| *columns > 0) {
            text.push_str(&pad(word, columns));
            text.push(' ');
        }
        Line::styled(text.trim_end().to_owned(), Modifier::BOLD)
    }

    fn line(&self, entry: &JournalRow) -> Line<'static> {
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

    fn progress(&self, entry: &JournalRow) -> String {
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

/// Returns the Event Status in at most `room` lines: the stream's state, the stages, and warnings.
pub(super) fn status(state: &DashboardState, now: Timestamp, columns: usize, room: usize) -> Vec<Line<'static>> {
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
        // The last stages matter most, so of too many lines the first are hidden.
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

fn stream_style(state: &DashboardState) -> Style {
    match (&state.link, &state.last) {
        (LinkState::Broken { .. }, _) => Style::new().fg(Color::Red),
        (LinkState::Open, Some(_)) => Style::new().fg(Color::Green),
        _ => Style::new().fg(Color::Yellow),
    }
}
