//! Output that the server has not confirmed: numbered, bounded, in order.
//!
//! ```text
//!   acked        in flight (stored for resending)   waiting (can be dropped)     not even split
//! ........ | acked+1 .. acked+sent .. acked+numbered | line line internal  | skipping: counts and tails
//!            ^ front of the queue                      ^ is numbered when sent
//! ```
//! There is no I/O and no clock: the owner feeds bytes, fetches batches, and reports acks and reconnects.

mod line;
mod spill;

use std::collections::VecDeque;

use self::spill::SpoolOutbox;
use super::Exit;
use super::lines::{LineSplitter, SplitLine};
use super::tail::OutputTail;
use crate::model::limits::{WORKER_BUFFER_BYTES, WORKER_BUFFER_LINES};
use crate::model::{Channel, GapMarker, GapReason, LineChecksum, Timestamp};
pub(super) use line::{BufferedLine, LineKind};
pub(super) use spill::{SpoolBatch, SpoolWork};

/// Limits of a buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct BufferBounds {
    /// Maximum lines in memory; at most half of them in flight.
    pub(super) lines_max: usize,
    /// Maximum bytes in memory, including the overhead of each line; at most half of them in flight.
    pub(super) bytes_max: usize,
    /// Bytes of each channel that survive skipping.
    pub(super) tail_bytes_max: usize,
    /// Lines of each channel that survive skipping.
    pub(super) tail_lines_max: usize,
}

impl Default for BufferBounds {
    fn default() -> Self {
        Self {
            lines_max: WORKER_BUFFER_LINES,
            bytes_max: WORKER_BUFFER_BYTES,
            tail_bytes_max: 64 * 1024,
            tail_lines_max: WORKER_BUFFER_LINES / 8,
        }
    }
}

/// Maximum internal lines that survive an overflow. A connection that flaps for days would produce more.
const INTERNAL_WAITING_MAX: usize = 64;

/// A batch of lines with consecutive numbers.
pub(super) struct NumberedLines<'a> {
    /// Number of the first line.
    pub(super) first_seq: u64,
    /// Lines of the batch.
    pub(super) items: std::collections::vec_deque::Iter<'a, BufferedLine>,
}

/// A queue that numbers lines from 1 and stores them until they are acked.
///
/// Invariants: a number, once assigned, belongs to its line forever. Only lines without a number are dropped,
/// so numbers have no holes. Lines received = lines delivered + lines counted by gap markers. The newest line
/// of every channel survives. Lines and bytes stay within [`BufferBounds`], except for a few internal lines.
#[derive(Debug)]
pub(super) struct Buffer {
    bounds: BufferBounds,
    queue: VecDeque<BufferedLine>,
    /// Cost of everything in the queue.
    bytes: usize,
    /// Count and cost of the numbered lines at the front.
    numbered: usize,
    numbered_bytes: usize,
    /// Count of lines at the front that were handed out on the current connection.
    sent: usize,
    /// Highest number that is durable at the server; those lines are removed here.
    acked: u64,
    /// Checksum of all numbered lines, if known, and a scratch buffer for it.
    sum: Option<LineChecksum>,
    summed: Vec<u8>,
    /// Lines counted by acked gap markers.
    skipped_acked: u64,
    splitters: [LineSplitter; 3],
    /// Set after an overflow: output is only counted, except for each channel's tail.
    skipping: Option<Skipping>,
    end: Option<PendingEnd>,
    /// Records for the spool, if there is one.
    outbox: Option<SpoolOutbox>,
}

#[derive(Debug)]
struct Skipping {
    /// Lines counted by earlier gap markers.
    count: u64,
    tails: [OutputTail; 3],
    since: Timestamp,
}

impl Skipping {
    fn missing(&self) -> u64 {
        self.count + self.tails.iter().map(OutputTail::missing).sum::<u64>()
    }
}

#[derive(Clone, Copy, Debug)]
struct PendingEnd {
    exit: Exit,
    at: Timestamp,
    /// Handed out on the current connection.
    sent: bool,
    acked: bool,
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new(BufferBounds::default())
    }
}

impl Buffer {
    /// Creates an empty buffer whose first line gets number 1.
    pub(super) fn new(bounds: BufferBounds) -> Self {
        Self {
            bounds,
            queue: VecDeque::new(),
            bytes: 0,
            numbered: 0,
            numbered_bytes: 0,
            sent: 0,
            acked: 0,
            sum: Some(LineChecksum::default()),
            summed: Vec::new(),
            skipped_acked: 0,
            splitters: Default::default(),
            skipping: None,
            end: None,
            outbox: None,
        }
    }

