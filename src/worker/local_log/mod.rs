//! The log of a task in its worker: everything that the command writes, until the server has confirmed it.
//!
//! ```text
//! record    the binary format: a pure codec
//! segment   a part of the log, in a file or in memory
//! log       segments in order, positions, space
//! append    the writers' side: output, internal lines, the end
//! overflow  what happens beyond the limit
//! history   acknowledged lines that are kept for a while
//! cursor    the state of reading: numbers, checksum, unterminated lines
//! keep      the side of the thread that keeps a named log
//! reader    the uplink's side: numbered lines, resending, counting
//! restore   a log that an earlier process left in a spool
//! ```
//! The writers append raw output, masked already, and only wait for a copy to the page cache. The uplink reads
//! it later, splits it into lines and numbers them. It keeps no copy of lines in flight: after a
//! reconnection it reads them again. Space is returned segment by segment once the server has confirmed it, or
//! later if the server asked to keep a history.
//!
//! Without a spool the files have no name and end with the process. With one they are named, have checksums and
//! are synced by a thread of their own, so that `spool send` can continue after a kill.

mod append;
mod cursor;
mod history;
#[cfg(test)]
mod history_tests;
mod keep;
mod log;
mod overflow;
mod reader;
mod record;
mod restore;
mod segment;
mod tail;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::model::limits::{LOCAL_LOG_BYTES_MAX, LOCAL_LOG_MEMORY_BYTES};
use crate::model::{Overflow, units};

pub(super) use cursor::{LineSink, LogCursor};
pub(super) use log::LocalLog;
pub(super) use reader::LogReader;
pub(super) use record::RecordedEnd;
pub(super) use restore::restore;

use self::segment::SegmentSource;
use super::NoteFn;

/// Share of the free space that a log may take by default.
const FREE_SPACE_SHARE: u64 = 4;
/// Smallest default limit.
const BYTES_MAX_LEAST: u64 = 1024 * 1024;

/// Location, size and overflow policy of the local log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalLogOptions {
    /// Spool: folder of a named log, which survives a kill of the worker; created if missing. Several workers can
    /// share it. Without it, the log ends with the process.
    pub spool: Option<PathBuf>,
    /// Maximum bytes of the log; by default 4 GiB or a quarter of the free space, whichever is smaller.
    pub bytes_max: Option<u64>,
    /// The policy for output beyond that.
    pub overflow: Overflow,
}

/// Creates a log without a name, in memory if no file can be created.
pub(super) fn anonymous(options: &LocalLogOptions, notes: NoteFn) -> LocalLog {
    let mut failure = None;
    for folder in temporary_folders() {
        let source = SegmentSource::Anonymous(folder.clone());
        match source.create(0) {
            Ok(_) => return LocalLog::new(source, bytes_max(options, &folder), options.overflow, notes),
            Err(error) => failure = failure.or_else(|| Some(format!("{}: {error}", folder.display()))),
        }
    }
    notes(&format!(
        "cannot create a file for the local log ({}); up to {} of output are kept in memory",
        failure.unwrap_or_default(),
        units::show_size(LOCAL_LOG_MEMORY_BYTES)
    ));
    let bytes_max = options.bytes_max.unwrap_or(LOCAL_LOG_MEMORY_BYTES).min(LOCAL_LOG_MEMORY_BYTES);
    LocalLog::new(SegmentSource::Memory, bytes_max, options.overflow, notes)
}

/// Creates a log in this folder of a session.
pub(super) fn named(options: &LocalLogOptions, folder: &Path, notes: NoteFn) -> LocalLog {
    LocalLog::new(SegmentSource::Named(folder.to_owned()), bytes_max(options, folder), options.overflow, notes)
}

fn bytes_max(options: &LocalLogOptions, folder: &Path) -> u64 {
    let free = || {
        let space = rustix::fs::statvfs(folder).ok()?;
        Some((space.f_bavail.saturating_mul(space.f_frsize) / FREE_SPACE_SHARE).max(BYTES_MAX_LEAST))
    };
    options.bytes_max.unwrap_or_else(|| free().unwrap_or(LOCAL_LOG_BYTES_MAX).min(LOCAL_LOG_BYTES_MAX))
}

/// Returns the folders for files without a name, best first: `/tmp` is often in memory.
fn temporary_folders() -> impl Iterator<Item = PathBuf> {
    let configured = std::env::var_os("TMPDIR").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    configured.into_iter().chain(["/var/tmp".into(), "/tmp".into()])
}

#[cfg(test)]
impl LocalLog {
    /// Creates a log in memory.
    pub(super) fn for_test(bytes_max: u64) -> Self {
        Self::new(SegmentSource::Memory, bytes_max, Overflow::Skip, std::sync::Arc::new(|_| {}))
    }
}

/// Parses a segment. Returns its number of lines and the size of its whole records.
pub(super) fn scan_segment(bytes: &[u8]) -> (u64, usize) {
    let magic = record::MAGIC.len();
    match bytes.strip_prefix(record::MAGIC) {
        Some(records) => {
            let (lines, valid) = record::scan(records, true);
            (lines, magic + valid)
        }
        None => (0, 0),
    }
}
