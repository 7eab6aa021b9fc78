//! `tasktail events timeline`: one line for each event, with the time between them.

use clap::Args;

use super::print::{StdoutLines, TypeFilter, style};
use super::source::{EventInput, SourceArgs};
use crate::cli::Context;
use crate::events::without_time;
use crate::model::{Event, Timestamp};

/// `events timeline`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tasktail events timeline
  tasktail events timeline -r --type 'step.*,run.*'        seconds since the first event
  tasktail events timeline --run nightly-7 --json")]
pub(super) struct TimelineArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Print times since the first event instead of the time of day
    #[arg(short, long)]
    relative: bool,
    /// Print only events of these types, such as `step.*,gate.failed`
    #[arg(long = "type", value_name = "T,..", value_delimiter = ',')]
    types: Vec<String>,
}

pub(super) async fn run(args: TimelineArgs, context: Context) -> anyhow::Result<u8> {
    let output = context.output;
    let source = EventInput::open(args.source, context, true)?;
    let all = source.all(output).await;
    source.close().await;
    let types = TypeFilter::new(args.types);
    let mut lines = StdoutLines::new();
    let (mut first, mut last) = (None, None);
    for event in all?.events {
        let view = event.view();
        if !types.matches(&view) {
            continue;
        }
        let at = view.origin().or_else(|| view.received());
        let first = *first.get_or_insert(at.or(first.flatten()));
        let (since_first, since_last) = (seconds(first, at), seconds(last, at));
        if output.json() {
            lines.json(&object(&event, at, since_first, since_last)?)?;
        } else {
            let time = match (args.relative, at) {
                (true, Some(_)) => format!("{:>10.3}", since_first.unwrap_or(0.0)),
                (true, None) => format!("{:>10}", "-"),
                (false, Some(at)) => at.to_string(),
                (false, None) => format!("{:<24}", "-"),
            };
            let step = since_last.map_or_else(String::new, |since| format!("{since:+.3}s"));
            lines.styled(&format!("{time} {step:>11} {}", without_time(&view)), style(&view))?;
        }
        last = at.or(last);
    }
    lines.flush()?;
    Ok(0)
}

/// Returns the seconds between two times; negative if a clock was set back.
fn seconds(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<f64> {
    let (from, to) = (from?.as_millis(), to?.as_millis());
    #[expect(clippy::cast_precision_loss, reason = "a duration in milliseconds is far below 2^52")]
    let millis = if to >= from { (to - from) as f64 } else { -((from - to) as f64) };
    Some(millis / 1000.0)
}

fn object(
    event: &Event,
    at: Option<Timestamp>,
    since_first: Option<f64>,
    since_last: Option<f64>,
) -> anyhow::Result<String> {
    #[derive(serde::Serialize)]
    struct TimelineRow<'a> {
        at: Option<Timestamp>,
        since_first_s: Option<f64>,
        since_last_s: Option<f64>,
        event: &'a Event,
    }
    Ok(serde_json::to_string(&TimelineRow { at, since_first_s: since_first, since_last_s: since_last, event })?)
}
