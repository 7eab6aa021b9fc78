//! Runs of several servers: their events are in Redis, and each server has a copy in its journal.
//!
//! An append is a script that knows the events that are stored. It is answered once the copy of this server has them as
//! well, so that the state of the run, which is read from the copy, includes them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::incoming::{self, IdHash};
use super::{RunHandle, Runs, RunsError};
use crate::home::Engine;
use crate::home::redis::{FieldBytes, IndexChange, SharedEntry, SharedEvent, SharedEventRow};
use crate::journal::{JournalError, ReplicaBatch};
use crate::model::{ByteStr, Entry, EntryBody, Event, Origin, RunId};
use crate::tasks::TasksError;

/// Longest wait until the copy has appended events.
const COPY_WAIT: Duration = Duration::from_secs(10);
/// Runs that are read concurrently at the start.
const CONCURRENT_READS: usize = 64;
/// Pause after a failed read.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The copying of runs from the shared store.
#[derive(Clone)]
struct RunCopier {
    runs: Runs,
    engine: Engine,
    /// Runs that are being copied, by id and birth.
    copied: Arc<Mutex<HashSet<(RunId, u64)>>>,
    shutdown: CancellationToken,
    tracker: TaskTracker,
}

impl RunHandle {
    /// Appends events to the shared store. Returns how many were new, or `None` if this server alone has the run.
    pub(super) async fn append_shared(&self, events: &[(Event, IdHash)]) -> Result<Option<u64>, RunsError> {
        let Some(shared) = self.runs.tasks.shared() else { return Ok(None) };
        self.check_can_grow().await?;
        let rows: Vec<SharedEventRow> = events
            .iter()
            .map(|(event, hash)| SharedEventRow { print: hash.to_bytes().to_vec(), fields: owned(event) })
            .collect();
        let ack = shared.engine.run_append(self.id(), &rows).await.map_err(TasksError::from)?;
        let journal = &self.runs.journal;
        let stream = journal.replica_stream(self.id().stream_key().as_bytes(), ack.birth).await?;
        let mut tip = stream.watch();
        let arrived = tip.wait_for(|tip| tip.removed || tip.last_line >= ack.last_line);
        if timeout(COPY_WAIT, arrived).await.is_err() {
            tracing::warn!(run = %self.id(), "events are stored, but the copy of this server is {COPY_WAIT:?} late");
        }
        Ok(Some(ack.appended))
    }
}

