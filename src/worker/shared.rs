//! What the readers of a task's output and its uplink share: the buffer, and who wakes whom.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::buffer::{Buffer, Item};
use super::mask::{Masker, Masks};
use super::{Delivery, Exit};
use crate::model::{Channel, TaskId, Timestamp};
use crate::wire::worker::{Outgoing, OutgoingLine};

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
    /// No output follows.
    finished: CancellationToken,
    /// Nobody wants to wait for the delivery any longer.
    hurried: CancellationToken,
    reached: AtomicBool,
}

impl Shared {
    pub(super) fn new(masks: Masks) -> Self {
        Self {
            maskers: [(); 3].map(|()| Mutex::new(masks.masker())),
            masks,
            buffer: Mutex::default(),
            wake: Notify::new(),
            finished: CancellationToken::new(),
            hurried: CancellationToken::new(),
            reached: AtomicBool::new(false),
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
        if self.buffer.lock().push_bytes(channel, &bytes, at) {
            self.wake.notify_one();
        }
        bytes
    }

    /// No output follows on this channel. Gives what was held back.
    pub(super) fn end_channel(&self, channel: Channel, at: Timestamp) -> Vec<u8> {
        let mut masker = self.maskers[channel as usize].lock();
        let mut held = Vec::new();
        if let Some(masker) = masker.as_mut() {
            masker.finish(&mut held);
        }
        if !held.is_empty() && self.buffer.lock().push_bytes(channel, &held, at) {
            self.wake.notify_one();
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
        self.buffer.lock().push_own(text, Timestamp::now());
        self.wake.notify_one();
    }

    /// No output follows.
    pub(super) fn finish(&self, exit: Exit, last_words: Option<String>) {
        let now = Timestamp::now();
        // A channel that another process still holds open has not ended.
        Channel::ALL.into_iter().for_each(|channel| drop(self.end_channel(channel, now)));
        let last_words = last_words.map(|text| self.masks.text(&text));
        self.buffer.lock().finish(exit, last_words, now);
        self.finished.cancel();
        self.wake.notify_one();
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

    /// A new connection: everything up to `acked_seq` is durable, the rest is sent again.
    pub(super) fn resume(&self, acked_seq: u64) {
        self.reached.store(true, Ordering::Relaxed);
        self.buffer.lock().resume(acked_seq);
    }

    /// Everything up to `seq` is durable. Gives whether that is all there will be.
    pub(super) fn ack(&self, seq: u64) -> bool {
        let mut buffer = self.buffer.lock();
        buffer.ack(seq);
        self.wake.notify_one();
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

    /// The next message for the present connection, if there is something to say.
    pub(super) fn next_message(&self, task: &TaskId) -> Result<Option<String>, serde_json::Error> {
        let mut buffer = self.buffer.lock();
        let message = if let Some(batch) = buffer.take(BATCH_LINES_MAX, BATCH_BYTES_MAX, json_bytes) {
            let lines = batch.items.map(outgoing).collect();
            Outgoing::LogLines { work_request_id: task.as_str(), first_seq: batch.first_seq, lines }
        } else if let Some((seq, exit, timestamp)) = buffer.take_end() {
            Outgoing::LogLineEnd {
                work_request_id: task.as_str(),
                seq,
                exit_code: exit.code,
                signal: exit.signal,
                status: exit.aborted.then_some("aborted"),
                timestamp,
                count: seq - 1,
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
