//! What a worker's connection has to say, kept small however slowly the worker reads: of acks only
//! the newest of each task, of other replies at most [`REPLIES_MAX`].
//!
//! The reading half never waits for the writing half: a worker that only writes is read on.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::interval_at;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::frames;
use super::socket::{Sink, close, send, send_all};
use crate::server::state::State;
use crate::wire::worker::{ServerReply, TaskRef};

/// Replies not yet written; one more is dropped and counted.
const REPLIES_MAX: usize = 256;
/// Error replies in one second; more are dropped and counted.
const ERRORS_PER_S: u32 = 100;

/// The replies to one worker, from its reading half to its writing half.
#[derive(Debug, Default)]
pub(in crate::server) struct Outbox {
    /// Held for a moment only, never while waiting.
    inner: Mutex<Inner>,
    /// Tells the writer that there is something; it looks for itself.
    filled: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// The worker said `hello` or counts: it understands replies.
    polite: bool,
    replies: VecDeque<ServerReply>,
    /// The newest number of each task.
    acks: Vec<(TaskRef, u64)>,
    close: Option<(CloseCode, &'static str)>,
    errors: Option<(Instant, u32)>,
}

impl Outbox {
    /// From now on the worker is answered.
    pub(in crate::server) fn be_polite(&self) {
        self.inner.lock().polite = true;
    }

    /// Everything up to `seq` is durable.
    pub(in crate::server) fn ack(&self, task: &TaskRef, seq: u64) {
        let mut inner = self.inner.lock();
        match inner.acks.iter_mut().find(|(known, _)| known == task) {
            Some((_, newest)) => *newest = seq.max(*newest),
            None => inner.acks.push((task.clone(), seq)),
        }
        drop(inner);
        self.filled.notify_one();
    }

    /// Answers `hello` or `task_start`.
    pub(in crate::server) fn reply(&self, state: &State, reply: ServerReply) {
        let mut inner = self.inner.lock();
        if !inner.polite || inner.replies.len() >= REPLIES_MAX {
            state.metrics.replies_dropped.inc();
            return;
        }
        inner.replies.push_back(reply);
        drop(inner);
        self.filled.notify_one();
    }

    /// A message or a line was not taken.
    pub(in crate::server) fn error(&self, state: &State, code: &str, message: String, task: Option<TaskRef>) {
        state.metrics.errors.inc();
        {
            let mut inner = self.inner.lock();
            let now = Instant::now();
            let (since, count) = inner.errors.unwrap_or((now, 0));
            let (since, count) =
                if now.duration_since(since) >= Duration::from_secs(1) { (now, 0) } else { (since, count) };
            if count >= ERRORS_PER_S {
                state.metrics.replies_dropped.inc();
                return;
            }
            inner.errors = Some((since, count + 1));
        }
        self.reply(state, ServerReply::Error { code: code.to_owned(), message, work_request_id: task });
    }

    /// Closes the connection after all that was said before.
    pub(in crate::server) fn close(&self, code: CloseCode, reason: &'static str) {
        self.inner.lock().close.get_or_insert((code, reason));
        self.filled.notify_one();
    }

    /// The writing half: runs until the connection is closed by us, or gone.
    pub(in crate::server) async fn write(&self, state: &State, mut sink: Sink) {
        let heartbeat = state.options.limits.heartbeat;
        let mut beat = interval_at(tokio::time::Instant::now() + heartbeat, heartbeat);
        let gone = loop {
            let (messages, ending) = self.take();
            if !messages.is_empty()
                && let Err(gone) = send_all(&mut sink, messages).await
            {
                break gone;
            }
            if let Some((code, reason)) = ending {
                return close(&mut sink, code, reason).await;
            }
            tokio::select! {
                () = self.filled.notified() => {}
                _ = beat.tick() => if let Err(gone) = send(&mut sink, Message::Ping(Bytes::new())).await {
                    break gone;
                },
            }
        };
        state.went(&gone, "a worker");
    }

    fn take(&self) -> (Vec<Message>, Option<(CloseCode, &'static str)>) {
        let mut inner = self.inner.lock();
        let mut replies: Vec<ServerReply> = inner.replies.drain(..).collect();
        let acks = std::mem::take(&mut inner.acks);
        let ending = inner.close;
        drop(inner);
        replies.extend(acks.into_iter().map(|(work_request_id, seq)| ServerReply::Ack { work_request_id, seq }));
        let messages = replies.iter().map(|reply| {
            let mut json = Vec::new();
            frames::put_json(&mut json, reply);
            frames::text(json.into())
        });
        (messages.collect(), ending)
    }
}
