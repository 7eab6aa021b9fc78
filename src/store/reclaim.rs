//! Returning the space of removed blocks to the file system: dead segments are removed, and the live blocks of mostly
//! dead ones are copied to another segment.
//!
//! ```text
//! copy the live blocks -> sync the copies -> their new positions in the log -> checkpoint -> remove the old segment
//! ```
//!
//! A segment is removed only after a checkpoint, when sled has durably forgotten every position in it. A reader that
//! found a position before looks it up again.

use std::sync::atomic::Ordering;

use super::block_rows::stored_position;
use super::segments::SegmentState;
use super::tree_id::TreeId;
use super::{Store, StoreError};

/// Maximum bytes of blocks that are copied at once.
const COPIED_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Segments of less than this part of the usual size are merged, once there are [`SMALL_SEGMENTS_MAX`].
const SMALL_SEGMENT_PART: u64 = 8;
const SMALL_SEGMENTS_MAX: usize = 16;
/// Bytes removed since the last time before which nothing is reclaimed in passing.
const FREED_BYTES_MIN: u64 = 1024 * 1024;
/// Part of all segments that must have been removed since the last time.
const FREED_PART: u64 = 8;

impl Store {
    /// Returns the bytes of all segments.
    pub(super) fn segment_bytes(&self) -> u64 {
        self.segments.states().iter().map(|state| state.bytes).sum()
    }

    /// Frees the space of removed blocks if much was removed since the last time.
    pub fn reclaim_if_due(&self) -> Result<(), StoreError> {
        let freed = self.freed_bytes.load(Ordering::Acquire);
        if freed >= FREED_BYTES_MIN.max(self.segment_bytes() / FREED_PART) { self.reclaim(false) } else { Ok(()) }
    }

    /// Makes a checkpoint and frees the space of removed blocks; `all` includes those in the segment that is being
    /// written, as does a full disk.
    ///
    /// # Errors
    /// The store accepts no writes, or the disk failed.
    pub fn reclaim(&self, all: bool) -> Result<(), StoreError> {
        let _one = self.reclaiming.lock();
        self.check_writable()?;
        self.freed_bytes.store(0, Ordering::Release);
        let is_full = self.space.unavailable().is_some_and(|reason| reason.is_full());
        let all = all || is_full;
        self.checkpoint_with(&mut self.live.lock(), all)?;
        self.remove_dead_segments()?;
        let victims = self.mostly_dead_segments()?;
        let copied_bytes: u64 = victims.iter().map(|(_, live)| live).sum();
        // Also on a full disk, within what is kept free: it frees more than it takes.
        if victims.is_empty() || self.free_bytes() < 2 * copied_bytes + FREED_BYTES_MIN {
            return Ok(());
        }
        let victims: Vec<u64> = victims.iter().map(|(state, _)| state.number).collect();
        self.move_live_blocks(&victims)?;
        self.checkpoint()?;
        self.remove_dead_segments()
    }

    /// Returns the segments that no frame of the log needs, with the bytes of their live blocks.
    fn applied_segments(&self) -> Result<Vec<(SegmentState, u64)>, StoreError> {
        let applied = self.applied_frame.load(Ordering::Acquire);
        let trees = self.trees()?;
        let mut live = self.live.lock();
        let live = live.count(trees.of(TreeId::Blocks))?;
        let states = self.segments.states().into_iter();
        let applied = states.filter(|state| state.last_frame.is_some_and(|frame| frame <= applied));
        Ok(applied.map(|state| (state, live.get(&state.number).copied().unwrap_or(0))).collect())
    }

