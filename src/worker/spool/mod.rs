//! The spool: lines that the server has not confirmed, on disk, for an outage of hours and for a
//! worker that is killed.
//!
//! ```text
//! record  the bytes: a pure codec
//! folder  a session's folder: segments, lock, what is left
//! thread  writes and reads it, off the way of the child's output
//! left    what earlier workers have left in a spool: listed, and sent
//! ```
//! What is promised: a line that was written (within milliseconds, unless the disk is slower than the
//! output) survives a kill of the worker; what was synced (every 200 ms) survives a power cut. A disk
//! that is full or slow never makes the child wait: then the rules of a worker without a spool hold,
//! and a note says so. Lines keep their numbers and their session, so that nothing arrives twice.

mod folder;
mod left;
mod record;
mod thread;

use std::path::PathBuf;

use crate::model::limits::SPOOL_BYTES_MAX;

pub use folder::SpoolError;
pub use left::{LeftSession, Sent, list, scan_segment, send};

pub(super) use folder::Folder;
pub(super) use left::count;
pub(super) use record::{Record, SaidEnd, encode, encode_line};
pub(super) use thread::{Closed, SpoolThread};

/// Where unconfirmed lines are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolOptions {
    /// The folder; made if it is not there. Several workers may use it at once.
    pub dir: PathBuf,
    /// Bytes on disk for one task; then the drop rule.
    pub bytes_max: u64,
}

impl SpoolOptions {
    /// The defaults in this folder.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), bytes_max: SPOOL_BYTES_MAX }
    }
}

#[cfg(test)]
mod tests;
