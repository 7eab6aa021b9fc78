//! Following a run: history, then live, in one loop. It ends only when the reader stops.

use std::sync::Arc;

use tokio::sync::watch;

use super::page::{EventFilter, StoredEvent};
use super::{RunHandle, RunsError};
use crate::journal::{JournalError, Stream, TailEvent, TailReader};
use crate::model::{Cursor, limits};

/// The start position of a reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunFollowStart {
    /// At the first event.
    #[default]
    First,
    /// This many events before the end.
    Tail(u64),
    /// After this cursor.
    After(Cursor),
}

/// An item of a [`RunTail`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEvent {
    /// New events.
    Events(Vec<StoredEvent>),
    /// Earlier events belong to another log; all events follow again.
    Reset {
        /// Reason, for people.
        reason: String,
    },
}

/// A reader that follows one run.
#[derive(Debug)]
pub struct RunTail {
    run: RunHandle,
    filter: EventFilter,
    start: RunFollowStart,
    /// Used only while the run does not exist.
    changes: watch::Receiver<u64>,
    /// Journal and position; `None` until the run exists.
    position: Option<(Arc<Stream>, TailReader)>,
}

impl RunHandle {
    /// Returns a reader that follows the run. It waits for a run that does not exist yet.
    pub fn follow(&self, start: RunFollowStart, filter: EventFilter) -> RunTail {
        RunTail { run: self.clone(), filter, start, changes: self.runs.changes.subscribe(), position: None }
    }
}

impl RunTail {
    /// Waits for the next event. Cancel-safe.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn next(&mut self) -> Result<RunEvent, RunsError> {
        loop {
            let Some((stream, tail)) = &mut self.position else {
                if let Some(event) = self.open().await? {
                    return Ok(event);
                }
                continue;
            };
            let scanned = self.run.scan_from(stream, tail.next(), limits::TAIL_PAGE_LINES, &self.filter).await;
            let removed = match scanned {
                Ok(scan) => {
                    if let Some(end) = scan.end {
                        tail.seek(end.n + 1);
                        if scan.events.is_empty() {
                            continue;
                        }
                        return Ok(RunEvent::Events(scan.events));
                    }
                    tail.wait().await == TailEvent::Removed
                }
                Err(RunsError::Journal(JournalError::Removed)) => true,
                Err(error) => return Err(error),
            };
            if removed {
                (self.position, self.start) = (None, RunFollowStart::First);
                return Ok(RunEvent::Reset { reason: "the run was removed".to_owned() });
            }
        }
    }

    /// Opens the run at its start position, or waits for it to be created.
    async fn open(&mut self) -> Result<Option<RunEvent>, RunsError> {
        // Marked before the check: any later change wakes the wait.
        self.changes.mark_unchanged();
        let Some(stream) = self.run.stream()?.filter(|stream| stream.tip().last_line > 0) else {
            if self.changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            return Ok(None);
        };
        let (next, reset) = match self.start {
            RunFollowStart::First => (1, None),
            RunFollowStart::Tail(count) => (self.run.line_before(count, &self.filter).await?, None),
            RunFollowStart::After(cursor) => match self.run.line_after(&cursor) {
                Ok(next) => (next, None),
                Err(RunsError::Reset(_)) => (1, Some("the cursor belongs to another log of this run".to_owned())),
                Err(error) => return Err(error),
            },
        };
        let tail = TailReader::new(&self.run.runs.journal, &stream, next);
        self.position = Some((stream, tail));
        Ok(reset.map(|reason| RunEvent::Reset { reason }))
    }
}
