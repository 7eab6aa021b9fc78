//! The stored blocks of streams.

use std::sync::atomic::Ordering;

use sled::IVec;

use super::batch::RowWrite;
use super::position::BlockPosition;
use super::tree_id::TreeId;
use super::{Store, StoreError, VALUE_BYTES_MAX, read_error};
use crate::model::EntryId;

impl Store {
    /// Returns the first id of a stream's last block, if it has one.
    pub fn last_block(&self, number: u64) -> Result<Option<EntryId>, StoreError> {
        let trees = self.trees()?;
        let key = self.pending.last_key(TreeId::Blocks, trees.of(TreeId::Blocks), &number.to_be_bytes());
        let key = key.map_err(read_error)?;
        Ok(key.and_then(|key| parse_block_key(&key)).map(|(first, _)| first))
    }

    /// Writes a block that may replace another with the same first entry.
    pub fn put_block(&self, number: u64, first: EntryId, bytes: &[u8]) -> Result<(), StoreError> {
        self.put_contents(number, first, bytes, false)
    }

    /// Writes a block with a first entry that no stored block has or had.
    pub fn put_new_block(&self, number: u64, first: EntryId, bytes: &[u8]) -> Result<(), StoreError> {
        self.put_contents(number, first, bytes, true)
    }

    fn put_contents(&self, number: u64, first: EntryId, bytes: &[u8], is_new: bool) -> Result<(), StoreError> {
        self.check_writable()?;
        let contents = RowWrite::Contents { bytes: bytes.into(), is_new };
        self.pending.put(TreeId::Blocks, &block_key(number, first, 0), contents);
        Ok(())
    }

    /// Reads a block. `bytes` is its length, as far as known. Returns `None` if it was trimmed, or packed into another
    /// block, since the caller learned of it.
    pub fn block(&self, number: u64, first: EntryId, bytes: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let key = block_key(number, first, 0);
        for _ in 0..MOVES_MAX {
            let Some(row) = self.row(TreeId::Blocks, &key)? else { return Ok(None) };
            match StoredBlock::of(row)? {
                StoredBlock::Contents(contents) => return Ok(Some(contents.to_vec())),
                StoredBlock::Parts(head) => return self.block_in_parts(number, first, head.to_vec(), bytes),
                StoredBlock::At(position) => {
                    if let Some(contents) = self.segments.read(&position)? {
                        return Ok(Some(contents));
                    }
                }
            }
        }
        Err(StoreError::Damaged {
            at: format!("stream {number}, block {first}"),
            what: "its segment is missing".into(),
        })
    }

    /// Reads the further parts of a block of format 4 or earlier.
    fn block_in_parts(
        &self,
        number: u64,
        first: EntryId,
        mut block: Vec<u8>,
        bytes: usize,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let mut part = 1;
        while block.len() < bytes {
            let Some(more) = self.get(TreeId::Blocks, &part_key(number, first, part)?)? else { return Ok(None) };
            block.extend_from_slice(&more);
            part += 1;
        }
        Ok(Some(block))
    }

    /// Removes a block of `bytes` bytes.
    pub fn remove_block(&self, number: u64, first: EntryId, bytes: usize) -> Result<(), StoreError> {
        self.check_writable()?;
        self.freed_bytes.fetch_add(bytes as u64, Ordering::AcqRel);
        self.delete(TreeId::Blocks, &block_key(number, first, 0));
        self.remove_excess_parts(number, first, bytes)
    }

    /// Removes the further parts of a block of format 4 or earlier that had `bytes` bytes.
    pub fn remove_excess_parts(&self, number: u64, first: EntryId, bytes: usize) -> Result<(), StoreError> {
        for part in 1..bytes.div_ceil(VALUE_BYTES_MAX) {
            let key = part_key(number, first, part)?;
            if self.get(TreeId::Blocks, &key)?.is_some() {
                self.delete(TreeId::Blocks, &key);
            }
        }
        Ok(())
    }

    /// Removes all blocks of a stream.
    pub(super) fn remove_blocks(&self, number: u64) -> Result<(), StoreError> {
        let mut freed = 0;
        for row in self.scan_rows(TreeId::Blocks, &number.to_be_bytes()) {
            let (key, write) = row?;
            freed += match &write {
                RowWrite::Position { at, .. } => u64::from(at.bytes),
                RowWrite::Value(value) => stored_position(&key, value).map_or(0, |at| u64::from(at.bytes)),
                RowWrite::Contents { .. } | RowWrite::Delete => 0,
            };
            self.delete(TreeId::Blocks, &key);
        }
        self.freed_bytes.fetch_add(freed, Ordering::AcqRel);
        Ok(())
    }

