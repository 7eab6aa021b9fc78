//! The list of runs, ordered by their last events.

use super::state::LoadedRun;
use super::{Runs, RunsError};
use crate::journal::Stream;
use crate::model::{RunId, RunStatus, RunSummary};

/// A query for runs.
#[derive(Clone, Debug, Default)]
pub struct RunQuery {
    /// Only runs of this status.
    pub status: Option<RunStatus>,
    /// Maximum number of runs.
    pub limit: usize,
}

/// The summary of a run when it was last read. It survives the eviction of the run.
#[derive(Clone, Debug)]
pub(super) struct CachedSummary {
    incarnation: u64,
    /// Last line read.
    line: u64,
    summary: RunSummary,
}

impl CachedSummary {
    /// Returns the summary of a run's current state.
    pub(super) fn new(state: &LoadedRun) -> Self {
        Self { incarnation: state.stream.incarnation(), line: state.next - 1, summary: state.fold.run().summary() }
    }

    /// Returns the last line read from this log, or 0 if the summary belongs to another log.
    pub(super) fn line_of(&self, stream: &Stream) -> u64 {
        if self.incarnation == stream.incarnation() { self.line } else { 0 }
    }
}

impl Runs {
    /// Returns runs that have events, the one with the newest event first.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn list(&self, query: &RunQuery) -> Result<Vec<RunSummary>, RunsError> {
        self.list_where(query, |_| true).await
    }

    /// Returns runs like [`Runs::list`], restricted to those that are visible.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn list_where(
        &self,
        query: &RunQuery,
        is_visible: impl Fn(&RunId) -> bool,
    ) -> Result<Vec<RunSummary>, RunsError> {
        let mut rows = self.inner.journal.latest_ids(RunId::STREAM_PREFIX.as_bytes())?;
        rows.sort_by(|(a, last_a), (b, last_b)| last_b.cmp(last_a).then_with(|| a.cmp(b)));
        let mut found = Vec::new();
        for (name, _) in rows {
            if found.len() >= query.limit {
                break;
            }
            let id = RunId::from_stream_key(&name).filter(&is_visible);
            let Some(id) = id else { continue };
            let Some(summary) = self.summary(&id).await? else { continue };
            if summary.events > 0 && query.status.is_none_or(|status| status == summary.status) {
                found.push(summary);
            }
        }
        Ok(found)
    }

    /// Returns the summary of one run, from the cache if it is current.
    async fn summary(&self, id: &RunId) -> Result<Option<RunSummary>, RunsError> {
        let cached = self.inner.summaries.lock().get(id).cloned();
        let Some(stream) = self.inner.journal.stream(id.stream_key().as_bytes())? else { return Ok(None) };
        match cached {
            Some(cached) if cached.line_of(&stream) == stream.tip().last_line => Ok(Some(cached.summary)),
            _ => self.get_or_new(id).with_state(|state| state.fold.run().summary()).await,
        }
    }
}
