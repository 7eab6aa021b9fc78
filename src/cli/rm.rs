//! `tasktail rm`: deletes tasks by their exact ids.

use clap::Args;

use super::locate::{Locator, Purpose};
use super::output::{Output, task_error};
use super::{Context, show};
use crate::model::TaskId;

/// `tasktail rm`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tasktail rm nightly-7
  tasktail rm nightly.1                 the first of several logs of a name
  tasktail list --status lost --json | jq -r .id | xargs tasktail rm")]
pub struct RmArgs {
    /// The tasks, by their complete ids
    #[arg(value_name = "TASK", required = true)]
    tasks: Vec<TaskId>,
}

pub(super) async fn run(args: RmArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let locator = Locator::new(settings, output, Purpose::Query);
    let result = remove(&args, &locator, output).await;
    locator.close().await;
    result
}

/// Deletes the tasks; an error for one does not prevent the others.
async fn remove(args: &RmArgs, locator: &Locator, output: Output) -> anyhow::Result<u8> {
    let client = locator.client().await?;
    let mut code = 0;
    for task in &args.tasks {
        match client.delete(&format!("/api/v1/tasks/{task}")).await {
            Ok(()) if output.json() => output.object(&serde_json::json!({ "removed": task }))?,
            Ok(()) => {
                output.line(task)?;
                if let Ok(rest) = show::get(&client, task).await {
                    output.note(format_args!("{task} now names {}, the newest log of this name", rest.id));
                }
            }
            Err(error) => {
                output.error(&task_error(error, task, client.endpoint()));
                code = 1;
            }
        }
    }
    Ok(code)
}
