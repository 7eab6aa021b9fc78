//! Counting the errors and warnings of a log at its end.
//!
//! The layers above know the formats of errors: they provide a [`LogCounter`]. A log that is counted within [`END_WAIT`]
//! has its counts with the end. A longer one is counted afterwards.

use std::fmt::Debug;
use std::time::Duration;

use futures::future::BoxFuture;

use super::TasksError;
use super::task::TaskHandle;
use crate::model::ErrorCounts;

/// Time by which the end of a task waits for its counts.
const END_WAIT: Duration = Duration::from_secs(1);

/// Time by which the closing of the store waits for counts.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// A counter of the errors and warnings of logs.
pub trait LogCounter: Debug + Send + Sync {
    /// Counts those of a task, whose last line is stored. Returns `None` if it takes longer than `limit`; without one
    /// the counter has its own.
    fn count(&self, task: TaskHandle, limit: Option<Duration>) -> BoxFuture<'static, Option<ErrorCounts>>;
}

impl TaskHandle {
    /// Returns the counts if they are found in a short time.
    pub(super) async fn count_at_end(&self) -> Option<ErrorCounts> {
        let tasks = self.registry()?;
        let counter = tasks.options().counter.clone()?;
        counter.count(self.clone(), Some(END_WAIT)).await
    }

    /// Counts in the background, and stores the counts.
    pub(super) fn count_after_end(&self) {
        let Some(tasks) = self.registry() else { return };
        let Some(counter) = tasks.options().counter.clone() else { return };
        let (task, closing) = (self.clone(), tasks.inner.closing.clone());
        tasks.inner.tracker.spawn(async move {
            let counts = tokio::select! {
                counts = counter.count(task.clone(), None) => counts,
                () = async {
                    closing.cancelled().await;
                    tokio::time::sleep(CLOSE_WAIT).await;
                } => None,
            };
            let Some(counts) = counts else { return };
            match task.update_record(|record| record.counts = Some(counts)).await {
                Ok(()) | Err(TasksError::Removed(_)) => {}
                Err(error) => {
                    tracing::warn!(task = %task.id(), %error, "failed to store the counts of errors");
                }
            }
        });
    }
}
