//! State shared by the output readers and the uplink: the local log and its wake-ups.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use super::encode::{BatchEncoder, BatchForm};
use super::flood::LogLevel;
use super::local_log::{LineSink, LocalLog, LogCursor, LogReader, RecordedEnd};
use super::mask::{Masker, Masks};
use super::partial::PendingLines;
use super::{Delivery, Exit};
use crate::model::{Channel, LineText, TaskId, Timestamp};
use crate::wire::worker::{OutgoingMessage, RetainLimits};

/// A task's output on its way to the server. Pushing never waits for the network, unless the local log is full and
/// its policy is to wait.
#[derive(Debug)]
pub(super) struct SharedBuffer {
    masks: Masks,
    /// One masker per channel, if there are secrets. Locked while its output is appended, which keeps the order.
    maskers: [Mutex<Option<Masker>>; 3],
    log: Arc<LocalLog>,
    /// Locked for one message, never across an await.
    sender: Mutex<SenderState>,
    /// Wakes the uplink when there may be something to send; carries no data.
    wake: Notify,
    /// The output has ended.
    finished: CancellationToken,
    /// The wait for the delivery was aborted.
    aborted: CancellationToken,
    reached: AtomicBool,
    /// The server accepts no more lines of this task.
    rejected: AtomicBool,
}

/// The uplink's state, of the current connection except for the reader.
#[derive(Debug)]
struct SenderState {
    reader: LogReader,
    encoder: BatchEncoder,
    form: BatchForm,
    /// The server accepts `partial` messages.
    partials: Option<PendingLines>,
    /// End of a restored task that has none, once the server has said what it has.
    deferred_end: Option<(Exit, String)>,
}

/// The progress of sending after the end of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryProgress {
    /// Lines of the command that were sent.
    pub sent_lines: u64,
    /// All lines of the command in the local log.
    pub lines: u64,
}

/// Marks the channels of the lines that pass through.
struct MarkChannels<'a> {
    encoder: &'a mut BatchEncoder,
    channels: [bool; 3],
}

impl LineSink for MarkChannels<'_> {
    fn line(&mut self, seq: u64, line: &LineText<'_>) {
        self.channels[line.channel as usize] = true;
        self.encoder.line(seq, line);
    }

    fn is_full(&self) -> bool {
        self.encoder.is_full()
    }
}

impl SharedBuffer {
    /// Creates the state of a new task.
    pub(super) fn new(masks: Masks, log: LocalLog) -> Self {
        Self::restored(masks, Arc::new(log), LogCursor::default())
    }

    /// Creates the state of a task whose log is in memory.
    #[cfg(test)]
    pub(super) fn for_test(masks: Masks, bytes_max: u64) -> Self {
        Self::new(masks, LocalLog::for_test(bytes_max))
    }

    /// Creates the state of a task that an earlier process left; its output has ended.
    pub(super) fn restored(masks: Masks, log: Arc<LocalLog>, cursor: LogCursor) -> Self {
        let reader = LogReader::new(Arc::clone(&log), cursor);
        let sender = SenderState {
            reader,
            encoder: BatchEncoder::new(BatchForm::Lines),
            form: BatchForm::Lines,
            partials: None,
            deferred_end: None,
        };
        Self {
            maskers: [(); 3].map(|()| Mutex::new(masks.masker())),
            masks,
            log,
            sender: Mutex::new(sender),
            wake: Notify::new(),
            finished: CancellationToken::new(),
            aborted: CancellationToken::new(),
            reached: AtomicBool::new(false),
            rejected: AtomicBool::new(false),
        }
    }

    /// Returns the local log.
    pub(super) fn log(&self) -> &Arc<LocalLog> {
        &self.log
    }

