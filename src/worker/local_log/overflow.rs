//! Output that is skipped because the log has no room.

use super::tail::OutputTail;
use crate::model::{Channel, Timestamp};

/// Bytes of each channel that survive skipping.
const TAIL_BYTES_MAX: usize = 64 * 1024;

/// Output that is being skipped.
#[derive(Debug)]
pub(super) struct Skipping {
    pub(super) tails: [OutputTail; 3],
    pub(super) since: Timestamp,
    /// Internal lines that were accepted since then.
    pub(super) internal: usize,
}

impl Skipping {
    pub(super) fn new(since: Timestamp) -> Self {
        Self { tails: [(); 3].map(|()| OutputTail::new(TAIL_BYTES_MAX)), since, internal: 0 }
    }

    /// Returns the lines of each channel that are missing so far.
    pub(super) fn counts(&self) -> [u64; 3] {
        Channel::ALL.map(|channel| self.tails[channel as usize].missing())
    }

    /// Returns the lines of all channels that are missing so far.
    pub(super) fn lines(&self) -> u64 {
        self.counts().iter().sum()
    }
}
