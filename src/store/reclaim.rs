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
        let all = all || self.space.unavailable().is_some_and(|reason| reason.is_full());
        self.checkpoint_with(&mut self.live.lock(), all)?;
        self.remove_dead_segments()?;
        let victims = self.mostly_dead_segments()?;
        if victims.is_empty() || self.check_can_grow().is_err() {
            return Ok(());
        }
        let victims: Vec<u64> = victims.iter().map(|state| state.number).collect();
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

    /// Returns the segments whose live blocks should be copied, those with the fewest first.
    fn mostly_dead_segments(&self) -> Result<Vec<SegmentState>, StoreError> {
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
            Some(state)
        };
        Ok(found.into_iter().map_while(fits).collect())
    }
}
