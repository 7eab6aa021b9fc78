//! What a worker has to say and the server has not confirmed: numbered, bounded, in order.
//!
//! ```text
//!   acked        in flight (kept for resending)   waiting (may be dropped)      not even split
//! ........ | acked+1 .. acked+sent .. acked+numbered | line line own line | skipping: counts and tails
//!            ^ front of the queue                      ^ gets its number when taken
//! ```
//! No I/O and no clock: the owner feeds bytes, takes batches, and reports acks and reconnects.

mod spill;

use std::collections::VecDeque;

use self::spill::Outbox;
use super::Exit;
use super::lines::{LineSplitter, SplitLine};
use super::tail::Tail;
use crate::model::limits::{WORKER_BUFFER_BYTES, WORKER_BUFFER_LINES};
use crate::model::{Channel, GapMarker, GapReason, LineChecksum, LineText, Timestamp};
pub(super) use spill::{Batch as SpoolBatch, Work as SpoolWork};

/// The buffer's bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Lines kept; at most half of them in flight.
    pub(super) lines_max: usize,
    /// Bytes kept, with what a line costs beside its text; at most half of them in flight.
    pub(super) bytes_max: usize,
    /// Bytes of each channel that survive skipping.
    pub(super) tail_bytes_max: usize,
    /// Lines of each channel that survive skipping.
    pub(super) tail_lines_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            lines_max: WORKER_BUFFER_LINES,
            bytes_max: WORKER_BUFFER_BYTES,
            tail_bytes_max: 64 * 1024,
            tail_lines_max: WORKER_BUFFER_LINES / 8,
        }
    }
}

/// Lines of the worker's own that survive an overflow; a connection that flaps for days makes more.
const OWN_WAITING_MAX: usize = 64;

/// One line, waiting or in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) line: SplitLine,
    pub(super) channel: Channel,
    pub(super) at: Timestamp,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The task's: the drop rule may take it as long as it has no number.
    Line,
    /// The worker's own: never dropped.
    Own,
    /// Stands for this many lines.
    Mark(u64),
}

impl Item {
    fn bytes(&self) -> usize {
        self.line.text.len() + size_of::<Self>()
    }

    /// The line as it is sent.
    pub(super) fn text(&self) -> LineText<'_> {
        let SplitLine { text, partial, lossy } = &self.line;
        LineText { timestamp: self.at, channel: self.channel, partial: *partial, lossy: *lossy, text: text.into() }
    }

    fn lines(&self) -> u64 {
        match self.kind {
            Kind::Line => 1,
            Kind::Own => 0,
            Kind::Mark(count) => count,
        }
    }
}

/// A run of lines with consecutive numbers.
pub(super) struct Batch<'a> {
    /// Number of the first.
    pub(super) first_seq: u64,
    /// The lines.
    pub(super) items: std::collections::vec_deque::Iter<'a, Item>,
}

/// Numbers lines from 1 and keeps them until they are acked.
///
/// Invariants: a number, once given, belongs to its line for ever; only lines without a number are
/// dropped, so numbers have no holes; lines received = lines delivered + what the marks count; the
/// newest line of every channel survives; lines and bytes stay within [`Bounds`], but for a few
/// lines of the worker's own.
#[derive(Debug)]
pub(super) struct Buffer {
    bounds: Bounds,
    queue: VecDeque<Item>,
    /// Cost of everything in the queue.
    bytes: usize,
    /// Items at the front that bear numbers, and what they cost.
    numbered: usize,
    numbered_bytes: usize,
    /// Items at the front that were handed out on the present connection.
    sent: usize,
    /// Everything up to this number is durable at the server, and forgotten here.
    acked: u64,
    /// What all numbered lines add up to, if that is known, and a place to put one.
    sum: Option<LineChecksum>,
    summed: Vec<u8>,
    /// Lines that acked marks stand for.
    skipped_acked: u64,
    splitters: [LineSplitter; 3],
    /// The buffer has overflowed: output is only counted, but for each channel's tail.
    skipping: Option<Skipping>,
    end: Option<End>,
    /// What goes to disk, if there is a spool.
    outbox: Option<Outbox>,
}

