//! The uplink's side: splits the log into numbered lines, and reads lines again that were not confirmed.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::cursor::{LineSink, LogCursor, LogNumbering};
use super::history::History;
use super::log::{LocalLog, LogRead};
use super::record::{self, HEAD_BYTES, LogRecord, LogRecordKind, NextRecord};
use crate::model::{Channel, LineChecksum, LineText, Timestamp};
use crate::wire::worker::RetainLimits;
use crate::worker::Exit;

/// Bytes per read of the log; more than a record has.
const READ_BYTES: usize = 512 * 1024;
/// Maximum bytes of the log in flight.
const WINDOW_BYTES: u64 = 8 * 1024 * 1024;
/// Maximum batches in flight.
const WINDOW_BATCHES: usize = 256;

/// A reader that numbers the lines of a log from 1.
///
/// Invariants: a number, once assigned, belongs to its line forever, also in another process. Nothing is kept for
/// resending: lines that were not confirmed are read again from the state before their batch.
#[derive(Debug)]
pub(in crate::worker) struct LogReader {
    log: Arc<LocalLog>,
    /// State after everything that was handed out.
    cursor: LogCursor,
    /// Bytes of the log from `buffer_at` on.
    buffer: Vec<u8>,
    buffer_at: u64,
    /// State before each batch that is not confirmed as a whole.
    in_flight: VecDeque<LogCursor>,
    /// States before that, for a server that has lost lines.
    history: History,
    /// Highest number that is durable at the server.
    acked: u64,
    end: Option<LogEnd>,
    scratch: Vec<u8>,
}

/// The end of the log, once all lines before it were read.
#[derive(Clone, Copy, Debug)]
struct LogEnd {
    exit: Exit,
    at: Timestamp,
    /// Handed out on the current connection.
    sent: bool,
}

/// The end of a task as its worker reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) struct SentTotals {
    /// Number after that of the last line.
    pub(in crate::worker) seq: u64,
    /// Result of the task.
    pub(in crate::worker) exit: Exit,
    /// Time of the end.
    pub(in crate::worker) at: Timestamp,
    /// Checksum of all lines, if known.
    pub(in crate::worker) sum: Option<LineChecksum>,
}

/// Passes lines on that the server does not have.
struct UnconfirmedOnly<'a, S> {
    sink: &'a mut S,
    acked: u64,
    first_seq: Option<u64>,
}

impl<S: LineSink> LineSink for UnconfirmedOnly<'_, S> {
    fn line(&mut self, seq: u64, line: &LineText<'_>) {
        if seq > self.acked {
            self.first_seq.get_or_insert(seq);
            self.sink.line(seq, line);
        }
    }

    fn is_full(&self) -> bool {
        self.sink.is_full()
    }
}

impl LogReader {
    /// Creates a reader that continues at `cursor`.
    pub(in crate::worker) fn new(log: Arc<LocalLog>, cursor: LogCursor) -> Self {
        Self {
            log,
            buffer: Vec::new(),
            buffer_at: cursor.offset,
            acked: cursor.numbering.last_seq,
            cursor,
            in_flight: VecDeque::new(),
            history: History::default(),
            end: None,
            scratch: Vec::new(),
        }
    }

