//! Batches of lines to append, and the answer to them.

use super::error::EngineError;
use super::limits::{CALL_BYTES_MAX, CALL_LINES_MAX, NUMBER_MAX};
use crate::model::{Channel, EntryId};

/// Lines to append together, in order.
#[derive(Clone, Debug, Default)]
pub struct SharedBatch {
    /// The sender's session and the number of the first line (at least 1). Lines with a number that was appended
    /// before are dropped; a hole before the first number becomes one `internal` line.
    pub session: Option<(String, u64)>,
    /// The session ends with this batch: numbers missing before its first will never arrive.
    pub ends_session: bool,
    /// The limit that the numbers before the first exceeded; `None` if they were lost in transit.
    pub over_limit: Option<String>,
    /// The first batch after the sender was told its last stored number: numbers missing before it are lost. Without
    /// it, a batch that follows a failed one of the same session is refused.
    pub resumes: bool,
    /// The lines.
    pub lines: Vec<SharedLine>,
}

/// A line to append.
#[derive(Clone, Debug)]
pub struct SharedLine {
    /// Output channel.
    pub channel: Channel,
    /// Time of writing, RFC 3339.
    pub timestamp: String,
    /// Text without its newline.
    pub text: Vec<u8>,
    /// The line was split and continues in the next one.
    pub partial: bool,
    /// Bytes that are not UTF-8 were replaced.
    pub lossy: bool,
    /// Lines that it reports as dropped by the worker.
    pub skipped: u64,
    /// Its relation to the numbers of the session.
    pub numbering: SharedNumbering,
}

/// The relation of a line to the numbers of its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SharedNumbering {
    /// A new line with the next number.
    #[default]
    Next,
    /// A further piece of the previous line, under the same number.
    Continuation,
    /// Not sent by the session. It is stored or dropped together with the previous line.
    Unnumbered,
}

/// The answer to an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreReply {
    /// The batch is stored. Both line numbers are 0 if every line was a duplicate.
    Stored(SharedAck),
    /// The task has ended; nothing was stored.
    Ended {
        /// Last stored number of the session.
        acked_seq: Option<u64>,
    },
    /// The task was removed, or another one has its id.
    Removed,
    /// The stream has as many lines as it may hold; nothing was stored.
    Full {
        /// Last stored number of the session.
        acked_seq: Option<u64>,
    },
    /// Lines that were confirmed before are not in the journal any more (a failover lost them), or an earlier batch of
    /// the session failed; nothing was stored. The sender continues after `acked_seq`, with
    /// [`SharedBatch::resumes`].
    Behind {
        /// Last stored number of the session.
        acked_seq: Option<u64>,
    },
}

/// The lines that an append added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedAck {
    /// Line number of the first entry.
    pub first_line: u64,
    /// Line number of the last entry.
    pub last_line: u64,
    /// Id of the last entry.
    pub last_id: EntryId,
    /// Number of entries added, including a gap marker for lost lines.
    pub count: u64,
    /// Last stored number of the session.
    pub acked_seq: Option<u64>,
}

impl SharedAck {
    /// Adds what a further part of the same batch stored.
    pub(super) fn merge(&mut self, next: Self) {
        let first_line = if self.count == 0 { next.first_line } else { self.first_line };
        let last_line = if next.count == 0 { self.last_line } else { next.last_line };
        *self = Self { first_line, last_line, count: self.count + next.count, ..next };
    }
}

impl SharedBatch {
    /// Returns how many numbers of the session the batch uses.
    pub(super) fn numbered(&self) -> u64 {
        self.lines.iter().filter(|line| line.numbering == SharedNumbering::Next).count() as u64
    }

    /// Checks that the scripts can represent its numbers.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        match &self.session {
            Some((_, first)) if *first == 0 || *first > NUMBER_MAX - self.numbered() => {
                Err(EngineError::Invalid(format!("a session's line number is {first}: it must be between 1 and 2^53")))
            }
            Some((name, _)) if name.is_empty() || name.contains([' ', '\n']) => {
                Err(EngineError::Invalid(format!("the session {name:?} is empty or contains white space")))
            }
            _ => Ok(()),
        }
    }

    /// Returns the ranges of lines that are sent in one call each. A line and its continuations stay together; there
    /// is at least one range, which may be empty.
    pub(super) fn calls(&self) -> Vec<std::ops::Range<usize>> {
        let mut calls = Vec::new();
        let (mut start, mut bytes, mut at) = (0, 0, 0);
        while at < self.lines.len() {
            let next = self.lines[at + 1..].iter().position(|line| line.numbering == SharedNumbering::Next);
            let end = next.map_or(self.lines.len(), |more| at + 1 + more);
            let size: usize = self.lines[at..end].iter().map(|line| line.text.len()).sum();
            if at > start && (end - start > CALL_LINES_MAX || bytes + size > CALL_BYTES_MAX) {
                calls.push(start..at);
                (start, bytes) = (at, 0);
            }
            bytes += size;
            at = end;
        }
        calls.push(start..self.lines.len());
        calls
    }
}

impl SharedLine {
    /// Returns the script's argument for the line's numbering and forms.
    pub(super) fn mark(&self) -> String {
        let mut mark = String::with_capacity(4);
        mark.push(match self.numbering {
            SharedNumbering::Next => 'n',
            SharedNumbering::Continuation => 'c',
            SharedNumbering::Unnumbered => 'u',
        });
        mark.extend(self.partial.then_some('p'));
        mark.extend(self.lossy.then_some('l'));
        if self.skipped > 0 {
            mark.push_str(&self.skipped.to_string());
        }
        mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: usize, numbering: SharedNumbering) -> SharedLine {
        let text = vec![b'x'; bytes];
        SharedLine {
            channel: Channel::Stdout,
            timestamp: String::new(),
            text,
            partial: false,
            lossy: false,
            skipped: 0,
            numbering,
        }
    }

    #[test]
    fn calls_respect_both_limits_and_keep_a_line_whole() {
        let calls = |lines| SharedBatch { lines, ..SharedBatch::default() }.calls();
        assert_eq!(calls(Vec::new()), vec![0..0; 1]);
        assert_eq!(
            calls((0..1_001).map(|_| line(1, SharedNumbering::Next)).collect()),
            [0..500, 500..1_000, 1_000..1_001]
        );
        let big = CALL_BYTES_MAX / 2 + 1;
        let pieces = [
            SharedNumbering::Next,
            SharedNumbering::Next,
            SharedNumbering::Continuation,
            SharedNumbering::Unnumbered,
            SharedNumbering::Next,
        ];
        assert_eq!(calls(pieces.map(|numbering| line(big, numbering)).into()), [0..1, 1..4, 4..5]);
    }
}
