//! `tasktail events tail` and `tasktail events failures`: print existing events and exit.

use clap::Args;

use super::print::{EventPrinter, ViewArgs};
use super::source::{EventInput, SourceArgs};
use crate::cli::Context;
use crate::cli::output::Output;
use crate::events::budget::EventScope;
use crate::model::{Event, RunState, units};

/// Default number of events.
const LINES_DEFAULT: usize = 10;

/// `events tail`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tasktail events tail
  tasktail events tail -n 20 --pretty runs/nightly-7/events.jsonl
  tasktail events tail --type 'step.*,gate.failed' --fields event_type,step_id,reason
  tasktail events tail --run nightly-7 --budget 2000        the most relevant of all events, up to 2,000 bytes")]
pub(super) struct TailArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    view: ViewArgs,
    /// Print the last N events [default: 10, with --budget all]
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
    /// Print the most relevant of them, up to this size, such as 2000 or 4KiB
    #[arg(long, value_name = "BYTES", value_parser = units::size)]
    budget: Option<u64>,
}

/// `events failures`.
#[derive(Debug, Args)]
#[command(after_help = "\
With --budget, prints the first failure and the events before it, the end of
the run, the first failure of each step or repetition, then others. Similar
events are merged into one line with `\"repeated\":N`, and the first line
counts the events shown and omitted.

Examples:
  tasktail events failures
  tasktail events failures --before 3 --pretty
  tasktail events failures --run nightly-7 --budget 2000
  tasktail events failures --fields step_id,error_class,reason")]
pub(super) struct FailuresArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    view: ViewArgs,
    /// Also print the N events before each failure
    #[arg(short = 'B', long, value_name = "N", default_value_t = 0, conflicts_with = "budget")]
    before: usize,
    /// Print the most relevant events, up to this size, such as 2000 or 4KiB
    #[arg(long, value_name = "BYTES", value_parser = units::size)]
    budget: Option<u64>,
}

pub(super) async fn run(args: TailArgs, context: Context) -> anyhow::Result<u8> {
    let output = context.output;
    let source = EventInput::open(args.source, context, true)?;
    let mut printer = EventPrinter::new(args.view, output);
    let result = tail(args.lines, args.budget, &source, &mut printer, output).await;
    source.close().await;
    result.map(|()| 0)
}

async fn tail(
    lines: Option<usize>,
    budget: Option<u64>,
    source: &EventInput,
    printer: &mut EventPrinter,
    output: Output,
) -> anyhow::Result<()> {
    if let Some(bytes) = budget {
        let mut events = source.all(output).await?.events;
        let run = last_run(source, &events).await?;
        events.retain(|event| printer.types().matches_event(event));
        let from = lines.map_or(0, |lines| events.len().saturating_sub(lines));
        return printer.within(events.get(from..).unwrap_or_default(), &run, EventScope::All, bytes);
    }
    for event in last(lines.unwrap_or(LINES_DEFAULT), source, printer, output).await? {
        printer.event(&event)?;
    }
    Ok(printer.flush()?)
}

/// Returns the last events that match the printer's filter.
///
/// # Errors
/// As [`EventInput::all`].
pub(super) async fn last(
    lines: usize,
    source: &EventInput,
    printer: &EventPrinter,
    output: Output,
) -> anyhow::Result<Vec<Event>> {
    if printer.types().is_all() {
        return source.last(lines, output).await;
    }
    let mut events = source.all(output).await?.events;
    events.retain(|event| printer.types().matches_event(event));
    Ok(events.split_off(events.len().saturating_sub(lines)))
}

pub(super) async fn failures(args: FailuresArgs, context: Context) -> anyhow::Result<u8> {
    let output = context.output;
    let source = EventInput::open(args.source, context, true)?;
    let mut printer = EventPrinter::new(args.view, output);
    let result = print_failures(args.before, args.budget, &source, &mut printer, output).await;
    source.close().await;
    result.map(|()| 0)
}

async fn print_failures(
    before: usize,
    budget: Option<u64>,
    source: &EventInput,
    printer: &mut EventPrinter,
    output: Output,
) -> anyhow::Result<()> {
    let events = source.all(output).await?.events;
    if let Some(bytes) = budget {
        let run = last_run(source, &events).await?;
        return printer.within(&events, &run, EventScope::Failures, bytes);
    }
    // Events before this index are already printed or too old.
    let mut from = 0;
    for (at, event) in events.iter().enumerate() {
        if event.view().is_failure() {
            for event in events.get(from.max(at.saturating_sub(before))..=at).unwrap_or_default() {
                printer.event(event)?;
            }
            from = at + 1;
        }
    }
    Ok(printer.flush()?)
}

/// Returns the run to summarize: the last one if a file contains several.
async fn last_run(source: &EventInput, events: &[Event]) -> anyhow::Result<RunState> {
    source.runs(events).await?.pop().ok_or_else(|| anyhow::anyhow!("the file contains no run"))
}
