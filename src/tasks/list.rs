//! The paged list of tasks, newest first.

use std::ops::Bound;

use super::details::details_of_sealed;
use super::record::TaskRecord;
use super::{Tasks, TasksError};
use crate::journal::JournalError;
use crate::model::{StatusFilter, Task, TaskId, Timestamp};

/// A query for a page of tasks.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Only tasks with this status or outcome.
    pub status: Option<StatusFilter>,
    /// Only tasks with all of these labels and values.
    pub labels: Vec<(String, String)>,
    /// Only tasks whose id begins with this text.
    pub prefix: Option<String>,
    /// Maximum number of tasks.
    pub limit: usize,
    /// Position to continue after: the `next` of an earlier page.
    pub after: Option<String>,
}

/// A page of tasks, newest first.
#[derive(Clone, Debug)]
pub struct TaskPage {
    /// Tasks of this page.
    pub tasks: Vec<Task>,
    /// Position of the next page, if there is one.
    pub next: Option<String>,
}

impl Tasks {
    /// Returns tasks, newest first. An invalid `after` starts at the newest.
    pub async fn list(&self, query: &ListQuery) -> Result<TaskPage, TasksError> {
        self.list_where(query, |_| true).await
    }

    /// Returns tasks like [`Tasks::list`], restricted to those that are visible.
    pub async fn list_where(
        &self,
        query: &ListQuery,
        is_visible: impl Fn(&TaskId) -> bool,
    ) -> Result<TaskPage, TasksError> {
        let mut at = query.after.as_deref().and_then(parse_position);
        let mut page = TaskPage { tasks: Vec::new(), next: None };
        loop {
            let rows = self.rows_before(at.as_ref(), query);
            let Some(last) = rows.last().cloned() else { return Ok(page) };
            for row in rows.into_iter().filter(|(_, id)| is_visible(id)) {
                let Some(task) = self.details_of(&row.1).await? else { continue };
                let has_label = |(key, value): &(String, String)| task.labels.get(key) == Some(value);
                if query.status.is_some_and(|status| !status.matches(&task)) || !query.labels.iter().all(has_label) {
                    continue;
                }
                if page.tasks.len() == query.limit {
                    page.next = page.tasks.last().map(|task| format!("{}.{}", task.created.as_millis(), task.id));
                    return Ok(page);
                }
                page.tasks.push(task);
            }
            at = Some(last);
        }
    }

    /// Returns up to 256 tasks created before this position, newest first.
    fn rows_before(&self, at: Option<&(Timestamp, TaskId)>, query: &ListQuery) -> Vec<(Timestamp, TaskId)> {
        let index = self.inner.index.lock();
        let end = at.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = index.range::<(Timestamp, TaskId), _>((Bound::Unbounded, end)).rev();
        let has_prefix = |id: &TaskId| query.prefix.as_ref().is_none_or(|prefix| id.as_str().starts_with(prefix));
        rows.filter(|((_, id), found)| query.status.is_none_or(|status| status.may_match(**found)) && has_prefix(id))
            .map(|(key, _)| key.clone())
            .take(256)
            .collect()
    }

    /// Returns a task's details without opening its archive.
    async fn details_of(&self, id: &TaskId) -> Result<Option<Task>, TasksError> {
        if let Some(task) = self.inner.open.lock().get(id) {
            return Ok(Some(task.details()));
        }
        let stored = self.inner.journal.store().task(id.as_str().as_bytes()).map_err(JournalError::from)?;
        let record = stored.map(|bytes| TaskRecord::decode(&bytes)).transpose().map_err(JournalError::from)?;
        Ok(record.map(|record| Task { attempt: self.attempt(id), ..details_of_sealed(id, &record) }))
    }
}

/// Parses `MILLISECONDS.ID`, the format of a page's `next`.
fn parse_position(text: &str) -> Option<(Timestamp, TaskId)> {
    let (ms, id) = text.split_once('.')?;
    Some((Timestamp::from_millis(ms.parse().ok()?), id.parse().ok()?))
}
