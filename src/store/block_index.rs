//! The block index of long streams: the references to their blocks, so that a load reads only the newest blocks.
//!
//! A page of the index describes consecutive blocks. It is written, and removed, in the same commit as the change of
//! the stream that it belongs to, so it never describes a block that is not there. Blocks that no page describes are
//! read.

use serde::{Deserialize, Serialize};

use super::block::BlockHeader;
use super::codec::{self, RecordKind};
use super::tree_id::TreeId;
use super::trees::Trees;
use super::{Store, StoreError, StreamRecord};
use crate::model::EntryId;

/// Number of blocks that one page describes. A page fits in a stored value.
pub const INDEX_PAGE_BLOCKS: usize = if cfg!(test) { 8 } else { PAGE_BLOCKS };
const PAGE_BLOCKS: usize = 128;

/// Prefix of the `meta` keys of pages. A stream number and the id of the first entry follow.
const INDEX: &[u8; 6] = b"index/";
/// `meta` key of the number of the last opening by a version that maintains the index.
const INDEXED: &[u8] = b"indexed";

/// A reference to a stored block, with the entries that it spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRef {
    /// Id of the first entry.
    pub first: EntryId,
    /// Id of the last entry.
    pub last: EntryId,
    /// Line number of the first entry.
    pub first_line: u64,
    /// Number of entries.
    pub count: u32,
    /// Length of the block.
    pub bytes: u32,
}

impl BlockRef {
    /// Returns the reference to a block with this header.
    pub fn new(first: EntryId, header: &BlockHeader) -> Self {
        let BlockHeader { last_id: last, first_line, count, bytes, .. } = *header;
        Self { first, last, first_line, count, bytes }
    }

    /// Returns the line number of the last entry.
    pub fn last_line(&self) -> u64 {
        self.first_line.saturating_add(u64::from(self.count)).saturating_sub(1)
    }
}

/// Reports whether blocks follow each other without a gap.
pub fn are_consecutive(blocks: &[BlockRef]) -> bool {
    let follow = |pair: &[BlockRef]| {
        let [before, after] = pair else { return true };
        before.last < after.first && before.last_line().checked_add(1) == Some(after.first_line)
    };
    blocks.iter().all(|block| block.count > 0 && block.first <= block.last) && blocks.windows(2).all(follow)
}

impl Store {
    /// Writes a page of the index of a stream. It is removed together with the stream.
    pub fn put_index_page(&self, number: u64, page: &[BlockRef]) -> Result<(), StoreError> {
        self.check_writable()?;
        let Some(first) = page.first() else { return Ok(()) };
        self.put(TreeId::Meta, &page_key(number, first.first), &codec::encode(RecordKind::Index, &page)?);
        Ok(())
    }

    /// Removes the page that begins with the block of this id.
    pub fn remove_index_page(&self, number: u64, first: EntryId) -> Result<(), StoreError> {
        self.check_writable()?;
        self.delete(TreeId::Meta, &page_key(number, first));
        Ok(())
    }

    /// Returns the pages of the index of a stream, in order.
    pub fn index_pages(&self, number: u64) -> impl Iterator<Item = Result<Vec<BlockRef>, StoreError>> + use<> {
        self.scan(TreeId::Meta, &pages_prefix(number)).map(|row| codec::decode(RecordKind::Index, &row?.1))
    }

    /// Returns the first ids of blocks that the index of a stream describes otherwise than they are stored.
    pub(super) fn wrong_index_entries(
        &self,
        record: &StreamRecord,
        stored: &[BlockRef],
    ) -> Result<Vec<EntryId>, StoreError> {
        let mut wrong = Vec::new();
        for page in self.index_pages(record.number) {
            // A page may also describe blocks that were trimmed.
            for block in page?.into_iter().filter(|block| block.last_line() >= record.first_line) {
                let found = stored.binary_search_by_key(&block.first, |stored| stored.first);
                if found.ok().and_then(|at| stored.get(at)) != Some(&block) {
                    wrong.push(block.first);
                }
            }
        }
        Ok(wrong)
    }

