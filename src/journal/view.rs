//! Reading entries in the writer, including those of the block that is still open.

use super::range::RangeScan;
use super::stream::BlockRef;
use super::stream_state::{StreamState, WriteContext};
use super::{IdRange, JournalError};
use crate::model::Entry;
use crate::store::{StoreError, block};

impl StreamState {
    /// Calls `each` with the entries of these lines, including deleted ones, in order, until it returns
    /// `false`.
    pub(super) fn visit_lines(
        &self,
        cx: &WriteContext<'_>,
        from: u64,
        to: u64,
        mut each: impl FnMut(Entry<'_>) -> bool,
    ) -> Result<(), JournalError> {
        let mut more = true;
        let mut visit = |entry: Entry<'_>| {
            more = entry.n <= to && (entry.n < from || each(entry));
            more
        };
        for row in self.block_refs(|row| row.last_line() >= from && row.first_line <= to) {
            let value = self.read_block(cx, row)?;
            let mut more = false;
            block::decode(row.first, &value, |entry| {
                more = visit(entry);
                more
            })?;
            if !more {
                return Ok(());
            }
        }
        match self.open_block() {
            Some(open) => Ok(open.visit(visit)?),
            None => Ok(()),
        }
    }

    /// Calls `each` with the entries of the key in a range. Returns their number.
    pub(super) fn range(
        &self,
        cx: &WriteContext<'_>,
        range: IdRange,
        each: &mut dyn FnMut(&Entry<'_>),
    ) -> Result<usize, JournalError> {
        let mut scan = RangeScan::new(range, self.tip.shown_line, self.tip.last_line);
        let mut rows = self.block_refs(|row| row.last >= range.start && row.first <= range.end);
        if range.reverse {
            rows.reverse();
            self.scan_open_block(&mut scan, each)?;
        }
        for row in rows {
            if scan.is_full() {
                break;
            }
            scan.visit_block(row.first, &self.read_block(cx, row)?, each)?;
        }
        if !range.reverse && !scan.is_full() {
            self.scan_open_block(&mut scan, each)?;
        }
        Ok(scan.found)
    }

    fn scan_open_block(&self, scan: &mut RangeScan, each: &mut dyn FnMut(&Entry<'_>)) -> Result<(), JournalError> {
        let Some(open) = self.open_block() else { return Ok(()) };
        let mut reversed = Vec::new();
        open.visit(|entry| scan.visit(entry, &mut reversed, each))?;
        scan.visit_reversed(reversed, each);
        Ok(())
    }

    /// Returns a stored block.
    pub(super) fn read_block(&self, cx: &WriteContext<'_>, row: BlockRef) -> Result<Vec<u8>, JournalError> {
        let missing = || StoreError::Damaged { at: format!("block {}", row.first), what: "it is missing".into() };
        Ok(cx.store.block(self.stream.number, row.first, row.bytes as usize)?.ok_or_else(missing)?)
    }
}
