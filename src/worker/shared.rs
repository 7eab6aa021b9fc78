//! What the readers of a task's output and its uplink share: the buffer, and who wakes whom.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::buffer::{Buffer, Item, SpoolWork};
use super::mask::{Masker, Masks};
use super::spool::SaidEnd;
use super::{Delivery, Exit};
use crate::model::{Channel, TaskId, Timestamp};
use crate::wire::worker::{OutgoingLine, OutgoingMessage};

/// Lines of one message.
const BATCH_LINES_MAX: usize = 1_000;
/// Bytes of one message, unless a single line has more: then at most six times
/// [`LINE_BYTES_MAX`](crate::model::limits::LINE_BYTES_MAX), well within a message's limit.
const BATCH_BYTES_MAX: usize = 256 * 1024;

/// A task's output on its way out. Pushing never waits for the network.
#[derive(Debug)]
pub(super) struct Shared {
    masks: Masks,
    /// One for each channel, if there is anything to mask. Held with `buffer`, and taken first.
    maskers: [Mutex<Option<Masker>>; 3],
    /// Held for the time of one chunk or one message, never across an await.
    buffer: Mutex<Buffer>,
    /// The uplink waits here for something to send; a wake-up without data.
    wake: Notify,
    /// The spool's thread waits here for work.
    spool_wake: Condvar,
    /// No output follows.
    finished: CancellationToken,
    /// Nobody wants to wait for the delivery any longer.
    hurried: CancellationToken,
    reached: AtomicBool,
    /// The server takes no more lines of this task.
    refused: AtomicBool,
}

impl Shared {
    pub(super) fn new(masks: Masks) -> Self {
        Self {
            maskers: [(); 3].map(|()| Mutex::new(masks.masker())),
            masks,
            buffer: Mutex::default(),
            wake: Notify::new(),
            spool_wake: Condvar::new(),
            finished: CancellationToken::new(),
            hurried: CancellationToken::new(),
            reached: AtomicBool::new(false),
            refused: AtomicBool::new(false),
        }
    }

