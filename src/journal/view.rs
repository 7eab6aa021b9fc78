//! Entries as the writer sees them: stored, or still on their way into the store.

use super::head::{Cx, Head};
use super::stream::BlockRef;
use super::{IdRange, JournalError};
use crate::model::{Entry, EntryId};
use crate::store::{StoreError, block};

impl Head {
    /// Calls `each` with the entries of these lines, deleted ones too, in order, until it says `false`.
    pub(super) fn visit_lines(
        &self,
        cx: &Cx<'_>,
        from: u64,
        to: u64,
        mut each: impl FnMut(Entry<'_>) -> bool,
    ) -> Result<(), JournalError> {
        let mut on = true;
        let mut inside = |entry: Entry<'_>| {
            on = entry.n <= to && (entry.n < from || each(entry));
            on
        };
        for row in self.rows(|row| row.last_line() >= from && row.first_line <= to) {
            let value = self.block(cx, row)?;
            let mut more = false;
            block::decode(row.first, &value, |entry| {
                more = inside(entry);
                more
            })?;
            if !more {
                return Ok(());
            }
        }
        match self.open() {
            Some(open) => Ok(open.visit(inside)?),
            None => Ok(()),
        }
    }

    /// Calls `each` with the entries of the key whose ids lie in a range; answers how many.
    pub(super) fn range(
        &self,
        cx: &Cx<'_>,
        range: IdRange,
        each: &mut dyn FnMut(&Entry<'_>),
    ) -> Result<usize, JournalError> {
        let mut pick = Pick::new(range, self.tip.shown_line, self.tip.last_line);
        let mut rows = self.rows(|row| row.last >= range.start && row.first <= range.end);
        if range.reverse {
            rows.reverse();
            self.pick_open(&mut pick, each)?;
        }
        for row in rows {
            if pick.is_full() {
                break;
            }
            pick.block(row.first, &self.block(cx, row)?, each)?;
        }
        if !range.reverse && !pick.is_full() {
            self.pick_open(&mut pick, each)?;
        }
        Ok(pick.found)
    }

    fn pick_open(&self, pick: &mut Pick, each: &mut dyn FnMut(&Entry<'_>)) -> Result<(), JournalError> {
        let Some(open) = self.open() else { return Ok(()) };
        let mut inside = Vec::new();
        open.visit(|entry| pick.gather(entry, &mut inside, each))?;
        pick.give(inside, each);
        Ok(())
    }

    pub(super) fn block(&self, cx: &Cx<'_>, row: BlockRef) -> Result<Vec<u8>, JournalError> {
        let gone = || StoreError::Damaged { at: format!("block {}", row.first), what: "it is not there".into() };
        Ok(cx.store.block(self.stream.number, row.first, row.bytes as usize)?.ok_or_else(gone)?)
    }
}

/// Picks the entries of a range, block by block.
pub(super) struct Pick {
    range: IdRange,
    shown_line: u64,
    last_line: u64,
    /// How many were given.
    pub(super) found: usize,
    /// The last that was given.
    pub(super) last: Option<EntryId>,
}

impl Pick {
    pub(super) fn new(range: IdRange, shown_line: u64, last_line: u64) -> Self {
        Self { range, shown_line, last_line, found: 0, last: None }
    }

    pub(super) fn is_full(&self) -> bool {
        self.found >= self.range.count
    }

    /// Gives what a block holds of the range.
    pub(super) fn block(
        &mut self,
        first: EntryId,
        value: &[u8],
        each: &mut dyn FnMut(&Entry<'_>),
    ) -> Result<(), StoreError> {
        let mut inside = Vec::new();
        block::decode(first, value, |entry| self.gather(entry, &mut inside, each))?;
        self.give(inside, each);
        Ok(())
    }

    /// Forward an entry is given at once; backward a block is gathered first.
    fn gather<'a>(&mut self, entry: Entry<'a>, inside: &mut Vec<Entry<'a>>, each: &mut dyn FnMut(&Entry<'_>)) -> bool {
        if entry.id > self.range.end || entry.n > self.last_line || (!self.range.reverse && self.is_full()) {
            return false;
        }
        let repeated = !self.range.reverse && self.last.is_some_and(|last| entry.id <= last);
        if entry.id < self.range.start || entry.n < self.shown_line || repeated || entry.body.is_deleted() {
            return true;
        }
        if self.range.reverse {
            inside.push(entry);
        } else {
            self.found += 1;
            self.last = Some(entry.id);
            each(&entry);
        }
        true
    }

    fn give(&mut self, inside: Vec<Entry<'_>>, each: &mut dyn FnMut(&Entry<'_>)) {
        for entry in inside.iter().rev() {
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
