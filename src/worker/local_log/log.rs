//! The log itself: segments in order, the positions of the writers and of what the server has confirmed.
//!
//! ```text
//!   returned to the system   history   in flight         waiting            end
//! ..........................|---------|-----------------|------------------|
//!                           ^ released                  ^ the reader        ^ the writers
//! ```

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::cursor::LogCursor;
use super::overflow::Skipping;
use super::record::{self, HEAD_BYTES, LogRecordKind};
use super::segment::{Segment, SegmentSource};
use crate::model::limits::LOCAL_LOG_MEMORY_BYTES;
use crate::model::{Overflow, Timestamp};
use crate::worker::NoteFn;

/// Segments per limit: the unit in which confirmed output is returned to the system.
const SEGMENTS_PER_LIMIT: u64 = 8;
/// Smallest and largest segment.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 16 * 1024..=32 * 1024 * 1024;
/// Size of a segment in memory.
const MEMORY_SEGMENT_BYTES: u64 = 1024 * 1024;
/// Bytes of output that stay in memory while the file cannot be written.
const RESERVE_BYTES: u64 = 1024 * 1024;
/// Delay before a file that could not be written is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The log of one task in its worker. Writers only copy to the page cache: they never wait for the network or for
/// a sync, only, if [`Overflow::Wait`] is set, for room.
pub(in crate::worker) struct LocalLog {
    pub(super) state: Mutex<LogState>,
    /// Wakes writers that wait for room.
    pub(super) room: Condvar,
    /// Wakes the thread that keeps a named log.
    pub(super) keeper: Condvar,
    /// Records have checksums, because another process may read them.
    pub(super) checked: bool,
    notes: NoteFn,
}

/// The state of the log, locked for one record.
pub(super) struct LogState {
    /// Segments in order; each ends where the next one starts.
    pub(super) segments: VecDeque<Arc<Segment>>,
    /// Position after the last record.
    pub(super) end: u64,
    /// Everything before this position is durable at the server, and not kept.
    pub(super) released: u64,
    source: SegmentSource,
    pub(super) checked: bool,
    segment_bytes: u64,
    pub(super) bytes_max: u64,
    memory_max: u64,
    /// Time of the last failed write, until one succeeds.
    pub(super) failed_at: Option<Instant>,
    pub(super) overflow: Overflow,
    pub(super) skipping: Option<Skipping>,
    /// Lines that the log lacks, without those of `skipping`.
    pub(super) skipped_lines: u64,
    /// The end was written; later output is ignored.
    pub(super) ended: bool,
    /// Nobody will read the log: output is only counted.
    pub(super) discarding: bool,
    /// Writers no longer wait for room.
    pub(super) waits_ended: bool,
    /// Named log: state of the reader at the first line that is kept.
    pub(super) confirmed: Option<LogCursor>,
    /// Lines before this state are confirmed, and kept only as history.
    pub(super) history_end: Option<LogCursor>,
    /// Position of the first line that can be read again.
    pub(super) kept_from: u64,
    /// Named log: everything before this position is synced.
    pub(super) synced: u64,
    /// Named log: its keeper is to end, and whether everything was delivered.
    pub(super) closing: Option<bool>,
    /// Messages to pass on once the lock is free.
    pub(super) notes: Vec<String>,
    pub(super) limit_noted: bool,
}

/// There is no room for a record.
pub(super) struct LogFull;

/// The result of reading the log.
pub(super) enum LogRead {
    /// There are more bytes in the buffer.
    Bytes,
    /// The log ends here for now.
    End,
    /// An earlier process did not complete the segment here, or it was removed.
    Missing {
        /// Start of the next segment, or the end of the log.
        until: u64,
    },
}

impl LocalLog {
    /// Creates a log whose segments come from `source`.
    pub(super) fn new(source: SegmentSource, bytes_max: u64, overflow: Overflow, notes: NoteFn) -> Self {
        let checked = matches!(source, SegmentSource::Named(_));
        let memory_max = if source == SegmentSource::Memory { LOCAL_LOG_MEMORY_BYTES } else { RESERVE_BYTES };
        let segment_bytes = (bytes_max / SEGMENTS_PER_LIMIT).clamp(*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end());
        let state = LogState {
            segments: VecDeque::new(),
            end: 0,
            released: 0,
            source,
            checked,
            segment_bytes,
            bytes_max,
            memory_max,
            failed_at: None,
            overflow,
            skipping: None,
            skipped_lines: 0,
            ended: false,
            discarding: false,
            waits_ended: false,
            confirmed: None,
            history_end: None,
            kept_from: 0,
            synced: 0,
            closing: None,
            notes: Vec::new(),
            limit_noted: false,
        };
        Self { state: Mutex::new(state), room: Condvar::new(), keeper: Condvar::new(), checked, notes }
    }

    /// Reads up to `length` bytes from the position `at` on into `buffer`.
    pub(super) fn read(&self, at: u64, length: usize, buffer: &mut Vec<u8>) -> io::Result<LogRead> {
        let state = self.state.lock();
        if at >= state.end {
            return Ok(LogRead::End);
        }
        let index = state.segments.partition_point(|segment| segment.start <= at);
        let limit = state.segments.get(index).map_or(state.end, |next| next.start);
        let segment = index.checked_sub(1).and_then(|index| state.segments.get(index)).cloned();
        drop(state);
        let length = usize::try_from(limit - at).unwrap_or(usize::MAX).min(length);
        let read = segment.map_or(Ok(0), |segment| segment.read(at, length, buffer))?;
        Ok(if read > 0 { LogRead::Bytes } else { LogRead::Missing { until: limit } })
    }

