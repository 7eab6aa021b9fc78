//! One run: appends events, each once, and computes its state.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::incoming::{self, IdHash, IncomingEvent};
use super::state::LoadedRun;
use super::summary::CachedSummary;
use super::{RejectedEvent, RunMeters, RunStage, RunsError, RunsInner};
use crate::journal::{JournalError, LineBatch, Stream, Trim};
use crate::model::limits::Limit;
use crate::model::{Cursor, EntryId, Epoch, Event, RunId, RunState, StageCounters, Timestamp};

/// Maximum attempts at a batch while the run keeps being removed.
const ATTEMPTS_MAX: usize = 4;
/// Maximum bytes of events per batch; more events are appended in several batches.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// A run that can be written, read and followed. Cheap to clone. While a handle
/// exists, the state of the run stays in memory.
#[derive(Clone, Debug)]
pub struct RunHandle {
    pub(super) runs: Arc<RunsInner>,
    pub(super) run: Arc<RunInner>,
}

#[derive(Debug)]
pub(super) struct RunInner {
    id: RunId,
    last_used: Mutex<Instant>,
    /// Locked during check, append and commit, so that two appends cannot both treat an event as new.
    state: tokio::sync::Mutex<Option<LoadedRun>>,
    /// Set if the commit of a batch timed out: it may still be stored.
    has_unconfirmed: AtomicBool,
    meters: RunMeters,
}

/// The outcome of an append of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppendedEvents {
    /// Number of new events; they are durable.
    pub appended: u64,
    /// Number of events that were stored before.
    pub duplicates: u64,
    /// Rejected events.
    pub rejected: Vec<RejectedEvent>,
}

impl RunInner {
    pub(super) fn new(id: RunId) -> Self {
        let (last_used, state) = (Mutex::new(Instant::now()), tokio::sync::Mutex::default());
        Self { id, last_used, state, has_unconfirmed: AtomicBool::new(false), meters: RunMeters::default() }
    }

    pub(super) fn idle(&self) -> Duration {
        self.last_used.lock().elapsed()
    }
}

impl Drop for RunHandle {
    fn drop(&mut self) {
        *self.run.last_used.lock() = Instant::now();
    }
}

impl RunHandle {
    pub(super) fn new(runs: Arc<RunsInner>, run: Arc<RunInner>) -> Self {
        Self { runs, run }
    }

    /// Returns the run id.
    pub fn id(&self) -> &RunId {
        &self.run.id
    }

