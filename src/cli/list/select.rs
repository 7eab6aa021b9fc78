//! Reads the list of tasks page by page.

use std::cmp::Reverse;
use std::collections::HashSet;

use super::super::task_ref::TaskListPage;
use crate::client::HttpClient;
use crate::model::{StatusFilter, Task};

/// Maximum number of tasks in one request.
const PAGE_TASKS: usize = 500;
/// Maximum number of tasks that a command reads to sort or to select from them.
const TASKS_MAX: usize = 200_000;

/// A selection of tasks.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct TaskQuery<'a> {
    /// Statuses, of which one must match; all if there are none.
    pub(in crate::cli) status: &'a [StatusFilter],
    /// Labels that a task must have.
    pub(in crate::cli) labels: &'a [(String, String)],
}

/// Returns tasks, newest first, and whether there are more than `limit`, by default [`TASKS_MAX`].
///
/// # Errors
/// There is no response.
pub(in crate::cli) async fn select(
    client: &HttpClient,
    query: &TaskQuery<'_>,
    limit: Option<usize>,
) -> anyhow::Result<(Vec<Task>, bool)> {
    let limit = limit.unwrap_or(TASKS_MAX);
    let (mut tasks, mut more, mut known) = (Vec::new(), false, HashSet::new());
    let each: Vec<Option<StatusFilter>> =
        if query.status.is_empty() { vec![None] } else { query.status.iter().copied().map(Some).collect() };
    for status in &each {
        let (mut after, mut count) = (None, 0);
        loop {
            let page = list_page(client, *status, query.labels, (limit - count).min(PAGE_TASKS), after).await?;
            let is_empty = page.tasks.is_empty();
            count += page.tasks.len();
            tasks.extend(page.tasks.into_iter().filter(|task| known.insert(task.id.clone())));
            after = page.next;
            if count >= limit || after.is_none() || is_empty {
                more |= after.is_some();
                break;
            }
        }
    }
    if each.len() > 1 {
        tasks.sort_by_key(|task| Reverse(task.created));
    }
    more |= tasks.len() > limit;
    tasks.truncate(limit);
    Ok((tasks, more))
}

/// Returns one page of the list.
///
/// # Errors
/// There is no response.
pub(in crate::cli) async fn list_page(
    client: &HttpClient,
    status: Option<StatusFilter>,
    labels: &[(String, String)],
    limit: usize,
    after: Option<String>,
) -> anyhow::Result<TaskListPage> {
    let mut query =
        vec![("status", status.map(|status| status.to_string())), ("limit", Some(limit.to_string())), ("after", after)];
    query.extend(labels.iter().map(|(key, value)| ("label", Some(format!("{key}:{value}")))));
    Ok(client.get("/api/v1/tasks", &query).await?)
}