    fn remove_dead_segments(&self) -> Result<(), StoreError> {
        for (state, _) in self.applied_segments()?.into_iter().filter(|(_, live)| *live == 0) {
            if cfg!(debug_assertions) && self.refers_to(state.number)? {
                let error = StoreError::Damaged {
                    at: self.segments.path(state.number).display().to_string(),
                    what: "a segment without live blocks is referred to".to_owned(),
                };
                self.poison(&error);
                return Err(error);
            }
            self.live.lock().remove(state.number);
            self.segments.remove(state.number).map_err(StoreError::Sync)?;
            self.counters.removed_segments.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Reports whether a row of sled refers to a segment. Reads all rows.
    fn refers_to(&self, segment: u64) -> Result<bool, StoreError> {
        for row in self.trees()?.of(TreeId::Blocks).iter() {
            let (key, value) = row?;
            if stored_position(&key, &value).is_some_and(|at| at.segment == segment) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the segments whose live blocks should be copied, those with the fewest first, with their live bytes.
    fn mostly_dead_segments(&self) -> Result<Vec<(SegmentState, u64)>, StoreError> {
        let (percent, usual) = (self.options.segment_dead_percent, self.options.segment_bytes);
        let mut found: Vec<_> = self.applied_segments()?.into_iter().filter(|(_, live)| *live > 0).collect();
        let is_small = |state: &SegmentState| state.bytes < usual / SMALL_SEGMENT_PART;
        let merge_small = found.iter().filter(|(state, _)| is_small(state)).count() > SMALL_SEGMENTS_MAX;
        found.retain(|(state, live)| {
            let dead = state.bytes.saturating_sub(*live);
            dead * 100 >= state.bytes * percent || (merge_small && is_small(state))
        });
        found.sort_by_key(|(state, live)| live * 100 / state.bytes.max(1));
        let mut left = COPIED_BYTES_MAX;
        let fits = |(state, live): (SegmentState, u64)| {
            left = left.checked_sub(live)?;
            Some((state, live))
        };
        Ok(found.into_iter().map_while(fits).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EntryId;
    use crate::store::{StoreOptions, StreamRecord};
    use std::path::Path;

    const BLOCK_BYTES: usize = 4_000;

    fn open(folder: &Path) -> Store {
        let options = StoreOptions { segment_bytes: 100_000, ..StoreOptions::default() };
        Store::open(folder, options).unwrap()
    }

    fn block(n: u64) -> Vec<u8> {
        n.to_be_bytes().repeat(BLOCK_BYTES / 8)
    }

    /// Stores a hundred blocks of a stream.
    fn fill(store: &Store) {
        store.put_stream(b"one", &StreamRecord { number: 1, ..StreamRecord::default() }).unwrap();
        for n in 1..=100 {
            store.put_new_block(1, EntryId::new(n, 0), &block(n)).unwrap();
            store.flush().unwrap();
        }
    }

    fn remove(store: &Store, from: u64, to: u64) {
        for n in from..=to {
            store.remove_block(1, EntryId::new(n, 0), BLOCK_BYTES).unwrap();
        }
        store.commit().unwrap();
    }

    fn check(store: &Store, wanted: impl Iterator<Item = u64>) {
        let found: Vec<_> = store.blocks_of(1).map(Result::unwrap).collect();
        assert_eq!(found, wanted.map(|n| (EntryId::new(n, 0), block(n))).collect::<Vec<_>>());
    }

    #[test]
    fn dead_segments_are_removed_after_a_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        fill(&store);
        store.checkpoint().unwrap();
        let before = store.usage().segments;
        assert!(before >= 4, "{before}");
        remove(&store, 1, 60);
        assert!(store.usage().segments >= before, "sled still has their positions");
        store.reclaim_if_due().unwrap();
        assert!(store.usage().segments >= before, "little was removed");
        store.reclaim(false).unwrap();
        assert_eq!(store.usage().removed_segments, 2, "{:?}", store.usage());
        check(&store, 61..=100);
        drop(store);
        check(&open(folder.path()), 61..=100);
    }

    #[test]
    fn live_blocks_of_mostly_dead_segments_are_moved() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        fill(&store);
        store.checkpoint().unwrap();
        for n in (1..=100).filter(|n| n % 10 != 0) {
            store.remove_block(1, EntryId::new(n, 0), BLOCK_BYTES).unwrap();
        }
        store.commit().unwrap();
        store.reclaim(true).unwrap();
        let usage = store.usage();
        // Ten blocks, and a new segment with the removals of the others and their moves.
        assert!(usage.segments == 2 && usage.segment_bytes < 150_000 && usage.copied_bytes > 0, "{usage:?}");
        check(&store, (10..=100).step_by(10));
        // Twice: a move of what was moved.
        remove(&store, 1, 70);
        store.reclaim(true).unwrap();
        check(&store, (80..=100).step_by(10));
        drop(store);
        let store = open(folder.path());
        check(&store, (80..=100).step_by(10));
        store.remove_stream(b"one", 1).unwrap();
        store.commit().unwrap();
        store.reclaim(true).unwrap();
        assert_eq!(store.usage().segments, 0, "nothing is live");
    }

    #[test]
    fn move_does_not_undo_a_change_made_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        fill(&store);
        store.checkpoint_with(&mut store.live.lock(), true).unwrap();
        let victims: Vec<u64> = store.segments.states().iter().map(|state| state.number).collect();
        // The copies are made while these are not committed yet, or known to the log only.
        remove(&store, 1, 40);
        store.put_block(1, EntryId::new(50, 0), &block(7)).unwrap();
        store.move_live_blocks(&victims).unwrap();
        assert_eq!(store.block(1, EntryId::new(50, 0), BLOCK_BYTES).unwrap(), Some(block(7)));
        store.commit().unwrap();
        store.reclaim(true).unwrap();
        let wanted: Vec<_> = (41..=100).map(|n| (EntryId::new(n, 0), block(if n == 50 { 7 } else { n }))).collect();
        assert_eq!(store.blocks_of(1).map(Result::unwrap).collect::<Vec<_>>(), wanted);
        drop(store);
        assert_eq!(open(folder.path()).blocks_of(1).map(Result::unwrap).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn blocks_of_earlier_formats_are_read_replaced_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let id = |n| EntryId::new(n, 0);
        let long = [b"B\x02".as_slice(), &[b'P'; 20_000]].concat();
        for n in [1, 2, 3] {
            for (part, bytes) in long.chunks(super::super::VALUE_BYTES_MAX).enumerate() {
                let key = super::super::block_rows::block_key(1, id(n), u16::try_from(part).unwrap());
                store.trees().unwrap().of(TreeId::Blocks).insert(key, bytes).unwrap();
            }
        }
        for n in [1, 2, 3] {
            assert_eq!(store.block(1, id(n), long.len()).unwrap().as_ref(), Some(&long));
        }
        assert!(store.blocks_of(1).map(Result::unwrap).eq([1, 2, 3].map(|n| (id(n), long.clone()))));
        store.put_block(1, id(1), &block(1)).unwrap();
        store.remove_excess_parts(1, id(1), long.len()).unwrap();
        store.remove_block(1, id(2), long.len()).unwrap();
        store.commit().unwrap();
        store.reclaim(true).unwrap();
        assert!(store.blocks_of(1).map(Result::unwrap).eq([(id(1), block(1)), (id(3), long.clone())]));
        store.remove_blocks(1).unwrap();
        store.commit().unwrap();
        store.checkpoint().unwrap();
        assert_eq!(store.trees().unwrap().of(TreeId::Blocks).len(), 0, "no part remains");
    }

    #[test]
    fn flipped_bit_of_a_block_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        fill(&store);
        drop(store);
        let path = folder.path().join("segment.0000000001");
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(8).position(|word| word == 5u64.to_be_bytes()).unwrap();
        bytes[at + 100] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let store = open(folder.path());
        let faults: Vec<_> = store.blocks_of(1).filter_map(Result::err).collect();
        assert!(
            matches!(&faults[..], [StoreError::Damaged { what, .. }] if what == "its checksum is wrong"),
            "{faults:?}"
        );
        assert_eq!(store.blocks_of(1).filter(Result::is_ok).count(), 99);
    }
}
