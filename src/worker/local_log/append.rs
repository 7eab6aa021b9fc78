//! The writers' side: output, internal lines, the end, and what is skipped beyond the limit.

use std::time::Duration;

use super::cursor::LogCursor;
use super::log::{LocalLog, LogState};
use super::overflow::Skipping;
use super::record::{self, BODY_BYTES_MAX, HEAD_BYTES, LogRecordKind, RecordedEnd};
use crate::model::limits::LINE_BYTES_MAX;
use crate::model::{Channel, Overflow, Timestamp, units};

/// Interval at which a writer that waits for room looks again.
const WAIT_STEP: Duration = Duration::from_secs(1);
/// Skipping ends when this much room is free, or a quarter of the limit.
const RESUME_ROOM_BYTES: u64 = 16 * 1024 * 1024;
/// Maximum internal lines that are accepted while output is skipped. A connection that flaps for days would
/// produce more.
const INTERNAL_SKIPPING_MAX: usize = 64;

impl LocalLog {
    /// Appends output of `channel`, cut anywhere. With `may_wait`, the policy may be to wait for room. Output after
    /// the end is ignored.
    pub(in crate::worker) fn push_output(&self, channel: Channel, mut bytes: &[u8], at: Timestamp, may_wait: bool) {
        let mut state = self.state.lock();
        while !bytes.is_empty() && !state.ended {
            if state.discarding {
                state.skipped_lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
                break;
            }
            if let Some(skipping) = &mut state.skipping {
                skipping.tails[channel as usize].push(bytes, at);
                break;
            }
            state.make_room();
            let kept = state.append_output(channel, bytes, at);
            bytes = bytes.get(kept..).unwrap_or_default();
            if bytes.is_empty() || kept == BODY_BYTES_MAX {
                continue;
            }
            if may_wait && state.overflow == Overflow::Wait && !state.waits_ended {
                self.room.wait_for(&mut state, WAIT_STEP);
            } else {
                state.start_skipping(at);
            }
        }
        self.unlock(state);
        self.keeper.notify_one();
    }

    /// Appends an internal line.
    pub(in crate::worker) fn push_internal(&self, text: &str, at: Timestamp) {
        let mut state = self.state.lock();
        let accepted = match &mut state.skipping {
            Some(skipping) => {
                skipping.internal += 1;
                skipping.internal <= INTERNAL_SKIPPING_MAX
            }
            None => true,
        };
        if accepted && !state.ended && !state.discarding {
            let text = text.get(..text.floor_char_boundary(LINE_BYTES_MAX)).unwrap_or_default();
            state.append_critical(LogRecordKind::Internal, at, text.as_bytes());
        }
        self.unlock(state);
    }

    /// Ends the output with an internal line, unless `message` is empty, and the result. The server has lines up to
    /// `floor` already.
    pub(in crate::worker) fn push_end(&self, end: &RecordedEnd, at: Timestamp) {
        let mut state = self.state.lock();
        if !state.ended {
            state.stop_skipping();
            state.append_critical(LogRecordKind::End, at, &record::end_body(end));
            state.ended = true;
        }
        self.room.notify_all();
        self.unlock(state);
    }

    /// Lets writers exceed the limit instead of waiting: the command has ended, and the rest of its output is small.
    pub(in crate::worker) fn end_waits(&self) {
        self.state.lock().waits_ended = true;
        self.room.notify_all();
    }

    /// Drops further output: no reader is left.
    pub(in crate::worker) fn discard(&self) {
        let mut state = self.state.lock();
        state.discarding = !state.ended;
        self.room.notify_all();
    }

    /// Records that everything before the state `confirmed` of the reader is durable at the server. Returns the space
    /// before the state `kept`, which is the same one or an earlier one.
    pub(super) fn confirm(&self, kept: &LogCursor, confirmed: &LogCursor) {
        let mut state = self.state.lock();
        // The writers may have given up the history since.
        let is_usable = kept.offset >= state.kept_from && !state.needs_room(kept.offset);
        let kept = if is_usable { kept } else { confirmed };
        state.kept_from = kept.offset;
        let has_history = kept.numbering.last_seq < confirmed.numbering.last_seq;
        state.history_end = has_history.then(|| confirmed.clone());
        if self.checked {
            // Its space is returned once the position is on disk.
            state.confirmed = Some(kept.clone());
            self.keeper.notify_one();
        } else {
            self.release(&mut state, kept.offset);
        }
        self.unlock(state);
    }

    /// Returns the space before this position, and ends skipping if there is room again.
    pub(super) fn release(&self, state: &mut LogState, offset: u64) {
        state.release(offset);
        if state.skipping.is_some() && state.room() >= RESUME_ROOM_BYTES.min(state.bytes_max / 4) {
            state.stop_skipping();
        }
        self.room.notify_all();
    }
}

impl LogState {
    /// Appends the beginning of `bytes` for which there is room. Returns its length.
    fn append_output(&mut self, channel: Channel, bytes: &[u8], at: Timestamp) -> usize {
        let piece = bytes.get(..bytes.len().min(BODY_BYTES_MAX)).unwrap_or_default();
        let room = usize::try_from(self.room()).unwrap_or(usize::MAX).saturating_sub(HEAD_BYTES);
        let fitting = piece.get(..room.min(piece.len())).unwrap_or_default();
        let kept = if fitting.len() == piece.len() || self.overflow == Overflow::Wait {
            fitting
        } else {
            // Whole lines only: the rest of one that is cut would be skipped.
            let lines = memchr::memrchr(b'\n', fitting).map_or(0, |end| end + 1);
            fitting.get(..lines).unwrap_or_default()
        };
        if kept.is_empty() || self.append(LogRecordKind::Output(channel), at, kept, self.waits_ended).is_err() {
            return if self.waits_ended && self.append(LogRecordKind::Output(channel), at, piece, true).is_ok() {
                piece.len()
            } else {
                0
            };
        }
        kept.len()
    }

    /// Appends one of the few records that have no limit.
    pub(super) fn append_critical(&mut self, kind: LogRecordKind, at: Timestamp, body: &[u8]) {
        if self.append(kind, at, body, true).is_err() {
            // Memory always has room for them.
            debug_assert!(false, "no room for a record without a limit");
        }
    }

    fn start_skipping(&mut self, at: Timestamp) {
        self.skipping = Some(Skipping::new(at));
        if !std::mem::replace(&mut self.limit_noted, true) && self.room() < (HEAD_BYTES + BODY_BYTES_MAX) as u64 {
            self.notes.push(format!(
                "the local log has reached its limit of {} (spool_bytes_max); lines are skipped until the server has \
                 taken more",
                units::show_size(self.bytes_max)
            ));
        }
    }

    /// Appends the count of the missing lines, then the newest output.
    fn stop_skipping(&mut self) {
        let Some(skipping) = self.skipping.take() else { return };
        let counts = skipping.counts();
        if counts != [0; 3] {
            self.append_critical(LogRecordKind::Skipped, skipping.since, &record::skipped_body(counts));
            self.skipped_lines += counts.iter().sum::<u64>();
        }
        let mut order = Channel::ALL;
        order.sort_by_key(|channel| skipping.tails[*channel as usize].at());
        for channel in order {
            let tail = &skipping.tails[channel as usize];
            if !tail.retained().is_empty() {
                self.append_critical(LogRecordKind::Output(channel), tail.at(), tail.retained());
            }
        }
    }
}
