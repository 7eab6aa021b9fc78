//! The in-memory state of a run in use, read from its journal.

use std::collections::HashMap;
use std::sync::Arc;

use super::incoming::{self, IdHash};
use super::{RunStage, RunsError, RunsInner};
use crate::events::RunFold;
use crate::journal::{JournalError, PageLimits, Stream};
use crate::model::{Entry, RunId, Timestamp};

/// The state of a run up to the last entry read from its journal.
#[derive(Debug)]
pub(super) struct LoadedRun {
    pub(super) stream: Arc<Stream>,
    /// Next line to read.
    pub(super) next: u64,
    /// Line of each event id. Ids are never evicted: [`super::SEEN_BYTES_EACH`] bytes per event.
    pub(super) seen: HashMap<IdHash, u64>,
    pub(super) fold: RunFold,
}

impl LoadedRun {
    pub(super) fn new(id: &RunId, stream: Arc<Stream>) -> Self {
        Self { stream, next: 1, seen: HashMap::new(), fold: RunFold::new(id.clone()) }
    }

    /// Reads new entries of the journal. Entries up to line `counted` have been counted before.
    pub(super) async fn catch_up(
        &mut self,
        inner: &RunsInner,
        meter: RunStage<'_>,
        counted: u64,
    ) -> Result<(), RunsError> {
        while self.next <= self.stream.tip().last_line {
            let page = match inner.journal.read_entries(&self.stream, self.next, PageLimits::default()) {
                Ok(page) => page,
                Err(JournalError::Removed) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            for entry in &page.entries {
                self.apply(meter, entry, entry.n > counted);
            }
            // An empty page: a Redis client has trimmed everything up to the tip.
            self.next = page.entries.last().map_or(page.last_line, |last| last.n) + 1;
            // Keeps a long run from blocking other work on this thread.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn apply(&mut self, meter: RunStage<'_>, entry: &Entry<'_>, count: bool) {
        let Some(read) = incoming::read(entry) else { return };
        if count {
            meter.received(1);
        }
        match read {
            Err(fault) if count => meter.rejected(fault.reason(), &fault.to_string()),
            Err(_) => {}
            Ok((event, hash)) => {
                if count {
                    meter.parsed(1);
                }
                if let std::collections::hash_map::Entry::Vacant(slot) = self.seen.entry(hash) {
                    slot.insert(entry.n);
                    self.fold.apply(&event.view(), Timestamp::from_millis(entry.id.ms));
                } else if count {
                    meter.deduplicated(1);
                }
            }
        }
    }

    /// Reports whether the entry of this line is the first with its id.
    pub(super) fn is_first(&self, hash: IdHash, line: u64) -> bool {
        self.seen.get(&hash).is_none_or(|first| *first == line)
    }
}
