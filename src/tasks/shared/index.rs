//! The records of all tasks of the shared store: read at the start, then followed.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt as _;

use super::super::registry::Tasks;
use super::super::{TasksError, TasksOpenError};
use super::SharedStore;
use crate::home::redis::limits::BUCKETS;
use crate::home::redis::{IndexChange, IndexWatch, bucket_of};
use crate::model::TaskId;

/// Tasks that are read concurrently.
const CONCURRENT_READS: usize = 64;
/// Interval at which a bucket is read.
const REREAD_INTERVAL: Duration = Duration::from_secs(1);
/// Pause after a failed read.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

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

/// Applies changes of the index until the store closes. Reads one bucket after another as well: a server that is killed
/// may have changed a task without announcing it.
pub(super) async fn follow(tasks: Tasks, shared: SharedStore, mut watch: IndexWatch) {
    let closing = tasks.inner.closing.clone();
    let mut tick = tokio::time::interval(REREAD_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut buckets = (0..BUCKETS).cycle();
    loop {
        let changed = tokio::select! {
            () = closing.cancelled() => return,
            changed = watch.next() => changed,
            _ = tick.tick() => Ok(IndexChange::Bucket(buckets.next().unwrap_or_default())),
        };
        let applied = match changed {
            Ok(change) => apply(&tasks, &shared, change).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = applied {
            tracing::warn!(%error, "failed to follow the tasks of the shared store; will retry");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

/// Applies one change.
async fn apply(tasks: &Tasks, shared: &SharedStore, change: IndexChange) -> Result<(), TasksError> {
    match change {
        IndexChange::Task(id) => update(tasks, shared, &id).await,
        // The layer of runs follows them.
        IndexChange::Run(_) => Ok(()),
        IndexChange::Bucket(bucket) => {
            let stored: HashSet<TaskId> =
                shared.engine.index_bucket(bucket).await?.into_iter().map(|(id, _)| id).collect();
            let own = |id: &&TaskId| bucket_of(id) == bucket;
            let known: Vec<TaskId> = tasks.inner.index.lock().ids().filter(own).cloned().collect();
            let known_set: HashSet<&TaskId> = known.iter().collect();
            let added = stored.iter().filter(|id| !known_set.contains(id));
            for id in added.chain(known.iter().filter(|id| !stored.contains(*id))) {
                update(tasks, shared, id).await?;
            }
            Ok(())
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
