//! The state of reading a log: from it and the log, the same lines follow with the same numbers.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::record::{self, BODY_BYTES_MAX, LogRecord, LogRecordKind, SEQ_MAX};
use crate::model::{Channel, GapMarker, GapReason, LineChecksum, LineText, Timestamp};
use crate::worker::lines::{LineSplitter, SplitLine};

/// Value of [`LogCursor::consumed`] at the end record, after its last line.
const END_CONSUMED: usize = 1;
/// Internal line in place of records that cannot be read.
const DAMAGED_MESSAGE: &str = "a part of this task's output was damaged on the disk of the worker and is missing here";

/// A receiver of numbered lines.
pub(in crate::worker) trait LineSink {
    /// Accepts the line with this number.
    fn line(&mut self, seq: u64, line: &LineText<'_>);

    /// Reports whether it wants no further line now.
    fn is_full(&self) -> bool;
}

/// A position in the log, and what is known from everything before it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in crate::worker) struct LogCursor {
    /// Position of the record to be read.
    pub(super) offset: u64,
    /// Bytes of its body that were read.
    consumed: usize,
    splitters: [LineSplitter; 3],
    /// The last line of the channel continues in the next one.
    continued: [bool; 3],
    pub(super) numbering: LogNumbering,
}

/// The numbers and totals of the lines before a position.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(in crate::worker) struct LogNumbering {
    /// Number of the last line.
    pub(in crate::worker) last_seq: u64,
    /// Checksum of all lines, if none of them are unknown.
    pub(in crate::worker) sum: Option<LineChecksum>,
    /// Lines of the command itself.
    pub(in crate::worker) lines: u64,
}

impl Default for LogNumbering {
    fn default() -> Self {
        Self { last_seq: 0, sum: Some(LineChecksum::default()), lines: 0 }
    }
}

/// Gives each line its number and passes it on.
pub(super) struct Numberer<'a, S> {
    pub(super) numbering: &'a mut LogNumbering,
    pub(super) sink: &'a mut S,
    /// Reused memory for the checksum.
    pub(super) scratch: &'a mut Vec<u8>,
}

impl<S: LineSink> Numberer<'_, S> {
    /// Numbers a line of the command, after a note of the bytes that were left out of it.
    fn split_line(&mut self, channel: Channel, timestamp: Timestamp, line: &SplitLine) {
        if let Some(note) = line.nul_note() {
            self.line(Channel::Internal, timestamp, &note, false, false);
        }
        self.line(channel, timestamp, &line.text, line.partial, line.lossy);
    }

    fn line(&mut self, channel: Channel, timestamp: Timestamp, text: &str, partial: bool, lossy: bool) {
        let line = LineText { timestamp, channel, partial, lossy, text: Cow::Borrowed(text) };
        self.numbering.last_seq += 1;
        self.numbering.lines += u64::from(channel != Channel::Internal);
        let seq = self.numbering.last_seq;
        if let Some(sum) = &mut self.numbering.sum {
            sum.add(seq, 0, &line, self.scratch);
        }
        self.sink.line(seq, &line);
    }
}

impl LogCursor {
    /// Reports whether every line of the log was read, including those of its end.
    pub(super) fn is_at_end(&self, record: &LogRecord<'_>) -> bool {
        record.kind == LogRecordKind::End && self.consumed == END_CONSUMED
    }

    /// Reports whether it is inside a record, whose checksum was verified.
    pub(super) fn is_inside(&self) -> bool {
        self.consumed > 0
    }

    /// Returns the command's lines before this position.
    pub(in crate::worker) fn lines(&self) -> u64 {
        self.numbering.lines
    }

    /// Returns the unterminated line of a channel.
    pub(super) fn pending(&self, channel: Channel) -> Option<String> {
        self.splitters[channel as usize].pending_text()
    }

    /// Reports whether there is an unterminated line of a channel.
    pub(super) fn is_inside_line(&self, channel: Channel) -> bool {
        self.splitters[channel as usize].is_inside_line()
    }

    /// Returns how many bytes of the current record were read.
    pub(super) fn consumed(&self) -> usize {
        self.consumed
    }

    /// Reports whether the state is possible.
    pub(super) fn is_valid(&self) -> bool {
        let possible = self.splitters.iter().all(LineSplitter::is_valid);
        possible && self.consumed <= BODY_BYTES_MAX && self.numbering.last_seq < SEQ_MAX
    }

    /// Moves to the position of the next record.
    pub(super) fn advance(&mut self, offset: u64) {
        (self.offset, self.consumed) = (offset, 0);
    }

