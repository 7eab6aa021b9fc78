//! The records of all tasks of the shared store: read at the start, then followed.

use futures::StreamExt as _;

use super::super::registry::Tasks;
use super::super::{TasksError, TasksOpenError};
use super::SharedStore;
use crate::home::IndexWatch;
use crate::model::TaskId;

/// Tasks that are read concurrently.
const CONCURRENT_READS: usize = 64;

/// Reads all tasks. Returns what reports later changes.
pub(super) async fn load(tasks: &Tasks, shared: &SharedStore) -> Result<IndexWatch, TasksOpenError> {
    // Before the list is read: no change between both is missed.
    let watch = shared.engine.watch_index().await.map_err(TasksError::from)?;
    let known = shared.engine.index().await.map_err(TasksError::from)?;
    let reads = known.into_iter().map(|(id, _)| async move {
        let done = update(tasks, shared, &id).await;
        if let Err(error) = done {
            tracing::error!(task = %id, %error, "failed to read a task of the shared store; it is skipped");
        }
    });
    futures::stream::iter(reads).buffer_unordered(CONCURRENT_READS).for_each(|()| async {}).await;
    Ok(watch)
}

/// Applies changes of the index until the store closes.
pub(super) async fn follow(tasks: Tasks, shared: SharedStore, mut watch: IndexWatch) {
    let closing = tasks.inner.closing.clone();
    loop {
        let changed = tokio::select! {
            () = closing.cancelled() => return,
            changed = watch.next() => changed,
        };
        for id in changed {
            if let Err(error) = update(&tasks, &shared, &id).await {
                tracing::warn!(task = %id, %error, "failed to read a changed task of the shared store");
            }
        }
    }
}

/// Adds a task that was created, or removes one that was removed.
async fn update(tasks: &Tasks, shared: &SharedStore, id: &TaskId) -> Result<(), TasksError> {
    match shared.engine.open(id).await? {
        Some(state) => tasks.adopt_state(id, state).await,
        None => {
            let _creating = tasks.inner.create_lock.lock().await;
            if tasks.stored_record(id)?.is_some() { tasks.remove_copy(id).await } else { Ok(()) }
        }
    }
}
