//! Checkpoints: sled receives the commits that only the log has.
//!
//! ```text
//! freeze the recent commits -> sync the log -> sled, in key order -> number of the last frame -> flush and sync sled
//! ```
//!
//! sled keeps a prefix of its writes. After a kill during a checkpoint it may thus have some rows of the commits but not
//! the number, and all of these commits are replayed. Only after a checkpoint are the rows of these commits in sled for
//! good: what they removed can then be freed.

use std::sync::atomic::Ordering;

use super::live::LiveBlocks;
use super::pending::FrozenCommits;
use super::{Store, StoreError};

/// Bytes of the log that sled may lack before a checkpoint is due: about as much is replayed after a kill.
/// Rows in memory before a checkpoint is due.
const LAG_ROWS: usize = if cfg!(test) { 2_000 } else { 100_000 };
/// Bytes of removed blocks that are worth a checkpoint on a full disk.
const FREED_BYTES_FULL: u64 = 64 * 1024;
/// Multiple of these limits at which commits wait for a checkpoint.
const LAG_FACTOR_MAX: usize = 3;

impl Store {
    /// Reports whether [`Store::reclaim`] should be called: enough commits wait for sled, or the disk is full and blocks
    /// were removed.
    pub fn needs_checkpoint(&self) -> bool {
        let freed = || self.freed_bytes.load(Ordering::Acquire) > FREED_BYTES_FULL;
        self.lag_exceeds(1) || (freed() && self.space.unavailable().is_some_and(|reason| reason.is_full()))
    }

    /// Reports whether commits must wait for a checkpoint.
    pub(super) fn must_checkpoint(&self) -> bool {
        self.lag_exceeds(LAG_FACTOR_MAX)
    }

    fn lag_exceeds(&self, factor: usize) -> bool {
        let bytes = self.unapplied_bytes.load(Ordering::Acquire);
        bytes > self.options.segment_bytes.saturating_mul(factor as u64)
            || self.pending.unapplied_rows() > LAG_ROWS * factor
    }

    /// Makes sled receive all commits so far, durably.
    ///
    /// # Errors
    /// sled failed: the store accepts no writes until it was reopened.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        self.checkpoint_with(&mut self.live.lock(), false)
    }

    /// As [`Self::checkpoint`]; `seal` ends the segment with the last of these commits.
    pub(super) fn checkpoint_with(&self, live: &mut LiveBlocks, seal: bool) -> Result<(), StoreError> {
        self.check_writable()?;
        if let Some(failed) = self.pending.frozen() {
            self.apply_frozen(live, &failed)?;
        }
        let (frozen, file) = {
            let mut log = self.log.lock();
            if seal {
                log.seal().map_err(|error| self.unavailable_or_poisoned(error))?;
            }
            self.unapplied_bytes.store(0, Ordering::Release);
            (self.pending.freeze(log.next() - 1), log.active_file())
        };
        // A power cut must not remove from the log what sled has.
        if let Some(file) = file {
            self.sync_file(&file)?;
        }
        self.apply_frozen(live, &frozen)
    }

    fn apply_frozen(&self, live: &mut LiveBlocks, frozen: &FrozenCommits) -> Result<(), StoreError> {
        if !frozen.batch.is_empty() {
            self.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
            match self.trees().and_then(|trees| trees.apply_durably(frozen)) {
                Ok(change) => live.apply(change),
                Err(error) => {
                    live.forget();
                    self.sled_failed(&error);
                    return Err(error);
                }
            }
        }
        self.set_applied(frozen);
        Ok(())
    }

    /// Records that sled has the frozen commits.
    pub(super) fn set_applied(&self, frozen: &FrozenCommits) {
        self.pending.set_applied();
        self.applied_frame.store(frozen.frame, Ordering::Release);
    }

    /// Makes a last checkpoint, so that the next start has nothing to replay.
    pub(super) fn final_checkpoint(&self) {
        if self.check_writable().is_err() {
            return;
        }
        if let Err(error) = self.checkpoint_with(&mut self.live.lock(), true) {
            tracing::error!(%error, "checkpoint failed; the next start replays the last commits");
        }
    }
}
