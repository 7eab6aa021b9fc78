//! The spool: a local log with a name, for long outages and killed workers.
//!
//! ```text
//! folder  a session's folder: lock, session, position
//! keeper  the thread that syncs the log and returns space, away from the command's output
//! unsent  sessions left by earlier workers: listing and sending
//! ```
//! Guarantees: output that was read from the command (within milliseconds) survives a kill of the worker; synced
//! data (at least every 200 ms) survives a power cut. Lines keep their numbers and their session, so that nothing
//! arrives twice.

mod folder;
mod keeper;
mod unsent;

pub use folder::SpoolError;
pub use unsent::{SendOutcome, UnsentSession, list, scan_segment, send};

pub(super) use folder::SessionFolder;
pub(super) use keeper::{SpoolCloseOutcome, SpoolKeeper};
pub(super) use unsent::count_unsent;
