//! `tasktail open`: serves the page of a task from the data folder until Ctrl-C.

use clap::Args;
use serde_json::json;

use super::locate::{Locator, Purpose};
use super::output::Output;
use super::{Context, interrupted, task_ref};
use crate::model::TaskId;

/// `tasktail open`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints the address of the task's page on stdout. If a server is running, the
page is there, and the command ends at once. Otherwise this process serves the
data folder, on the address of `serve` if it is free, so that an address that
`run` printed earlier works again, until Ctrl-C.

Examples:
  tasktail open                 the task that runs, or the newest
  tasktail open nightly         the newest log of this name
  tasktail open nightly.1       the first one")]
pub struct OpenArgs {
    /// The task: an id or a unique beginning of one [default: the one that runs, or the newest]
    #[arg(value_name = "TASK")]
    task: Option<TaskId>,
}

pub(super) async fn run(args: OpenArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    // Handled before the address is printed, since its reader may send a signal at once.
    let ended = interrupted();
    let locator = Locator::new(settings, output, Purpose::Task);
    let result = open(&args, &locator, output).await;
    if result.is_ok() && locator.is_own().await {
        output.note("serving the data folder until Ctrl-C");
        ended.await?;
    }
    locator.close().await;
    result.map(|()| 0)
}

async fn open(args: &OpenArgs, locator: &Locator, output: Output) -> anyhow::Result<()> {
    let client = locator.client().await?;
    let task = task_ref::resolve(&client, args.task.as_ref()).await?;
    let url = client.endpoint().task_page(&task.exact_id());
    if output.json() {
        output.object(&json!({ "task": task.id, "url": url }))?;
    } else {
        output.line(url)?;
    }
    Ok(())
}
