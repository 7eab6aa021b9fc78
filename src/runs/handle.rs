//! One run: events in, each once, and what they add up to.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::keep::{self, Incoming};
use super::state::State;
use super::{Inner as All, Refused, RunMeters, RunsError, list};
use crate::journal::{JournalError, LineBatch, Stream, Trim};
use crate::model::limits::Limit;
use crate::model::{Cursor, EntryId, Epoch, RunId, RunState, Timestamp};

/// How often a batch is begun anew because the run was removed meanwhile.
const TRIES_MAX: usize = 4;
/// Bytes of events that go to the journal together; more are given one after another.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// A run that can be written, read and followed. Cheap to clone; while one lives, what is known of
/// the run stays in memory.
#[derive(Clone, Debug)]
pub struct RunHandle {
    pub(super) all: Arc<All>,
    pub(super) run: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    id: RunId,
    used: Mutex<Instant>,
    /// Held round look, write and wait for the disk, so that no two can both find an event new.
    state: tokio::sync::Mutex<Option<State>>,
    /// A batch was not heard of in time and may still be on its way.
    unsettled: AtomicBool,
}

/// What became of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Events that were new; they are durable.
    pub appended: u64,
    /// Events that were there already.
    pub duplicates: u64,
    /// Events that were not taken.
    pub rejected: Vec<Refused>,
}

impl Inner {
    pub(super) fn new(id: RunId) -> Self {
        let (used, state) = (Mutex::new(Instant::now()), tokio::sync::Mutex::default());
        Self { id, used, state, unsettled: AtomicBool::new(false) }
    }

    pub(super) fn idle(&self) -> Duration {
        self.used.lock().elapsed()
    }
}

impl Drop for RunHandle {
    fn drop(&mut self) {
        *self.run.used.lock() = Instant::now();
    }
}

impl RunHandle {
    pub(super) fn new(all: Arc<All>, run: Arc<Inner>) -> Self {
        Self { all, run }
    }

    /// Its id.
    pub fn id(&self) -> &RunId {
        &self.run.id
    }

    /// What the hops have counted.
    pub(super) fn meters(&self) -> &RunMeters {
        &self.all.meters
    }

    /// Its journal, if it has one.
    pub(super) fn stream(&self) -> Result<Option<Arc<Stream>>, RunsError> {
        Ok(self.all.journal.stream(self.id().stream_key().as_bytes())?)
    }

    /// The place behind an entry of a journal.
    pub(super) fn cursor(&self, stream: &Stream, n: u64, id: EntryId) -> Cursor {
        Cursor {
            epoch: Epoch { incarnation: stream.incarnation(), generation: self.all.journal.store().open_count() },
            n,
            id,
        }
    }

    /// Appends events that are not there yet, in their order, and waits until they are durable.
    ///
    /// # Errors
    /// The journal takes no writes, or the run was removed again and again. Some of the events may
    /// be there then: to send all of them again is harmless, if they have ids or a source.
    pub async fn append(&self, events: &[Incoming]) -> Result<Appended, RunsError> {
        let received = Timestamp::now();
        let mut done = Appended::default();
        let mut kept = Vec::with_capacity(events.len());
        for (index, incoming) in events.iter().enumerate() {
            match incoming.keep(received) {
                Ok(event) => kept.push(event),
                Err(fault) => done.rejected.push(Refused { index, fault }),
            }
        }
        let dedupe = &self.all.meters.dedupe;
        dedupe.received(kept.len() as u64);
        dedupe.parsed(kept.len() as u64);
        while !kept.is_empty() {
            let mut bytes = 0;
            let count = kept.iter().take_while(|(event, _)| {
                let fits = bytes == 0 || bytes + event.as_str().len() <= BATCH_BYTES_MAX;
                bytes += event.as_str().len();
                fits
            });
            let later = kept.split_off(count.count());
            let (batch, run) = (std::mem::replace(&mut kept, later), self.clone());
            let count = batch.len() as u64;
            // The caller may go away. What was begun is carried through under the lock: let go too
            // early, the next to come would find events new that are on their way.
            let appended = tokio::spawn(async move { run.append_and_tell(&batch).await }).await;
            let appended = match appended {
                Ok(Ok(appended)) => appended,
                Ok(Err(error)) => {
                    self.all.meters.dedupe.failed(&format!("run {}: {error}", self.id()));
                    return Err(error);
                }
                Err(_) => return Err(JournalError::Closed.into()),
            };
            done.appended += appended;
            done.duplicates += count - appended;
        }
        Ok(done)
    }

    /// Counts what became of a batch and wakes who waits for the run, also where nobody asks any more.
    async fn append_and_tell(&self, events: &[(crate::model::Event, keep::Print)]) -> Result<u64, RunsError> {
        let appended = self.append_batch(events).await?;
        self.all.meters.dedupe.deduplicated(events.len() as u64 - appended);
        self.all.meters.dedupe.delivered(appended);
        if appended > 0 {
            self.all.changes.send_modify(|version| *version += 1);
        }
        Ok(appended)
    }

