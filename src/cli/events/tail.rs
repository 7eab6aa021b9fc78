//! `tasktail events tail` and `tasktail events failures`: what is there, and an end.

use super::args::{FailuresArgs, TailArgs};
use super::print::Printer;
use super::source::Source;
use crate::cli::Context;
use crate::cli::output::Output;
use crate::events::budget::EventScope;
use crate::model::{Event, RunState};

/// Events that are shown when nobody says how many.
const LINES_DEFAULT: usize = 10;

pub(super) async fn run(args: TailArgs, context: Context) -> anyhow::Result<u8> {
    let output = context.output;
    let source = Source::open(args.source, context, true)?;
    let mut printer = Printer::new(args.view, output);
    let result = tail(args.lines, args.budget, &source, &mut printer, output).await;
    source.close().await;
    result.map(|()| 0)
}

async fn tail(
    lines: Option<usize>,
    budget: Option<u64>,
    source: &Source,
    printer: &mut Printer,
    output: Output,
) -> anyhow::Result<()> {
    if let Some(bytes) = budget {
        let mut events = source.all(output).await?.events;
        let run = the_run(source, &events).await?;
        events.retain(|event| printer.types().wants(event));
        let from = lines.map_or(0, |lines| events.len().saturating_sub(lines));
        return printer.within(events.get(from..).unwrap_or_default(), &run, EventScope::All, bytes);
    }
    for event in last(lines.unwrap_or(LINES_DEFAULT), source, printer, output).await? {
        printer.event(&event)?;
    }
    Ok(printer.flush()?)
}

/// The last events of the types that are wanted.
///
/// # Errors
/// As [`Source::all`].
pub(super) async fn last(
    lines: usize,
    source: &Source,
    printer: &Printer,
    output: Output,
) -> anyhow::Result<Vec<Event>> {
    if printer.types().is_all() {
        return source.last(lines, output).await;
    }
    let mut events = source.all(output).await?.events;
    events.retain(|event| printer.types().wants(event));
    Ok(events.split_off(events.len().saturating_sub(lines)))
}

pub(super) async fn failures(args: FailuresArgs, context: Context) -> anyhow::Result<u8> {
    let output = context.output;
    let source = Source::open(args.source, context, true)?;
    let mut printer = Printer::new(args.view, output);
    let result = print_failures(args.before, args.budget, &source, &mut printer, output).await;
    source.close().await;
    result.map(|()| 0)
}

async fn print_failures(
    before: usize,
    budget: Option<u64>,
    source: &Source,
    printer: &mut Printer,
    output: Output,
) -> anyhow::Result<()> {
    let events = source.all(output).await?.events;
    if let Some(bytes) = budget {
        let run = the_run(source, &events).await?;
        return printer.within(&events, &run, EventScope::Failures, bytes);
    }
    // Events before this one are printed, or too far away.
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

/// The run that a summary speaks of: of several in one file the last.
async fn the_run(source: &Source, events: &[Event]) -> anyhow::Result<RunState> {
    source.runs(events).await?.pop().ok_or_else(|| anyhow::anyhow!("the file has no run"))
}
