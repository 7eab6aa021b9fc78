//! Replies to a worker, bounded however slowly it reads: only the newest ack of each task, and at most
//! [`REPLIES_MAX`] other replies.
//!
//! The reading half never waits for the writing half, so that a worker that only writes is not blocked.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::interval_at;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::frames;
use super::socket::{SocketSink, close, send, send_all};
use crate::server::state::State;
use crate::wire::worker::{ServerReply, TaskRef};

/// Maximum number of unsent replies. Further ones are dropped and counted.
const REPLIES_MAX: usize = 256;
/// Maximum number of error replies per second. Further ones are dropped and counted.
const ERRORS_PER_S: u32 = 100;

/// The queue of replies to one worker, from the reading half to the writing half of its connection.
#[derive(Debug, Default)]
pub(in crate::server) struct ReplyOutbox {
    /// Locked briefly, never across an await.
    queue: Mutex<ReplyQueue>,
    /// Wakes the writer when the queue is not empty.
    filled: Notify,
}

/// An unsent acknowledgement.
#[derive(Debug)]
struct QueuedAck {
    task: TaskRef,
    seq: u64,
    /// Whether the log is sealed.
    sealed: bool,
}

/// The unsent replies.
#[derive(Debug, Default)]
struct ReplyQueue {
    /// Whether the worker sent `hello` or a sequence number, and so understands replies.
    replies_enabled: bool,
    replies: VecDeque<ServerReply>,
    /// The highest durable sequence number of each task.
    acks: Vec<QueuedAck>,
    close: Option<(CloseCode, &'static str)>,
    /// Start of the current second, and the error replies in it.
    errors: Option<(Instant, u32)>,
}

impl ReplyOutbox {
    /// Enables replies, once the worker has shown that it understands them.
    pub(in crate::server) fn enable_replies(&self) {
        self.queue.lock().replies_enabled = true;
    }

    /// Reports whether the worker reads replies.
    pub(in crate::server) fn replies_enabled(&self) -> bool {
        self.queue.lock().replies_enabled
    }

    /// Acknowledges everything up to `seq` as durable.
    pub(in crate::server) fn ack(&self, task: &TaskRef, seq: u64) {
        self.ack_as(task, seq, false);
    }

    /// Acknowledges the end of a task, whose log may be sealed in a store that several servers share.
    pub(in crate::server) fn ack_end(&self, task: &TaskRef, seq: u64, sealed: bool) {
        self.ack_as(task, seq, sealed);
    }

    fn ack_as(&self, task: &TaskRef, seq: u64, sealed: bool) {
        let mut queue = self.queue.lock();
        match queue.acks.iter_mut().find(|known| known.task == *task) {
            Some(known) => (known.seq, known.sealed) = (seq.max(known.seq), sealed || known.sealed),
            None => queue.acks.push(QueuedAck { task: task.clone(), seq, sealed }),
        }
        drop(queue);
        self.filled.notify_one();
    }

    /// Queues a reply, or drops it if the queue is full or replies are not enabled.
    pub(in crate::server) fn reply(&self, state: &State, reply: ServerReply) {
        let mut queue = self.queue.lock();
        if !queue.replies_enabled || queue.replies.len() >= REPLIES_MAX {
            state.metrics.replies_dropped.inc();
            return;
        }
        queue.replies.push_back(reply);
        drop(queue);
        self.filled.notify_one();
    }

    /// Reports a rejected message or line.
    pub(in crate::server) fn error(&self, state: &State, code: &str, message: String, task: Option<TaskRef>) {
        state.metrics.errors.inc();
        {
            let mut queue = self.queue.lock();
            let now = Instant::now();
            let (since, count) = queue.errors.unwrap_or((now, 0));
            let (since, count) =
                if now.duration_since(since) >= Duration::from_secs(1) { (now, 0) } else { (since, count) };
            if count >= ERRORS_PER_S {
                state.metrics.replies_dropped.inc();
                return;
            }
            queue.errors = Some((since, count + 1));
        }
        self.reply(state, ServerReply::Error { code: code.to_owned(), message, work_request_id: task });
    }

    /// Closes the connection after the replies queued before.
    pub(in crate::server) fn close(&self, code: CloseCode, reason: &'static str) {
        self.queue.lock().close.get_or_insert((code, reason));
        self.filled.notify_one();
    }

    /// Runs the writing half until either side closes the connection.
    pub(in crate::server) async fn write(&self, state: &State, mut sink: SocketSink) {
        let heartbeat = state.options.limits.heartbeat;
        let mut beat = interval_at(tokio::time::Instant::now() + heartbeat, heartbeat);
        let error = loop {
            let (messages, closing) = self.drain();
            if !messages.is_empty()
                && let Err(error) = send_all(&mut sink, messages).await
            {
                break error;
            }
            if let Some((code, reason)) = closing {
                return close(&mut sink, code, reason).await;
            }
            tokio::select! {
                () = self.filled.notified() => {}
                _ = beat.tick() => if let Err(error) = send(&mut sink, Message::Ping(Bytes::new())).await {
                    break error;
                },
            }
        };
        error.log_disconnect(state, "worker");
    }

    /// Removes and encodes the queued replies, and returns them and the close frame, if any.
    fn drain(&self) -> (Vec<Message>, Option<(CloseCode, &'static str)>) {
        let mut queue = self.queue.lock();
        let mut replies: Vec<ServerReply> = queue.replies.drain(..).collect();
        let acks = std::mem::take(&mut queue.acks);
        let closing = queue.close;
        drop(queue);
        let ack = |QueuedAck { task, seq, sealed }| ServerReply::Ack { work_request_id: task, seq, sealed };
        replies.extend(acks.into_iter().map(ack));
        let messages = replies.iter().map(|reply| {
            let mut json = Vec::new();
            frames::push_json(&mut json, reply);
            frames::text(json.into())
        });
        (messages.collect(), closing)
    }
}
