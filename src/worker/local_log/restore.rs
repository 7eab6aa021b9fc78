//! A log that an earlier process left in a session's folder.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::cursor::LogCursor;
use super::log::LocalLog;
use super::record::{self, HEAD_BYTES, NextRecord};
use super::segment::{Segment, SegmentSource, segment_start};
use crate::model::Overflow;
use crate::worker::NoteFn;

/// Bytes per read.
const READ_BYTES: usize = 512 * 1024;

/// The space that a log takes, by the positions in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) struct LogSpace {
    /// Position of its first byte.
    pub(in crate::worker) start: u64,
    /// Position after its last record.
    pub(in crate::worker) end: u64,
}

/// Opens the log in this folder. Its last segment is cut after the last whole record, on the disk only if the log
/// is to be `continued`.
///
/// # Errors
/// A file cannot be read or is no segment.
pub(in crate::worker) fn restore(folder: &Path, continued: bool, notes: NoteFn) -> io::Result<LocalLog> {
    let mut starts = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        starts.extend(name.to_str().and_then(segment_start));
    }
    starts.sort_unstable();
    let log = LocalLog::new(SegmentSource::Named(folder.to_owned()), u64::MAX, Overflow::Skip, notes);
    let mut state = log.state.lock();
    for start in starts {
        let path = super::segment::segment_path(folder, start);
        let opened = Segment::open(&path, start)?;
        let other = || io::Error::new(io::ErrorKind::InvalidData, format!("{} is no segment", path.display()));
        let (segment, bytes) = opened.ok_or_else(other)?;
        state.end = start.saturating_add(bytes).max(state.end);
        state.segments.push_back(Arc::new(segment));
    }
    if let Some(last) = state.segments.back().cloned() {
        state.end = last.start + valid_bytes(&last, state.end - last.start)?;
        if continued {
            last.truncate(state.end)?;
        }
    }
    state.released = state.segments.front().map_or(0, |first| first.start);
    state.synced = state.end;
    drop(state);
    Ok(log)
}

/// Returns the size of the whole records in a segment of this size.
fn valid_bytes(segment: &Segment, bytes: u64) -> io::Result<u64> {
    let (mut buffer, mut from, mut read, mut valid) = (Vec::new(), 0, 0, 0);
    loop {
        match record::next(buffer.get(from..).unwrap_or_default(), true) {
            NextRecord::Record(record) => {
                from += HEAD_BYTES + record.body.len();
                valid += (HEAD_BYTES + record.body.len()) as u64;
            }
            NextRecord::Incomplete if read < bytes => {
                buffer.drain(..from);
                from = 0;
                let length = usize::try_from(bytes - read).unwrap_or(usize::MAX).min(READ_BYTES);
                match segment.read(segment.start + read, length, &mut buffer)? {
                    0 => return Ok(valid),
                    more => read += more as u64,
                }
            }
            NextRecord::Incomplete | NextRecord::Corrupt => return Ok(valid),
        }
    }
}

impl LocalLog {
    /// Returns the positions of its first and last byte.
    pub(in crate::worker) fn space(&self) -> LogSpace {
        let state = self.state.lock();
        LogSpace { start: state.segments.front().map_or(state.end, |first| first.start), end: state.end }
    }
}

impl LogCursor {
    /// Creates the cursor for a log whose position was not recorded.
    pub(in crate::worker) fn at_start(space: LogSpace) -> Self {
        let mut cursor = Self::default();
        cursor.advance(space.start);
        cursor
    }

    /// Reports whether this cursor, which was read from a file, is one of the log.
    pub(in crate::worker) fn is_in(&self, space: LogSpace) -> bool {
        (space.start..=space.end).contains(&self.offset) && self.is_valid()
    }
}
