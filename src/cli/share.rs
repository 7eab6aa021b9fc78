//! `tasktail share`: creates a read-only link to one task.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::locate::{Locator, Purpose};
use super::output::{Output, task_error};
use super::{Context, task_ref};
use crate::model::{TaskId, units};

/// `tasktail share`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints only the link on stdout. Anyone with the link can read and follow this
task, and nothing else, until it expires. If the server requires tokens, use
one with scope `admin`. To invalidate all links, delete share.key in the
server's data folder.

Examples:
  tasktail share nightly-7
  tasktail share nightly-7 --expires 2h | xclip
  tasktail share nightly-7 --json | jq -r .expires")]
pub struct ShareArgs {
    /// The task: an id or a unique beginning of one
    #[arg(value_name = "TASK")]
    task: TaskId,
    /// Set how long the link is valid
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = units::duration)]
    expires: Duration,
}

pub(super) async fn run(args: ShareArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let locator = Locator::new(settings, output, Purpose::Query);
    let result = share(&args, &locator, output).await;
    locator.close().await;
    result
}

async fn share(args: &ShareArgs, locator: &Locator, output: Output) -> anyhow::Result<u8> {
    let client = locator.client().await?;
    let task = task_ref::resolve_id(&client, Some(&args.task)).await?;
    let path = format!("/api/v1/tasks/{task}/share");
    let body = json!({ "expires_in": units::show_duration(args.expires) }).to_string();
    let made = client.post::<Value>(&path, &[], "application/json", body.into()).await;
    let made = made.map_err(|error| task_error(error, &task, client.endpoint()))?;
    match made["url"].as_str() {
        _ if output.json() => output.object(&made)?,
        Some(url) => output.line(url)?,
        None => anyhow::bail!("the server returned no link"),
    }
    Ok(0)
}
