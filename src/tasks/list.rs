//! The list of tasks, newest first, page by page.

use std::ops::Bound;

use super::record::TaskRecord;
use super::task::facts_of_sealed;
use super::{Tasks, TasksError};
use crate::journal::JournalError;
use crate::model::{Task, TaskId, TaskStatus, Timestamp};

/// Which tasks, and how many.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Only tasks of this status.
    pub status: Option<TaskStatus>,
    /// Only tasks with this label and value.
    pub label: Option<(String, String)>,
    /// Tasks at most.
    pub limit: usize,
    /// Behind this place: what an earlier page gave as `next`.
    pub after: Option<String>,
}

/// Some tasks, newest first.
#[derive(Clone, Debug)]
pub struct TaskPage {
    /// The tasks.
    pub tasks: Vec<Task>,
    /// Where the next page begins, if there is more.
    pub next: Option<String>,
}

impl Tasks {
    /// Tasks, newest first. An `after` that is no place of ours begins at the newest.
    pub async fn list(&self, query: &ListQuery) -> Result<TaskPage, TasksError> {
        self.list_where(query, |_| true).await
    }

    /// As [`Tasks::list`], of those tasks alone that may be seen.
    pub async fn list_where(
        &self,
        query: &ListQuery,
        is_visible: impl Fn(&TaskId) -> bool,
    ) -> Result<TaskPage, TasksError> {
        let mut at = query.after.as_deref().and_then(parse_place);
        let mut page = TaskPage { tasks: Vec::new(), next: None };
        loop {
            let rows = self.rows_before(at.as_ref(), query.status);
            let Some(last) = rows.last().cloned() else { return Ok(page) };
            for row in rows.into_iter().filter(|(_, id)| is_visible(id)) {
                let Some(task) = self.facts_of(&row.1).await? else { continue };
                let labelled = |(key, value): &(String, String)| task.labels.get(key) == Some(value);
                if query.status.is_some_and(|status| status != task.status)
                    || !query.label.as_ref().is_none_or(labelled)
                {
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

    /// Up to 256 tasks made before this place, newest first.
    fn rows_before(&self, at: Option<&(Timestamp, TaskId)>, status: Option<TaskStatus>) -> Vec<(Timestamp, TaskId)> {
        let index = self.inner.index.lock();
        let end = at.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = index.range::<(Timestamp, TaskId), _>((Bound::Unbounded, end)).rev();
        rows.filter(|(_, found)| status.is_none_or(|status| status == **found))
            .map(|(key, _)| key.clone())
            .take(256)
            .collect()
    }

    /// A task's facts without opening its archive.
    async fn facts_of(&self, id: &TaskId) -> Result<Option<Task>, TasksError> {
        if let Some(task) = self.inner.open.lock().get(id) {
            return Ok(Some(task.facts()));
        }
        let stored = self.inner.journal.store().task(id.as_str().as_bytes()).map_err(JournalError::from)?;
        let record = stored.map(|bytes| TaskRecord::decode(&bytes)).transpose().map_err(JournalError::from)?;
        Ok(record.map(|record| facts_of_sealed(id, &record)))
    }
}

/// `MILLISECONDS.ID`, as a page's `next` has it.
fn parse_place(text: &str) -> Option<(Timestamp, TaskId)> {
    let (ms, id) = text.split_once('.')?;
    Some((Timestamp::from_millis(ms.parse().ok()?), id.parse().ok()?))
}
