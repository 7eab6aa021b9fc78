//! The part of the buffer that is on disk, if there is a spool.
//!
//! ```text
//!   queue (memory)                | spilled: only in the spool     | unspooled (memory, no numbers yet)
//! acked+1 .. acked+queue          | .. spilled_to                  |
//!   every line here is also written to the spool, with its number   | only while the spool accepts nothing
//! ```
//! With a spool, a line gets its number at once and its record is queued in the outbox, from which the
//! spool thread writes it. Lines that fit in memory stay there too. The others are read back once the
//! server has accepted the lines before them. While the spool accepts nothing (its disk is full or slow),
//! unspooled lines follow the rules of a buffer without a spool.

use std::collections::VecDeque;

use super::{Buffer, BufferedLine, LineKind};
use crate::model::{Channel, Timestamp};
use crate::worker::Exit;
use crate::worker::lines::SplitLine;
use crate::worker::spool::{RecordedEnd, SpoolRecord, encode, encode_line};

/// Maximum bytes of records queued for the spool, including those being written.
const OUTBOX_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Replaces the last of the lines that never reached the spool or cannot be read back.
const LOST: &str = "the lines before this one are lost: they could not be written to the spool or read back from it";

/// Records queued for the spool, and the spool's usage.
#[derive(Debug, Default)]
pub(super) struct SpoolOutbox {
    batch: SpoolBatch,
    /// Bytes that the spool thread has received but not written.
    unwritten_bytes: usize,
    /// Bytes on disk, and their maximum.
    disk_bytes: u64,
    disk_bytes_max: u64,
    /// Number of the last line that is only in the spool.
    spilled_to: u64,
    /// Task lines among those, and lines counted by gap markers among them.
    spilled_lines: u64,
    spilled_skipped: u64,
    unspooled: VecDeque<BufferedLine>,
    /// Lines were dropped although there is a spool. The spool thread logs this once.
    overflowed: bool,
    /// End of a killed worker's task, until it is recorded.
    deferred_end: Option<(Exit, String, Timestamp)>,
    /// The spool thread gets no further work.
    closed: bool,
}

/// Whole records in number order.
#[derive(Debug, Default)]
pub(in crate::worker) struct SpoolBatch {
    pub(in crate::worker) records: Vec<u8>,
    /// Numbers of the first and last record.
    pub(in crate::worker) first_seq: u64,
    pub(in crate::worker) last_seq: u64,
}

/// Work for the spool thread.
#[derive(Debug, Default)]
pub(in crate::worker) struct SpoolWork {
    /// Records to write; empty if there are none, or if earlier ones are still unwritten.
    pub(in crate::worker) batch: SpoolBatch,
    /// Highest number that is durable at the server.
    pub(in crate::worker) acked: u64,
    /// First and last number of the lines to read back.
    pub(in crate::worker) wanted: Option<(u64, u64)>,
    pub(in crate::worker) overflowed: bool,
    pub(in crate::worker) closed: bool,
    /// The server has confirmed everything.
    pub(in crate::worker) complete: bool,
}

impl SpoolOutbox {
    /// Reports whether the outbox accepts more. Once full, it accepts again only when a good part is free;
    /// otherwise it would switch mode at every line.
    fn has_room(&self, again: bool) -> bool {
        let waiting = self.batch.records.len() + self.unwritten_bytes;
        let on_disk = self.disk_bytes.saturating_add(waiting as u64);
        match again || !self.unspooled.is_empty() {
            false => waiting < OUTBOX_BYTES_MAX && on_disk < self.disk_bytes_max,
            true => waiting < OUTBOX_BYTES_MAX / 2 && on_disk < self.disk_bytes_max / 8 * 7,
        }
    }

    fn push_record(&mut self, seq: u64, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.batch.records.is_empty() {
            self.batch.first_seq = seq;
        }
        encode(&mut self.batch.records);
        self.batch.last_seq = seq;
    }
}

