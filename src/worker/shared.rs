//! The buffer shared by the output readers, the uplink and the spool thread, with its wake-ups.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::buffer::{Buffer, BufferedLine, SpoolWork};
use super::mask::{Masker, Masks};
use super::spool::RecordedEnd;
use super::{Delivery, Exit};
use crate::model::{Channel, TaskId, Timestamp};
use crate::wire::worker::{OutgoingLine, OutgoingMessage};

/// Maximum lines per message.
const BATCH_LINES_MAX: usize = 1_000;
/// Maximum bytes per message. A single larger line is at most six times
/// [`LINE_BYTES_MAX`](crate::model::limits::LINE_BYTES_MAX), well within the message limit.
const BATCH_BYTES_MAX: usize = 256 * 1024;

/// A task's pending output. Pushing never waits for the network.
#[derive(Debug)]
pub(super) struct SharedBuffer {
    masks: Masks,
    /// One masker per channel, if there are secrets. Locked before `buffer` and held with it.
    maskers: [Mutex<Option<Masker>>; 3],
    /// Locked for one chunk or one message, never across an await.
    buffer: Mutex<Buffer>,
    /// Wakes the uplink when there may be something to send; carries no data.
    wake: Notify,
    /// Wakes the spool thread when there is work.
    spool_wake: Condvar,
    /// The output has ended.
    finished: CancellationToken,
    /// The wait for the delivery was aborted.
    aborted: CancellationToken,
    reached: AtomicBool,
    /// The server accepts no more lines of this task.
    rejected: AtomicBool,
}

impl SharedBuffer {
    pub(super) fn new(masks: Masks) -> Self {
        Self {
            maskers: [(); 3].map(|()| Mutex::new(masks.masker())),
            masks,
            buffer: Mutex::default(),
            wake: Notify::new(),
            spool_wake: Condvar::new(),
            finished: CancellationToken::new(),
            aborted: CancellationToken::new(),
            reached: AtomicBool::new(false),
            rejected: AtomicBool::new(false),
        }
    }

    /// Appends output, cut anywhere. Returns the bytes to show: masked, and without bytes that may still
    /// become a secret.
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

