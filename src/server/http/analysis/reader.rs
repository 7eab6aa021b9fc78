//! Reads a log from its first line to its last one, on a blocking thread and within a time.

use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::analysis::{NdjsonRow, rows};
use crate::tasks::{TaskHandle, TasksError};

/// A reader of a task's lines.
pub(super) struct WholeLogReader {
    pub(super) task: TaskHandle,
    /// Time at which it stops.
    pub(super) deadline: Instant,
    /// Cancelled if nobody waits for the result any more.
    pub(super) cancelled: CancellationToken,
}

impl WholeLogReader {
    /// Calls `each` for every line from `from` on, and returns the first line that was not read: the deadline may
    /// come first.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(super) fn read(&self, from: u64, mut each: impl FnMut(NdjsonRow<'_>)) -> Result<u64, TasksError> {
        let (mut at, to) = (from.max(1), self.task.details().last_line);
        while at <= to && !self.cancelled.is_cancelled() {
            let Some((chunk, next)) = self.task.ndjson(at, to)? else { break };
            rows(&chunk).filter_map(NdjsonRow::parse).for_each(&mut each);
            at = next;
            if Instant::now() >= self.deadline {
                break;
            }
        }
        Ok(at)
    }
}

/// Runs a function on a blocking thread. If the caller is dropped, the token is cancelled.
///
/// # Errors
/// That of the function, or the server shuts down.
pub(super) async fn blocking<T: Send + 'static>(
    run: impl FnOnce(CancellationToken) -> Result<T, TasksError> + Send + 'static,
) -> Result<T, TasksError> {
    let token = CancellationToken::new();
    let _guard = token.clone().drop_guard();
    tokio::task::spawn_blocking(move || run(token)).await.map_err(|_| TasksError::Closed)?
}