    /// Fills `sink` with the next lines for the current connection, as the window allows. Returns the number of the
    /// first one; `None` if there is none now.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(in crate::worker) fn next_batch<S: LineSink>(&mut self, sink: &mut S) -> io::Result<Option<u64>> {
        let first_unconfirmed = self.in_flight.front().map_or(self.cursor.offset, |cursor| cursor.offset);
        let window_is_open =
            self.cursor.offset - first_unconfirmed < WINDOW_BYTES && self.in_flight.len() < WINDOW_BATCHES;
        if !window_is_open || self.end.is_some() || self.backlog_bytes() == 0 {
            return Ok(None);
        }
        let before = self.cursor.clone();
        let mut sink = UnconfirmedOnly { sink, acked: self.acked, first_seq: None };
        self.read_lines(&mut sink)?;
        let first_seq = sink.first_seq;
        if first_seq.is_some() {
            self.in_flight.push_back(before);
        }
        Ok(first_seq)
    }

    /// Returns the end once per connection, after everything before it was handed out.
    pub(in crate::worker) fn next_end(&mut self) -> Option<SentTotals> {
        let LogNumbering { last_seq, sum, .. } = self.cursor.numbering;
        let end = self.end.as_mut().filter(|end| !end.sent)?;
        end.sent = true;
        Some(SentTotals { seq: last_seq + 1, exit: end.exit, at: end.at, sum })
    }

    /// Sets which confirmed lines are kept; without limits none are, after the next [`LogReader::resume`].
    pub(in crate::worker) fn retain(&mut self, limits: Option<RetainLimits>) {
        self.history.set_limits(limits);
    }

    /// Records that everything up to `seq` is durable.
    pub(in crate::worker) fn ack(&mut self, seq: u64) {
        self.acked = self.acked.max(seq);
        let is_confirmed = |cursor: &LogCursor| cursor.numbering.last_seq <= self.acked;
        let covered = self.in_flight.iter().take_while(|cursor| is_confirmed(cursor)).count();
        let confirmed = if is_confirmed(&self.cursor) {
            self.in_flight.drain(..).for_each(|state| self.history.push(state));
            &self.cursor
        } else {
            self.in_flight.drain(..covered.saturating_sub(1)).for_each(|state| self.history.push(state));
            let Some(first) = self.in_flight.front().filter(|_| covered > 0) else { return };
            first
        };
        let kept = self.history.trim(self.log.kept_from(), confirmed).unwrap_or(confirmed);
        self.log.confirm(kept, confirmed);
    }

    /// Starts a new connection: the server has everything up to `acked`, the rest is read again. Lines that are no
    /// longer kept are left out, which the server sees by the numbers.
    pub(in crate::worker) fn resume(&mut self, acked: u64) {
        self.acked = acked;
        if acked < self.cursor.numbering.last_seq {
            let mut states: VecDeque<_> = self.history.take(self.log.hold_history()).collect();
            states.append(&mut self.in_flight);
            let covered = states.iter().take_while(|cursor| cursor.numbering.last_seq <= acked).count();
            states.truncate(covered.max(1));
            if let Some(first) = states.pop_back() {
                self.buffer.clear();
                self.buffer_at = first.offset;
                self.cursor = first;
            }
            states.into_iter().for_each(|state| self.history.push(state));
        }
        self.end = None;
        self.ack(acked);
    }

    /// Returns the highest durable number.
    pub(in crate::worker) fn acked_seq(&self) -> u64 {
        self.acked
    }

    /// Reports whether the end and everything before it are durable.
    pub(in crate::worker) fn is_complete(&self) -> bool {
        self.end.is_some() && self.acked > self.cursor.numbering.last_seq
    }

    /// Returns the bytes of the log that were not read.
    pub(in crate::worker) fn backlog_bytes(&self) -> u64 {
        self.log.end().saturating_sub(self.cursor.offset)
    }

    /// Returns the state after everything that was handed out.
    pub(in crate::worker) fn cursor(&self) -> &LogCursor {
        &self.cursor
    }

    /// Returns the unterminated line of a channel.
    pub(in crate::worker) fn pending(&self, channel: Channel) -> Option<String> {
        self.cursor.pending(channel)
    }

    /// Moves to the first line that is not confirmed, so that [`LogReader::cursor`] counts those before it.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(in crate::worker) fn rewind(&mut self) -> io::Result<()> {
        struct UpTo {
            acked: u64,
            seen: u64,
        }
        impl LineSink for UpTo {
            fn line(&mut self, seq: u64, _: &LineText<'_>) {
                self.seen = seq;
            }

            fn is_full(&self) -> bool {
                self.seen >= self.acked
            }
        }
        self.resume(self.acked);
        let seen = self.cursor.numbering.last_seq;
        self.read_lines(&mut UpTo { acked: self.acked, seen })
    }

    fn read_lines<S: LineSink>(&mut self, sink: &mut S) -> io::Result<()> {
        while !sink.is_full() {
            let Self { log, cursor, buffer, buffer_at, end, scratch, .. } = self;
            let from = usize::try_from(cursor.offset - *buffer_at).unwrap_or(usize::MAX);
            let unread = buffer.get(from..).unwrap_or_default();
            match record::next(unread, log.checked && !cursor.is_inside()) {
                NextRecord::Record(record) => {
                    let size = HEAD_BYTES + record.body.len();
                    if cursor.read(&record, sink, scratch) {
                        cursor.advance(cursor.offset + size as u64);
                    } else if cursor.is_at_end(&record) {
                        let exit = record::parse_end(record.body).map(|end| end.exit).unwrap_or_default();
                        *end = Some(LogEnd { exit, at: record.at, sent: false });
                        return Ok(());
                    }
                }
                NextRecord::Incomplete => {
                    let unread = unread.len();
                    buffer.drain(..buffer.len() - unread);
                    *buffer_at = cursor.offset;
                    match log.read(*buffer_at + unread as u64, READ_BYTES, buffer)? {
                        LogRead::Bytes => {}
                        LogRead::End => return Ok(()),
                        LogRead::Missing { until } => skip_to(until, cursor, buffer, buffer_at, sink, scratch),
                    }
                }
                NextRecord::Corrupt => {
                    let next = log.next_segment(cursor.offset).unwrap_or_else(|| log.end());
                    skip_to(next, cursor, buffer, buffer_at, sink, scratch);
                }
            }
        }
        Ok(())
    }
}