fn owned(event: &Event) -> FieldBytes {
    incoming::fields(event).into_iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

impl Runs {
    /// Removes a run from the shared store, if there is one.
    pub(super) async fn remove_shared(&self, id: &RunId, birth: u64) -> Result<(), RunsError> {
        if let Some(shared) = self.inner.tasks.shared() {
            shared.engine.run_remove(id, birth).await.map_err(TasksError::from)?;
        }
        Ok(())
    }

    /// Copies the runs of the shared store: returns once all runs of this moment are being copied, and follows the index
    /// until `shutdown`. Does nothing if this server alone has its runs.
    ///
    /// # Errors
    /// The index cannot be read.
    pub async fn copy_shared(&self, shutdown: CancellationToken, tracker: TaskTracker) -> Result<(), RunsError> {
        let Some(shared) = self.inner.tasks.shared() else { return Ok(()) };
        let engine = shared.engine.clone();
        let copier =
            RunCopier { runs: self.clone(), engine: engine.clone(), copied: Arc::default(), shutdown, tracker };
        // Before the list is read: no change between both is missed.
        let mut watch = engine.watch_index().await.map_err(TasksError::from)?;
        let known = engine.run_index().await.map_err(TasksError::from)?;
        let starts = known.into_iter().map(|(id, _)| copier.clone().update(id));
        futures::stream::iter(starts).buffer_unordered(CONCURRENT_READS).for_each(|()| async {}).await;
        let follower = copier.clone();
        copier.tracker.spawn(async move {
            loop {
                let change = tokio::select! {
                    () = follower.shutdown.cancelled() => return,
                    change = watch.next() => change,
                };
                match change {
                    Ok(IndexChange::Run(id)) => follower.clone().update(id).await,
                    Ok(IndexChange::Bucket(bucket)) => follower.update_bucket(bucket).await,
                    Ok(IndexChange::Task(_)) => {}
                    Err(error) => {
                        tracing::warn!(%error, "failed to follow the runs of the shared store; will retry");
                        tokio::time::sleep(RETRY_PAUSE).await;
                    }
                }
            }
        });
        Ok(())
    }
}

impl RunCopier {
    async fn update_bucket(&self, bucket: u8) {
        match self.engine.run_index_bucket(bucket).await {
            Ok(known) => {
                for (id, _) in known {
                    self.clone().update(id).await;
                }
            }
            Err(error) => tracing::warn!(%error, "failed to read the runs of the shared store; will retry"),
        }
    }

    /// Starts the copying of a run that exists.
    async fn update(self, id: RunId) {
        let birth = match self.engine.run_open(&id).await {
            Ok(Some(state)) => state.birth,
            Ok(None) => return,
            Err(error) => return tracing::warn!(run = %id, %error, "failed to read a run of the shared store"),
        };
        if !self.copied.lock().insert((id.clone(), birth)) {
            return;
        }
        let copier = self.clone();
        self.tracker.spawn(async move {
            let shutdown = copier.shutdown.clone();
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = Box::pin(copier.copy(&id, birth)) => {}
            }
            copier.copied.lock().remove(&(id, birth));
        });
    }

    /// Copies a run until it is removed.
    async fn copy(&self, id: &RunId, birth: u64) {
        loop {
            match self.copy_from_tip(id, birth).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(run = %id, %error, "failed to copy a run from the shared store; will retry");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    async fn copy_from_tip(&self, id: &RunId, birth: u64) -> Result<(), RunsError> {
        let journal = &self.runs.inner.journal;
        let stream = journal.replica_stream(id.stream_key().as_bytes(), birth).await?;
        let tip = stream.tip();
        let mut tail = self.engine.run_tail(id, birth, tip.last_id, tip.last_line);
        loop {
            match tail.next().await.map_err(TasksError::from)? {
                SharedEvent::Entries(entries) => {
                    self.add_prints(id, birth, &entries).await?;
                    journal.replicate(&stream, batch_of(&entries)?).await?;
                    self.runs.notify_changed();
                }
                SharedEvent::State(_) => {}
                SharedEvent::Truncated { .. } => {
                    // Its readers receive `reset` and start again.
                    journal.remove(&stream).await?;
                    return Box::pin(self.copy_from_tip(id, birth)).await;
                }
                SharedEvent::Gone => {
                    match journal.remove(&stream).await {
                        Ok(()) | Err(JournalError::Removed) => {}
                        Err(error) => return Err(error.into()),
                    }
                    self.runs.notify_changed();
                    return Ok(());
                }
            }
        }
    }

    /// Records the identities of events that another client of Redis has added, so that none is appended again.
    async fn add_prints(&self, id: &RunId, birth: u64, entries: &[SharedEntry]) -> Result<(), RunsError> {
        let foreign = entries.iter().filter(|entry| !entry.own).filter_map(|entry| {
            let read = incoming::read(&Entry { id: entry.id, n: entry.n, body: body_of(entry) })?.ok()?;
            Some((read.1.to_bytes().to_vec(), entry.n))
        });
        let prints: Vec<(Vec<u8>, u64)> = foreign.collect();
        if !prints.is_empty() {
            self.engine.run_prints(id, birth, &prints).await.map_err(TasksError::from)?;
        }
        Ok(())
    }
}

fn body_of(entry: &SharedEntry) -> EntryBody<'_> {
    EntryBody::Fields(entry.fields.iter().map(|(name, value)| (ByteStr::from(name), ByteStr::from(value))).collect())
}

fn batch_of(entries: &[SharedEntry]) -> Result<ReplicaBatch, JournalError> {
    let mut batch = ReplicaBatch::new();
    for entry in entries {
        batch.push(entry.id, entry.n, &body_of(entry), Origin::Unnumbered)?;
    }
    Ok(batch)
}