    /// Ends the output of this channel. Returns the bytes that were held back.
    pub(super) fn finish_channel(&self, channel: Channel, at: Timestamp) -> Vec<u8> {
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

    /// Appends one line given without its newline.
    pub(super) fn push_line(&self, channel: Channel, text: &str, at: Timestamp) {
        let line = [text.as_bytes(), b"\n"].concat();
        self.push_bytes(channel, &line, at);
    }

    /// Appends an internal line.
    pub(super) fn push_internal(&self, text: impl Into<String>) {
        let text = self.masks.text(&text.into());
        self.push(|buffer| {
            buffer.push_internal(text, Timestamp::now());
            true
        });
    }

    /// Ends the output.
    pub(super) fn finish(&self, exit: Exit, exit_message: Option<String>) {
        let now = Timestamp::now();
        // A channel that another process still holds open has not been ended by its reader.
        Channel::ALL.into_iter().for_each(|channel| drop(self.finish_channel(channel, now)));
        let exit_message = exit_message.map(|text| self.masks.text(&text));
        self.push(|buffer| {
            buffer.finish(exit, exit_message, now);
            true
        });
        self.finished.cancel();
        self.wake.notify_one();
    }

    /// Changes the buffer and wakes the uplink and the spool thread as needed.
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

    /// Aborts the wait for the delivery.
    pub(super) fn abort_delivery(&self) {
        self.aborted.cancel();
    }

    /// Waits until there may be something new to send.
    pub(super) async fn wait_woken(&self) {
        self.wake.notified().await;
    }

    /// Waits until the output has ended.
    pub(super) async fn wait_finished(&self) {
        self.finished.cancelled().await;
    }

    /// Waits until [`SharedBuffer::abort_delivery`] is called.
    pub(super) async fn wait_aborted(&self) {
        self.aborted.cancelled().await;
    }

    /// Reports whether a server has ever responded.
    pub(super) fn was_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// Records that the server accepts no more lines of this task.
    pub(super) fn mark_rejected(&self) {
        self.rejected.store(true, Ordering::Relaxed);
    }

    /// Reports whether the server has rejected further lines.
    pub(super) fn is_rejected(&self) -> bool {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Starts a new connection: everything up to `acked_seq` is durable, the rest is sent again.
    pub(super) fn resume(&self, acked_seq: u64) {
        self.reached.store(true, Ordering::Relaxed);
        self.buffer.lock().resume(acked_seq);
        self.spool_wake.notify_one();
    }

    /// Records that everything up to `seq` is durable. Returns whether the delivery is complete.
    pub(super) fn ack(&self, seq: u64) -> bool {
        let mut buffer = self.buffer.lock();
        buffer.ack(seq);
        self.wake.notify_one();
        self.spool_wake.notify_one();
        buffer.is_complete()
    }

    /// Returns the highest durable number.
    pub(super) fn acked_seq(&self) -> u64 {
        self.buffer.lock().acked_seq()
    }

    /// Reports whether the server has confirmed everything, including the end.
    pub(super) fn is_complete(&self) -> bool {
        self.buffer.lock().is_complete()
    }

    /// Returns the count of lines dropped so far.
    pub(super) fn skipped_lines(&self) -> u64 {
        self.buffer.lock().skipped_lines()
    }

    /// Returns the delivery state.
    pub(super) fn delivery(&self) -> Delivery {
        let buffer = self.buffer.lock();
        let complete = buffer.is_complete();
        let undelivered_lines = if complete { 0 } else { buffer.unconfirmed_lines() };
        Delivery { complete, undelivered_lines, skipped_lines: buffer.skipped_lines() }
    }

    /// Starts queueing lines for a spool, whose thread is still to be started.
    pub(super) fn open_spool(&self, disk_bytes_max: u64) {
        self.buffer.lock().open_spool(disk_bytes_max);
    }

    /// Restores the state left by an earlier process, see [`Buffer::restore`].
    pub(super) fn restore(&self, acked: u64, last_seq: u64, lines: u64, end: Option<RecordedEnd>) {
        self.buffer.lock().restore(acked, last_seq, lines, end);
        if end.is_some() {
            self.finished.cancel();
        }
    }

    /// Sets the end of a restored task that has none, see [`Buffer::defer_end`].
    pub(super) fn defer_end(&self, exit: Exit, exit_message: &str) {
        self.buffer.lock().defer_end(exit, exit_message.to_owned(), Timestamp::now());
        self.finished.cancel();
    }

    /// Waits up to `pause` for work that `is_news` accepts, and returns the current work.
    pub(super) fn spool_work(
        &self,
        has_unwritten: bool,
        pause: Duration,
        is_news: impl Fn(&SpoolWork) -> bool,
    ) -> SpoolWork {
        let mut buffer = self.buffer.lock();
        let until = Instant::now() + pause;
        loop {
            let work = buffer.spool_work(has_unwritten);
            if is_news(&work) || self.spool_wake.wait_until(&mut buffer, until).timed_out() {
                return work;
            }
        }
    }

    /// Records the spool thread's unwritten bytes and its bytes on disk.
    pub(super) fn report_spool_usage(&self, unwritten_bytes: usize, disk_bytes: u64) {
        self.buffer.lock().report_spool_usage(unwritten_bytes, disk_bytes);
    }

    /// Reports whether there are records to write to the spool.
    pub(super) fn has_records(&self) -> bool {
        self.buffer.lock().has_records()
    }

    /// Returns how many lines and bytes of the spool to read back at once.
    pub(super) fn refill_room(&self) -> (usize, usize) {
        self.buffer.lock().room()
    }

    /// Adds lines that were read back, see [`Buffer::refill`].
    pub(super) fn refill(&self, first_seq: u64, items: Vec<BufferedLine>) -> bool {
        let done = self.buffer.lock().refill(first_seq, items);
        self.wake.notify_one();
        done
    }

    /// Replaces lines that cannot be read back, see [`Buffer::replace_lost_up_to`].
    pub(super) fn replace_lost_up_to(&self, seq: u64) -> bool {
        let done = self.buffer.lock().replace_lost_up_to(seq, Timestamp::now());
        self.wake.notify_one();
        done
    }

    /// Ends the work of the spool thread.
    pub(super) fn close_spool(&self) {
        self.buffer.lock().close_spool();
        self.spool_wake.notify_one();
    }

    /// Returns the next message for the current connection, if any.
    pub(super) fn next_message(&self, task: &TaskId) -> Result<Option<String>, serde_json::Error> {
        let mut buffer = self.buffer.lock();
        let message = if let Some(batch) = buffer.next_batch(BATCH_LINES_MAX, BATCH_BYTES_MAX, json_bytes) {
            let lines = batch.items.map(outgoing).collect();
            OutgoingMessage::LogLines { work_request_id: task.as_str(), first_seq: batch.first_seq, lines }
        } else if let Some((seq, exit, timestamp)) = buffer.next_end() {
            OutgoingMessage::LogLineEnd {
                work_request_id: task.as_str(),
                seq,
                exit_code: exit.code,
                signal: exit.signal,
                status: exit.aborted.then_some("aborted"),
                timestamp,
                // If the sum is unknown, a hole in the numbers still reveals missing lines.
                count: buffer.sum().map(|_| seq - 1),
                hash: buffer.sum(),
            }
        } else {
            return Ok(None);
        };
        serde_json::to_string(&message).map(Some)
    }
}

fn outgoing(item: &BufferedLine) -> OutgoingLine<'_> {
    OutgoingLine {
        line: &item.line.text,
        timestamp: item.at,
        channel: item.channel,
        partial: item.line.partial,
        lossy: item.line.lossy,
    }
}

/// Returns the maximum size of a line as JSON.
fn json_bytes(item: &BufferedLine) -> usize {
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
    fn worst_case_output_fits_a_message() {
        let shared = SharedBuffer::new(Masks::default());
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
