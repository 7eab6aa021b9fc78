//! `tasktail share`: a link to read one task.

use serde_json::{Value, json};

use super::Context;
use super::args::ShareArgs;
use super::locate::{Locator, Purpose};
use crate::model::units;

pub(super) async fn run(args: ShareArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let locator = Locator::new(settings, output, Purpose::Look);
    let result = share(&args, &locator, output).await;
    locator.close().await;
    result
}

async fn share(args: &ShareArgs, locator: &Locator, output: super::output::Output) -> anyhow::Result<u8> {
    let client = locator.client().await?;
    let path = format!("/api/v1/tasks/{}/share", args.task);
    let body = json!({ "expires_in": units::show_duration(args.expires) }).to_string();
    let made = client.post::<Value>(&path, &[], "application/json", body.into()).await;
    let made = made.map_err(|error| super::show::task_error(error, &args.task, client.endpoint()))?;
    match made["url"].as_str() {
        _ if output.json() => output.object(&made)?,
        Some(url) => output.line(url)?,
        None => anyhow::bail!("the server gave no link"),
    }
    Ok(0)
}
