//! The list of runs, by their last events.

use super::state::State;
use super::{Runs, RunsError};
use crate::journal::Stream;
use crate::model::{RunId, RunStatus, RunSummary};

/// Which runs, and how many.
#[derive(Clone, Debug, Default)]
pub struct RunQuery {
    /// Only runs of this status.
    pub status: Option<RunStatus>,
    /// Runs at most.
    pub limit: usize,
}

/// What was known of a run when it was last looked at; outlives what is in memory of it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    birth: u64,
    /// The last line that was read.
    line: u64,
    summary: RunSummary,
}

impl Known {
    pub(super) fn of(state: &State) -> Self {
        Self { birth: state.stream.incarnation(), line: state.next - 1, summary: state.fold.run().summary() }
    }

    /// The last line that was read of this log.
    pub(super) fn line_of(&self, stream: &Stream) -> u64 {
        if self.birth == stream.incarnation() { self.line } else { 0 }
    }
}

impl Runs {
    /// Runs that have events, the one with the newest event first.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn list(&self, query: &RunQuery) -> Result<Vec<RunSummary>, RunsError> {
        self.list_where(query, |_| true).await
    }

    /// As [`Runs::list`], of those runs alone that may be seen.
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

    /// One run as a list shows it. What is known already is not read again.
    async fn summary(&self, id: &RunId) -> Result<Option<RunSummary>, RunsError> {
        let known = self.inner.known.lock().get(id).cloned();
        let Some(stream) = self.inner.journal.stream(id.stream_key().as_bytes())? else { return Ok(None) };
        match known {
            Some(known) if known.line_of(&stream) == stream.tip().last_line => Ok(Some(known.summary)),
            _ => self.get_or_new(id).look(|state| state.fold.run().summary()).await,
        }
    }
}
