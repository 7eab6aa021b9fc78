//! The side of the thread that keeps a named log: see `spool/keeper`.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cursor::LogCursor;
use super::log::{LocalLog, LogState};
use super::record::{self, HEAD_BYTES, LogRecordKind, NextRecord};
use crate::model::{Channel, Timestamp};

/// Maximum time without a look at the log.
const IDLE_MAX: Duration = Duration::from_secs(10);

impl LocalLog {
    /// Waits for something to sync or to record. Returns whether the log was delivered, if it is to be closed.
    pub(in crate::worker) fn wait_keeper_work(&self) -> Option<bool> {
        let mut state = self.state.lock();
        while state.closing.is_none() && state.synced == state.end && state.confirmed.is_none() {
            self.keeper.wait_for(&mut state, IDLE_MAX);
        }
        state.closing
    }

    /// Waits until `until`, or until the log is to be closed.
    pub(in crate::worker) fn wait_closing(&self, until: Instant) {
        let mut state = self.state.lock();
        while state.closing.is_none() && !self.keeper.wait_until(&mut state, until).timed_out() {}
    }

    /// Ends the work of the keeper.
    pub(in crate::worker) fn close_keeper(&self, delivered: bool) {
        self.state.lock().closing.get_or_insert(delivered);
        self.keeper.notify_all();
    }

    /// Returns the state of reading that was confirmed since the last call.
    pub(in crate::worker) fn take_confirmed(&self) -> Option<LogCursor> {
        self.state.lock().confirmed.take()
    }

    /// Syncs everything that was written so far, and with `sync_names` the names of new segments.
    ///
    /// # Errors
    /// A sync failed; the same data is synced again next time.
    pub(in crate::worker) fn sync_segments(&self, sync_names: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let state = self.state.lock();
        let (from, to) = (state.synced, state.end);
        let ends = state.segments.iter().skip(1).map(|next| next.start).chain([to]);
        let written: Vec<_> =
            state.segments.iter().zip(ends).filter(|(_, end)| *end > from).map(|(s, _)| Arc::clone(s)).collect();
        drop(state);
        if from == to {
            return Ok(());
        }
        let has_new = written.iter().any(|segment| segment.start >= from);
        written.iter().try_for_each(|segment| segment.sync())?;
        if has_new {
            sync_names()?;
        }
        self.state.lock().synced = to;
        Ok(())
    }

    /// Returns the space before this state of reading to the system.
    pub(in crate::worker) fn release_to(&self, cursor: &LogCursor) {
        let mut state = self.state.lock();
        self.release(&mut state, cursor.offset);
        self.unlock(state);
    }

    /// Writes segments that are only in memory to files. If there is no space, calls `free_reserve` and writes only
    /// how many lines they had, and the end. Returns whether everything was written.
    pub(in crate::worker) fn save_memory(&self, free_reserve: impl FnOnce()) -> bool {
        let mut state = self.state.lock();
        let saved = state.save_memory(free_reserve);
        self.unlock(state);
        saved
    }
}

impl LogState {
    fn save_memory(&mut self, free_reserve: impl FnOnce()) -> bool {
        for index in 0..self.segments.len() {
            let Some(segment) = self.segments.get(index).filter(|segment| segment.is_memory()).cloned() else {
                continue;
            };
            let end = self.segments.get(index + 1).map_or(self.end, |next| next.start);
            let mut bytes = Vec::new();
            let read = segment.read(segment.start, usize::try_from(end - segment.start).unwrap_or(0), &mut bytes);
            let saved = read.and_then(|_| self.create_segment(segment.start)).and_then(|file| {
                let result = file.append(segment.start, [&bytes, &[]]);
                if result.is_err() {
                    file.remove();
                }
                result.map(|()| file)
            });
            match saved {
                Ok(file) => {
                    self.synced = self.synced.min(segment.start);
                    if let Some(place) = self.segments.get_mut(index) {
                        *place = Arc::new(file);
                    }
                }
                Err(_) => {
                    free_reserve();
                    self.save_count(index);
                    return false;
                }
            }
        }
        true
    }

    /// Replaces the segments from this one on, which cannot be written, by the number of their lines.
    fn save_count(&mut self, index: usize) {
        let mut counts = [0; 3];
        let mut end = None;
        let mut since = Timestamp::now();
        for segment in self.segments.split_off(index).into_iter().rev() {
            let mut bytes = Vec::new();
            let length = usize::try_from(self.end - segment.start).unwrap_or(0);
            if segment.read(segment.start, length, &mut bytes).is_err() {
                continue;
            }
            let mut rest = bytes.as_slice();
            while let NextRecord::Record(record) = record::next(rest, false) {
                since = since.min(record.at);
                match record.kind {
                    LogRecordKind::Output(channel) => {
                        counts[channel as usize] += memchr::memchr_iter(b'\n', record.body).count() as u64;
                    }
                    LogRecordKind::Skipped => {
                        let skipped = record::skipped_counts(record.body);
                        Channel::ALL.iter().for_each(|c| counts[*c as usize] += skipped[*c as usize]);
                    }
                    LogRecordKind::End => end = Some((record.at, record.body.to_vec())),
                    LogRecordKind::Internal => {}
                }
                rest = rest.get(HEAD_BYTES + record.body.len()..).unwrap_or_default();
            }
            self.end = segment.start;
            segment.remove();
        }
        self.synced = self.synced.min(self.end);
        self.skipped_lines += counts.iter().sum::<u64>();
        let body = record::skipped_body(counts);
        let skipped = (LogRecordKind::Skipped, since, body);
        let records = [skipped].into_iter().chain(end.map(|(at, body)| (LogRecordKind::End, at, body)));
        for (kind, at, body) in records {
            if let Err(error) = self.append_to_file(kind, at, &body) {
                tracing::debug!(%error, "cannot write the end to the spool");
                return;
            }
        }
    }
}
