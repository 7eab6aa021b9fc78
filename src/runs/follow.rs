//! Following a run: history, then live, in one loop. It ends only when nobody asks any more.

use std::sync::Arc;

use tokio::sync::watch;

use super::page::{EventFilter, Stored};
use super::{RunHandle, RunsError};
use crate::journal::{JournalError, Stream, TailEvent, TailReader};
use crate::model::{Cursor, limits};

/// Where to begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunStart {
    /// With the first event.
    #[default]
    First,
    /// With the last so many.
    Tail(u64),
    /// Behind this place.
    After(Cursor),
}

/// What a follower is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunNews {
    /// The next events.
    Events(Vec<Stored>),
    /// What was told before is of another log: all comes again.
    Reset {
        /// In words.
        reason: String,
    },
}

/// One reader of one run.
#[derive(Debug)]
pub struct RunTail {
    run: RunHandle,
    filter: EventFilter,
    start: RunStart,
    /// Looked at only while the run is not there.
    changes: watch::Receiver<u64>,
    at: Option<(Arc<Stream>, TailReader)>,
}

impl RunHandle {
    /// Follows the run from a place on; one that is not there yet is waited for.
    pub fn follow(&self, start: RunStart, filter: EventFilter) -> RunTail {
        RunTail { run: self.clone(), filter, start, changes: self.all.changes.subscribe(), at: None }
    }
}

impl RunTail {
    /// Waits for the next thing to tell. Cancel-safe.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn next(&mut self) -> Result<RunNews, RunsError> {
        loop {
            let Some((stream, tail)) = &mut self.at else {
                if let Some(news) = self.begin().await? {
                    return Ok(news);
                }
                continue;
            };
            let looked = self.run.look_from(stream, tail.next(), limits::TAIL_PAGE_LINES, &self.filter).await;
            let removed = match looked {
                Ok(looked) => {
                    if let Some(behind) = looked.behind {
                        tail.seek(behind.n + 1);
                        if looked.events.is_empty() {
                            continue;
                        }
                        return Ok(RunNews::Events(looked.events));
                    }
                    tail.wait().await == TailEvent::Removed
                }
                Err(RunsError::Journal(JournalError::Removed)) => true,
                Err(error) => return Err(error),
            };
            if removed {
                (self.at, self.start) = (None, RunStart::First);
                return Ok(RunNews::Reset { reason: "the run was removed".to_owned() });
            }
        }
    }

    /// Finds the run and the place in it, or waits for it.
    async fn begin(&mut self) -> Result<Option<RunNews>, RunsError> {
        // Registered before the look: whatever comes after it wakes the wait.
        self.changes.mark_unchanged();
        let Some(stream) = self.run.stream()?.filter(|stream| stream.tip().last_line > 0) else {
            if self.changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            return Ok(None);
        };
        let (next, reset) = match self.start {
            RunStart::First => (1, None),
            RunStart::Tail(count) => (self.run.line_before(count, &self.filter).await?, None),
            RunStart::After(cursor) => match self.run.line_after(&cursor) {
                Ok(next) => (next, None),
                Err(RunsError::Reset(_)) => (1, Some("the cursor is of another log of this run".to_owned())),
                Err(error) => return Err(error),
            },
        };
        let tail = TailReader::new(&self.run.all.journal, &stream, next);
        self.at = Some((stream, tail));
        Ok(reset.map(|reason| RunNews::Reset { reason }))
    }
}