    /// Returns one stage of the run.
    pub fn stage(&self, of: impl Fn(&RunMeters) -> &StageCounters) -> RunStage<'_> {
        RunStage { server: of(&self.runs.meters), run: of(&self.run.meters) }
    }

    /// Returns the counters of the run's own stages.
    pub(super) fn own_meters(&self) -> &RunMeters {
        &self.run.meters
    }

    /// Returns the run's journal, if it has one.
    pub(super) fn stream(&self) -> Result<Option<Arc<Stream>>, RunsError> {
        Ok(self.runs.journal.stream(self.id().stream_key().as_bytes())?)
    }

    /// Returns the cursor after an entry of a journal.
    pub(super) fn cursor(&self, stream: &Stream, n: u64, id: EntryId) -> Cursor {
        Cursor {
            epoch: Epoch { incarnation: stream.incarnation(), generation: self.runs.journal.store().open_count() },
            n,
            id,
        }
    }

    /// Appends the events that are new, in order, and waits until they are durable.
    ///
    /// # Errors
    /// The journal is not writable, or the run was removed repeatedly. Some of the events may be stored then.
    /// Sending all of them again is safe if they have ids or a source.
    pub async fn append(&self, events: &[IncomingEvent]) -> Result<AppendedEvents, RunsError> {
        let received = Timestamp::now();
        let mut done = AppendedEvents::default();
        let mut pending = Vec::with_capacity(events.len());
        for (index, incoming) in events.iter().enumerate() {
            match incoming.prepare(received) {
                Ok(event) => pending.push(event),
                Err(fault) => done.rejected.push(RejectedEvent { index, fault }),
            }
        }
        let dedupe = self.stage(|meters| &meters.dedupe);
        dedupe.received(pending.len() as u64);
        dedupe.parsed(pending.len() as u64);
        while !pending.is_empty() {
            let mut bytes = 0;
            let count = pending.iter().take_while(|(event, _)| {
                let fits = bytes == 0 || bytes + event.as_str().len() <= BATCH_BYTES_MAX;
                bytes += event.as_str().len();
                fits
            });
            let later = pending.split_off(count.count());
            let (batch, run) = (std::mem::replace(&mut pending, later), self.clone());
            let count = batch.len() as u64;
            // Spawned, so that a cancelled caller does not release the lock early: the next append would treat
            // events in flight as new.
            let appended = tokio::spawn(async move { run.append_and_notify(&batch).await }).await;
            let appended = match appended {
                Ok(Ok(appended)) => appended,
                Ok(Err(error)) => {
                    dedupe.failed(&format!("run {}: {error}", self.id()));
                    return Err(error);
                }
                Err(_) => return Err(JournalError::Closed.into()),
            };
            done.appended += appended;
            done.duplicates += count - appended;
        }
        Ok(done)
    }

    /// Appends a batch, counts the outcome and wakes waiting followers, even if the caller was cancelled.
    async fn append_and_notify(&self, events: &[(Event, IdHash)]) -> Result<u64, RunsError> {
        let appended = self.append_batch(events).await?;
        let dedupe = self.stage(|meters| &meters.dedupe);
        dedupe.deduplicated(events.len() as u64 - appended);
        dedupe.delivered(appended);
        if appended > 0 {
            self.runs.changes.send_modify(|version| *version += 1);
        }
        Ok(appended)
    }

    async fn append_batch(&self, events: &[(Event, IdHash)]) -> Result<u64, RunsError> {
        for _ in 0..ATTEMPTS_MAX {
            if let Some(appended) = self.append_shared(events).await? {
                return Ok(appended);
            }
            let mut guard = self.run.state.lock().await;
            self.check_can_grow().await?;
            let stream = self.runs.journal.stream_or_new(self.id().stream_key().as_bytes())?;
            if self.run.has_unconfirmed.load(Ordering::Acquire) {
                // Queued after that batch: once it is done, the outcome of the batch is known.
                self.runs.journal.trim(&stream, Trim::ThroughLine(0)).await?;
                self.run.has_unconfirmed.store(false, Ordering::Release);
            }
            let state = self.current(&mut guard, stream).await?;
            let mut batch = LineBatch::new();
            let mut in_batch = HashSet::new();
            for (event, hash) in events {
                if !state.seen.contains_key(hash) && in_batch.insert(*hash) {
                    batch.push_fields(incoming::fields(event));
                }
            }
            if batch.is_empty() {
                return Ok(0);
            }
            let ticket = self.runs.journal.append(&state.stream, batch, None).await;
            let appended = match ticket {
                Ok(ticket) => ticket.await,
                Err(error) => Err(error),
            };
            match appended {
                Ok(appended) => {
                    let stream = state.stream.clone();
                    self.current(&mut guard, stream).await?;
                    return Ok(appended.count);
                }
                Err(JournalError::Removed) => {}
                Err(error) => {
                    self.run.has_unconfirmed.store(matches!(error, JournalError::Unconfirmed(_)), Ordering::Release);
                    return Err(error.into());
                }
            }
        }
        Err(RunsError::Removed(self.id().clone()))
    }

    /// Checks whether events can be added to this run, which may be a new one.
    pub(super) async fn check_can_grow(&self) -> Result<(), RunsError> {
        self.runs.tasks.has_budget()?;
        if self.stream()?.is_some_and(|stream| stream.tip().last_line > 0) {
            return Ok(());
        }
        let (options, max) = (self.runs.tasks.options(), self.runs.tasks.options().limits.runs_max);
        let count = async || {
            let journal = self.runs.journal.clone();
            let keys = tokio::task::spawn_blocking(move || journal.latest_ids(RunId::STREAM_PREFIX.as_bytes())).await;
            Ok::<u64, RunsError>(keys.map_err(|_| JournalError::Closed)??.len() as u64)
        };
        match self.runs.count.lock().await.add(max, Instant::now(), count).await? {
            Ok(()) => Ok(()),
            Err(runs) => {
                options.hits.count(Limit::runs_max);
                Err(RunsError::TooMany(runs))
            }
        }
    }

    /// Returns the state of the run up to its last durable event. The state of an earlier log with this name is
    /// discarded.
    async fn current<'s>(
        &self,
        guard: &'s mut Option<LoadedRun>,
        stream: Arc<Stream>,
    ) -> Result<&'s mut LoadedRun, RunsError> {
        *self.run.last_used.lock() = Instant::now();
        if !guard.as_ref().is_some_and(|known| Arc::ptr_eq(&known.stream, &stream) && !stream.tip().removed) {
            *guard = None;
        }
        let state = guard.get_or_insert_with(|| LoadedRun::new(self.id(), stream));
        let before = state.next;
        let counted = self.runs.summaries.lock().get(self.id()).map_or(0, |known| known.counted_of(&state.stream));
        state.catch_up(&self.runs, self.stage(|meters| &meters.run_state), counted).await?;
        if state.next != before || counted == 0 {
            self.runs.summaries.lock().insert(self.id().clone(), CachedSummary::new(state));
        }
        Ok(state)
    }

    /// Calls `read` with the current state; returns `None` if the run does not exist.
    pub(super) async fn with_state<T>(&self, read: impl FnOnce(&LoadedRun) -> T) -> Result<Option<T>, RunsError> {
        let mut guard = self.run.state.lock().await;
        let Some(stream) = self.stream()?.filter(|stream| stream.tip().last_line > 0) else { return Ok(None) };
        let state = self.current(&mut guard, stream).await?;
        Ok(Some(read(state)))
    }

    /// Returns the state of the run; `None` if it has no events.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn state(&self) -> Result<Option<RunState>, RunsError> {
        let run = self.with_state(|state| state.fold.run().clone()).await?;
        Ok(run.filter(|run| run.events > 0))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;

    use crate::model::Event;
    use crate::runs::{EventFilter, IncomingEvent, RunEvent, RunFollowStart, RunMeters, Runs};
    use crate::tasks::{Tasks, TasksOptions};

    #[tokio::test(flavor = "multi_thread")]
    async fn evicted_run_is_restored_from_its_journal() {
        let folder = tempfile::tempdir().unwrap();
        let tasks = Tasks::open(folder.path(), TasksOptions::default()).await.unwrap();
        let runs = Runs::new(&tasks, std::sync::Arc::new(RunMeters::default()));
        let event =
            |id: &str| IncomingEvent::new(Event::parse(&format!(r#"{{"event_type":"x","event_id":"{id}"}}"#)).unwrap());
        let run = runs.get_or_new(&"r".parse().unwrap());
        assert_eq!(run.append(&[event("a"), event("b"), event("a")]).await.unwrap().appended, 2);
        assert_eq!(runs.evict_idle(Duration::ZERO), 1, "in use");
        drop(run);
        assert_eq!(runs.evict_idle(Duration::from_secs(60)), 1, "not idle for long enough");
        assert_eq!(runs.evict_idle(Duration::ZERO), 0);
        let run = runs.get(&"r".parse().unwrap()).unwrap().unwrap();
        let appended = run.append(&[event("b"), event("c")]).await.unwrap();
        assert_eq!((appended.appended, appended.duplicates), (1, 1));
        assert_eq!(run.state().await.unwrap().unwrap().events, 3);
        let counted = runs.meters().run_state.snapshot();
        assert_eq!(counted.received, 3, "entries read again are not counted again");
        tasks.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn append_of_a_cancelled_caller_notifies_followers() {
        let folder = tempfile::tempdir().unwrap();
        let tasks = Tasks::open(folder.path(), TasksOptions::default()).await.unwrap();
        let runs = Runs::new(&tasks, std::sync::Arc::new(RunMeters::default()));
        let run = runs.get_or_new(&"r".parse().unwrap());
        let mut tail = run.follow(RunFollowStart::First, EventFilter::default());
        assert!(tail.next().now_or_never().is_none(), "no events yet");
        let events = [IncomingEvent::new(Event::parse(r#"{"event_type":"x"}"#).unwrap())];
        assert!(run.append(&events).now_or_never().is_none(), "started, then cancelled");
        let event = tokio::time::timeout(Duration::from_secs(20), tail.next()).await;
        assert!(matches!(event.expect("the event arrives").unwrap(), RunEvent::Events(events) if events.len() == 1));
        assert_eq!(runs.meters().dedupe.snapshot().delivered, 1);
        tasks.close().await;
    }
}
