//! Loading a stream: its record, the pages of its block index, and the blocks that no page describes.

use std::collections::VecDeque;

use super::JournalError;
use super::sessions::touch_session;
use crate::model::EntryId;
use crate::store::block::{self, BlockHeader};
use crate::store::{BlockRef, Store, StoreError, StreamRecord, are_consecutive};

/// A page of the block index, by the blocks that it describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexedBlocks {
    pub(super) first: EntryId,
    pub(super) last: EntryId,
    pub(super) last_line: u64,
}

impl IndexedBlocks {
    /// Returns the page of these blocks; `None` if there are none.
    pub(super) fn of(blocks: &[BlockRef]) -> Option<Self> {
        let (first, last) = (blocks.first()?, blocks.last()?);
        Some(Self { first: first.first, last: last.last, last_line: last.last_line() })
    }
}

/// The contents of a stream as the store has them.
pub(super) struct LoadedStream {
    pub(super) record: StreamRecord,
    pub(super) blocks: VecDeque<BlockRef>,
    pub(super) index: Vec<IndexedBlocks>,
    /// Deleted entries in the blocks.
    pub(super) deleted: u64,
}

impl LoadedStream {
    /// Loads the contents of a stream. Where record and blocks differ, the blocks are newer.
    pub(super) fn load(store: &Store, name: &[u8], record: StreamRecord) -> Result<Self, JournalError> {
        let known = record.last_line;
        let mut loaded = Self { record, blocks: VecDeque::new(), index: Vec::new(), deleted: 0 };
        for page in store.index_pages(loaded.record.number) {
            match page {
                Ok(page) => loaded.add_page(store, name, &page)?,
                Err(error @ StoreError::Damaged { .. }) => {
                    tracing::error!(stream = %String::from_utf8_lossy(name), %error, "ignored a page of the block index; its blocks are read instead");
                }
                Err(error) => return Err(error.into()),
            }
        }
        loaded.read_blocks(store, name, None)?;
        loaded.record.key.entries_added += loaded.record.last_line - known;
        loaded.record.key.exists |= loaded.record.last_line > known;
        Ok(loaded)
    }

    /// Adds the blocks of a page, after those before it that no page describes.
    fn add_page(&mut self, store: &Store, name: &[u8], page: &[BlockRef]) -> Result<(), JournalError> {
        let Some(indexed) = IndexedBlocks::of(page).filter(|_| are_consecutive(page)) else { return Ok(()) };
        if self.record.key.deleted > 0 {
            // A page does not describe which entries are deleted, so all blocks are read.
            self.index.push(indexed);
            return Ok(());
        }
        let next_line = self.blocks.back().map_or(self.record.first_line, |before| before.last_line() + 1);
        if page.first().is_some_and(|block| block.first_line > next_line) {
            self.read_blocks(store, name, Some(indexed.first))?;
        }
        if self.blocks.back().is_some_and(|before| before.last >= indexed.first) {
            return Ok(());
        }
        for block in page {
            if block.last_line() >= self.record.first_line {
                self.add(*block);
            } else if store.block(self.record.number, block.first, 0)?.is_some() {
                // The process was killed after it was trimmed and before it was removed.
                remove_stale(store, self.record.number, block.first, block.bytes as usize);
            }
        }
        self.index.push(indexed);
        Ok(())
    }

    fn add(&mut self, block: BlockRef) {
        self.record.last_id = self.record.last_id.max(block.last);
        self.record.last_line = self.record.last_line.max(block.last_line());
        self.blocks.push_back(block);
    }

    /// Reads the blocks after the last one found, up to the one that begins with the entry `before`.
    fn read_blocks(&mut self, store: &Store, name: &[u8], before: Option<EntryId>) -> Result<(), JournalError> {
        let from = self.blocks.back().map_or(Some(EntryId::MIN), |block| block.last.next());
        let Some(from) = from else { return Ok(()) };
        for row in store.blocks_between(self.record.number, from, before) {
            let (first, bytes) = row?;
            let header = block::decode_header(&bytes)?;
            if header.bytes as usize != bytes.len() || header.count == 0 {
                tracing::error!(stream = %String::from_utf8_lossy(name), block = %first, "skipped an incomplete block");
                continue;
            }
            let found = BlockRef::new(first, &header);
            // Below the watermark or compacted into the previous block; the process was killed before
            // removing it.
            if found.last_line() < self.record.first_line
                || self.blocks.back().is_some_and(|before| before.last >= found.first)
            {
                remove_stale(store, self.record.number, first, bytes.len());
                continue;
            }
            self.add_header(header);
            // A deletion writes the record before the block, so without deletions in the record there are
            // none in the blocks.
            if self.record.key.deleted > 0 {
                let shown_line = self.record.key.shown_line;
                block::decode(first, &bytes, |entry| {
                    self.deleted += u64::from(entry.n >= shown_line && entry.body.is_deleted());
                    true
                })?;
            }
            self.add(found);
        }
        Ok(())
    }

    fn add_header(&mut self, header: BlockHeader) {
        self.record.total_bytes = self.record.total_bytes.max(header.total_bytes);
        self.record.total_skipped = self.record.total_skipped.max(header.total_skipped);
        for (session, seq) in header.sessions {
            touch_session(&mut self.record.sessions, &session, seq);
        }
    }
}

fn remove_stale(store: &Store, number: u64, first: EntryId, bytes: usize) {
    if let Err(error) = store.remove_block(number, first, bytes) {
        tracing::debug!(%error, "failed to remove a stale block; it remains until the store accepts writes");
    }
}
