//! Lines of a worker: single ones, batches and blocks, all with the same rules.

use std::borrow::Cow;

use super::{PendingBatch, WorkerConnection};
use crate::auth::Scope;
use crate::model::{Channel, GapMarker, GapReason, LineText, Timestamp};
use crate::server::ws::attached_tasks::{BATCH_BYTES_MAX, IfEnded, needs_split, split_line};
use crate::tasks::LineBatch;
use crate::wire::worker::block::LogBlock;
use crate::wire::worker::{BadMessage, ReceivedLine, TaskRef};

/// Maximum number of lines per connection whose fault is explained in the log; further ones are only counted.
const EXPLAINED_MAX: u32 = 100;
/// The text of the line that notes missing timestamps.
const MISSING_TIMES: &str =
    "tasktail: the worker sends lines without an RFC 3339 timestamp; the server's time is used instead";

impl WorkerConnection {
    /// Handles `log_line` and `log_lines`.
    pub(super) async fn lines(
        &mut self,
        task: TaskRef,
        first_seq: Option<u64>,
        lines: Vec<Result<ReceivedLine<'_>, BadMessage>>,
    ) {
        let mut seq = self.accept_seq(&task, first_seq);
        let bytes = lines.iter().flatten().map(|line| line.line.text.len() as u64).sum();
        let bad = lines.iter().filter(|line| line.is_err()).count() as u64;
        self.count_received(lines.len() as u64, bad, bytes);
        for line in lines {
            self.make_room(&task, seq).await;
            match line {
                Err(error) => self.push_missing(&task, seq, error),
                Ok(line) => {
                    self.push(&task, seq, &line.line);
                    if line.own_time && self.attached.note_times(&task.id) {
                        self.annotate(MISSING_TIMES.to_owned());
                    }
                    if let Some(fault) = line.fault {
                        self.reject_bad(*fault);
                    }
                }
            }
            seq = seq.map(|seq| seq.saturating_add(1));
            self.set_next_seq(seq);
        }
    }

    /// Handles `log_block`.
    pub(super) async fn block(&mut self, message: &[u8]) {
        let block = match LogBlock::decode(message) {
            Ok(block) => block,
            Err(error) => return self.reject_bad(error),
        };
        if !self.has_access(Scope::Write, &block.task, None) {
            return;
        }
        self.outbox.enable_replies();
        self.count_received(block.len(), 0, block.text_bytes());
        if block.repaired() > 0 {
            let message = format!("{} lines held NUL, a newline or bytes that are not UTF-8", block.repaired());
            self.reject("bad_line", message, Some(block.task.clone()));
        }
        let mut seq = block.first_seq;
        for line in block.lines() {
            self.make_room(&block.task, Some(seq)).await;
            self.push(&block.task, Some(seq), &line);
            seq += 1;
            self.set_next_seq(Some(seq));
        }
    }

    /// Enables replies for a worker that numbers its lines, and returns the number of the first line.
    fn accept_seq(&self, task: &TaskRef, first_seq: Option<u64>) -> Option<u64> {
        if first_seq.is_some() {
            self.outbox.enable_replies();
        }
        if first_seq == Some(0) {
            let message = "field `seq` (or `first_seq`) must be at least 1: the lines are stored without it".to_owned();
            self.reject("bad_message", message, Some(task.clone()));
        }
        first_seq.filter(|seq| *seq > 0)
    }

    fn count_received(&mut self, lines: u64, bad: u64, bytes: u64) {
        self.state.metrics.lines_received.inc_by(lines);
        self.rate.record(lines, bytes);
        let hop = &self.state.stages.worker_socket;
        hop.received(lines);
        hop.parsed(lines - bad);
    }

    /// Passes the pending batch to the store, unless a line of this task and number may be added to it.
    async fn make_room(&mut self, task: &TaskRef, seq: Option<u64>) {
        let can_push = self.pending.as_ref().is_none_or(|pending| {
            pending.next_seq == seq && pending.batch.bytes() < BATCH_BYTES_MAX && pending.task == *task
        });
        if !can_push {
            self.flush().await;
        }
    }

    /// Sets the number that the next line of the pending batch must have.
    fn set_next_seq(&mut self, seq: Option<u64>) {
        if let Some(pending) = &mut self.pending {
            pending.next_seq = seq;
        }
    }

    /// Adds a line to the pending batch.
    fn push(&mut self, task: &TaskRef, seq: Option<u64>, line: &LineText<'_>) {
        let Self { pending, attached, .. } = self;
        let pending = pending.get_or_insert_with(|| {
            let batch = match seq {
                Some(seq) => {
                    attached.note_numbered(&task.id);
                    LineBatch::with_session(attached.session(&task.id), seq)
                }
                None => LineBatch::new(),
            };
            PendingBatch { task: task.clone(), batch, next_seq: seq }
        });
        if !needs_split(&line.text) {
            return pending.batch.push(line);
        }
        for (index, piece) in split_line(line).enumerate() {
            // Only the first piece of a line carries its sequence number.
            if seq.is_some() && index > 0 {
                pending.batch.push_continuation(&piece);
            } else {
                pending.batch.push(&piece);
            }
        }
    }

    /// Adds a marker in place of a line that cannot be stored, and the reason.
    fn push_missing(&mut self, task: &TaskRef, seq: Option<u64>, error: BadMessage) {
        let marker = GapMarker { reason: GapReason::LostInTransit, count: 1 };
        self.push(task, seq, &internal_line(marker.to_string()));
        if self.explained < EXPLAINED_MAX {
            self.explained += 1;
            let message: String = error.message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            self.annotate(format!("tasktail: a line of the worker cannot be stored: {message}"));
        }
        self.reject_bad(error);
    }

    /// Handles a message that cannot be read at all. If it may have held lines, and all lines of the connection
    /// belong to one task, a marker takes their place there.
    pub(super) async fn unread(&mut self, error: BadMessage) {
        self.flush().await;
        let may_hold_lines = error.task.is_none() && error.code != "unknown_type";
        match self.attached.only_unnumbered().cloned().filter(|_| may_hold_lines) {
            Some(id) => self.push_missing(&TaskRef { id, numeric: false }, None, error),
            None => self.reject_bad(error),
        }
    }

    /// Handles `partial`.
    pub(super) async fn partial(&mut self, task: TaskRef, line: &LineText<'_>) {
        // After the lines received before: they end the line that an earlier message showed.
        self.flush().await;
        if !self.check_capacity(&task) {
            return;
        }
        match self.attached.handle(&self.state.tasks, &task.id, IfEnded::Reject).await {
            Ok(handle) => handle.show_partial(line),
            Err(error) => self.failed(&task, &error),
        }
    }

    /// Adds a line about the line before.
    fn annotate(&mut self, text: String) {
        if let Some(pending) = &mut self.pending {
            pending.batch.push_annotation(&internal_line(text));
        }
    }
}

/// Returns a line of the server itself.
fn internal_line(text: String) -> LineText<'static> {
    let (timestamp, channel) = (Timestamp::now(), Channel::Internal);
    LineText { timestamp, channel, text: Cow::Owned(text), ..LineText::default() }
}
