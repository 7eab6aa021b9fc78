//! Finds the task that a user names: by its id, by a unique beginning of it, or not at all.

use anyhow::{anyhow, bail};
use serde::Deserialize;

use super::output::task_error;
use crate::client::{ClientError, HttpClient};
use crate::model::{StatusFilter, Task, TaskId, TaskStatus};

/// Maximum number of tasks named in a message about an ambiguous id.
const CANDIDATES_MAX: usize = 8;

/// A page of the list of tasks.
#[derive(Debug, Deserialize)]
pub(super) struct TaskListPage {
    pub(super) tasks: Vec<Task>,
    pub(super) next: Option<String>,
}

/// Returns the named task; without a name, the one that runs, or the newest.
///
/// A complete id comes first; the name of several attempts is its newest one. Otherwise the name may be the beginning
/// of one id, or of the attempts of one name.
///
/// # Errors
/// There is no such task, several ids begin with the name, or there is no response.
pub(super) async fn resolve(client: &HttpClient, name: Option<&TaskId>) -> anyhow::Result<Task> {
    let Some(name) = name else { return newest(client).await };
    let missing = match client.get::<Task>(&format!("/api/v1/tasks/{name}"), &[]).await {
        Err(error) if error.is_not_found() => error,
        found => return found.map_err(Into::into),
    };
    let found = beginning_with(client, name, CANDIDATES_MAX + 1).await?;
    match found.as_slice() {
        [] => Err(task_error(missing, name, client.endpoint())),
        [task] => Ok(task.clone()),
        tasks => match common_name(tasks) {
            Some(name) => client.get(&format!("/api/v1/tasks/{name}"), &[]).await.map_err(Into::into),
            None => Err(ambiguous(name, tasks)),
        },
    }
}

/// Returns the exact id of the named task, for requests about it.
///
/// # Errors
/// As [`resolve`].
pub(super) async fn resolve_id(client: &HttpClient, name: Option<&TaskId>) -> anyhow::Result<TaskId> {
    Ok(resolve(client, name).await?.exact_id().parse()?)
}

/// Returns the newest tasks whose id begins with `beginning`.
///
/// # Errors
/// There is no response.
pub(super) async fn beginning_with(
    client: &HttpClient,
    beginning: &TaskId,
    limit: usize,
) -> Result<Vec<Task>, ClientError> {
    let query = [("prefix", Some(beginning.to_string())), ("limit", Some(limit.to_string()))];
    let page: TaskListPage = client.get("/api/v1/tasks", &query).await?;
    // A server that does not know the parameter returns all tasks.
    Ok(page.tasks.into_iter().filter(|task| task.id.as_str().starts_with(beginning.as_str())).collect())
}

/// Returns the name that all tasks are attempts of.
fn common_name(tasks: &[Task]) -> Option<TaskId> {
    let name = |task: &Task| task.attempt.as_ref().map(|attempt| attempt.of.clone());
    let first = name(tasks.first()?)?;
    tasks.iter().all(|task| name(task).as_ref() == Some(&first)).then_some(first)
}

fn ambiguous(name: &TaskId, tasks: &[Task]) -> anyhow::Error {
    let mut ids: Vec<String> = tasks.iter().take(CANDIDATES_MAX).map(Task::exact_id).collect();
    if tasks.len() > CANDIDATES_MAX {
        ids.push("...".to_owned());
    }
    anyhow!("several tasks begin with `{name}`: {}; write more of the id", ids.join(", "))
}

async fn newest(client: &HttpClient) -> anyhow::Result<Task> {
    let running = StatusFilter::Is(TaskStatus::Running).to_string();
    for status in [Some(running), None] {
        let query = [("status", status), ("limit", Some("1".to_owned()))];
        let page: TaskListPage = client.get("/api/v1/tasks", &query).await?;
        if let Some(task) = page.tasks.into_iter().next() {
            return Ok(task);
        }
    }
    bail!("there is no task yet; create one with `tasktail run -- COMMAND`")
}
