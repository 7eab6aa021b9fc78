//! The spool: a local log with a name, for long outages and killed workers.
//!
//! ```text
//! folder  a session's folder: lock, session, position
//! keeper  the thread that syncs the log and returns space, away from the command's output
//! ```
//! Guarantees: output that was read from the command (within milliseconds) survives a kill of the worker; synced
//! data (at least every 200 ms) survives a power cut. Lines keep their numbers and their session, so that nothing
//! arrives twice.

mod folder;
mod keeper;

pub use folder::SpoolError;

pub(super) use folder::{SessionFolder, is_session_of, list_sessions};
pub(super) use keeper::{SpoolCloseOutcome, SpoolKeeper};

/// Parses a segment. Returns its number of lines and the size of its whole records. Exported for tests that
/// supply their own bytes.
pub fn scan_segment(bytes: &[u8]) -> (u64, usize) {
    crate::worker::local_log::scan_segment(bytes)
}
