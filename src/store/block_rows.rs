//! The stored blocks of streams.

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

    /// Writes a block. A block larger than a value is stored in parts.
    pub fn put_block(&self, number: u64, first: EntryId, bytes: &[u8]) -> Result<(), StoreError> {
        self.check_writable()?;
        for (part, bytes) in bytes.chunks(VALUE_BYTES_MAX).enumerate() {
            self.put(TreeId::Blocks, &part_key(number, first, part)?, bytes);
        }
        Ok(())
    }

    /// Reads a block of `bytes` bytes. Returns `None` if it was trimmed, or packed into another block,
    /// since the caller learned of it.
    pub fn block(&self, number: u64, first: EntryId, bytes: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(head) = self.get(TreeId::Blocks, &block_key(number, first, 0))? else { return Ok(None) };
        let mut block = head.to_vec();
        let mut part = 1;
        while block.len() < bytes {
            let Some(more) = self.get(TreeId::Blocks, &block_key(number, first, part))? else { return Ok(None) };
            block.extend_from_slice(&more);
            part += 1;
        }
        Ok(Some(block))
    }

    /// Removes a block of `bytes` bytes.
    pub fn remove_block(&self, number: u64, first: EntryId, bytes: usize) -> Result<(), StoreError> {
        self.check_writable()?;
        for part in 0..part_count(bytes) {
            self.delete(TreeId::Blocks, &part_key(number, first, part)?);
        }
        Ok(())
    }

    /// Removes the parts that a block no longer needs after shrinking from `before` to `bytes` bytes.
    pub fn remove_excess_parts(
        &self,
        number: u64,
        first: EntryId,
        bytes: usize,
        before: usize,
    ) -> Result<(), StoreError> {
        self.check_writable()?;
        for part in part_count(bytes)..part_count(before) {
            self.delete(TreeId::Blocks, &part_key(number, first, part)?);
        }
        Ok(())
    }

    /// Returns all blocks of a stream in order; see [`Store::blocks_between`].
    pub fn blocks_of(&self, number: u64) -> impl Iterator<Item = Result<(EntryId, Vec<u8>), StoreError>> + use<> {
        self.blocks_between(number, EntryId::MIN, None)
    }

    /// Returns the blocks of a stream whose first entry is from `from` on and before `end`, in order, each with the id
    /// in its key and all its parts joined. Skips parts without a first part, as a kill can leave them.
    pub fn blocks_between(
        &self,
        number: u64,
        from: EntryId,
        end: Option<EntryId>,
    ) -> impl Iterator<Item = Result<(EntryId, Vec<u8>), StoreError>> + use<> {
        let end = end.map_or(block_key(number.saturating_add(1), EntryId::MIN, 0), |end| block_key(number, end, 0));
        let mut rows = self.scan_between(TreeId::Blocks, &block_key(number, from, 0), &end).peekable();
        std::iter::from_fn(move || {
            loop {
                let (first, part, value) = match rows.next()? {
                    Ok((key, value)) => match parse_block_key(&key) {
                        Some((first, part)) => (first, part, value),
                        None => continue,
                    },
                    Err(error) => return Some(Err(error)),
                };
                if part != 0 {
                    continue;
                }
                let mut block = value.to_vec();
                while let Some(Ok((key, more))) = rows.peek() {
                    match parse_block_key(key) {
                        Some((of, part)) if of == first && part > 0 => block.extend_from_slice(more),
                        _ => break,
                    }
                    rows.next();
                }
                return Some(Ok((first, block)));
            }
        })
    }
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

/// Returns the number of parts that a block of `bytes` bytes is stored in.
fn part_count(bytes: usize) -> usize {
    bytes.div_ceil(VALUE_BYTES_MAX).max(1)
}

/// Returns the id and the part number in the key of a block.
pub(super) fn parse_block_key(key: &[u8]) -> Option<(EntryId, u16)> {
    let id: [u8; 16] = key.get(8..24)?.try_into().ok()?;
    let part: [u8; 2] = key.get(24..26)?.try_into().ok()?;
    Some((EntryId::from_be_bytes(id), u16::from_be_bytes(part)))
}
