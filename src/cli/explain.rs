//! `tasktail explain`: prints the most telling lines of a log within a number of bytes.

use std::io::{IsTerminal as _, Write as _};

use clap::Args;
use futures::TryStreamExt as _;

use super::locate::{Locator, Purpose};
use super::task_ref::resolve_id;
use super::{Context, text};
use crate::model::{TaskId, units};

/// `tasktail explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints errors (E), the lines around the first one, the last lines, lines that the
last good run does not have (+), and warnings (W), in the order of the log and each
with its number. The output has at most --budget bytes, in text and with --json.

Examples:
  tasktail explain nightly-7
  tasktail explain nightly-7 --budget 2000
  tasktail explain nightly-7 --budget 64k --json")]
pub struct ExplainArgs {
    /// The task, or the beginning of its id; the newest one if left out
    #[arg(value_name = "TASK")]
    task: Option<TaskId>,
    /// Print at most this many bytes, from 500 to 1000000
    #[arg(long, value_name = "BYTES", default_value = "8000", value_parser = units::size)]
    budget: u64,
}

pub(super) async fn run(args: ExplainArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let locator = Locator::new(settings, output, Purpose::Query);
    let result = explain(&args, &locator, output.json()).await;
    locator.close().await;
    let body = result?;
    let mut stdout = std::io::stdout().lock();
    if stdout.is_terminal() && output.json() {
        stdout.write_all(text::json(body.trim_end(), true).as_bytes())?;
        writeln!(stdout)?;
    } else if stdout.is_terminal() {
        for row in body.lines() {
            writeln!(stdout, "{}", text::for_terminal(row, false))?;
        }
    } else {
        stdout.write_all(body.as_bytes())?;
    }
    stdout.flush()?;
    Ok(0)
}

async fn explain(args: &ExplainArgs, locator: &Locator, json: bool) -> anyhow::Result<String> {
    let client = locator.client().await?;
    let format = if json { "json" } else { "text" };
    let query = [("budget", Some(args.budget.to_string())), ("format", Some(format.to_owned()))];
    let task = resolve_id(&client, args.task.as_ref()).await?;
    let (_, chunks) = client.download(&format!("/api/v1/tasks/{task}/explain"), &query).await?;
    let body: Vec<bytes::Bytes> = chunks.try_collect().await?;
    Ok(String::from_utf8_lossy(&body.concat()).into_owned())
}
