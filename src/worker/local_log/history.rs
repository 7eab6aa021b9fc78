//! History: acknowledged lines that are kept, since the server may lose them in a failure and ask for them again.
//!
//! It is a part of the log, not a copy. The reader remembers states before it, from which it can read on; the writers
//! give it up first when the log needs room.

use std::collections::VecDeque;

use super::cursor::LogCursor;
use super::log::{LocalLog, LogState};
use crate::wire::worker::RetainLimits;

/// Lines or bytes between two states. More states would take memory, fewer would make reading again longer.
const STATE_LINES: u64 = 256;
const STATE_BYTES: u64 = 128 * 1024;
/// Maximum history, whatever the server asks for.
const RETAINED_LINES_MAX: u64 = 100_000;
const RETAINED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// States of the reader before lines that are acknowledged, oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    limits: Option<RetainLimits>,
    states: VecDeque<LogCursor>,
}

impl History {
    /// Sets what to keep from now on.
    pub(super) fn set_limits(&mut self, limits: Option<RetainLimits>) {
        self.limits = limits.map(|RetainLimits { lines, bytes }| RetainLimits {
            lines: lines.min(RETAINED_LINES_MAX),
            bytes: bytes.min(RETAINED_BYTES_MAX),
        });
    }

    /// Adds the state before a batch that is confirmed as a whole.
    pub(super) fn push(&mut self, state: LogCursor) {
        let is_far = |last: &LogCursor| {
            let lines = state.numbering.last_seq - last.numbering.last_seq;
            lines >= STATE_LINES || state.offset - last.offset >= STATE_BYTES
        };
        if self.limits.is_some() && self.states.back().is_none_or(is_far) {
            self.states.push_back(state);
        }
    }

    /// Drops what exceeds the limits, and what was given up. Everything before `confirmed` is confirmed. Returns the
    /// oldest state, if there is one before that.
    pub(super) fn trim(&mut self, kept_from: u64, confirmed: &LogCursor) -> Option<&LogCursor> {
        let Some(limits) = self.limits else {
            self.states.clear();
            return None;
        };
        while let Some(first) = self.states.front() {
            if first.numbering.last_seq >= confirmed.numbering.last_seq {
                self.states.clear();
                break;
            }
            let next = self.states.get(1).unwrap_or(confirmed);
            let enough_lines = confirmed.numbering.last_seq - next.numbering.last_seq >= limits.lines;
            let too_large = confirmed.offset - first.offset > limits.bytes;
            if !enough_lines && !too_large && first.offset >= kept_from {
                break;
            }
            self.states.pop_front();
        }
        self.states.front()
    }

    /// Removes and returns all states that can still be read from.
    pub(super) fn take(&mut self, kept_from: u64) -> impl Iterator<Item = LogCursor> + use<> {
        std::mem::take(&mut self.states).into_iter().filter(move |state| state.offset >= kept_from)
    }
}

impl LocalLog {
    /// Returns the position from which lines can be read again. The history remains until the next
    /// [`LocalLog::confirm`].
    pub(super) fn hold_history(&self) -> u64 {
        let mut state = self.state.lock();
        state.history_end = None;
        state.kept_from
    }

    /// Returns the position from which lines can be read again.
    pub(super) fn kept_from(&self) -> u64 {
        self.state.lock().kept_from
    }
}

impl LogState {
    /// Reports whether the log needs the room of a history from this position on: less than half of the limit would
    /// be left, or it cannot be written.
    pub(super) fn needs_room(&self, kept_from: u64) -> bool {
        let used = self.end - kept_from.max(self.released);
        self.skipping.is_some() || self.failed_at.is_some() || used > self.bytes_max / 2
    }

    /// Gives up the history if the log needs its room.
    pub(super) fn make_room(&mut self) {
        let needs_room = self.history_end.is_some() && self.needs_room(self.kept_from);
        let Some(end) = self.history_end.take_if(|_| needs_room) else { return };
        self.kept_from = end.offset;
        if self.checked {
            // As in `confirm`. The room that is left is for the output until then.
            self.confirmed = Some(end);
        } else {
            self.release(end.offset);
        }
    }
}
