//! The list of runs, ordered by their last events.

use super::{Runs, RunsError};
use crate::journal::JournalError;
use crate::model::{RunId, RunStatus, RunSummary};

/// Number of summaries read before other work on the thread continues.
const READS_AT_ONCE: usize = 64;

/// A query for runs.
#[derive(Clone, Debug, Default)]
pub struct RunQuery {
    /// Only runs of this status.
    pub status: Option<RunStatus>,
    /// Maximum number of runs.
    pub limit: usize,
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
        let journal = self.inner.journal.clone();
        let rows = tokio::task::spawn_blocking(move || journal.latest_ids(RunId::STREAM_PREFIX.as_bytes())).await;
        let mut rows = rows.map_err(|_| JournalError::Closed)??;
        rows.sort_by(|(a, last_a), (b, last_b)| last_b.cmp(last_a).then_with(|| a.cmp(b)));
        let mut found = Vec::new();
        for (read, (name, _)) in rows.into_iter().enumerate() {
            if read % READS_AT_ONCE == READS_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
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
}