    async fn append_batch(&self, events: &[(crate::model::Event, keep::Print)]) -> Result<u64, RunsError> {
        for _ in 0..TRIES_MAX {
            let mut guard = self.run.state.lock().await;
            self.may_grow()?;
            let stream = self.all.journal.stream_or_new(self.id().stream_key().as_bytes())?;
            if self.run.unsettled.load(Ordering::Acquire) {
                // Queued behind it: answered, what became of it is known.
                self.all.journal.trim(&stream, Trim::ThroughLine(0)).await?;
                self.run.unsettled.store(false, Ordering::Release);
            }
            let state = self.current(&mut guard, stream).await?;
            let mut batch = LineBatch::new();
            let mut inside = HashSet::new();
            for (event, print) in events {
                if !state.seen.contains_key(print) && inside.insert(*print) {
                    batch.push_fields(keep::fields(event));
                }
            }
            if batch.is_empty() {
                return Ok(0);
            }
            let ticket = self.all.journal.append(&state.stream, batch, None).await;
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
                    self.run.unsettled.store(matches!(error, JournalError::Unconfirmed(_)), Ordering::Release);
                    return Err(error.into());
                }
            }
        }
        Err(RunsError::Removed(self.id().clone()))
    }

    /// Whether events can be added, to a run that is there or to one more.
    fn may_grow(&self) -> Result<(), RunsError> {
        self.all.tasks.has_budget()?;
        if self.stream()?.is_some_and(|stream| stream.tip().last_line > 0) {
            return Ok(());
        }
        let runs = self.all.journal.latest_ids(RunId::STREAM_PREFIX.as_bytes())?.len() as u64;
        let options = self.all.tasks.options();
        if runs >= options.limits.runs_max {
            options.hits.count(Limit::runs_max);
            return Err(RunsError::TooMany(runs));
        }
        Ok(())
    }

    /// What is known of the run, up to its last durable event; of an earlier log of this name
    /// nothing is kept.
    async fn current<'s>(&self, guard: &'s mut Option<State>, stream: Arc<Stream>) -> Result<&'s mut State, RunsError> {
        *self.run.used.lock() = Instant::now();
        if !guard.as_ref().is_some_and(|known| Arc::ptr_eq(&known.stream, &stream) && !stream.tip().removed) {
            *guard = None;
        }
        let state = guard.get_or_insert_with(|| State::new(self.id(), stream));
        let before = state.next;
        let counted = self.all.known.lock().get(self.id()).map_or(0, |known| known.line_of(&state.stream));
        state.catch_up(&self.all, counted).await?;
        if state.next != before || counted == 0 {
            self.all.known.lock().insert(self.id().clone(), list::Known::of(state));
        }
        Ok(state)
    }

    /// Looks at what is known; `None` where there is no such run.
    pub(super) async fn look<T>(&self, look: impl FnOnce(&State) -> T) -> Result<Option<T>, RunsError> {
        let mut guard = self.run.state.lock().await;
        let Some(stream) = self.stream()?.filter(|stream| stream.tip().last_line > 0) else { return Ok(None) };
        let state = self.current(&mut guard, stream).await?;
        Ok(Some(look(state)))
    }

    /// The run as its events tell it; `None` if it has none.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn state(&self) -> Result<Option<RunState>, RunsError> {
        let run = self.look(|state| state.fold.run().clone()).await?;
        Ok(run.filter(|run| run.events > 0))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;

    use crate::model::Event;
    use crate::runs::{EventFilter, Incoming, RunMeters, RunNews, RunStart, Runs};
    use crate::tasks::{Tasks, TasksOptions};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_run_that_nobody_uses_is_let_go_and_forgets_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let tasks = Tasks::open(folder.path(), TasksOptions::default()).await.unwrap();
        let runs = Runs::new(&tasks, std::sync::Arc::new(RunMeters::default()));
        let event =
            |id: &str| Incoming::new(Event::parse(&format!(r#"{{"event_type":"x","event_id":"{id}"}}"#)).unwrap());
        let run = runs.get_or_new(&"r".parse().unwrap());
        assert_eq!(run.append(&[event("a"), event("b"), event("a")]).await.unwrap().appended, 2);
        assert_eq!(runs.let_go(Duration::ZERO), 1, "somebody has it");
        drop(run);
        assert_eq!(runs.let_go(Duration::from_secs(60)), 1, "not for long enough");
        assert_eq!(runs.let_go(Duration::ZERO), 0);
        let run = runs.get(&"r".parse().unwrap()).unwrap().unwrap();
        let appended = run.append(&[event("b"), event("c")]).await.unwrap();
        assert_eq!((appended.appended, appended.duplicates), (1, 1));
        assert_eq!(run.state().await.unwrap().unwrap().events, 3);
        let counted = runs.meters().run_state.snapshot();
        assert_eq!(counted.received, 3, "what is read again is not counted again");
        tasks.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_caller_that_went_away_has_begun_is_told_to_who_waits() {
        let folder = tempfile::tempdir().unwrap();
        let tasks = Tasks::open(folder.path(), TasksOptions::default()).await.unwrap();
        let runs = Runs::new(&tasks, std::sync::Arc::new(RunMeters::default()));
        let run = runs.get_or_new(&"r".parse().unwrap());
        let mut tail = run.follow(RunStart::First, EventFilter::default());
        assert!(tail.next().now_or_never().is_none(), "there is nothing yet");
        let events = [Incoming::new(Event::parse(r#"{"event_type":"x"}"#).unwrap())];
        assert!(run.append(&events).now_or_never().is_none(), "begun, and given up");
        let news = tokio::time::timeout(Duration::from_secs(20), tail.next()).await;
        assert!(matches!(news.expect("the run has come").unwrap(), RunNews::Events(events) if events.len() == 1));
        assert_eq!(runs.meters().dedupe.snapshot().delivered, 1);
        tasks.close().await;
    }
}
