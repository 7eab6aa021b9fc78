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
mod start;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use tokio::time::{interval, sleep};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use warp::reply::Response;

use self::acks::{InFlightBatch, next_result};
use super::attached_tasks::{AttachedTasks, BATCH_BYTES_MAX, IfEnded, split_line};
use super::outbox::ReplyOutbox;
use super::oversize;
use super::socket::{BufferSizes, Peer, SocketSource, Upgrade, run_duplex};
use crate::auth::{Caller, Lease};
use crate::model::limits::Limit;
use crate::model::{Channel, LineText, Timestamp, limits};
use crate::server::http::error::{self, ApiError, CLOSE_UNAUTHORIZED};
use crate::server::net::rate_limit::ConnectionRate;
use crate::server::state::SharedState;
use crate::tasks::{EndOutcome, EndRequest, LineBatch, SessionSeq, TasksError};
use crate::wire::worker::{BadMessage, PROTOCOL, ReceivedLine, ServerReply, TaskEnd, TaskRef, WorkerMessage};

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
    /// True while the connection is being closed, so that nothing more is read.
    closing: bool,
}

impl WorkerConnection {
    fn new(state: SharedState, outbox: Arc<ReplyOutbox>, caller: Caller) -> Self {
        let attached = AttachedTasks::new(state.options.limits.connection_tasks_max);
        let in_flight = VecDeque::new();
        let rate = ConnectionRate::new(&state);
        Self { state, outbox, caller, attached, pending: None, in_flight, in_flight_bytes: 0, rate, closing: false }
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
            return self.reject("too_large", message, None);
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return self.reject("bad_json", "message is not UTF-8".to_owned(), None);
        };
        let parsed = WorkerMessage::parse(text, Timestamp::now());
        if let Ok(message) = &parsed
            && let Err((task, error)) = self.check_permission(message)
        {
            self.outbox.enable_replies();
            return self.reject(error.code(), error.detail().to_owned(), Some(task));
        }
        match parsed {
            Ok(WorkerMessage::Lines { task, first_seq, lines }) => self.lines(task, first_seq, lines).await,
            Ok(WorkerMessage::End(end)) => self.end(end).await,
            Ok(WorkerMessage::TaskStart(start)) => self.start(start).await,
            Ok(WorkerMessage::Hello { worker }) => self.hello(worker.as_deref()),
            Err(error) => self.reject_bad(error),
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
        };
        self.outbox.reply(&self.state, welcome);
    }

    /// Handles lines.
    async fn lines(&mut self, task: TaskRef, first_seq: Option<u64>, lines: Vec<Result<ReceivedLine<'_>, BadMessage>>) {
        if first_seq.is_some() {
            self.outbox.enable_replies();
        }
        if first_seq == Some(0) {
            let message = "field `seq` (or `first_seq`) must be at least 1".to_owned();
            return self.reject("bad_message", message, Some(task));
        }
        self.state.metrics.lines_received.inc_by(u64::try_from(lines.len()).unwrap_or(0));
        let bytes = lines.iter().flatten().map(|line| line.line.text.len() as u64);
        self.rate.record(lines.len() as u64, bytes.sum());
        let hop = &self.state.stages.worker_socket;
        hop.received(lines.len() as u64);
        hop.parsed(lines.iter().filter(|line| line.is_ok()).count() as u64);
        let mut seq = first_seq;
        for line in lines {
            match line {
                // A rejected line with a sequence number leaves a gap, which readers see.
                Err(error) => self.reject_bad(error),
                Ok(line) => {
                    if !self.can_push(&task, seq) {
                        self.flush().await;
                    }
                    self.push(&task, seq, &line);
                }
            }
            seq = seq.map(|seq| seq.saturating_add(1));
        }
    }

    /// Returns whether a line may be added to the pending batch, or starts a new one.
    fn can_push(&self, task: &TaskRef, seq: Option<u64>) -> bool {
        self.pending.as_ref().is_none_or(|pending| {
            pending.next_seq == seq && pending.task == *task && pending.batch.bytes() < BATCH_BYTES_MAX
        })
    }

    /// Adds a line to the pending batch.
    fn push(&mut self, task: &TaskRef, seq: Option<u64>, line: &ReceivedLine<'_>) {
        let Self { pending, attached, .. } = self;
        let pending = pending.get_or_insert_with(|| {
            let batch = match seq {
                Some(seq) => LineBatch::with_session(attached.session(&task.id), seq),
                None => LineBatch::new(),
            };
            PendingBatch { task: task.clone(), batch, next_seq: seq }
        });
        let mut push_piece = |index: usize, piece: &LineText<'_>| {
            // Only the first piece of a line carries its sequence number.
            if seq.is_some() && index > 0 { pending.batch.push_continuation(piece) } else { pending.batch.push(piece) }
        };
        if line.line.text.len() <= limits::LINE_BYTES_MAX {
            push_piece(0, &line.line);
        } else {
            split_line(&line.line).enumerate().for_each(|(index, piece)| push_piece(index, &piece));
        }
        if line.own_time && attached.note_times(&task.id) {
            pending.batch.push_annotation(&LineText {
                channel: Channel::Internal,
                text: MISSING_TIMES.into(),
                timestamp: Timestamp::now(),
                ..LineText::default()
            });
        }
        pending.next_seq = seq.map(|seq| seq.saturating_add(1));
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
        let ended = match self.attached.handle(&self.state.tasks, &task.id, IfEnded::Reject).await {
            Ok(handle) => {
                let ended =
                    handle.end(EndRequest { exit_code, signal, aborted, at: timestamp, session, reported }).await;
                if let (Ok(EndOutcome::Ended), Some(fault)) = (&ended, handle.integrity_fault()) {
                    self.state.stages.worker_socket.rejected("log_mismatch", &format!("task {}: {fault}", task.id));
                }
                ended
            }
            Err(error) => Err(error),
        };
        self.attached.mark_ended(&task.id);
        match (ended, seq) {
            (Ok(EndOutcome::Ended | EndOutcome::Repeated), Some(seq)) => self.outbox.ack(&task, seq),
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

/// The text of the line that notes missing timestamps.
const MISSING_TIMES: &str =
    "tasktail: the worker sends lines without an RFC 3339 timestamp; the server's time is used instead";