    /// Reads the record at this position until it is used up (`true`) or the sink is full. The end record is never
    /// used up.
    pub(super) fn read<S: LineSink>(&mut self, record: &LogRecord<'_>, sink: &mut S, scratch: &mut Vec<u8>) -> bool {
        let Self { consumed, splitters, continued, numbering, .. } = self;
        let mut out = Numberer { numbering, sink, scratch };
        match record.kind {
            LogRecordKind::Output(channel) => {
                let index = channel as usize;
                let mut input = record.body.get(*consumed..).unwrap_or_default();
                let used_up =
                    read_output(&mut splitters[index], &mut input, channel, record.at, &mut out, &mut continued[index]);
                *consumed = record.body.len() - input.len();
                used_up
            }
            LogRecordKind::Internal => {
                let text = String::from_utf8_lossy(record.body).replace(['\n', '\0'], " ");
                out.line(Channel::Internal, record.at, &text, false, false);
                true
            }
            LogRecordKind::Skipped => {
                let counts = record::skipped_counts(record.body);
                self.close_fragments(counts.map(|count| count > 0), record.at, sink, scratch);
                let text = GapMarker { reason: GapReason::Skipped, count: counts.iter().sum() }.to_string();
                let mut out = Numberer { numbering: &mut self.numbering, sink, scratch };
                out.line(Channel::Internal, record.at, &text, false, false);
                true
            }
            LogRecordKind::End => {
                self.read_end(record, sink, scratch);
                false
            }
        }
    }

    /// Reads the lines that only the end of the output completes.
    fn read_end<S: LineSink>(&mut self, record: &LogRecord<'_>, sink: &mut S, scratch: &mut Vec<u8>) {
        if self.consumed == END_CONSUMED {
            return;
        }
        let Self { consumed, splitters, numbering, .. } = self;
        let mut out = Numberer { numbering, sink, scratch };
        for channel in Channel::ALL {
            while !out.sink.is_full() {
                let Some(line) = splitters[channel as usize].finish() else { break };
                out.split_line(channel, record.at, &line);
            }
        }
        if out.sink.is_full() {
            return;
        }
        let end = record::parse_end(record.body);
        if let Some(floor) = end.as_ref().map(|end| end.floor).filter(|floor| *floor > out.numbering.last_seq) {
            (out.numbering.last_seq, out.numbering.sum) = (floor, None);
        }
        if let Some(end) = end.filter(|end| !end.message.is_empty()) {
            out.line(Channel::Internal, record.at, &end.message.replace(['\n', '\0'], " "), false, false);
        }
        *consumed = END_CONSUMED;
    }

    /// Continues at `offset` after records that cannot be read.
    pub(super) fn skip_damage<S: LineSink>(&mut self, offset: u64, sink: &mut S, scratch: &mut Vec<u8>) {
        let at = Timestamp::now();
        self.close_fragments([true; 3], at, sink, scratch);
        let mut out = Numberer { numbering: &mut self.numbering, sink, scratch };
        out.line(Channel::Internal, at, DAMAGED_MESSAGE, false, false);
        self.advance(offset);
    }

    /// Ends unterminated lines whose rest is missing: such a line counts as missing, unless pieces of it were read.
    fn close_fragments<S: LineSink>(
        &mut self,
        channels: [bool; 3],
        at: Timestamp,
        sink: &mut S,
        scratch: &mut Vec<u8>,
    ) {
        let Self { splitters, continued, numbering, .. } = self;
        let mut out = Numberer { numbering, sink, scratch };
        for channel in Channel::ALL.into_iter().filter(|channel| channels[*channel as usize]) {
            let (splitter, continued) = (&mut splitters[channel as usize], &mut continued[channel as usize]);
            if std::mem::take(continued) {
                while let Some(line) = splitter.finish() {
                    out.split_line(channel, at, &line);
                }
            }
            splitter.discard();
        }
    }
}

/// Splits output until it is used up (`true`) or the sink is full.
fn read_output<S: LineSink>(
    splitter: &mut LineSplitter,
    input: &mut &[u8],
    channel: Channel,
    at: Timestamp,
    out: &mut Numberer<'_, S>,
    continued: &mut bool,
) -> bool {
    while !out.sink.is_full() {
        if let Some(text) = splitter.next_plain(input) {
            *continued = false;
            out.line(channel, at, text, false, false);
            continue;
        }
        let Some(line) = splitter.next_line(input) else { return true };
        *continued = line.partial;
        out.split_line(channel, at, &line);
    }
    false
}
