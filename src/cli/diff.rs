//! `tasktail diff`: prints the lines that one log has and another has not.

use clap::Args;
use clap::builder::styling::AnsiColor;
use serde_json::Value;

use super::locate::{Locator, Purpose};
use super::output::Output;
use super::task_ref::resolve_id;
use super::{Context, text};
use crate::analysis::DiffLine;
use crate::model::TaskId;

/// Exit code if the logs differ, as of diff.
const EXIT_DIFFERENT: u8 = 1;

/// `tasktail diff`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without B, A is compared with the last good run: the newest earlier task of the same
name (nightly-6 for nightly-7) or the same command whose exit code is 0. Numbers,
times, hashes, temporary paths and the order of the lines do not count. New lines
come first, errors before others, then missing lines. Exit codes are those of diff: 0
if there is no difference, 1 if there is one, 2 for an error.

Examples:
  tasktail diff nightly-7
  tasktail diff nightly-7 nightly-3 --lines 1000
  tasktail diff nightly-7 --json | jq -r '.new[].line'")]
pub struct DiffArgs {
    /// The task, or the beginning of its id; the newest one if left out
    #[arg(value_name = "A")]
    task: Option<TaskId>,
    /// The task to compare it with
    #[arg(value_name = "B")]
    with: Option<TaskId>,
    /// Print at most this many new lines, and as many missing lines
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=2000))]
    lines: u64,
}

pub(super) async fn run(args: DiffArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let locator = Locator::new(settings, output, Purpose::Query);
    let result = diff(&args, &locator).await;
    locator.close().await;
    let diff = result?;
    let count = |name: &str| diff.get(name).and_then(Value::as_u64).unwrap_or(0);
    let is_different = count("new_count") > 0 || count("missing_count") > 0;
    if output.json() {
        output.object(&diff)?;
    } else {
        print(&diff, output)?;
    }
    if diff.get("truncated") == Some(&Value::Bool(true)) {
        output.note("the logs are too long to be compared as a whole; the difference covers a part of them");
    }
    Ok(if is_different { EXIT_DIFFERENT } else { 0 })
}

async fn diff(args: &DiffArgs, locator: &Locator) -> anyhow::Result<Value> {
    let client = locator.client().await?;
    let task = resolve_id(&client, args.task.as_ref()).await?;
    let with = match &args.with {
        Some(with) => Some(resolve_id(&client, Some(with)).await?.to_string()),
        None => None,
    };
    let query = [("with", with), ("limit", Some(args.lines.to_string()))];
    Ok(client.get(&format!("/api/v1/tasks/{task}/diff"), &query).await?)
}

fn print(diff: &Value, output: Output) -> anyhow::Result<()> {
    let word = |name: &str| text::words(diff.get(name).and_then(Value::as_str).unwrap_or_default()).into_owned();
    let lines = |name: &str| -> Vec<DiffLine> {
        diff.get(name).cloned().and_then(|lines| serde_json::from_value(lines).ok()).unwrap_or_default()
    };
    let count = |name: &str| diff.get(name).and_then(Value::as_u64).unwrap_or(0);
    output.note(format_args!(
        "{} has {} that {} does not have, and lacks {}",
        word("task"),
        text::counted(count("new_count"), "line"),
        word("with"),
        text::counted(count("missing_count"), "line")
    ));
    for (name, mark) in [("new", '+'), ("missing", '-')] {
        let lines = lines(name);
        let shown = lines.len() as u64;
        for line in lines {
            let style = match (mark, line.error) {
                ('+', true) => AnsiColor::Red.on_default().bold(),
                ('+', false) => AnsiColor::Green.on_default(),
                _ => AnsiColor::Cyan.on_default(),
            };
            let times = if line.count > 1 { format!(" (x{})", line.count) } else { String::new() };
            output.line(format_args!("{style}{mark} {}: {}{style:#}{times}", line.n, text::words(&line.line)))?;
        }
        let rest = count(&format!("{name}_count")).saturating_sub(shown);
        if rest > 0 {
            output.note(format_args!("{} more; print them with --lines", text::counted(rest, &format!("{name} line"))));
        }
    }
    Ok(())
}