impl Buffer {
    /// Starts writing lines to a spool of at most `disk_bytes_max` bytes.
    pub(in crate::worker) fn open_spool(&mut self, disk_bytes_max: u64) {
        self.outbox = Some(SpoolOutbox { disk_bytes_max, ..SpoolOutbox::default() });
    }

    /// Restores the state that an earlier process left in a spool: lines up to `last_seq`, of which the
    /// server has those up to `acked`, and the end, if recorded.
    pub(in crate::worker) fn restore(&mut self, acked: u64, last_seq: u64, lines: u64, end: Option<RecordedEnd>) {
        self.acked = acked;
        self.outbox = Some(SpoolOutbox { spilled_to: last_seq, spilled_lines: lines, ..SpoolOutbox::default() });
        self.sum = end.and_then(|end| end.sum);
        self.end = end.map(|RecordedEnd { exit, at, .. }| super::PendingEnd { exit, at, sent: false, acked: false });
    }

    /// Sets the end for a restored task that has none. It is recorded after `exit_message` once the server
    /// has reported its position, because the killed worker may have sent more than it had written.
    pub(in crate::worker) fn defer_end(&mut self, exit: Exit, exit_message: String, at: Timestamp) {
        if let Some(outbox) = &mut self.outbox {
            outbox.deferred_end = Some((exit, exit_message, at));
        }
    }