    /// Appends output, cut anywhere; waits for room if the policy of the log is to wait. Returns the bytes to show:
    /// masked, and without bytes that may still become a secret.
    pub(super) fn push_bytes<'a>(&self, channel: Channel, bytes: &'a [u8], at: Timestamp) -> Cow<'a, [u8]> {
        self.push_masked(channel, bytes, at, true)
    }

    fn push_masked<'a>(&self, channel: Channel, bytes: &'a [u8], at: Timestamp, may_wait: bool) -> Cow<'a, [u8]> {
        let mut masker = self.maskers[channel as usize].lock();
        let bytes = match masker.as_mut() {
            None => Cow::Borrowed(bytes),
            Some(masker) => {
                let mut masked = Vec::with_capacity(bytes.len());
                masker.push(bytes, &mut masked);
                Cow::Owned(masked)
            }
        };
        self.log.push_output(channel, &bytes, at, may_wait);
        self.wake.notify_one();
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
            self.log.push_output(channel, &held, at, false);
            self.wake.notify_one();
        }
        held
    }

    /// Appends one line given without its newline. Never waits.
    pub(super) fn push_line(&self, channel: Channel, text: &str, at: Timestamp) {
        let line = [text.as_bytes(), b"\n"].concat();
        self.push_masked(channel, &line, at, false);
    }

    /// Appends an internal line.
    pub(super) fn push_internal(&self, text: impl Into<String>) {
        self.log.push_internal(&self.masks.text(&text.into()), Timestamp::now());
        self.wake.notify_one();
    }

    /// Lets output exceed the limit of the log instead of waiting: the command has ended.
    pub(super) fn end_waits(&self) {
        self.log.end_waits();
    }

    /// Ends the output.
    pub(super) fn finish(&self, exit: Exit, exit_message: Option<String>) {
        let now = Timestamp::now();
        self.log.end_waits();
        // A channel that another process still holds open has not been ended by its reader.
        Channel::ALL.into_iter().for_each(|channel| drop(self.finish_channel(channel, now)));
        let message = exit_message.map(|text| self.masks.text(&text)).unwrap_or_default();
        self.log.push_end(&RecordedEnd { floor: 0, exit, message }, now);
        self.finished.cancel();
        self.wake.notify_one();
    }

    /// Sets the end of a restored task that has none. It follows the lines that the server has.
    pub(super) fn defer_end(&self, exit: Exit, message: &str) {
        self.sender.lock().deferred_end = Some((exit, message.to_owned()));
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

    /// Marks the output of a restored task as ended.
    pub(super) fn mark_finished(&self) {
        self.finished.cancel();
    }

    /// Waits until [`SharedBuffer::abort_delivery`] is called.
    pub(super) async fn wait_aborted(&self) {
        self.aborted.cancelled().await;
    }

    /// Reports whether [`SharedBuffer::abort_delivery`] was called.
    pub(super) fn is_aborted(&self) -> bool {
        self.aborted.is_cancelled()
    }

    /// Reports whether a server has ever responded.
    pub(super) fn was_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// Records that the server accepts no more lines of this task. Without `kept`, further output is not stored.
    pub(super) fn mark_rejected(&self, kept: bool) {
        self.rejected.store(true, Ordering::Relaxed);
        if !kept {
            self.log.discard();
        }
    }

    /// Reports whether the server has rejected further lines.
    pub(super) fn is_rejected(&self) -> bool {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Starts a new connection: everything up to `acked_seq` is durable, the rest is sent again in this form.
    /// Acknowledged lines are kept as `retain` says.
    pub(super) fn resume(&self, acked_seq: u64, form: BatchForm, partials: bool, retain: Option<RetainLimits>) {
        self.reached.store(true, Ordering::Relaxed);
        let mut sender = self.sender.lock();
        // Also drops lines of a message that was not sent.
        (sender.encoder, sender.form) = (BatchEncoder::new(form), form);
        sender.partials = partials.then(PendingLines::default);
        if let Some((exit, message)) = sender.deferred_end.take() {
            self.log.push_end(&RecordedEnd { floor: acked_seq, exit, message }, Timestamp::now());
        }
        sender.reader.retain(retain);
        sender.reader.resume(acked_seq);
    }

    /// Records that everything up to `seq` is durable. Returns whether the delivery is complete.
    pub(super) fn ack(&self, seq: u64) -> bool {
        let mut sender = self.sender.lock();
        sender.reader.ack(seq);
        self.wake.notify_one();
        sender.reader.is_complete()
    }

    /// Returns the highest durable number.
    pub(super) fn acked_seq(&self) -> u64 {
        self.sender.lock().reader.acked_seq()
    }

    /// Reports whether the server has confirmed everything, including the end.
    pub(super) fn is_complete(&self) -> bool {
        self.sender.lock().reader.is_complete()
    }

    /// Returns the count of lines dropped so far.
    pub(super) fn skipped_lines(&self) -> u64 {
        self.log.skipped_lines()
    }

    /// Returns the bytes of the log that were not sent.
    pub(super) fn backlog_bytes(&self) -> u64 {
        self.sender.lock().reader.backlog_bytes()
    }

    /// Returns how much of the log was written and not sent.
    pub(super) fn level(&self) -> LogLevel {
        let backlog = self.backlog_bytes();
        LogLevel { written: self.log.end(), backlog, is_short: self.log.is_short() }
    }

    /// Returns how much was sent, for output that has ended. Reads the rest of the log.
    pub(super) fn progress(&self) -> DeliveryProgress {
        let cursor = self.sender.lock().reader.cursor().clone();
        let sent_lines = cursor.lines();
        let rest = cursor.count_rest(&self.log).unwrap_or_default();
        DeliveryProgress { sent_lines, lines: sent_lines + rest.lines }
    }

    /// Returns the number of the command's lines that were sent.
    pub(super) fn sent_lines(&self) -> u64 {
        self.sender.lock().reader.cursor().lines()
    }

    /// Returns the delivery state. Reads the rest of the log.
    pub(super) fn delivery(&self) -> Delivery {
        let mut sender = self.sender.lock();
        let skipped_lines = self.log.skipped_lines();
        if sender.reader.is_complete() {
            let lines = sender.reader.cursor().lines();
            return Delivery { complete: true, lines, skipped_lines, ..Delivery::default() };
        }
        if let Err(error) = sender.reader.rewind() {
            tracing::debug!(%error, "cannot read the local log");
        }
        let cursor = sender.reader.cursor();
        let rest = cursor.count_rest(&self.log).unwrap_or_default();
        Delivery { lines: cursor.lines(), undelivered_lines: rest.lines, skipped_lines, ..Delivery::default() }
    }

    /// Returns the next message for the current connection, if any.
    ///
    /// # Errors
    /// A description of why the local log cannot be read.
    pub(super) fn next_message(&self, task: &TaskId) -> Result<Option<Message>, String> {
        let mut sender = self.sender.lock();
        let SenderState { reader, encoder, partials, .. } = &mut *sender;
        let mut sink = MarkChannels { encoder, channels: [false; 3] };
        let first_seq = reader.next_batch(&mut sink).map_err(|error| format!("cannot read the local log: {error}"))?;
        let channels = sink.channels;
        if let Some(partials) = partials {
            let sent = Channel::ALL.into_iter().filter(|channel| channels[*channel as usize]);
            sent.for_each(|channel| partials.line_sent(channel));
        }
        if let Some(first_seq) = first_seq {
            return encoder.finish(task, first_seq).map(Some).map_err(|error| error.to_string());
        }
        let Some(end) = reader.next_end() else { return Ok(None) };
        let message = OutgoingMessage::LogLineEnd {
            work_request_id: task.as_str(),
            seq: end.seq,
            exit_code: end.exit.code,
            signal: end.exit.signal,
            status: end.exit.aborted.then_some("aborted"),
            timestamp: end.at,
            // If the sum is unknown, a hole in the numbers still reveals missing lines.
            count: end.sum.map(|_| end.seq - 1),
            hash: end.sum,
        };
        serde_json::to_string(&message).map(|text| Some(Message::text(text))).map_err(|error| error.to_string())
    }

    /// Returns the time at which [`SharedBuffer::partial_messages`] has some, if an unterminated line has changed.
    pub(super) fn partials_due(&self) -> Option<Instant> {
        let mut sender = self.sender.lock();
        let SenderState { reader, partials, .. } = &mut *sender;
        partials.as_mut()?.due(|channel| reader.pending(channel), Instant::now())
    }

    /// Returns the messages with the unterminated lines that are due.
    pub(super) fn partial_messages(&self, task: &TaskId) -> Vec<String> {
        let mut sender = self.sender.lock();
        let SenderState { reader, partials, .. } = &mut *sender;
        let Some(partials) = partials else { return Vec::new() };
        partials.take(task, |channel| reader.pending(channel), Instant::now())
    }
}
