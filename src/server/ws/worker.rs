//! The WebSocket of a worker: `GET /ws/v1/worker`.
//!
//! Available frames are read without waiting, and consecutive lines of one task form a batch, regardless of
//! message boundaries. Reading continues while batches are being made durable, up to
//! [`IN_FLIGHT_BYTES_MAX`]; then it pauses, and backpressure on the socket slows the worker down. Acks follow
//! from the tickets of the store.
//!
//! A worker that has sent neither `hello` nor a sequence number receives no replies, but its lines are treated
//! the same. If the connection fails, everything received before is appended.

mod acks;
mod lines;
mod start;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use tokio::time::{interval, sleep};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use warp::reply::Response;

use self::acks::{InFlightBatch, next_result};
use super::attached_tasks::{AttachedTasks, IfEnded};
use super::outbox::ReplyOutbox;
use super::oversize;
use super::socket::{BufferSizes, Peer, SocketSource, Upgrade, run_duplex};
use crate::auth::{Caller, Lease};
use crate::model::limits::Limit;
use crate::model::{Timestamp, limits};
use crate::server::home;
use crate::server::http::error::{self, ApiError, CLOSE_UNAUTHORIZED};
use crate::server::net::rate_limit::ConnectionRate;
use crate::server::state::SharedState;
use crate::tasks::{EndOutcome, EndRequest, LineBatch, SessionSeq, TasksError};
use crate::wire::worker::block::is_log_block;
use crate::wire::worker::{
    BadMessage, FEATURE_LOG_BLOCK, FEATURE_PARTIAL, PROTOCOL, ServerReply, TaskEnd, TaskRef, WorkerMessage,
};

/// Maximum bytes of a connection's lines that are passed to the store and not yet durable.
const IN_FLIGHT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Maximum number of frames read before other events are processed.
const DRAIN_FRAMES_MAX: usize = 4096;

/// Accepts the WebSocket.
pub(in crate::server) fn ingest(state: &SharedState, upgrade: Upgrade) -> Result<Response, ApiError> {
    let shared = state.clone();
    upgrade.accept(state, BufferSizes::WORKER, move |sink, source, peer, lease| async move {
        shared.metrics.workers.inc();
        let outbox = Arc::new(ReplyOutbox::default());
        let connection = WorkerConnection::new(shared.clone(), outbox.clone(), lease.caller().clone());
        run_duplex(Box::pin(connection.run(source, peer, lease)), outbox.write(&shared, sink)).await;
        shared.metrics.workers.dec();
    })
}

/// A batch to which lines are being added.
struct PendingBatch {
    task: TaskRef,
    batch: LineBatch,
    /// Sequence number the next line must have to be added.
    next_seq: Option<u64>,
}

/// The reading half of a worker's connection.
struct WorkerConnection {
    state: SharedState,
    outbox: Arc<ReplyOutbox>,
    /// The caller, whose permission is checked for each task.
    caller: Caller,
    attached: AttachedTasks,
    pending: Option<PendingBatch>,
    /// Batches in the order they were passed to the store; at most [`IN_FLIGHT_BYTES_MAX`] and one batch.
    in_flight: VecDeque<InFlightBatch>,
    in_flight_bytes: usize,
    rate: ConnectionRate,
    /// Lines that could not be stored and were explained in the log.
    explained: u32,
    /// True while the connection is being closed, so that nothing more is read.
    closing: bool,
}

impl WorkerConnection {
    fn new(state: SharedState, outbox: Arc<ReplyOutbox>, caller: Caller) -> Self {
        let attached = AttachedTasks::new(state.options.limits.connection_tasks_max);
        let in_flight = VecDeque::new();
        let rate = ConnectionRate::new(&state);
        let (pending, in_flight_bytes, explained) = (None, 0, 0);
        Self { state, outbox, caller, attached, pending, in_flight, in_flight_bytes, rate, explained, closing: false }
    }

