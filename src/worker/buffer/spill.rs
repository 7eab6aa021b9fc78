//! The part of the buffer that is on disk, if there is a spool.
//!
//! ```text
//!   queue (memory)                | spilled: in the spool alone    | behind (memory, no numbers yet)
//! acked+1 .. acked+queue          | .. spilled_to                  |
//!   every line here goes to the spool too, with its number         | only while the spool takes nothing
//! ```
//! With a spool a line gets its number at once, and a record of it goes to the outbox, from where the
//! spool's thread writes it. What fits in memory stays there too; what does not is read back once the
//! server has taken what was before it. While the spool takes nothing (its disk is full or slow), the
//! rules of a buffer without a spool hold for the lines behind.

use std::collections::VecDeque;

use super::{Buffer, Item, Kind};
use crate::model::{Channel, Timestamp};
use crate::worker::Exit;
use crate::worker::lines::SplitLine;
use crate::worker::spool::{Record, SaidEnd, encode, encode_line};

/// Bytes of records that may wait for the spool's disk, those that are being written among them.
const OUTBOX_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Stands where lines end that were on their way to the spool.
const LOST: &str = "lines before this one are lost: the spool's disk did not take them, or does not give them back";

/// Records on their way to the spool, and what is there.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    batch: Batch,
    /// Bytes that the spool's thread has taken and not written.
    in_hand: usize,
    /// Bytes on disk, and how many there may be.
    disk_bytes: u64,
    disk_bytes_max: u64,
    /// The last line that is in the spool alone.
    spilled_to: u64,
    /// Lines of the task among those, and lines that marks among them stand for.
    spilled_lines: u64,
    spilled_skipped: u64,
    behind: VecDeque<Item>,
    /// The drop rule has taken lines though there is a spool; told once by the spool's thread.
    overflowed: bool,
    /// How the end of a worker that was killed is told, until it is.
    unsaid: Option<(Exit, String, Timestamp)>,
    /// No more work comes for the spool's thread.
    closed: bool,
}

/// Whole records, in the order of their numbers.
#[derive(Debug, Default)]
pub(in crate::worker) struct Batch {
    pub(in crate::worker) records: Vec<u8>,
    /// The numbers of the first and of the last.
    pub(in crate::worker) first_seq: u64,
    pub(in crate::worker) last_seq: u64,
}

/// What the spool's thread is to do.
#[derive(Debug, Default)]
pub(in crate::worker) struct Work {
    /// To be written; empty if there is nothing, or something is in hand already.
    pub(in crate::worker) batch: Batch,
    /// Everything up to it is durable at the server.
    pub(in crate::worker) acked: u64,
    /// Lines from this number on are wanted back, up to that one.
    pub(in crate::worker) wanted: Option<(u64, u64)>,
    pub(in crate::worker) overflowed: bool,
    pub(in crate::worker) closed: bool,
    /// The server has everything.
    pub(in crate::worker) complete: bool,
}

impl Outbox {
    /// Whether there is room for more. Once it was full, only when a good part of it is free again:
    /// else each line would be another change of the rule.
    fn takes(&self, again: bool) -> bool {
        let waiting = self.batch.records.len() + self.in_hand;
        let on_disk = self.disk_bytes.saturating_add(waiting as u64);
        match again || !self.behind.is_empty() {
            false => waiting < OUTBOX_BYTES_MAX && on_disk < self.disk_bytes_max,
            true => waiting < OUTBOX_BYTES_MAX / 2 && on_disk < self.disk_bytes_max / 8 * 7,
        }
    }

    fn put(&mut self, seq: u64, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.batch.records.is_empty() {
            self.batch.first_seq = seq;
        }
        encode(&mut self.batch.records);
        self.batch.last_seq = seq;
    }
}

impl Buffer {
    /// From now on lines go to a spool too, which may have so many bytes on disk.
    pub(in crate::worker) fn open_spool(&mut self, disk_bytes_max: u64) {
        self.outbox = Some(Outbox { disk_bytes_max, ..Outbox::default() });
    }

    /// Takes over what an earlier process has left in a spool: lines up to number `last_seq`, of which
    /// the server has those up to `acked`, and the end, if it was said.
    pub(in crate::worker) fn take_over(&mut self, acked: u64, last_seq: u64, lines: u64, end: Option<SaidEnd>) {
        self.acked = acked;
        self.outbox = Some(Outbox { spilled_to: last_seq, spilled_lines: lines, ..Outbox::default() });
        self.sum = end.and_then(|end| end.sum);
        self.end = end.map(|SaidEnd { exit, at, .. }| super::End { exit, at, sent: false, acked: false });
    }

    /// What was taken over has no end: says this one, behind these last words, once the server has told
    /// what it has; the killed worker may have sent more than it had written.
    pub(in crate::worker) fn finish_left(&mut self, exit: Exit, last_words: String, at: Timestamp) {
        if let Some(outbox) = &mut self.outbox {
            outbox.unsaid = Some((exit, last_words, at));
        }
    }

