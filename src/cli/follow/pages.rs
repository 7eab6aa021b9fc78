//! Reads a task's log in pages over HTTP.

use serde::Deserialize;

use super::super::output::task_error;
use crate::client::{ClientError, HttpClient};
use crate::model::{Gap, Line, TaskId, Timestamp};

/// The lines of one request, and what is missing among them.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct LineListPage {
    pub(in crate::cli) lines: Vec<Line<'static>>,
    #[serde(default)]
    pub(in crate::cli) gaps: Vec<Gap>,
    /// The number after the last line that was examined.
    #[serde(default)]
    pub(in crate::cli) next_line: u64,
}

/// The pages of a task's log.
pub(in crate::cli) struct LogPages<'a> {
    pub(in crate::cli) task: &'a TaskId,
    pub(in crate::cli) client: &'a HttpClient,
}

impl LogPages<'_> {
    /// Returns the lines of one request; one line unless a `limit` is given.
    ///
    /// # Errors
    /// There is no response.
    pub(super) async fn page(&self, parameters: &[(&str, String)]) -> anyhow::Result<Vec<Line<'static>>> {
        let with_limit = parameters.iter().any(|(name, _)| *name == "limit");
        let mut query: Vec<_> = parameters.iter().map(|(name, value)| (*name, Some(value.clone()))).collect();
        if !with_limit {
            query.push(("limit", Some("1".to_owned())));
        }
        Ok(self.request(&query).await?.lines)
    }

    /// Returns the lines and the gaps of one request.
    ///
    /// # Errors
    /// There is no response.
    pub(in crate::cli) async fn request(&self, query: &[(&str, Option<String>)]) -> anyhow::Result<LineListPage> {
        let page: Result<LineListPage, ClientError> =
            self.client.get(&format!("/api/v1/tasks/{}/lines", self.task), query).await;
        page.map_err(|error| task_error(error, self.task, self.client.endpoint()))
    }

    /// Returns the first line that is not older than `since`, by binary search: the times of a task's
    /// lines increase, except for small reorderings between two pipes.
    pub(super) async fn first_since(&self, since: Timestamp, first: u64, last: u64) -> anyhow::Result<u64> {
        let (mut low, mut high) = (first, last + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.page(&[("from", middle.to_string())]).await?.first() {
                Some(line) if line.timestamp < since => low = line.n.max(middle) + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }
}