    /// Removes the index of a stream.
    pub(super) fn remove_index(&self, number: u64) -> Result<(), StoreError> {
        for row in self.scan(TreeId::Meta, &pages_prefix(number)) {
            self.delete(TreeId::Meta, &row?.0);
        }
        Ok(())
    }
}

/// Removes all pages unless the last opening, `opened_before`, was by a version that maintains them. Not a commit: that
/// would overwrite the last ones in the log, from which a damaged sled is restored.
pub(super) fn check_index(trees: &Trees, open_count: u64, opened_before: u64) -> Result<(), sled::Error> {
    let meta = trees.of(TreeId::Meta);
    let indexed = trees.number(INDEXED)?;
    // 0 if sled is restored from the log, which may have pages of blocks that it lacks.
    if opened_before == 0 || indexed != opened_before || indexed + 1 != open_count {
        for key in meta.scan_prefix(INDEX).keys() {
            meta.remove(key?)?;
        }
    }
    // Last: sled keeps a prefix of its writes.
    meta.insert(INDEXED, &open_count.to_be_bytes()).map(|_| ())
}

fn pages_prefix(number: u64) -> [u8; 14] {
    let mut prefix = [0; 14];
    prefix[..6].copy_from_slice(INDEX);
    prefix[6..].copy_from_slice(&number.to_be_bytes());
    prefix
}

fn page_key(number: u64, first: EntryId) -> [u8; 30] {
    let mut key = [0; 30];
    key[..14].copy_from_slice(&pages_prefix(number));
    key[14..].copy_from_slice(&first.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{StoreOptions, VALUE_BYTES_MAX};

    fn page(first: u64, blocks: u64) -> Vec<BlockRef> {
        let block = |n: u64| BlockRef {
            first: EntryId::new(1_778_336_581_000 + n, 7),
            last: EntryId::new(1_778_336_581_000 + n, 106),
            first_line: 1 + n * 100,
            count: 100,
            bytes: 6_400,
        };
        (first..first + blocks).map(block).collect()
    }

    #[test]
    fn index_page_format_is_stable() {
        let bytes = codec::encode(RecordKind::Index, &&page(0, 3)[..]).unwrap();
        let kept = codec::golden::check("v3", "index_page", &bytes);
        assert_eq!(codec::decode::<Vec<BlockRef>>(RecordKind::Index, &kept).unwrap(), page(0, 3));
        let last = BlockRef {
            first: EntryId::MAX,
            last: EntryId::MAX,
            first_line: u64::MAX - 1,
            count: u32::MAX,
            bytes: u32::MAX,
        };
        let longest = codec::encode(RecordKind::Index, &&vec![last; PAGE_BLOCKS][..]).unwrap();
        assert!(longest.len() <= VALUE_BYTES_MAX, "{} bytes", longest.len());
    }

    #[test]
    fn gaps_and_overlaps_are_not_consecutive() {
        assert!(are_consecutive(&page(3, 5)));
        assert!(!are_consecutive(&[page(0, 1), page(2, 1)].concat()));
        assert!(!are_consecutive(&[page(0, 2), page(1, 1)].concat()));
    }

    #[test]
    fn pages_are_removed_with_their_stream_and_after_an_opening_without_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Store::open(folder.path(), StoreOptions::default()).unwrap();
        let pages = |store: &Store, number| store.index_pages(number).collect::<Result<Vec<_>, _>>().unwrap();
        let store = open();
        for (number, first) in [(1, 0), (1, 128), (2, 0)] {
            store.put_index_page(number, &page(first, 128)).unwrap();
        }
        store.commit().unwrap();
        drop(store);
        let store = open();
        assert_eq!(pages(&store, 1), [page(0, 128), page(128, 128)]);
        store.remove_stream(b"one", 1).unwrap();
        store.commit().unwrap();
        assert_eq!((pages(&store, 1).len(), pages(&store, 2).len()), (0, 1));
        // As an earlier version would leave it, which counts openings but does not know the index.
        store.put(TreeId::Meta, INDEXED, &(store.open_count - 1).to_be_bytes());
        store.commit().unwrap();
        drop(store);
        assert_eq!(pages(&open(), 2).len(), 0);
    }
}
