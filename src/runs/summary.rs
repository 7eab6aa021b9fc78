//! Summaries of runs: in memory, and stored beside their journals, so that a list after a restart reads no events.

use super::state::LoadedRun;
use super::{Runs, RunsError};
use crate::journal::{JournalError, RunRecord, Stream, StreamEnd};
use crate::model::{RunId, RunSummary};

/// Maximum number of summaries that are queued for writing.
const WRITES_MAX: usize = 256;

/// The summary of a run when it was last read. It survives the eviction of the run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CachedSummary {
    incarnation: u64,
    /// Last line read.
    line: u64,
    /// Last line that the counters of this process include.
    counted: u64,
    is_stored: bool,
    summary: RunSummary,
}

impl CachedSummary {
    /// Returns the summary of a run's current state.
    pub(super) fn new(state: &LoadedRun) -> Self {
        let line = state.next - 1;
        let (incarnation, summary) = (state.stream.incarnation(), state.fold.run().summary());
        Self { incarnation, line, counted: line, is_stored: false, summary }
    }

    /// Returns the summary that was stored for this stream.
    fn from_record(id: RunId, incarnation: u64, record: RunRecord) -> Self {
        let RunRecord { line, status, started, ended, updated, events, failures } = record;
        let summary = RunSummary { id, status, started, ended, updated, events, failures };
        Self { incarnation, line, counted: 0, is_stored: true, summary }
    }

    fn record(&self) -> RunRecord {
        let RunSummary { status, started, ended, updated, events, failures, .. } = self.summary;
        RunRecord { line: self.line, status, started, ended, updated, events, failures }
    }

    /// Returns the last line of this log that was counted, or 0 if the summary belongs to another log.
    pub(super) fn counted_of(&self, stream: &Stream) -> u64 {
        if self.incarnation == stream.incarnation() { self.counted } else { 0 }
    }

    fn is_current(&self, position: &StreamEnd) -> bool {
        (self.incarnation, self.line) == (position.incarnation, position.last_line)
    }
}

impl Runs {
    /// Returns the summary of one run, from memory or from the store if it is current.
    pub(super) async fn summary(&self, id: &RunId) -> Result<Option<RunSummary>, RunsError> {
        let Some(position) = self.inner.journal.position(id.stream_key().as_bytes())? else { return Ok(None) };
        let cached = self.inner.summaries.lock().get(id).cloned();
        if let Some(cached) = cached.filter(|cached| cached.is_current(&position)) {
            return Ok(Some(cached.summary));
        }
        if let Some(stored) = self.stored_summary(id, &position)? {
            self.inner.summaries.lock().entry(id.clone()).or_insert_with(|| stored.clone());
            return Ok(Some(stored.summary));
        }
        self.get_or_new(id).with_state(|state| state.fold.run().summary()).await
    }

    /// Returns the stored summary of a run if it is current.
    fn stored_summary(&self, id: &RunId, position: &StreamEnd) -> Result<Option<CachedSummary>, RunsError> {
        let record = self.inner.journal.summary(position)?;
        let cached = record.map(|record| CachedSummary::from_record(id.clone(), position.incarnation, record));
        Ok(cached.filter(|cached| cached.is_current(position)))
    }

    /// Stores the summaries that have changed, and waits until they are durable.
    ///
    /// # Errors
    /// The journal is not writable.
    pub async fn store_summaries(&self) -> Result<(), RunsError> {
        self.inner.journal.check_can_grow()?;
        let changed: Vec<(RunId, CachedSummary)> = {
            let summaries = self.inner.summaries.lock();
            let changed = summaries.iter().filter(|(_, cached)| !cached.is_stored);
            changed.map(|(id, cached)| (id.clone(), cached.clone())).collect()
        };
        for some in changed.chunks(WRITES_MAX) {
            self.store_some(some).await?;
        }
        Ok(())
    }