fn skip_to<S: LineSink>(
    offset: u64,
    cursor: &mut LogCursor,
    buffer: &mut Vec<u8>,
    buffer_at: &mut u64,
    sink: &mut S,
    scratch: &mut Vec<u8>,
) {
    buffer.clear();
    *buffer_at = offset;
    cursor.skip_damage(offset, sink, scratch);
}

/// The lines in a part of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::worker) struct LineCount {
    /// Lines of the command.
    pub(in crate::worker) lines: u64,
    /// Lines that are missing in the log.
    pub(in crate::worker) skipped: u64,
    /// The end of the task is there.
    pub(in crate::worker) end: Option<Exit>,
}

impl LogCursor {
    /// Counts the lines from here to the current end of the log, without reading them.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(in crate::worker) fn count_rest(&self, log: &LocalLog) -> io::Result<LineCount> {
        let mut count = LineCount::default();
        let mut open = Channel::ALL.map(|channel| self.is_inside_line(channel));
        let (mut buffer, mut at, mut consumed) = (Vec::new(), self.offset, self.consumed());
        let mut from = 0;
        loop {
            let unread = buffer.get(from..).unwrap_or_default();
            match record::next(unread, false) {
                NextRecord::Record(record) => {
                    count.add(&record, consumed, &mut open);
                    from += HEAD_BYTES + record.body.len();
                    at += (HEAD_BYTES + record.body.len()) as u64;
                    consumed = 0;
                    if count.end.is_some() {
                        break;
                    }
                }
                NextRecord::Incomplete => {
                    let unread = unread.len();
                    buffer.drain(..from);
                    from = 0;
                    match log.read(at + unread as u64, READ_BYTES, &mut buffer)? {
                        LogRead::Bytes => {}
                        LogRead::End => break,
                        LogRead::Missing { until } => {
                            (at, consumed) = (until, 0);
                            buffer.clear();
                        }
                    }
                }
                NextRecord::Corrupt => {
                    let Some(next) = log.next_segment(at) else { break };
                    (at, consumed, from) = (next, 0, 0);
                    buffer.clear();
                }
            }
        }
        count.lines +=
            open.iter().zip(Channel::ALL).filter(|(open, c)| **open && *c != Channel::Internal).count() as u64;
        Ok(count)
    }
}

impl LineCount {
    fn add(&mut self, record: &LogRecord<'_>, consumed: usize, open: &mut [bool; 3]) {
        match record.kind {
            LogRecordKind::Output(channel) => {
                let body = record.body.get(consumed..).unwrap_or_default();
                if channel != Channel::Internal {
                    self.lines += memchr::memchr_iter(b'\n', body).count() as u64;
                }
                if let Some(last) = body.last() {
                    open[channel as usize] = *last != b'\n';
                }
            }
            LogRecordKind::Skipped => self.skipped += record::skipped_counts(record.body).iter().sum::<u64>(),
            LogRecordKind::End => self.end = record::parse_end(record.body).map(|end| end.exit),
            LogRecordKind::Internal => {}
        }
    }
}
