//! The paged list of tasks, newest first.

use super::details::details_of_sealed;
use super::index::{IndexKey, ListQuery};
use super::record::TaskRecord;
use super::{Tasks, TasksError};
use crate::journal::JournalError;
use crate::model::{Task, TaskId, Timestamp};

/// Maximum records read at once.
const READ_RECORDS_MAX: usize = 256;

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
        // One more than fits shows whether there is a next page.
        let mut count = query.limit.saturating_add(1).min(READ_RECORDS_MAX);
        loop {
            let scan = self.inner.index.lock().scan(at.as_ref(), query, count);
            let ids = scan.keys.iter().map(|key| &key.1).filter(|id| is_visible(id)).cloned().collect();
            for task in self.details_of_all(ids).await? {
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
            let Some(next) = scan.next else { return Ok(page) };
            at = Some(IndexKey::clone(&next));
            count = READ_RECORDS_MAX;
        }
    }

    /// Returns the details of these tasks, without those that were removed meanwhile. Reads them on a thread for
    /// blocking operations.
    async fn details_of_all(&self, ids: Vec<TaskId>) -> Result<Vec<Task>, TasksError> {
        if ids.is_empty() {
            // Between two scans of a long list.
            tokio::task::yield_now().await;
            return Ok(Vec::new());
        }
        let tasks = self.clone();
        let read = move || ids.iter().filter_map(|id| tasks.details_of(id).transpose()).collect();
        tokio::task::spawn_blocking(read).await.map_err(|_| TasksError::Closed)?
    }

    /// Returns a task's details without opening its archive.
    fn details_of(&self, id: &TaskId) -> Result<Option<Task>, TasksError> {
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