    /// Reads a block whose row was found by a scan. Returns `None` if it was removed since.
    fn scanned_block(&self, number: u64, first: EntryId, row: RowWrite) -> Result<Option<Vec<u8>>, StoreError> {
        match StoredBlock::of(row)? {
            StoredBlock::Contents(contents) => Ok(Some(contents.to_vec())),
            StoredBlock::At(position) => match self.segments.read(&position)? {
                None => self.block(number, first, 0),
                found => Ok(found),
            },
            StoredBlock::Parts(head) => {
                let mut block = head.to_vec();
                for part in 1.. {
                    let Some(more) = self.get(TreeId::Blocks, &part_key(number, first, part)?)? else { break };
                    block.extend_from_slice(&more);
                }
                Ok(Some(block))
            }
        }
    }

    /// Returns all blocks of a stream in order; see [`Store::blocks_between`].
    pub fn blocks_of(&self, number: u64) -> impl Iterator<Item = Result<(EntryId, Vec<u8>), StoreError>> {
        self.blocks_between(number, EntryId::MIN, None)
    }

    /// Returns the blocks of a stream whose first entry is from `from` on and before `end`, in order, each with the id
    /// in its key. Skips parts without a first part, as a kill of an earlier version can leave them.
    pub fn blocks_between(
        &self,
        number: u64,
        from: EntryId,
        end: Option<EntryId>,
    ) -> impl Iterator<Item = Result<(EntryId, Vec<u8>), StoreError>> {
        let end = end.map_or(block_key(number.saturating_add(1), EntryId::MIN, 0), |end| block_key(number, end, 0));
        let rows = self.scan_rows_between(TreeId::Blocks, &block_key(number, from, 0), &end);
        rows.filter_map(move |row| {
            let (key, row) = match row {
                Ok(row) => row,
                Err(error) => return Some(Err(error)),
            };
            let (first, part) = parse_block_key(&key)?;
            if part != 0 {
                return None;
            }
            self.scanned_block(number, first, row).map(|block| block.map(|block| (first, block))).transpose()
        })
    }
}

/// Number of times that a block is looked up again because it was moved meanwhile.
const MOVES_MAX: usize = 16;

/// A block's row.
enum StoredBlock {
    /// Its contents, which no segment has yet.
    Contents(IVec),
    /// Its position.
    At(BlockPosition),
    /// The first part of its contents, as format 4 and earlier stored them.
    Parts(IVec),
}

impl StoredBlock {
    fn of(row: RowWrite) -> Result<Self, StoreError> {
        Ok(match row {
            RowWrite::Contents { bytes, .. } => Self::Contents(bytes),
            RowWrite::Position { at, .. } => Self::At(at),
            RowWrite::Value(value) => BlockPosition::decode(&value)?.map_or(Self::Parts(value), Self::At),
            RowWrite::Delete => Self::Contents(IVec::default()),
        })
    }
}

/// Returns the position of a block, given its row; `None` if the row has contents.
pub(super) fn stored_position(key: &[u8], value: &[u8]) -> Option<BlockPosition> {
    // A later part may begin with any byte.
    parse_block_key(key).filter(|(_, part)| *part == 0)?;
    BlockPosition::decode(value).ok().flatten()
}

/// Returns the key of a block's part. Keys sort by stream, then entry, then part.
pub(super) fn block_key(number: u64, first: EntryId, part: u16) -> [u8; 26] {
    let mut key = [0; 26];
    key[..8].copy_from_slice(&number.to_be_bytes());
    key[8..24].copy_from_slice(&first.to_be_bytes());
    key[24..].copy_from_slice(&part.to_be_bytes());
    key
}

/// As [`block_key`], for a part number that may be too large.
fn part_key(number: u64, first: EntryId, part: usize) -> Result<[u8; 26], StoreError> {
    let part = u16::try_from(part).map_err(|_| StoreError::Damaged {
        at: format!("stream {number}, block {first}"),
        what: "over 65,536 parts".to_owned(),
    })?;
    Ok(block_key(number, first, part))
}

/// Returns the id and the part number in the key of a block.
pub(super) fn parse_block_key(key: &[u8]) -> Option<(EntryId, u16)> {
    let id: [u8; 16] = key.get(8..24)?.try_into().ok()?;
    let part: [u8; 2] = key.get(24..26)?.try_into().ok()?;
    Some((EntryId::from_be_bytes(id), u16::from_be_bytes(part)))
}