    /// Reads until either side closes the connection.
    async fn run(mut self, mut source: SocketSource, peer: Peer, mut lease: Lease) {
        let mut beat = interval((self.state.options.limits.heartbeat / 3).max(Duration::from_millis(1)));
        let (mut received, mut received_at) = (0, Instant::now());
        let shutdown = self.state.shutdown.clone();
        while !self.closing {
            let pause = self.rate.pause();
            let can_read = self.in_flight_bytes < IN_FLIGHT_BYTES_MAX && pause.is_none();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {
                    self.flush_acks().await;
                    self.close(CloseCode::Away, "server shutting down");
                }
                ended = lease.ended() => self.close(CLOSE_UNAUTHORIZED, ended.reason()),
                batch = next_result(&mut self.in_flight), if !self.in_flight.is_empty() => self.record_ack(batch),
                _ = beat.tick() => {
                    if peer.received() != received || !can_read {
                        (received, received_at) = (peer.received(), Instant::now());
                        self.attached.heartbeat();
                    } else if received_at.elapsed() > peer.silence() {
                        self.state.metrics.peers_dropped.inc();
                        return;
                    }
                }
                () = sleep(pause.unwrap_or_default()), if pause.is_some() => {}
                message = source.next(), if can_read => {
                    let open = self.handle_ready(message, &mut source).await;
                    self.flush().await;
                    if !open {
                        return;
                    }
                }
            }
        }
        // The peer's reply to our close must still be read.
        while let Some(Ok(_)) = source.next().await {}
    }

    /// Handles a message, and those available without waiting. Returns false at the end of the connection.
    async fn handle_ready<E: std::fmt::Display>(
        &mut self,
        first: Option<Result<Message, E>>,
        source: &mut (impl futures::Stream<Item = Result<Message, E>> + Unpin),
    ) -> bool {
        let mut next = first;
        let mut frames = 0;
        loop {
            match next {
                Some(Ok(Message::Text(text))) => self.handle(text.as_bytes()).await,
                // Fragmented text arrives as binary, see `oversize`.
                Some(Ok(Message::Binary(bytes))) => self.handle(&bytes).await,
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    tracing::debug!(%error, "a worker's connection failed");
                    return false;
                }
                None => return false,
            }
            // Checked before the next message is read, since a message that was read must be handled.
            frames += 1;
            let full = self.in_flight_bytes >= IN_FLIGHT_BYTES_MAX || self.rate.is_reached();
            if frames >= DRAIN_FRAMES_MAX || full || self.closing {
                return true;
            }
            match source.next().now_or_never() {
                Some(ready) => next = ready,
                None => return true,
            }
        }
    }

    /// Handles one message.
    async fn handle(&mut self, bytes: &[u8]) {
        self.state.metrics.bytes_received.inc_by(u64::try_from(bytes.len()).unwrap_or(0));
        if oversize::is_marker(bytes) {
            let limit = limits::MESSAGE_BYTES_MAX;
            let message = format!("message exceeds {limit} bytes and was skipped");
            return self.unread(BadMessage::new("too_large", message)).await;
        }
        if is_log_block(bytes) {
            return self.block(bytes).await;
        }
        // Text is checked by tungstenite, but not if it was fragmented.
        let text = String::from_utf8_lossy(bytes);
        let parsed = WorkerMessage::parse(&text, Timestamp::now());
        if let Ok(message) = &parsed
            && !self.is_permitted(message)
        {
            return;
        }
        match parsed {
            Ok(WorkerMessage::Lines { task, first_seq, lines }) => self.lines(task, first_seq, lines).await,
            Ok(WorkerMessage::Partial { task, line }) => self.partial(task, &line.line).await,
            Ok(WorkerMessage::End(end)) => self.end(end).await,
            Ok(WorkerMessage::TaskStart(start)) => self.start(start).await,
            Ok(WorkerMessage::Hello { worker }) => self.hello(worker.as_deref()),
            Err(error) => self.unread(error).await,
        }
    }

    /// Rejects an invalid message or line.
    fn reject_bad(&self, error: BadMessage) {
        self.reject(error.code, error.message, error.task);
    }

    /// Counts a rejected message or line, and reports it to the worker.
    fn reject(&self, code: &'static str, message: String, task: Option<TaskRef>) {
        self.state.stages.worker_socket.rejected(code, &message);
        self.outbox.error(&self.state, code, message, task);
    }

    /// Handles `hello`.
    fn hello(&self, worker: Option<&str>) {
        tracing::debug!(worker, "worker connected");
        self.outbox.enable_replies();
        let welcome = ServerReply::Welcome {
            protocol: PROTOCOL,
            heartbeat_s: self.state.options.limits.heartbeat.as_secs().max(1),
            line_bytes_max: limits::LINE_BYTES_MAX,
            features: [FEATURE_LOG_BLOCK, FEATURE_PARTIAL].map(Cow::Borrowed).to_vec(),
            retain: self.state.home.as_ref().map(|_| home::RETAIN),
        };
        self.outbox.reply(&self.state, welcome);
    }

    /// Handles `log_line_end`.
    async fn end(&mut self, end: TaskEnd) {
        self.flush().await;
        let TaskEnd { task, seq, exit_code, signal, aborted, timestamp, reported } = end;
        if seq.is_some() {
            self.outbox.enable_replies();
        }
        if !self.check_capacity(&task) {
            return;
        }
        let session = seq.map(|seq| SessionSeq::new(self.attached.session(&task.id), seq));
        let mut sealed = false;
        let ended = match self.attached.handle(&self.state.tasks, &task.id, IfEnded::Reject).await {
            Ok(handle) => {
                let ended =
                    handle.end(EndRequest { exit_code, signal, aborted, at: timestamp, session, reported }).await;
                if let (Ok(EndOutcome::Ended), Some(fault)) = (&ended, handle.integrity_fault()) {
                    self.state.stages.worker_socket.rejected("log_mismatch", &format!("task {}: {fault}", task.id));
                }
                // In this server's own store the seal makes no difference to the worker.
                sealed = self.state.home.is_some() && handle.details().artifact.is_some();
                ended
            }
            Err(error) => Err(error),
        };
        self.attached.mark_ended(&task.id);
        match (ended, seq) {
            (Ok(EndOutcome::Ended | EndOutcome::Repeated), Some(seq)) => self.outbox.ack_end(&task, seq, sealed),
            (Ok(EndOutcome::Ended), None) => {}
            (Ok(EndOutcome::Repeated | EndOutcome::AlreadyEnded), _) => {
                let error = TasksError::Ended(task.id.clone());
                self.failed(&task, &error);
            }
            (Err(error), _) => self.failed(&task, &error),
        }
    }

    /// Returns whether the task can be attached. Reports an error to the worker otherwise.
    fn check_capacity(&mut self, task: &TaskRef) -> bool {
        let has_capacity = self.attached.has_capacity(&task.id);
        if !has_capacity {
            self.state.limit_counters.count(Limit::connection_tasks_max);
            let max = self.state.options.limits.connection_tasks_max;
            let message = format!("a connection may write to at most {max} unfinished tasks");
            self.outbox.error(&self.state, "too_many", message, Some(task.clone()));
        }
        has_capacity
    }

    /// Reports a store error to the worker. If the worker cannot continue, closes the connection, so that it
    /// resends everything unacknowledged later.
    fn failed(&mut self, task: &TaskRef, error: &TasksError) {
        let code = error::error_code(error);
        self.state.stages.worker_socket.failed(&error.to_string());
        self.outbox.error(&self.state, code, error.to_string(), Some(task.clone()));
        match error {
            TasksError::Ended(_) => self.attached.mark_ended(&task.id),
            // The id alone would lead to another attempt: the worker asks for its own again.
            TasksError::NotFound(_) | TasksError::Removed(_) if self.attached.is_later_attempt(&task.id) => {
                self.close(CloseCode::Away, "task removed");
            }
            TasksError::NotFound(_) | TasksError::Removed(_) => self.attached.forget(&task.id),
            error => {
                if let Some(code) = error::close_code(error) {
                    self.close(code, "store temporarily unavailable");
                }
            }
        }
    }

    /// Starts to close the connection.
    fn close(&mut self, code: CloseCode, reason: &'static str) {
        self.outbox.close(code, reason);
        self.closing = true;
    }
}