    /// Takes output as it was read, cut anywhere. Gives it as it may be shown: without secrets, and
    /// without what may still become one.
    pub(super) fn push_bytes<'a>(&self, channel: Channel, bytes: &'a [u8], at: Timestamp) -> Cow<'a, [u8]> {
        let mut masker = self.maskers[channel as usize].lock();
        let bytes = match masker.as_mut() {
            None => Cow::Borrowed(bytes),
            Some(masker) => {
                let mut masked = Vec::with_capacity(bytes.len());
                masker.push(bytes, &mut masked);
                Cow::Owned(masked)
            }
        };
        self.push(|buffer| buffer.push_bytes(channel, &bytes, at));
        bytes
    }

    /// No output follows on this channel. Gives what was held back.
    pub(super) fn end_channel(&self, channel: Channel, at: Timestamp) -> Vec<u8> {
        let mut masker = self.maskers[channel as usize].lock();
        let mut held = Vec::new();
        if let Some(masker) = masker.as_mut() {
            masker.finish(&mut held);
        }
        if !held.is_empty() {
            self.push(|buffer| buffer.push_bytes(channel, &held, at));
        }
        held
    }

    /// Takes one line without its newline.
    pub(super) fn push_line(&self, channel: Channel, text: &str, at: Timestamp) {
        let line = [text.as_bytes(), b"\n"].concat();
        self.push_bytes(channel, &line, at);
    }

    /// A line of the worker's own.
    pub(super) fn push_own(&self, text: impl Into<String>) {
        let text = self.masks.text(&text.into());
        self.push(|buffer| {
            buffer.push_own(text, Timestamp::now());
            true
        });
    }

    /// No output follows.
    pub(super) fn finish(&self, exit: Exit, last_words: Option<String>) {
        let now = Timestamp::now();
        // A channel that another process still holds open has not ended.
        Channel::ALL.into_iter().for_each(|channel| drop(self.end_channel(channel, now)));
        let last_words = last_words.map(|text| self.masks.text(&text));
        self.push(|buffer| {
            buffer.finish(exit, last_words, now);
            true
        });
        self.finished.cancel();
        self.wake.notify_one();
    }

    /// Puts something into the buffer, and wakes those who wait for it.
    fn push(&self, put: impl FnOnce(&mut Buffer) -> bool) {
        let mut buffer = self.buffer.lock();
        let (news, to_spool) = (put(&mut buffer), buffer.has_records());
        drop(buffer);
        if news {
            self.wake.notify_one();
        }
        if to_spool {
            self.spool_wake.notify_one();
        }
    }

    /// Whoever waits for the delivery gives up now.
    pub(super) fn hurry(&self) {
        self.hurried.cancel();
    }

    /// Until there may be something new to send.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Until no output follows.
    pub(super) async fn finished(&self) {
        self.finished.cancelled().await;
    }

    /// Until [`Shared::hurry`].
    pub(super) async fn hurried(&self) {
        self.hurried.cancelled().await;
    }

    /// Whether a server has ever answered.
    pub(super) fn was_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// The server takes no more lines of this task.
    pub(super) fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// Whether [`Shared::refuse`] was said.
    pub(super) fn was_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// A new connection: everything up to `acked_seq` is durable, the rest is sent again.
    pub(super) fn resume(&self, acked_seq: u64) {
        self.reached.store(true, Ordering::Relaxed);
        self.buffer.lock().resume(acked_seq);
        self.spool_wake.notify_one();
    }

    /// Everything up to `seq` is durable. Gives whether that is all there will be.
    pub(super) fn ack(&self, seq: u64) -> bool {
        let mut buffer = self.buffer.lock();
        buffer.ack(seq);
        self.wake.notify_one();
        self.spool_wake.notify_one();
        buffer.is_complete()
    }

    /// The number up to which everything is durable.
    pub(super) fn acked_seq(&self) -> u64 {
        self.buffer.lock().acked_seq()
    }

    /// The server has everything, the end too.
    pub(super) fn is_complete(&self) -> bool {
        self.buffer.lock().is_complete()
    }

    /// Lines that the drop rule has taken so far.
    pub(super) fn skipped_lines(&self) -> u64 {
        self.buffer.lock().skipped_lines()
    }

    /// What has become of the lines.
    pub(super) fn delivery(&self) -> Delivery {
        let buffer = self.buffer.lock();
        let complete = buffer.is_complete();
        let undelivered_lines = if complete { 0 } else { buffer.unconfirmed_lines() };
        Delivery { complete, undelivered_lines, skipped_lines: buffer.skipped_lines() }
    }

    /// From now on lines go to a spool too; its thread is still to be started.
    pub(super) fn open_spool(&self, disk_bytes_max: u64) {
        self.buffer.lock().open_spool(disk_bytes_max);
    }

    /// Takes over what an earlier process has left in a spool, see [`Buffer::take_over`].
    pub(super) fn take_over(&self, acked: u64, last_seq: u64, lines: u64, end: Option<SaidEnd>) {
        self.buffer.lock().take_over(acked, last_seq, lines, end);
        if end.is_some() {
            self.finished.cancel();
        }
    }

    /// The end of what was taken over without one, see [`Buffer::finish_left`].
    pub(super) fn finish_left(&self, exit: Exit, last_words: &str) {
        self.buffer.lock().finish_left(exit, last_words.to_owned(), Timestamp::now());
        self.finished.cancel();
    }

    /// Waits for work for the spool's thread, at most for `pause`; what there is then.
    pub(super) fn spool_work(
        &self,
        has_in_hand: bool,
        pause: Duration,
        is_news: impl Fn(&SpoolWork) -> bool,
    ) -> SpoolWork {
        let mut buffer = self.buffer.lock();
        let until = Instant::now() + pause;
        loop {
            let work = buffer.spool_work(has_in_hand);
            if is_news(&work) || self.spool_wake.wait_until(&mut buffer, until).timed_out() {
                return work;
            }
        }
    }

    /// What the spool's thread has in hand and on disk, in bytes.
    pub(super) fn spool_has(&self, in_hand: usize, disk_bytes: u64) {
        self.buffer.lock().spool_has(in_hand, disk_bytes);
    }

    /// Whether there is something to write to the spool.
    pub(super) fn has_records(&self) -> bool {
        self.buffer.lock().has_records()
    }

    /// How many lines of the spool, and bytes of them, the buffer has room for.
    pub(super) fn spool_room(&self) -> (usize, usize) {
        self.buffer.lock().room()
    }

    /// Lines of the spool for the buffer, see [`Buffer::refill`].
    pub(super) fn refill(&self, first_seq: u64, items: Vec<Item>) -> bool {
        let done = self.buffer.lock().refill(first_seq, items);
        self.wake.notify_one();
        done
    }

    /// Lines of the spool that cannot be read, see [`Buffer::lose_up_to`].
    pub(super) fn lose_up_to(&self, seq: u64) -> bool {
        let done = self.buffer.lock().lose_up_to(seq, Timestamp::now());
        self.wake.notify_one();
        done
    }

    /// No more work comes for the spool's thread.
    pub(super) fn close_spool(&self) {
        self.buffer.lock().close_spool();
        self.spool_wake.notify_one();
    }

    /// The next message for the present connection, if there is something to say.
    pub(super) fn next_message(&self, task: &TaskId) -> Result<Option<String>, serde_json::Error> {
        let mut buffer = self.buffer.lock();
        let message = if let Some(batch) = buffer.take(BATCH_LINES_MAX, BATCH_BYTES_MAX, json_bytes) {
            let lines = batch.items.map(outgoing).collect();
            OutgoingMessage::LogLines { work_request_id: task.as_str(), first_seq: batch.first_seq, lines }
        } else if let Some((seq, exit, timestamp)) = buffer.take_end() {
            OutgoingMessage::LogLineEnd {
                work_request_id: task.as_str(),
                seq,
                exit_code: exit.code,
                signal: exit.signal,
                status: exit.aborted.then_some("aborted"),
                timestamp,
                // Where it is not known, a hole in the numbers still tells what is missing.
                count: buffer.sum().map(|_| seq - 1),
                hash: buffer.sum(),
            }
        } else {
            return Ok(None);
        };
        serde_json::to_string(&message).map(Some)
    }
}

