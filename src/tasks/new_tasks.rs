//! New tasks: for a reader that looks at each of them, and for callers that wait for one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::registry::Tasks;
use super::task::TaskHandle;
use crate::model::TaskId;

/// Maximum number of tasks that wait for the reader. Further ones are not handed over, and counted.
const WAITING_MAX: usize = 10_000;

/// New tasks that wait for the reader.
#[derive(Debug, Default)]
pub(super) struct NewTaskQueue {
    /// Locked only briefly.
    tasks: Mutex<VecDeque<TaskHandle>>,
    /// Changes when a task was added; its value has no meaning.
    added: watch::Sender<u64>,
    /// Set while there is a reader; otherwise no task is queued.
    listening: AtomicBool,
    missed: AtomicU64,
}

impl NewTaskQueue {
    /// Adds a task that was created.
    pub(super) fn push(&self, task: &TaskHandle) {
        if !self.listening.load(Ordering::Acquire) {
            return;
        }
        let mut tasks = self.tasks.lock();
        if tasks.len() >= WAITING_MAX {
            self.missed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        tasks.push_back(task.clone());
        drop(tasks);
        self.added.send_modify(|version| *version += 1);
    }
}

/// Yields each new task, oldest first.
#[derive(Debug)]
pub struct NewTasks {
    tasks: Tasks,
    added: watch::Receiver<u64>,
}

impl NewTasks {
    /// Waits for the next task. Cancel-safe.
    pub async fn next(&mut self) -> TaskHandle {
        loop {
            self.added.mark_unchanged();
            if let Some(task) = self.tasks.inner.new_tasks.tasks.lock().pop_front() {
                return task;
            }
            if self.added.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Returns the number of tasks that were not handed over since the last call.
    pub fn take_missed(&self) -> u64 {
        self.tasks.inner.new_tasks.missed.swap(0, Ordering::Relaxed)
    }
}

impl Drop for NewTasks {
    fn drop(&mut self) {
        let queue = &self.tasks.inner.new_tasks;
        queue.listening.store(false, Ordering::Release);
        queue.tasks.lock().clear();
    }
}

impl Tasks {
    /// Waits until a task with this id exists. Cancel-safe.
    pub async fn wait_for(&self, id: &TaskId) -> TaskHandle {
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            if let Ok(Some(task)) = self.find(id, None).await {
                return task;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Returns the tasks that are created from now on. There is one reader at a time.
    pub fn new_tasks(&self) -> NewTasks {
        self.inner.new_tasks.listening.store(true, Ordering::Release);
        NewTasks { tasks: self.clone(), added: self.inner.new_tasks.added.subscribe() }
    }
}
