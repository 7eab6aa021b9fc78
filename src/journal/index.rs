//! The block index of a long stream, kept by the writer: see [`crate::store::BlockRef`].
//!
//! A page is written once its blocks will hardly change, and removed when one of them does, with the same commit. A
//! stream whose lines are archived has none: few of its blocks are stored.

use super::JournalError;
use super::compact::has_small_blocks;
use super::load::IndexedBlocks;
use super::stream::{BlockRef, Stream};
use super::stream_state::{StreamState, WriteContext};
use crate::model::EntryId;
use crate::store::{INDEX_PAGE_BLOCKS, Store, are_consecutive};

/// Maximum number of pages written with one commit: a store of an earlier version has none.
const PAGES_PER_COMMIT: usize = 8;

impl StreamState {
    /// Writes the pages of the blocks that no page describes, except for the newest blocks.
    pub(super) fn write_index(&self, cx: &WriteContext<'_>) -> Result<(), JournalError> {
        // A page does not have the numbers of sessions, which blocks may have.
        if self.stream.archived || !self.sessions.is_empty() {
            return Ok(());
        }
        for _ in 0..PAGES_PER_COMMIT {
            let Some(page) = self.next_page() else { break };
            cx.store.put_index_page(self.stream.number, &page)?;
            self.stream.index.lock().extend(IndexedBlocks::of(&page));
        }
        Ok(())
    }

    fn next_page(&self) -> Option<Vec<BlockRef>> {
        let published = self.stream.blocks.read();
        if published.len() < 2 * INDEX_PAGE_BLOCKS {
            return None;
        }
        let indexed = self.stream.index.lock().last().map_or(0, |page| page.last_line);
        let start = published.partition_point(|block| block.first_line <= indexed).max(self.published_removed());
        if published.len() - start < 2 * INDEX_PAGE_BLOCKS {
            return None;
        }
        let page: Vec<BlockRef> = published.range(start..start + INDEX_PAGE_BLOCKS).copied().collect();
        (are_consecutive(&page) && !has_small_blocks(&page)).then_some(page)
    }

    /// Removes the pages that describe only blocks that were trimmed, and returns their first ids.
    pub(super) fn take_trimmed_pages(&self) -> Vec<EntryId> {
        let mut index = self.stream.index.lock();
        let trimmed = index.iter().take_while(|page| page.last_line < self.tip.first_line).count();
        index.drain(..trimmed).map(|page| page.first).collect()
    }
}

impl Stream {
    /// Removes the pages that describe a block with entries from `first` to `last`. Called before such a block changes.
    pub(super) fn unindex(&self, store: &Store, first: EntryId, last: EntryId) -> Result<(), JournalError> {
        let mut index = self.index.lock();
        let from = index.partition_point(|page| page.last < first);
        let count = index[from..].iter().take_while(|page| page.first <= last).count();
        for page in index.drain(from..from + count) {
            store.remove_index_page(self.number, page.first)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
