//! Ranges of IDs, and selecting their entries block by block.

use crate::model::{Entry, EntryId};
use crate::store::{StoreError, block};

/// A range of IDs, inclusive at both ends (Redis: XRANGE, XREVRANGE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// Least ID.
    pub start: EntryId,
    /// Greatest ID.
    pub end: EntryId,
    /// Maximum number of entries.
    pub count: usize,
    /// Order: the greatest ID first if `true`.
    pub reverse: bool,
}

/// A scan of the entries of a key in an ID range.
pub(super) struct RangeScan {
    range: IdRange,
    shown_line: u64,
    last_line: u64,
    /// Number of visited entries.
    pub(super) found: usize,
    /// ID of the last visited entry.
    pub(super) last: Option<EntryId>,
}

impl RangeScan {
    /// Starts a scan of the lines from `shown_line` to `last_line`.
    pub(super) fn new(range: IdRange, shown_line: u64, last_line: u64) -> Self {
        Self { range, shown_line, last_line, found: 0, last: None }
    }

    /// Reports whether the requested number of entries was visited.
    pub(super) fn is_full(&self) -> bool {
        self.found >= self.range.count
    }

    /// Calls `each` with the entries of a block that are in the range.
    pub(super) fn visit_block(
        &mut self,
        first: EntryId,
        value: &[u8],
        each: &mut dyn FnMut(&Entry<'_>),
    ) -> Result<(), StoreError> {
        let mut reversed = Vec::new();
        block::decode(first, value, |entry| self.visit(entry, &mut reversed, each))?;
        self.visit_reversed(reversed, each);
        Ok(())
    }

    /// Calls `each` with an entry in the range, or in a reverse scan collects it for
    /// [`Self::visit_reversed`]. Returns `false` after the last one.
    pub(super) fn visit<'a>(
        &mut self,
        entry: Entry<'a>,
        reversed: &mut Vec<Entry<'a>>,
        each: &mut dyn FnMut(&Entry<'_>),
    ) -> bool {
        if entry.id > self.range.end || entry.n > self.last_line || (!self.range.reverse && self.is_full()) {
            return false;
        }
        let repeated = !self.range.reverse && self.last.is_some_and(|last| entry.id <= last);
        if entry.id < self.range.start || entry.n < self.shown_line || repeated || entry.body.is_deleted() {
            return true;
        }
        if self.range.reverse {
            reversed.push(entry);
        } else {
            self.found += 1;
            self.last = Some(entry.id);
            each(&entry);
        }
        true
    }

    /// Calls `each` with the collected entries of a block, last first.
    pub(super) fn visit_reversed(&mut self, entries: Vec<Entry<'_>>, each: &mut dyn FnMut(&Entry<'_>)) {
        for entry in entries.iter().rev() {
            if self.is_full() {
                return;
            }
            if self.last.is_none_or(|last| entry.id < last) {
                self.found += 1;
                self.last = Some(entry.id);
                each(entry);
            }
        }
    }
}
