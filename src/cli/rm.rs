//! `tasktail rm`: tasks go, by their exact ids.

use super::Context;
use super::args::RmArgs;
use super::locate::{Locator, Purpose};

pub(super) async fn run(args: RmArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let locator = Locator::new(settings, output, Purpose::Look);
    let result = remove(&args, &locator, output).await;
    locator.close().await;
    result
}

/// Removes what can be removed; one that cannot does not spare the others.
async fn remove(args: &RmArgs, locator: &Locator, output: super::output::Output) -> anyhow::Result<u8> {
    let client = locator.client().await?;
    let mut code = 0;
    for task in &args.tasks {
        match client.delete(&format!("/api/v1/tasks/{task}")).await {
            Ok(()) if output.json() => output.object(&serde_json::json!({ "removed": task }))?,
            Ok(()) => output.line(task)?,
            Err(error) => {
                output.error(&super::show::task_error(error, task, client.endpoint()));
                code = 1;
            }
        }
    }
    Ok(code)
}
