//! The removal of a task.

use super::TasksError;
use super::registry::Tasks;
use super::task::TaskHandle;
use crate::model::TaskId;

impl Tasks {
    /// Removes a task, its journal and its archive. Returns whether it existed. The record is removed last,
    /// so that an interrupted removal can be repeated.
    pub async fn remove(&self, id: &TaskId) -> Result<bool, TasksError> {
        let Some(task) = self.get(id).await? else { return Ok(false) };
        let _creating = self.inner.create_lock.lock().await;
        self.remove_loaded(&task).await?;
        Ok(true)
    }

    /// Removes a task. The caller holds the `create_lock`.
    pub(super) async fn remove_loaded(&self, task: &TaskHandle) -> Result<(), TasksError> {
        let id = task.id();
        if self.shared().is_some() {
            self.remove_shared(task).await?;
            return self.remove_copy(id).await;
        }
        let _change = self.begin_archive_change().await;
        task.remove_content().await?;
        self.inner.journal.put_task(id.as_str().as_bytes(), None).await?;
        self.inner.open.lock().remove(id);
        self.inner.sealed.lock().remove(id);
        // The task is marked as removed, so its labels do not change any more.
        task.with_record(|record| self.inner.index.lock().remove(&(record.created, id.clone()), &record.labels));
        self.inner.attempts.lock().remove(id);
        // A reader may keep the task in memory.
        task.leave_seal_backlog();
        self.notify_changed();
        Ok(())
    }
}