    /// Whether [`Buffer::finish_left`] was called, and the server was not reached yet.
    pub(super) fn has_unsaid(&self) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| outbox.unsaid.is_some())
    }

    /// The server has told what it has. The words are read back from the spool before they are sent, so
    /// that whoever goes on after this process finds them there with their number: they are said once.
    pub(super) fn say_unsaid(&mut self) {
        let Some((exit, text, at)) = self.outbox.as_mut().and_then(|outbox| outbox.unsaid.take()) else { return };
        let seq = self.last_seq() + 1;
        let line = SplitLine { text, ..SplitLine::default() };
        let words = Item { line, channel: Channel::Internal, at, kind: Kind::Own };
        if let Some(outbox) = &mut self.outbox {
            outbox.put(seq, |out| encode_line(seq, &words, out));
            outbox.spilled_to = seq;
        }
        self.end = Some(super::End { exit, at, sent: false, acked: false });
        self.spool_end();
    }

    /// Whether the spool's thread has something to write.
    pub(in crate::worker) fn has_records(&self) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| !outbox.batch.records.is_empty())
    }

    /// Appends a line: in the spool, if there is one that takes it, and in memory if it has room.
    pub(super) fn append(&mut self, item: Item) {
        if !self.outbox.as_ref().is_some_and(|outbox| outbox.takes(false)) {
            return self.keep(item);
        }
        // Those that the spool did not take come first.
        for item in self.take_behind() {
            self.spool(item);
        }
        self.spool(item);
    }

    /// Keeps a line in memory, behind all others.
    fn keep(&mut self, item: Item) {
        self.bytes += item.bytes();
        let spilled = self.spilled() > 0;
        match &mut self.outbox {
            Some(outbox) if spilled => outbox.behind.push_back(item),
            _ => self.queue.push_back(item),
        }
    }

    fn spool(&mut self, item: Item) {
        self.number_all();
        let seq = self.last_seq() + 1;
        let fits = self.spilled() == 0
            && self.queue.len() < self.bounds.lines_max
            && self.bytes + item.bytes() <= self.bounds.bytes_max;
        let Some(outbox) = &mut self.outbox else { return };
        outbox.put(seq, |out| encode_line(seq, &item, out));
        if fits {
            self.keep(item);
            self.number_all();
        } else {
            if let Some(sum) = &mut self.sum {
                sum.add(seq, 0, &item.text(), &mut self.summed);
            }
            outbox.spilled_to = seq;
            outbox.spilled_lines += item.lines();
            if let Kind::Mark(count) = item.kind {
                outbox.spilled_skipped += count;
            }
        }
    }

    /// What is in memory bears numbers from here on, because a line behind it does.
    fn number_all(&mut self) {
        while self.numbered < self.queue.len() {
            self.number_next();
        }
    }

    /// The end goes to the spool too, however full it is.
    pub(super) fn spool_end(&mut self) {
        if self.outbox.is_none() {
            return;
        }
        for item in self.take_behind() {
            self.spool(item);
        }
        self.number_all();
        let seq = self.end_seq();
        if let (Some(outbox), Some(end)) = (&mut self.outbox, &self.end) {
            let said = SaidEnd { seq, exit: end.exit, at: end.at, sum: self.sum };
            outbox.put(seq, |out| encode(&Record::End(said), out));
        }
    }

    /// Lines that are in the spool alone.
    pub(super) fn spilled(&self) -> u64 {
        let in_memory = self.acked + self.queue.len() as u64;
        self.outbox.as_ref().map_or(0, |outbox| outbox.spilled_to.saturating_sub(in_memory))
    }

    /// Lines of the task that are in the spool alone, or behind those.
    pub(super) fn spilled_lines(&self) -> u64 {
        let behind = |outbox: &Outbox| outbox.behind.iter().map(Item::lines).sum::<u64>();
        self.outbox.as_ref().map_or(0, |outbox| outbox.spilled_lines + behind(outbox))
    }

    /// Lines that marks among those stand for.
    pub(super) fn spilled_skipped(&self) -> u64 {
        let mark = |item: &Item| if matches!(item.kind, Kind::Mark(_)) { item.lines() } else { 0 };
        let behind = |outbox: &Outbox| outbox.behind.iter().map(mark).sum::<u64>();
        self.outbox.as_ref().map_or(0, |outbox| outbox.spilled_skipped + behind(outbox))
    }

    /// Lines that wait in memory behind those in the spool.
    pub(super) fn behind(&self) -> usize {
        self.outbox.as_ref().map_or(0, |outbox| outbox.behind.len())
    }

    /// Takes those out.
    pub(super) fn take_behind(&mut self) -> VecDeque<Item> {
        let behind = self.outbox.as_mut().map(|outbox| std::mem::take(&mut outbox.behind)).unwrap_or_default();
        self.bytes -= behind.iter().map(Item::bytes).sum::<usize>();
        behind
    }

    /// Whether the drop rule is no longer needed, because the spool takes lines again.
    pub(super) fn spool_has_recovered(&self) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| outbox.takes(true))
    }

    /// The drop rule begins.
    pub(super) fn spool_has_overflowed(&mut self) {
        self.outbox.iter_mut().for_each(|outbox| outbox.overflowed = true);
    }

    /// What the spool's thread is to do; nothing more to write as long as it has some in hand.
    pub(in crate::worker) fn spool_work(&mut self, has_in_hand: bool) -> Work {
        let (spilled, from) = (self.spilled(), self.acked + self.queue.len() as u64 + 1);
        let low = self.queue.len() <= self.bounds.lines_max / 4 && self.bytes <= self.bounds.bytes_max / 4;
        let (acked, complete) = (self.acked, self.is_complete());
        let Some(outbox) = &mut self.outbox else { return Work { acked, complete, closed: true, ..Work::default() } };
        let batch = if has_in_hand { Batch::default() } else { std::mem::take(&mut outbox.batch) };
        outbox.in_hand += batch.records.len();
        Work {
            batch,
            acked,
            wanted: (spilled > 0 && low).then_some((from, outbox.spilled_to)),
            overflowed: std::mem::take(&mut outbox.overflowed),
            closed: outbox.closed,
            complete,
        }
    }

    /// The spool's thread has so many bytes in hand and so many on disk.
    pub(in crate::worker) fn spool_has(&mut self, in_hand: usize, disk_bytes: u64) {
        if let Some(outbox) = &mut self.outbox {
            (outbox.in_hand, outbox.disk_bytes) = (in_hand, disk_bytes);
        }
    }

    /// No more work comes for the spool's thread.
    pub(in crate::worker) fn close_spool(&mut self) {
        self.outbox.iter_mut().for_each(|outbox| outbox.closed = true);
    }

    /// How many lines, and bytes of them, there is room for.
    pub(in crate::worker) fn room(&self) -> (usize, usize) {
        (self.bounds.lines_max / 2, self.bounds.bytes_max / 2)
    }

    /// Lines that were spilled are back, from number `first_seq` on. A hole before them is one for the
    /// reader too, once everything before it is confirmed: then, and without a hole, gives true.
    pub(in crate::worker) fn refill(&mut self, first_seq: u64, items: Vec<Item>) -> bool {
        let wanted = self.acked + self.queue.len() as u64 + 1;
        if first_seq > wanted && !self.leave_out_up_to(first_seq - 1) {
            return false;
        }
        for item in items.into_iter().skip(usize::try_from(wanted.saturating_sub(first_seq)).unwrap_or(usize::MAX)) {
            if let Some(outbox) = &mut self.outbox {
                outbox.spilled_lines = outbox.spilled_lines.saturating_sub(item.lines());
                if let Kind::Mark(count) = item.kind {
                    outbox.spilled_skipped = outbox.spilled_skipped.saturating_sub(count);
                }
            }
            self.bytes += item.bytes();
            self.numbered_bytes += item.bytes();
            self.queue.push_back(item);
            self.numbered += 1;
        }
        self.settle_spilled();
        true
    }

    /// Lines up to number `seq`, the last ones in the spool, cannot be read back: the reader sees a gap,
    /// and a line in the place of the last one that says so. Only once everything before them is
    /// confirmed; gives whether it is.
    pub(in crate::worker) fn lose_up_to(&mut self, seq: u64, at: Timestamp) -> bool {
        if !self.leave_out_up_to(seq - 1) {
            return false;
        }
        let line = SplitLine { text: LOST.to_owned(), ..SplitLine::default() };
        let lost = Item { line, channel: Channel::Internal, at, kind: Kind::Own };
        self.refill(seq, vec![lost])
    }

    /// The reader sees a gap up to this number.
    fn leave_out_up_to(&mut self, seq: u64) -> bool {
        if !self.queue.is_empty() {
            return false;
        }
        self.acked = self.acked.max(seq);
        self.settle_spilled();
        true
    }

    /// With nothing left in the spool alone, what is behind comes next.
    pub(super) fn settle_spilled(&mut self) {
        if self.spilled() > 0 {
            return;
        }
        for item in self.take_behind() {
            self.keep(item);
        }
        if let Some(outbox) = &mut self.outbox {
            (outbox.spilled_lines, outbox.spilled_skipped) = (0, 0);
        }
    }

    /// The number of the last line that has one, or will have one as things are.
    fn last_seq(&self) -> u64 {
        let in_memory = self.acked + self.queue.len() as u64;
        self.outbox.as_ref().map_or(in_memory, |outbox| outbox.spilled_to.max(in_memory))
    }

    /// The end's number.
    pub(super) fn end_seq(&self) -> u64 {
        self.last_seq() + self.behind() as u64 + 1
    }
}