    /// Returns the start of the first segment after the position `at`.
    pub(super) fn next_segment(&self, at: u64) -> Option<u64> {
        self.state.lock().segments.iter().map(|segment| segment.start).find(|start| *start > at)
    }

    /// Reports whether less than half of the limit is left.
    pub(in crate::worker) fn is_short(&self) -> bool {
        let state = self.state.lock();
        state.room() < state.bytes_max / 2
    }

    /// Returns the position after the last record.
    pub(in crate::worker) fn end(&self) -> u64 {
        self.state.lock().end
    }

    /// Returns the number of lines that the log lacks so far.
    pub(in crate::worker) fn skipped_lines(&self) -> u64 {
        let state = self.state.lock();
        state.skipped_lines + state.skipping.as_ref().map_or(0, Skipping::lines)
    }

    /// Passes pending messages to the user, without the lock.
    pub(super) fn unlock(&self, mut state: MutexGuard<'_, LogState>) {
        let notes = std::mem::take(&mut state.notes);
        drop(state);
        notes.iter().for_each(|note| (self.notes)(note));
    }
}

impl LogState {
    /// Appends one record. A `critical` one has no limit: there are only a few.
    pub(super) fn append(
        &mut self,
        kind: LogRecordKind,
        at: Timestamp,
        body: &[u8],
        critical: bool,
    ) -> Result<(), LogFull> {
        let head = record::head(kind, at, body, self.checked);
        let size = (HEAD_BYTES + body.len()) as u64;
        loop {
            let segment = self.place(size, critical)?;
            match segment.append(self.end, [&head, body]) {
                Ok(()) => {
                    self.end += size;
                    if !segment.is_memory() {
                        self.failed_at = None;
                    }
                    return Ok(());
                }
                Err(error) => {
                    if segment.start == self.end {
                        self.segments.pop_back();
                        segment.remove();
                    }
                    self.write_failed(&error);
                }
            }
        }
    }

    /// Returns the bytes that the limit still allows.
    pub(super) fn room(&self) -> u64 {
        self.bytes_max.saturating_sub(self.end - self.released)
    }

    /// Returns the segment to append to, a new one if necessary.
    fn place(&mut self, size: u64, critical: bool) -> Result<Arc<Segment>, LogFull> {
        let may_try_file = self.failed_at.is_none_or(|at| at.elapsed() >= RETRY_INTERVAL);
        let memory_allowed = critical || self.memory_bytes() + size <= self.memory_max;
        if let Some(last) = self.segments.back() {
            let used = self.end - last.start;
            let fits = |bytes_max: u64| used == 0 || used + size <= bytes_max;
            let usable = if last.is_memory() {
                let stay = self.source == SegmentSource::Memory || !may_try_file;
                stay && memory_allowed && fits(MEMORY_SEGMENT_BYTES)
            } else {
                may_try_file && fits(self.segment_bytes)
            };
            if usable {
                return Ok(Arc::clone(last));
            }
        }
        let mut created = None;
        if self.source != SegmentSource::Memory && may_try_file {
            match self.source.create(self.end) {
                Ok(segment) => created = Some(segment),
                Err(error) => self.write_failed(&error),
            }
        }
        let segment = match created {
            Some(segment) => segment,
            None if memory_allowed => Segment::in_memory(self.end),
            None => return Err(LogFull),
        };
        let segment = Arc::new(segment);
        self.segments.push_back(Arc::clone(&segment));
        Ok(segment)
    }

    /// Creates a file for the segment that starts at this position.
    pub(super) fn create_segment(&self, start: u64) -> io::Result<Segment> {
        self.source.create(start)
    }

    /// Appends one record to the last file, beyond all limits.
    pub(super) fn append_to_file(&mut self, kind: LogRecordKind, at: Timestamp, body: &[u8]) -> io::Result<()> {
        let head = record::head(kind, at, body, self.checked);
        let last = match self.segments.back() {
            Some(last) => Arc::clone(last),
            None => {
                let created = Arc::new(self.create_segment(self.end)?);
                self.segments.push_back(Arc::clone(&created));
                created
            }
        };
        last.append(self.end, [&head, body])?;
        self.end += (HEAD_BYTES + body.len()) as u64;
        Ok(())
    }

    fn memory_bytes(&self) -> u64 {
        let ends = self.segments.iter().skip(1).map(|next| next.start).chain([self.end]);
        let sizes = self.segments.iter().zip(ends).filter(|(segment, _)| segment.is_memory());
        sizes.map(|(segment, end)| end - segment.start).sum()
    }

    fn write_failed(&mut self, error: &io::Error) {
        if self.failed_at.replace(Instant::now()).is_none() {
            let (SegmentSource::Anonymous(folder) | SegmentSource::Named(folder)) = &self.source else { return };
            let note = format!(
                "cannot write the local log in {}: {error}; free some space, or output that the server does not take \
                 in time is skipped",
                folder.display()
            );
            self.notes.push(note);
        }
    }

    #[cfg(test)]
    pub(super) fn write_failed_for_test(&mut self) {
        self.write_failed(&io::ErrorKind::StorageFull.into());
    }

    /// Returns everything before the position `to` to the system.
    pub(super) fn release(&mut self, to: u64) {
        self.released = self.released.max(to.min(self.end));
        while self.segments.get(1).is_some_and(|next| next.start <= self.released) {
            if let Some(segment) = self.segments.pop_front() {
                segment.remove();
            }
        }
    }
}

impl std::fmt::Debug for LocalLog {
    /// Formats without the output.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalLog").field("checked", &self.checked).finish_non_exhaustive()
    }
}