    async fn store_some(&self, changed: &[(RunId, CachedSummary)]) -> Result<(), RunsError> {
        let mut writes = Vec::with_capacity(changed.len());
        for (id, cached) in changed {
            let stream = self.inner.journal.stream(id.stream_key().as_bytes())?;
            if let Some(stream) = stream.filter(|stream| stream.incarnation() == cached.incarnation) {
                let written = self.inner.journal.put_summary(&stream, cached.record());
                writes.push((id, cached, written));
            }
        }
        for (id, cached, written) in writes {
            match written.await {
                Ok(()) => {}
                Err(JournalError::Removed) => continue,
                Err(error) => return Err(error.into()),
            }
            let mut summaries = self.inner.summaries.lock();
            if let Some(now) = summaries.get_mut(id).filter(|now| **now == *cached) {
                now.is_stored = true;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::journal::Trim;
    use crate::model::Event;
    use crate::runs::{IncomingEvent, RunMeters, RunQuery};
    use crate::tasks::{Tasks, TasksOptions};

    async fn open(folder: &std::path::Path) -> (Tasks, Runs) {
        let tasks = Tasks::open(folder, TasksOptions::default()).await.unwrap();
        let runs = Runs::new(&tasks, Arc::new(RunMeters::default()));
        (tasks, runs)
    }

    /// Closes the store, so that it can be opened again.
    async fn close(tasks: Tasks, runs: Runs) {
        tasks.close().await;
        drop((tasks, runs));
    }

    async fn append(runs: &Runs, id: &str, events: std::ops::Range<u32>) {
        let event = |n| format!(r#"{{"event_type":"step.failed","event_id":"{n}","status":"failed"}}"#);
        let events: Vec<_> = events.map(|n| IncomingEvent::new(Event::parse(&event(n)).unwrap())).collect();
        runs.get_or_new(&id.parse().unwrap()).append(&events).await.unwrap();
    }

    async fn list(runs: &Runs) -> Vec<RunSummary> {
        runs.list(&RunQuery { status: None, limit: 10 }).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn first_list_after_a_restart_reads_no_events_of_unchanged_runs() {
        let folder = tempfile::tempdir().unwrap();
        let (tasks, runs) = open(folder.path()).await;
        append(&runs, "a", 0..500).await;
        append(&runs, "b", 0..3).await;
        let before = list(&runs).await;
        runs.store_summaries().await.unwrap();
        append(&runs, "b", 3..7).await;
        close(tasks, runs).await;

        let (tasks, runs) = open(folder.path()).await;
        let now = list(&runs).await;
        assert_eq!(now.iter().map(|run| (run.id.as_str(), run.events)).collect::<Vec<_>>(), [("b", 7), ("a", 500)]);
        assert_eq!(now.last(), before.iter().find(|run| run.id.as_str() == "a"), "the same in every field");
        assert_eq!(runs.meters().run_state.snapshot().received, 7, "only the events of the changed run were read");
        // The events themselves are still found when the run is read.
        append(&runs, "a", 499..501).await;
        assert_eq!(list(&runs).await.first().map(|run| run.events), Some(501));
        runs.store_summaries().await.unwrap();
        assert!(runs.inner.summaries.lock().values().all(|cached| cached.is_stored));
        close(tasks, runs).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn summary_of_a_trimmed_run_is_not_used_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (tasks, runs) = open(folder.path()).await;
        append(&runs, "a", 0..3).await;
        runs.store_summaries().await.unwrap();
        let stream = tasks.journal().stream(b"run:events:a").unwrap().unwrap();
        tasks.journal().trim(&stream, Trim::ThroughLine(2)).await.unwrap();
        close(tasks, runs).await;
        let (tasks, runs) = open(folder.path()).await;
        assert_eq!(list(&runs).await.iter().map(|run| run.events).collect::<Vec<_>>(), [1]);
        close(tasks, runs).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn summary_of_a_removed_run_is_not_that_of_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let (tasks, runs) = open(folder.path()).await;
        append(&runs, "a", 0..3).await;
        runs.store_summaries().await.unwrap();
        assert!(runs.remove(&"a".parse().unwrap()).await.unwrap());
        assert_eq!(list(&runs).await, []);
        append(&runs, "a", 0..3).await;
        close(tasks, runs).await;
        let (tasks, runs) = open(folder.path()).await;
        assert_eq!(list(&runs).await.len(), 1);
        assert_eq!(runs.meters().run_state.snapshot().received, 3, "the new run was never stored, so it is read");
        close(tasks, runs).await;
    }
}