fn outgoing(item: &Item) -> OutgoingLine<'_> {
    OutgoingLine {
        line: &item.line.text,
        timestamp: item.at,
        channel: item.channel,
        partial: item.line.partial,
        lossy: item.line.lossy,
    }
}

/// What a line takes as JSON, at most.
fn json_bytes(item: &Item) -> usize {
    const FRAME: usize =
        r#"{"line":"","timestamp":"2026-05-09T14:23:01.000Z","stream":"internal","partial":true,"lossy":true},"#.len();
    let escapes = item.line.text.bytes().map(|byte| match byte {
        0..0x20 => 5,
        b'"' | b'\\' => 1,
        _ => 0usize,
    });
    FRAME + item.line.text.len() + escapes.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::limits::{LINE_BYTES_MAX, MESSAGE_BYTES_MAX};

    #[test]
    fn the_worst_output_still_fits_a_message() {
        let shared = Shared::new(Masks::default());
        for text in ["\u{1}".repeat(LINE_BYTES_MAX), "\"\\".repeat(LINE_BYTES_MAX / 2), "x".repeat(LINE_BYTES_MAX)] {
            (0..8).for_each(|_| shared.push_line(Channel::Stderr, &text, Timestamp::now()));
        }
        let task = "t".parse().unwrap();
        let mut lines = 0;
        while let Some(message) = shared.next_message(&task).unwrap() {
            assert!(message.len() < MESSAGE_BYTES_MAX, "{}", message.len());
            lines += message.matches(r#""stream":"stderr""#).count();
        }
        assert_eq!(lines, 24);
    }
}
