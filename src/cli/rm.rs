//! `tasktail rm`: deletes tasks by their exact ids, or by age, status and label.

use std::io::{BufRead as _, IsTerminal as _};
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Args;

use super::list::{TaskQuery, select};
use super::locate::{Locator, Purpose};
use super::output::{Output, task_error};
use super::values::{key_value, status_filter};
use super::{Context, show, task_ref, text};
use crate::client::HttpClient;
use crate::model::{StatusFilter, Task, TaskId, TaskStatus, Timestamp, command_line, units};

/// Maximum number of tasks that are listed before the question.
const LISTED_MAX: usize = 20;

/// `tasktail rm`.
#[derive(Debug, Args)]
#[command(after_help = "\
With --older-than, --status or --label, the tasks that match all of them are
listed and deleted after a confirmation. Without a terminal, --yes is needed.
A task that runs is not deleted, unless --force is given. Unlike other commands,
`rm` needs complete ids: after `rm nightly` the name is that of another log.

Examples:
  tasktail rm nightly-7
  tasktail rm nightly.1                 the first of several logs of a name
  tasktail rm --older-than 30d
  tasktail rm --older-than 7d --status failed --label branch=main --yes")]
pub struct RmArgs {
    /// The tasks, by their complete ids
    #[arg(value_name = "TASK", required_unless_present_any = ["older_than", "status", "labels"],
          conflicts_with_all = ["older_than", "status", "labels"])]
    tasks: Vec<TaskId>,
    /// Delete tasks that ended longer ago than this
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    older_than: Option<Duration>,
    /// Delete tasks with this status: completed, failed, aborted, lost or running; repeatable
    #[arg(long, value_name = "S", value_parser = status_filter())]
    status: Vec<StatusFilter>,
    /// Delete tasks with this label; repeatable: with all of them
    #[arg(long = "label", id = "labels", value_name = "K=V", value_parser = key_value)]
    labels: Vec<(String, String)>,
    /// Delete without asking
    #[arg(short, long)]
    yes: bool,
    /// Also delete tasks that run
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(args: RmArgs, context: Context) -> anyhow::Result<u8> {
    let Context { settings, output } = context;
    let locator = Locator::new(settings, output, Purpose::Query);
    let result = remove(&args, &locator, output).await;
    locator.close().await;
    result
}

async fn remove(args: &RmArgs, locator: &Locator, output: Output) -> anyhow::Result<u8> {
    let client = locator.client().await?;
    if !args.tasks.is_empty() {
        return remove_named(args, &client, output).await;
    }
    let tasks = matching(args, &client).await?;
    if tasks.is_empty() {
        output.note("no task matches");
        return Ok(0);
    }
    if !args.yes && !confirm(&tasks, output)? {
        output.note("nothing was deleted");
        return Ok(1);
    }
    let mut code = 0;
    for task in &tasks {
        let id = task.exact_id().parse()?;
        if let Err(error) = delete(&client, &id, args.force, output).await {
            output.error(&error);
            code = 1;
        }
    }
    Ok(code)
}

/// Deletes the named tasks; an error for one does not prevent the others.
async fn remove_named(args: &RmArgs, client: &HttpClient, output: Output) -> anyhow::Result<u8> {
    let mut code = 0;
    for task in &args.tasks {
        match delete(client, task, args.force, output).await {
            Ok(()) => {
                if let Ok(rest) = show::get(client, task).await {
                    output.note(format_args!("{task} now names {}, the newest log of this name", rest.id));
                }
            }
            Err(error) => {
                output.error(&error);
                code = 1;
            }
        }
    }
    Ok(code)
}

/// Deletes a task, unless it runs.
async fn delete(client: &HttpClient, id: &TaskId, force: bool, output: Output) -> anyhow::Result<()> {
    let missing = |error| task_error(error, id, client.endpoint());
    if !force {
        match client.get::<Task>(&format!("/api/v1/tasks/{id}"), &[]).await {
            // The name of several attempts is its newest one here, but deletes the first.
            Ok(task) if task.status == TaskStatus::Running && task.exact_id() == id.as_str() => {
                bail!("task `{id}` is running; end it first, or use --force");
            }
            Ok(_) => {}
            Err(error) if error.is_not_found() => return Err(with_candidates(client, id, missing(error)).await),
            Err(error) => return Err(error.into()),
        }
    }
    client.delete(&format!("/api/v1/tasks/{id}")).await.map_err(missing)?;
    if output.json() {
        output.object(&serde_json::json!({ "removed": id }))?;
    } else {
        output.line(id)?;
    }
    Ok(())
}

/// Adds to an error the ids that begin with what was written.
async fn with_candidates(client: &HttpClient, id: &TaskId, error: anyhow::Error) -> anyhow::Error {
    match task_ref::beginning_with(client, id, 3).await {
        Ok(tasks) if !tasks.is_empty() => {
            let ids: Vec<String> = tasks.iter().map(Task::exact_id).collect();
            anyhow!("{error}; `rm` needs the complete id, such as {}", ids.join(", "))
        }
        _ => error,
    }
}

/// Returns the tasks that match, oldest first.
async fn matching(args: &RmArgs, client: &HttpClient) -> anyhow::Result<Vec<Task>> {
    let query = TaskQuery { status: &args.status, labels: &args.labels };
    let (mut tasks, _) = select(client, &query, None).await?;
    let now = Timestamp::now().as_millis();
    let age = |task: &Task| Duration::from_millis(now.saturating_sub(task.ended.unwrap_or(task.created).as_millis()));
    tasks.retain(|task| {
        (args.force || task.status != TaskStatus::Running) && args.older_than.is_none_or(|limit| age(task) > limit)
    });
    tasks.reverse();
    Ok(tasks)
}

/// Lists the tasks and asks.
///
/// # Errors
/// Stdin or stderr is no terminal.
fn confirm(tasks: &[Task], output: Output) -> anyhow::Result<bool> {
    let bytes: u64 = tasks.iter().map(|task| task.bytes).sum();
    for task in tasks.iter().take(LISTED_MAX) {
        let command = command_line(&task.command);
        output.announce(format_args!("{}  {}  {}", task.exact_id(), task.status, text::words(&command)));
    }
    if tasks.len() > LISTED_MAX {
        output.announce(format_args!("and {} more", tasks.len() - LISTED_MAX));
    }
    let what = format!("{} with {bytes} bytes of lines", text::counted(tasks.len() as u64, "task"));
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        bail!("{what} match; use --yes to delete them");
    }
    output.ask(format_args!("delete {what}? [y/N] "));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