#[derive(Debug)]
struct Skipping {
    /// Lines that earlier marks stood for.
    count: u64,
    tails: [Tail; 3],
    since: Timestamp,
}

impl Skipping {
    fn missing(&self) -> u64 {
        self.count + self.tails.iter().map(Tail::missing).sum::<u64>()
    }
}

#[derive(Clone, Copy, Debug)]
struct End {
    exit: Exit,
    at: Timestamp,
    /// Handed out on the present connection.
    sent: bool,
    acked: bool,
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new(Bounds::default())
    }
}

impl Buffer {
    /// An empty buffer; the first line gets number 1.
    pub(super) fn new(bounds: Bounds) -> Self {
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

    /// Takes output of `channel`, read at `at`, cut anywhere. After the end it is ignored.
    /// Gives whether there may be something new to send.
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
            self.append(Item { line, channel, at, kind: Kind::Line });
            if self.queue.len() + self.behind() > self.bounds.lines_max || self.bytes > self.bounds.bytes_max {
                self.start_skipping(at).tails[channel as usize].push(input, at);
                return true;
            }
        }
        true
    }

    /// Appends a line of the worker's own, on the internal channel. It is never dropped; while
    /// output is skipped it goes before the mark.
    pub(super) fn push_own(&mut self, text: String, at: Timestamp) {
        if self.end.is_none() && !self.has_unsaid() {
            let line = SplitLine { text, ..SplitLine::default() };
            self.append(Item { line, channel: Channel::Internal, at, kind: Kind::Own });
        }
    }

    /// No output follows: what is unfinished becomes lines, then come the last words, then the end.
    pub(super) fn finish(&mut self, exit: Exit, last_words: Option<String>, at: Timestamp) {
        if self.end.is_some() {
            return;
        }
        self.stop_skipping();
        for channel in Channel::ALL {
            while let Some(line) = self.splitters[channel as usize].finish() {
                self.append(Item { line, channel, at, kind: Kind::Line });
            }
        }
        if let Some(text) = last_words {
            self.push_own(text, at);
        }
        self.end = Some(End { exit, at, sent: false, acked: false });
        self.spool_end();
    }

    /// The next lines to send on the present connection: first those to be sent again, then new
    /// ones as far as the window allows. At most `lines_max` lines, and `cost_max` of `cost`
    /// unless one line alone costs more.
    pub(super) fn take(&mut self, lines_max: usize, cost_max: usize, cost: fn(&Item) -> usize) -> Option<Batch<'_>> {
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
        Some(Batch { first_seq: self.acked + 1 + from as u64, items: self.queue.range(from..self.sent) })
    }

    /// The end and its number, once everything before it was taken, and once per connection.
    pub(super) fn take_end(&mut self) -> Option<(u64, Exit, Timestamp)> {
        let seq = self.end_seq();
        let all_sent = self.sent == self.queue.len() && self.spilled() == 0;
        let end = self.end.as_mut().filter(|end| all_sent && !end.sent && !end.acked)?;
        end.sent = true;
        Some((seq, end.exit, end.at))
    }

    /// Everything up to `seq` is durable. Gives how many lines were forgotten.
    pub(super) fn ack(&mut self, seq: u64) -> usize {
        let end_seq = self.end_seq();
        if let Some(end) = self.end.as_mut().filter(|_| seq >= end_seq) {
            end.acked = true;
        }
        let news = usize::try_from(seq.saturating_sub(self.acked)).unwrap_or(usize::MAX).min(self.numbered);
        for item in self.queue.drain(..news) {
            self.bytes -= item.bytes();
            self.numbered_bytes -= item.bytes();
            if let Kind::Mark(count) = item.kind {
                self.skipped_acked += count;
            }
        }
        self.numbered -= news;
        self.sent = self.sent.saturating_sub(news);
        self.acked += news as u64;
        news
    }

    /// A new connection: the server has everything up to `acked_seq`, the rest is to be sent again.
    pub(super) fn resume(&mut self, acked_seq: u64) {
        self.ack(acked_seq);
        if acked_seq > self.acked && self.numbered == 0 && !self.is_complete() {
            // It is an earlier process that had sent more than it has left in the spool.
            self.acked = acked_seq;
            self.settle_spilled();
        }
        self.sent = 0;
        if let Some(end) = &mut self.end {
            end.sent = false;
        }
        self.say_unsaid();
    }

    /// What all lines that were ever numbered add up to; unknown of those that a killed worker has left.
    pub(super) fn sum(&self) -> Option<LineChecksum> {
        self.sum
    }

    /// The end, and all before it, is durable at the server.
    pub(super) fn is_complete(&self) -> bool {
        self.end.is_some_and(|end| end.acked)
    }

    /// Everything up to this number is durable.
    pub(super) fn acked_seq(&self) -> u64 {
        self.acked
    }

    /// Lines of the task that the server has not confirmed, the skipped ones among them.
    pub(super) fn unconfirmed_lines(&self) -> u64 {
        self.queue.iter().map(Item::lines).sum::<u64>()
            + self.spilled_lines()
            + self.skipping.as_ref().map_or(0, Skipping::missing)
    }

    /// Lines that the drop rule has taken so far.
    pub(super) fn skipped_lines(&self) -> u64 {
        let waiting = self.queue.iter().filter(|item| matches!(item.kind, Kind::Mark(_))).map(Item::lines).sum::<u64>();
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

    /// Drops what waits, and begins to count instead of to keep. The newest of what was dropped
    /// is in the tails, as bytes again, so the end of a burst is not lost.
    fn start_skipping(&mut self, at: Timestamp) -> &mut Skipping {
        self.spool_has_overflowed();
        let waiting = if self.spilled() > 0 { self.take_behind() } else { self.queue.split_off(self.numbered) };
        self.bytes = self.numbered_bytes;
        let tail = || Tail::new(self.bounds.tail_bytes_max, self.bounds.tail_lines_max);
        let mut skipping = Skipping { count: 0, tails: [tail(), tail(), tail()], since: at };
        let first_line = waiting.iter().find(|item| item.kind != Kind::Own);
        skipping.since = first_line.map_or(at, |item| item.at);
        let mut own = 0;
        for item in waiting {
            match item.kind {
                Kind::Own if own < OWN_WAITING_MAX => {
                    own += 1;
                    self.append(item);
                }
                Kind::Mark(count) => skipping.count += count,
                Kind::Line | Kind::Own => {
                    let tail = &mut skipping.tails[item.channel as usize];
                    tail.push(item.line.text.as_bytes(), item.at);
                    if !item.line.partial {
                        tail.push(b"\n", item.at);
                    }
                }
            }
        }
        for (tail, splitter) in skipping.tails.iter_mut().zip(&mut self.splitters) {
            tail.push(&splitter.take_pending(), at);
        }
        self.skipping.insert(skipping)
    }

    /// Puts the mark in the place of what is missing, and the tails as lines behind it.
    fn stop_skipping(&mut self) {
        let Some(mut skipping) = self.skipping.take() else { return };
        let count = skipping.missing();
        if count > 0 {
            let text = GapMarker { reason: GapReason::Skipped, count }.to_string();
            let line = SplitLine { text, ..SplitLine::default() };
            self.append(Item { line, channel: Channel::Internal, at: skipping.since, kind: Kind::Mark(count) });
        }
        let mut order = Channel::ALL;
        order.sort_by_key(|channel| skipping.tails[*channel as usize].at());
        for channel in order {
            let tail = &mut skipping.tails[channel as usize];
            let at = tail.at();
            let mut input = tail.kept();
            while let Some(line) = self.splitters[channel as usize].next_line(&mut input) {
                self.append(Item { line, channel, at, kind: Kind::Line });
            }
        }
    }
}

#[cfg(test)]
#[path = "buffer_tests.rs"]
mod tests;
