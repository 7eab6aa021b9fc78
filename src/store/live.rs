//! The live bytes of segments: those of blocks to which rows of sled refer.

use std::collections::HashMap;

use super::StoreError;
use super::block_rows::stored_position;

/// Bytes of the blocks to which rows of sled refer, by segment. They are counted on first use.
#[derive(Debug, Default)]
pub(super) struct LiveBlocks(Option<HashMap<u64, u64>>);

/// The change of the live bytes by a checkpoint.
#[derive(Debug, Default)]
pub(super) struct LiveChange {
    added: HashMap<u64, u64>,
    removed: HashMap<u64, u64>,
}

impl LiveChange {
    /// Adds the change of a block's row from one value to another.
    pub(super) fn add(&mut self, key: &[u8], before: Option<&[u8]>, after: Option<&[u8]>) {
        let position = |value: &[u8]| stored_position(key, value);
        if let Some(at) = before.and_then(position) {
            *self.removed.entry(at.segment).or_default() += u64::from(at.bytes);
        }
        if let Some(at) = after.and_then(position) {
            *self.added.entry(at.segment).or_default() += u64::from(at.bytes);
        }
    }
}

impl LiveBlocks {
    /// Returns the live bytes of each segment, counting the rows of sled unless they are known.
    pub(super) fn count(&mut self, blocks: &sled::Tree) -> Result<&HashMap<u64, u64>, StoreError> {
        match &mut self.0 {
            Some(live) => Ok(live),
            none => {
                let mut change = LiveChange::default();
                for row in blocks.iter() {
                    let (key, value) = row?;
                    change.add(&key, None, Some(&value));
                }
                Ok(none.insert(change.added))
            }
        }
    }

    /// Applies the change by a checkpoint.
    pub(super) fn apply(&mut self, change: LiveChange) {
        let Some(live) = &mut self.0 else { return };
        for (segment, bytes) in change.added {
            *live.entry(segment).or_default() += bytes;
        }
        for (segment, bytes) in change.removed {
            if let Some(of) = live.get_mut(&segment) {
                *of = of.saturating_sub(bytes);
            }
        }
    }

    /// Forgets the counts, which a failed checkpoint has left unknown.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }

    /// Forgets a segment that was removed.
    pub(super) fn remove(&mut self, segment: u64) {
        if let Some(live) = &mut self.0 {
            live.remove(&segment);
        }
    }
}
