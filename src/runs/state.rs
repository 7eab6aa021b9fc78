//! What is known of a run in use, read from its journal.

use std::collections::HashMap;
use std::sync::Arc;

use super::keep::{self, Print};
use super::{Inner, RunsError};
use crate::events::RunFold;
use crate::journal::{JournalError, PageLimits, Stream};
use crate::model::{Entry, RunId, Timestamp};

/// What is known of a run as far as its journal was read.
#[derive(Debug)]
pub(super) struct State {
    pub(super) stream: Arc<Stream>,
    /// The line to be read next.
    pub(super) next: u64,
    /// The line of each id. Never forgets: [`super::SEEN_BYTES_EACH`] bytes an event.
    pub(super) seen: HashMap<Print, u64>,
    pub(super) fold: RunFold,
}

impl State {
    pub(super) fn new(id: &RunId, stream: Arc<Stream>) -> Self {
        Self { stream, next: 1, seen: HashMap::new(), fold: RunFold::new(id.clone()) }
    }

    /// Reads what has come into the journal. `counted` is the line up to which the meters know.
    pub(super) async fn catch_up(&mut self, inner: &Inner, counted: u64) -> Result<(), RunsError> {
        while self.next <= self.stream.tip().last_line {
            let page = match inner.journal.read_entries(&self.stream, self.next, PageLimits::default()) {
                Ok(page) => page,
                Err(JournalError::Removed) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            for entry in &page.entries {
                self.take(inner, entry, entry.n > counted);
            }
            // Nothing there up to the tip: a Redis client has trimmed it.
            self.next = page.entries.last().map_or(page.last_line, |last| last.n) + 1;
            // A long run should not hold up what else this thread has to do.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn take(&mut self, inner: &Inner, entry: &Entry<'_>, count: bool) {
        let meter = &inner.meters.run_state;
        let Some(read) = keep::read(entry) else { return };
        if count {
            meter.received(1);
        }
        match read {
            Err(fault) if count => meter.rejected(fault.reason(), &fault.to_string()),
            Err(_) => {}
            Ok((event, print)) => {
                if count {
                    meter.parsed(1);
                }
                if let std::collections::hash_map::Entry::Vacant(slot) = self.seen.entry(print) {
                    slot.insert(entry.n);
                    self.fold.apply(&event.view(), Timestamp::from_millis(entry.id.ms));
                } else if count {
                    meter.deduplicated(1);
                }
            }
        }
    }

    /// Whether the entry of this line is the first with its id.
    pub(super) fn is_first(&self, print: Print, line: u64) -> bool {
        self.seen.get(&print).is_none_or(|first| *first == line)
    }
}