    /// Reports whether an end set by [`Buffer::defer_end`] is still to be recorded.
    pub(super) fn has_deferred_end(&self) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| outbox.deferred_end.is_some())
    }

    /// Records the deferred end, now that the server's position is known. The message is read back from the
    /// spool before it is sent, so a process that resumes after this one finds it under its number and does
    /// not send it twice.
    pub(super) fn emit_deferred_end(&mut self) {
        let Some((exit, text, at)) = self.outbox.as_mut().and_then(|outbox| outbox.deferred_end.take()) else { return };
        let seq = self.last_seq() + 1;
        let line = SplitLine { text, ..SplitLine::default() };
        let message = BufferedLine { line, channel: Channel::Internal, at, kind: LineKind::Internal };
        if let Some(outbox) = &mut self.outbox {
            outbox.push_record(seq, |out| encode_line(seq, &message, out));
            outbox.spilled_to = seq;
        }
        self.end = Some(super::PendingEnd { exit, at, sent: false, acked: false });
        self.spool_end();
    }

    /// Reports whether there are records for the spool thread to write.
    pub(in crate::worker) fn has_records(&self) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| !outbox.batch.records.is_empty())
    }

    /// Appends a line to the spool, if there is one with room, and to memory if it fits.
    pub(super) fn append(&mut self, item: BufferedLine) {
        if !self.outbox.as_ref().is_some_and(|outbox| outbox.has_room(false)) {
            return self.push_to_memory(item);
        }
        // Lines that the spool did not accept come first.
        for item in self.drain_unspooled() {
            self.append_to_spool(item);
        }
        self.append_to_spool(item);
    }

    /// Appends a line to the lines in memory.
    fn push_to_memory(&mut self, item: BufferedLine) {
        self.bytes += item.bytes();
        let spilled = self.spilled() > 0;
        match &mut self.outbox {
            Some(outbox) if spilled => outbox.unspooled.push_back(item),
            _ => self.queue.push_back(item),
        }
    }

    fn append_to_spool(&mut self, item: BufferedLine) {
        self.number_all();
        let seq = self.last_seq() + 1;
        let fits = self.spilled() == 0
            && self.queue.len() < self.bounds.lines_max
            && self.bytes + item.bytes() <= self.bounds.bytes_max;
        let Some(outbox) = &mut self.outbox else { return };
        outbox.push_record(seq, |out| encode_line(seq, &item, out));
        if fits {
            self.push_to_memory(item);
            self.number_all();
        } else {
            if let Some(sum) = &mut self.sum {
                sum.add(seq, 0, &item.text(), &mut self.summed);
            }
            outbox.spilled_to = seq;
            outbox.spilled_lines += item.lines();
            if let LineKind::Gap(count) = item.kind {
                outbox.spilled_skipped += count;
            }
        }
    }

    /// Numbers all lines in memory, because a line after them has a number.
    fn number_all(&mut self) {
        while self.numbered < self.queue.len() {
            self.number_next();
        }
    }

    /// Queues the end for the spool, however full the spool is.
    pub(super) fn spool_end(&mut self) {
        if self.outbox.is_none() {
            return;
        }
        for item in self.drain_unspooled() {
            self.append_to_spool(item);
        }
        self.number_all();
        let seq = self.end_seq();
        if let (Some(outbox), Some(end)) = (&mut self.outbox, &self.end) {
            let recorded = RecordedEnd { seq, exit: end.exit, at: end.at, sum: self.sum };
            outbox.push_record(seq, |out| encode(&SpoolRecord::End(recorded), out));
        }
    }

    /// Returns the count of lines that are only in the spool.
    pub(super) fn spilled(&self) -> u64 {
        let in_memory = self.acked + self.queue.len() as u64;
        self.outbox.as_ref().map_or(0, |outbox| outbox.spilled_to.saturating_sub(in_memory))
    }

    /// Returns the count of task lines that are only in the spool or unspooled.
    pub(super) fn spilled_lines(&self) -> u64 {
        let unspooled = |outbox: &SpoolOutbox| outbox.unspooled.iter().map(BufferedLine::lines).sum::<u64>();
        self.outbox.as_ref().map_or(0, |outbox| outbox.spilled_lines + unspooled(outbox))
    }

    /// Returns how many lines the gap markers among those count.
    pub(super) fn spilled_skipped(&self) -> u64 {
        let mark = |item: &BufferedLine| if matches!(item.kind, LineKind::Gap(_)) { item.lines() } else { 0 };
        let unspooled = |outbox: &SpoolOutbox| outbox.unspooled.iter().map(mark).sum::<u64>();
        self.outbox.as_ref().map_or(0, |outbox| outbox.spilled_skipped + unspooled(outbox))
    }

    /// Returns the count of lines waiting in memory after those in the spool.
    pub(super) fn unspooled_len(&self) -> usize {
        self.outbox.as_ref().map_or(0, |outbox| outbox.unspooled.len())
    }

    /// Removes and returns the unspooled lines.
    pub(super) fn drain_unspooled(&mut self) -> VecDeque<BufferedLine> {
        let unspooled = self.outbox.as_mut().map(|outbox| std::mem::take(&mut outbox.unspooled)).unwrap_or_default();
        self.bytes -= unspooled.iter().map(BufferedLine::bytes).sum::<usize>();
        unspooled
    }

    /// Reports whether lines need no longer be dropped because the spool accepts them again.
    pub(super) fn spool_has_recovered(&self) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| outbox.has_room(true))
    }

    /// Records that lines are dropped although there is a spool.
    pub(super) fn spool_has_overflowed(&mut self) {
        self.outbox.iter_mut().for_each(|outbox| outbox.overflowed = true);
    }

    /// Returns the work for the spool thread, without new records while it still has unwritten ones.
    pub(in crate::worker) fn spool_work(&mut self, has_unwritten: bool) -> SpoolWork {
        let (spilled, from) = (self.spilled(), self.acked + self.queue.len() as u64 + 1);
        let low = self.queue.len() <= self.bounds.lines_max / 4 && self.bytes <= self.bounds.bytes_max / 4;
        let (acked, complete) = (self.acked, self.is_complete());
        let Some(outbox) = &mut self.outbox else {
            return SpoolWork { acked, complete, closed: true, ..SpoolWork::default() };
        };
        let batch = if has_unwritten { SpoolBatch::default() } else { std::mem::take(&mut outbox.batch) };
        outbox.unwritten_bytes += batch.records.len();
        SpoolWork {
            batch,
            acked,
            wanted: (spilled > 0 && low).then_some((from, outbox.spilled_to)),
            overflowed: std::mem::take(&mut outbox.overflowed),
            closed: outbox.closed,
            complete,
        }
    }

    /// Records the spool thread's unwritten bytes and its bytes on disk.
    pub(in crate::worker) fn report_spool_usage(&mut self, unwritten_bytes: usize, disk_bytes: u64) {
        if let Some(outbox) = &mut self.outbox {
            (outbox.unwritten_bytes, outbox.disk_bytes) = (unwritten_bytes, disk_bytes);
        }
    }

    /// Marks the spool as closed: its thread gets no further work.
    pub(in crate::worker) fn close_spool(&mut self) {
        self.outbox.iter_mut().for_each(|outbox| outbox.closed = true);
    }

    /// Returns how many lines and bytes to read back at once.
    pub(in crate::worker) fn room(&self) -> (usize, usize) {
        (self.bounds.lines_max / 2, self.bounds.bytes_max / 2)
    }

    /// Adds spilled lines that were read back, from number `first_seq` on. A hole before them becomes a gap
    /// for readers, once everything before it is confirmed. Returns false if that is not yet so.
    pub(in crate::worker) fn refill(&mut self, first_seq: u64, items: Vec<BufferedLine>) -> bool {
        let wanted = self.acked + self.queue.len() as u64 + 1;
        if first_seq > wanted && !self.advance_acked(first_seq - 1) {
            return false;
        }
        for item in items.into_iter().skip(usize::try_from(wanted.saturating_sub(first_seq)).unwrap_or(usize::MAX)) {
            if let Some(outbox) = &mut self.outbox {
                outbox.spilled_lines = outbox.spilled_lines.saturating_sub(item.lines());
                if let LineKind::Gap(count) = item.kind {
                    outbox.spilled_skipped = outbox.spilled_skipped.saturating_sub(count);
                }
            }
            self.bytes += item.bytes();
            self.numbered_bytes += item.bytes();
            self.queue.push_back(item);
            self.numbered += 1;
        }
        self.release_unspooled();
        true
    }

    /// Replaces the spilled lines up to number `seq`, which cannot be read back, by a gap and an internal
    /// line that reports the loss. Does nothing and returns false until everything before them is confirmed.
    pub(in crate::worker) fn replace_lost_up_to(&mut self, seq: u64, at: Timestamp) -> bool {
        if !self.advance_acked(seq - 1) {
            return false;
        }
        let line = SplitLine { text: LOST.to_owned(), ..SplitLine::default() };
        let lost = BufferedLine { line, channel: Channel::Internal, at, kind: LineKind::Internal };
        self.refill(seq, vec![lost])
    }

    /// Leaves a gap up to number `seq`. Returns false while earlier lines are unconfirmed.
    fn advance_acked(&mut self, seq: u64) -> bool {
        if !self.queue.is_empty() {
            return false;
        }
        self.acked = self.acked.max(seq);
        self.release_unspooled();
        true
    }

    /// Moves the unspooled lines to the queue once no line is only in the spool.
    pub(super) fn release_unspooled(&mut self) {
        if self.spilled() > 0 {
            return;
        }
        for item in self.drain_unspooled() {
            self.push_to_memory(item);
        }
        if let Some(outbox) = &mut self.outbox {
            (outbox.spilled_lines, outbox.spilled_skipped) = (0, 0);
        }
    }

    /// Returns the number of the last numbered line, counting lines in memory as numbered.
    fn last_seq(&self) -> u64 {
        let in_memory = self.acked + self.queue.len() as u64;
        self.outbox.as_ref().map_or(in_memory, |outbox| outbox.spilled_to.max(in_memory))
    }

    /// Returns the end's number.
    pub(super) fn end_seq(&self) -> u64 {
        self.last_seq() + self.unspooled_len() as u64 + 1
    }
}
