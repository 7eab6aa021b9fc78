//! The spool: unconfirmed lines on disk, for long outages and killed workers.
//!
//! ```text
//! record  the binary format: a pure codec
//! folder  a session's folder: segments, lock, contents
//! thread  writes and reads it, away from the child's output path
//! unsent  sessions left by earlier workers: listing and sending
//! ```
//! Guarantees: a written line (within milliseconds, unless the disk is slower than the output) survives
//! a kill of the worker; synced data (every 200 ms) survives a power cut. A full or slow disk never
//! blocks the child: the rules of a worker without a spool apply then, and a message reports it.
//! Lines keep their numbers and their session, so that nothing arrives twice.

mod folder;
mod record;
mod thread;
mod unsent;

use std::path::PathBuf;

use crate::model::limits::SPOOL_BYTES_MAX;

pub use folder::SpoolError;
pub use unsent::{SendOutcome, UnsentSession, list, scan_segment, send};

pub(super) use folder::SessionFolder;
pub(super) use record::{RecordedEnd, SpoolRecord, encode, encode_line};
pub(super) use thread::{SpoolCloseOutcome, SpoolThread};
pub(super) use unsent::count_unsent;

/// Location and size of the disk buffer for unconfirmed lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolOptions {
    /// Folder; created if missing. Several workers can share it.
    pub dir: PathBuf,
    /// Maximum bytes on disk per task; beyond it, lines are dropped.
    pub bytes_max: u64,
}

impl SpoolOptions {
    /// Returns the default options for this folder.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), bytes_max: SPOOL_BYTES_MAX }
    }
}

#[cfg(test)]
mod tests;