    /// Appends output of `channel`, read at `at` and cut anywhere. Output after the end is ignored. Returns
    /// whether there may be something new to send.
    pub(super) fn push_bytes(&mut self, channel: Channel, mut input: &[u8], at: Timestamp) -> bool {
        if self.end.is_some() {
            return false;
        }
        if self.skipping.is_some() && self.spool_has_recovered() {
            self.stop_skipping();
        }
        if let Some(skipping) = &mut self.skipping {
            skipping.tails[channel as usize].push(input, at);
            return false;
        }
        while let Some(line) = self.splitters[channel as usize].next_line(&mut input) {
            self.append_split(line, channel, at);
            if self.queue.len() + self.unspooled_len() > self.bounds.lines_max || self.bytes > self.bounds.bytes_max {
                self.start_skipping(at).tails[channel as usize].push(input, at);
                return true;
            }
        }
        true
    }

    /// Appends a line, after a note of the bytes that were left out of it.
    fn append_split(&mut self, line: SplitLine, channel: Channel, at: Timestamp) {
        if let Some(note) = line.nul_note() {
            self.push_internal(note, at);
        }
        self.append(BufferedLine { line, channel, at, kind: LineKind::Line });
    }

    /// Appends an internal line, which is never dropped. While output is skipped, it precedes the gap marker.
    pub(super) fn push_internal(&mut self, text: String, at: Timestamp) {
        if self.end.is_none() && !self.has_deferred_end() {
            let line = SplitLine { text, ..SplitLine::default() };
            self.append(BufferedLine { line, channel: Channel::Internal, at, kind: LineKind::Internal });
        }
    }

    /// Ends the output: unfinished lines are completed, then the exit message and the end follow.
    pub(super) fn finish(&mut self, exit: Exit, exit_message: Option<String>, at: Timestamp) {
        if self.end.is_some() {
            return;
        }
        self.stop_skipping();
        for channel in Channel::ALL {
            while let Some(line) = self.splitters[channel as usize].finish() {
                self.append_split(line, channel, at);
            }
        }
        if let Some(text) = exit_message {
            self.push_internal(text, at);
        }
        self.end = Some(PendingEnd { exit, at, sent: false, acked: false });
        self.spool_end();
    }

