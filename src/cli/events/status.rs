//! `tasktail events status`: where the run is, rebuilt from its events.

use std::time::Duration;

use clap::builder::styling::Style;
use serde::Serialize;

use super::args::StatusArgs;
use super::print::{Lines, status_style};
use super::source::Source;
use crate::cli::{Context, text};
use crate::events::clean;
use crate::model::{RunState, RunStatus, StepState, Timestamp};

/// Characters of a cell for people.
const CELL_CHARS_MAX: usize = 80;

/// A run, and what its file holds besides its events.
#[derive(Serialize)]
struct Status<'a> {
    #[serde(flatten)]
    run: &'a RunState,
    /// Lines of the file that are no events.
    faults: usize,
}

pub(super) async fn run(args: StatusArgs, context: Context) -> anyhow::Result<u8> {
    let output = context.output;
    let source = Source::open(args.source, context, true)?;
    let result = async {
        match &source {
            Source::File(_) => {
                let all = source.all(output).await?;
                Ok((source.runs(&all.events).await?, all.faults))
            }
            Source::Run { .. } => Ok((source.runs(&[]).await?, Vec::new())),
        }
    };
    let result: anyhow::Result<_> = result.await;
    source.close().await;
    let (runs, faults) = result?;
    let mut lines = Lines::new();
    for (at, run) in runs.iter().enumerate() {
        if output.json() {
            lines.json(&serde_json::to_string(&Status { run, faults: faults.len() })?)?;
            continue;
        }
        if at > 0 {
            lines.plain("")?;
        }
        show(run, faults.len(), &mut lines)?;
    }
    if runs.len() > 1 {
        output.note(format_args!("the file holds events of {} runs", runs.len()));
    }
    lines.flush()?;
    Ok(0)
}

fn show(run: &RunState, faults: usize, lines: &mut Lines) -> anyhow::Result<()> {
    let reason = run.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let state = run.state.as_deref().map(|state| format!(" ({state}{reason})")).unwrap_or_default();
    let took = run.started.zip(run.ended).map(|(from, to)| format!(", after {}", between(from, to)));
    let ended = run.ended.map(|at| format!("{at}{}", took.unwrap_or_default()));
    let failures = if run.failures > 0 { format!(", {} of them of a failure", run.failures) } else { String::new() };
    let facts = [
        ("started", run.started.map(|at| at.to_string())),
        ("ended", ended),
        ("events", Some(format!("{}{failures}", run.events))),
        ("source", run.source.clone()),
        (
            "faults",
            (faults > 0)
                .then(|| format!("{faults} {}", if faults == 1 { "line is no event" } else { "lines are no events" })),
        ),
    ];
    lines.plain(&format!("{:<9} {}", "run:", run.id))?;
    lines.styled(&clean(&format!("{:<9} {}{state}", "status:", run.status)), status_style(run.status))?;
    for (name, value) in facts.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        lines.plain(&clean(&format!("{:<9} {value}", format!("{name}:"))))?;
    }
    journal(run, lines)?;
    steps(run, lines)?;
    let gates = run.gates.iter().map(|gate| {
        let at = gate.at.map(|at| at.to_string());
        let cells = [Some(gate.step_id.clone()), at, gate.error_class.clone(), gate.reason.clone()];
        (cells, status_style(RunStatus::Failed))
    });
    table(["GATE NOT PASSED", "AT", "ERROR", "REASON"], gates.collect(), lines)?;
    if !run.warnings.is_empty() {
        lines.plain("")?;
        for warning in &run.warnings {
            lines.styled(&clean(&format!("warning: {warning}")), status_style(RunStatus::Partial))?;
        }
    }
    Ok(())
}

fn journal(run: &RunState, lines: &mut Lines) -> anyhow::Result<()> {
    let rows = run.rows().into_iter().map(|row| {
        let total = if row.total > 0 { row.total.to_string() } else { "?".to_owned() };
        let action = row.error.filter(|_| row.status == RunStatus::Failed).or(row.action);
        let cells = [
            Some(row.host.to_owned()),
            Some(row.workload.to_owned()),
            Some(row.status.to_string()),
            Some(format!("{}/{total}", row.ended)),
            row.last_duration_s.map(seconds),
            action.map(str::to_owned),
        ];
        (cells, status_style(row.status))
    });
    table(["HOST", "WORKLOAD", "STATUS", "ENDED", "LAST TOOK", "ACTION"], rows.collect(), lines)
}

fn steps(run: &RunState, lines: &mut Lines) -> anyhow::Result<()> {
    let rows = run.steps.iter().map(|step| {
        let cells = [
            Some(step.step_id.clone()),
            Some(step.state.to_string()),
            Some(step.attempt.to_string()),
            step.duration_s.map(seconds),
            step.error_class.clone(),
            step.reason.clone(),
        ];
        let style = match step.state {
            StepState::Failed => status_style(RunStatus::Failed),
            StepState::Succeeded => status_style(RunStatus::Done),
            StepState::Running => status_style(RunStatus::Running),
            StepState::Pending | StepState::Compensated | StepState::Skipped => Style::new(),
        };
        (cells, style)
    });
    table(["STEP", "STATE", "ATTEMPT", "TOOK", "ERROR", "REASON"], rows.collect(), lines)
}

/// A table behind an empty line; nothing where there are no rows.
fn table<const N: usize>(
    head: [&str; N],
    rows: Vec<([Option<String>; N], Style)>,
    lines: &mut Lines,
) -> anyhow::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let cell = |cell: Option<String>| {
        let text = clean(cell.as_deref().unwrap_or("-"));
        if text.chars().count() <= CELL_CHARS_MAX {
            return text;
        }
        text.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect()
    };
    let rows: Vec<([String; N], Style)> = rows.into_iter().map(|(cells, style)| (cells.map(cell), style)).collect();
    let mut widths = head.map(str::len);
    for (row, _) in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String; N]| {
        let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.plain("")?;
    lines.styled(&line(&head.map(str::to_owned)), Style::new().bold())?;
    for (row, style) in &rows {
        lines.styled(&line(row), *style)?;
    }
    Ok(())
}

fn seconds(seconds: f64) -> String {
    Duration::try_from_secs_f64(seconds).map_or_else(|_| "-".to_owned(), text::duration)
}

fn between(from: Timestamp, to: Timestamp) -> String {
    text::duration(Duration::from_millis(to.as_millis().saturating_sub(from.as_millis())))
}