    /// Returns the next lines for the current connection: first those to resend, then new ones as the window
    /// allows. A batch has at most `lines_max` lines and a total `cost` of at most `cost_max`, unless one
    /// line alone costs more.
    pub(super) fn next_batch(
        &mut self,
        lines_max: usize,
        cost_max: usize,
        cost: fn(&BufferedLine) -> usize,
    ) -> Option<NumberedLines<'_>> {
        if self.queue.is_empty() && self.spilled() == 0 {
            self.stop_skipping();
        }
        let from = self.sent;
        let mut cost_sum = 0;
        while self.sent < self.queue.len() && self.sent - from < lines_max {
            if self.sent == self.numbered && !self.window_is_open() {
                break;
            }
            let Some(item) = self.queue.get_mut(self.sent) else { break };
            cost_sum += cost(item);
            if cost_sum > cost_max && self.sent > from {
                break;
            }
            if self.sent == self.numbered {
                self.number_next();
            }
            self.sent += 1;
        }
        if self.sent == from {
            return None;
        }
        Some(NumberedLines { first_seq: self.acked + 1 + from as u64, items: self.queue.range(from..self.sent) })
    }

    /// Returns the end and its number once per connection, after everything before it was handed out.
    pub(super) fn next_end(&mut self) -> Option<(u64, Exit, Timestamp)> {
        let seq = self.end_seq();
        let all_sent = self.sent == self.queue.len() && self.spilled() == 0;
        let end = self.end.as_mut().filter(|end| all_sent && !end.sent && !end.acked)?;
        end.sent = true;
        Some((seq, end.exit, end.at))
    }

    /// Removes lines up to `seq`, which are durable, and returns how many there were.
    pub(super) fn ack(&mut self, seq: u64) -> usize {
        let end_seq = self.end_seq();
        if let Some(end) = self.end.as_mut().filter(|_| seq >= end_seq) {
            end.acked = true;
        }
        let news = usize::try_from(seq.saturating_sub(self.acked)).unwrap_or(usize::MAX).min(self.numbered);
        for item in self.queue.drain(..news) {
            self.bytes -= item.bytes();
            self.numbered_bytes -= item.bytes();
            if let LineKind::Gap(count) = item.kind {
                self.skipped_acked += count;
            }
        }
        self.numbered -= news;
        self.sent = self.sent.saturating_sub(news);
        self.acked += news as u64;
        news
    }

    /// Starts a new connection: the server has everything up to `acked_seq`, the rest is sent again.
    pub(super) fn resume(&mut self, acked_seq: u64) {
        self.ack(acked_seq);
        if acked_seq > self.acked && self.numbered == 0 && !self.is_complete() {
            // An earlier process had sent more than it left in the spool.
            self.acked = acked_seq;
            self.release_unspooled();
        }
        self.sent = 0;
        if let Some(end) = &mut self.end {
            end.sent = false;
        }
        self.emit_deferred_end();
    }

    /// Returns the checksum of all lines numbered so far; `None` if some were left by a killed worker.
    pub(super) fn sum(&self) -> Option<LineChecksum> {
        self.sum
    }

    /// Reports whether the end and everything before it are durable at the server.
    pub(super) fn is_complete(&self) -> bool {
        self.end.is_some_and(|end| end.acked)
    }

    /// Returns the highest durable number.
    pub(super) fn acked_seq(&self) -> u64 {
        self.acked
    }

    /// Returns the count of task lines that the server has not confirmed, including skipped ones.
    pub(super) fn unconfirmed_lines(&self) -> u64 {
        self.queue.iter().map(BufferedLine::lines).sum::<u64>()
            + self.spilled_lines()
            + self.skipping.as_ref().map_or(0, Skipping::missing)
    }

    /// Returns the count of lines dropped so far.
    pub(super) fn skipped_lines(&self) -> u64 {
        let waiting = self
            .queue
            .iter()
            .filter(|item| matches!(item.kind, LineKind::Gap(_)))
            .map(BufferedLine::lines)
            .sum::<u64>();
        self.skipped_acked + waiting + self.spilled_skipped() + self.skipping.as_ref().map_or(0, Skipping::missing)
    }

    fn number_next(&mut self) {
        let Some(item) = self.queue.get(self.numbered) else { return };
        if let Some(sum) = &mut self.sum {
            sum.add(self.acked + self.numbered as u64 + 1, 0, &item.text(), &mut self.summed);
        }
        self.numbered += 1;
        self.numbered_bytes += item.bytes();
    }

    fn window_is_open(&self) -> bool {
        let half = (self.bounds.lines_max / 2).max(1);
        self.numbered == 0 || (self.numbered < half && self.numbered_bytes < self.bounds.bytes_max / 2)
    }

    /// Drops the waiting lines and starts counting instead of storing. The newest dropped lines are put back
    /// into the tails as bytes, so the end of a burst is not lost.
    fn start_skipping(&mut self, at: Timestamp) -> &mut Skipping {
        self.spool_has_overflowed();
        let waiting = if self.spilled() > 0 { self.drain_unspooled() } else { self.queue.split_off(self.numbered) };
        self.bytes = self.numbered_bytes;
        let tail = || OutputTail::new(self.bounds.tail_bytes_max, self.bounds.tail_lines_max);
        let mut skipping = Skipping { count: 0, tails: [tail(), tail(), tail()], since: at };
        let first_line = waiting.iter().find(|item| item.kind != LineKind::Internal);
        skipping.since = first_line.map_or(at, |item| item.at);
        let mut internal = 0;
        for item in waiting {
            match item.kind {
                LineKind::Internal if internal < INTERNAL_WAITING_MAX => {
                    internal += 1;
                    self.append(item);
                }
                LineKind::Gap(count) => skipping.count += count,
                LineKind::Line | LineKind::Internal => {
                    let tail = &mut skipping.tails[item.channel as usize];
                    tail.push(item.line.text.as_bytes(), item.at);
                    if !item.line.partial {
                        tail.push(b"\n", item.at);
                    }
                }
            }
        }
        for (tail, splitter) in skipping.tails.iter_mut().zip(&mut self.splitters) {
            tail.push(&splitter.drain_pending(), at);
        }
        self.skipping.insert(skipping)
    }

    /// Appends the gap marker for the missing lines, then the tails as lines.
    fn stop_skipping(&mut self) {
        let Some(mut skipping) = self.skipping.take() else { return };
        let count = skipping.missing();
        if count > 0 {
            let text = GapMarker { reason: GapReason::Skipped, count }.to_string();
            let line = SplitLine { text, ..SplitLine::default() };
            self.append(BufferedLine {
                line,
                channel: Channel::Internal,
                at: skipping.since,
                kind: LineKind::Gap(count),
            });
        }
        let mut order = Channel::ALL;
        order.sort_by_key(|channel| skipping.tails[*channel as usize].at());
        for channel in order {
            let tail = &mut skipping.tails[channel as usize];
            let at = tail.at();
            let mut input = tail.retained();
            while let Some(line) = self.splitters[channel as usize].next_line(&mut input) {
                self.append(BufferedLine { line, channel, at, kind: LineKind::Line });
            }
        }
    }
}

#[cfg(test)]
#[path = "buffer_tests.rs"]
mod tests;
