//! A worker's connection: `GET /ws/v1/worker`.
//!
//! Frames that are there are read without waiting, and consecutive lines of one task make one
//! batch, however they were put into messages. While batches become durable reading goes on, up to
//! [`IN_FLIGHT_BYTES_MAX`]; then the worker is not read, which slows it down through its own socket.
//! Acks follow from the store's tickets.
//!
//! A worker that never said `hello` and does not count is never answered; its lines are handled
//! the same. Whatever was received when a connection breaks is appended.

mod acks;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use tokio::time::{interval, sleep};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use warp::reply::Response;

use self::acks::{InFlight, oldest};
use super::attached_tasks::{AllSpoken, BATCH_BYTES_MAX, pieces};
use super::outbox::Outbox;
use super::oversize;
use super::socket::{Peer, Sizes, Source, Upgrade, both};
use crate::auth::{Caller, Lease, Object, Scope};
use crate::model::limits::Limit;
use crate::model::{Channel, LineText, RunId, Timestamp, limits};
use crate::server::http::auth;
use crate::server::http::error::{self, ApiError, CLOSE_UNAUTHORIZED};
use crate::server::net::rate_limit::Throttle;
use crate::server::state::SharedState;
use crate::tasks::{End, EndOutcome, LineBatch, TaskFacts, TasksError};
use crate::wire::worker::{
    BadMessage, PROTOCOL, ReceivedLine, ServerReply, TaskEnd, TaskRef, TaskStart, WorkerMessage,
};

/// Bytes of a connection's lines given to the store and not yet durable.
const IN_FLIGHT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Frames read in one go before other things get their turn.
const DRAIN_FRAMES_MAX: usize = 4096;

/// Answers the handshake.
pub(in crate::server) fn ingest(state: &SharedState, upgrade: Upgrade) -> Result<Response, ApiError> {
    let shared = state.clone();
    upgrade.accept(state, Sizes::WORKER, move |sink, source, peer, lease| async move {
        shared.metrics.workers.inc();
        let outbox = Arc::new(Outbox::default());
        let ingest = Ingest::new(shared.clone(), outbox.clone(), lease.caller().clone());
        both(Box::pin(ingest.run(source, peer, lease)), outbox.write(&shared, sink)).await;
        shared.metrics.workers.dec();
    })
}

/// The batch that lines are being put into.
struct Pending {
    task: TaskRef,
    batch: LineBatch,
    /// The number that the next line must have to go into this batch.
    next_seq: Option<u64>,
}

struct Ingest {
    state: SharedState,
    outbox: Arc<Outbox>,
    /// Whose connection it is: asked about each task that it speaks of.
    caller: Caller,
    spoken: AllSpoken,
    pending: Option<Pending>,
    /// In the order they were given; at most [`IN_FLIGHT_BYTES_MAX`] and one batch.
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    /// Holds the connection to its rates.
    throttle: Throttle,
    /// The connection is being closed: nothing more is taken from it.
    closing: bool,
}

impl Ingest {
    fn new(state: SharedState, outbox: Arc<Outbox>, caller: Caller) -> Self {
        let spoken = AllSpoken::new(state.options.limits.connection_tasks_max);
        let in_flight = VecDeque::new();
        let throttle = Throttle::new(&state);
        Self { state, outbox, caller, spoken, pending: None, in_flight, in_flight_bytes: 0, throttle, closing: false }
    }

    /// The reading half: runs until the worker goes.
    async fn run(mut self, mut source: Source, peer: Peer, mut lease: Lease) {
        let mut beat = interval((self.state.options.limits.heartbeat / 3).max(Duration::from_millis(1)));
        let (mut heard, mut heard_at) = (0, Instant::now());
        let shutdown = self.state.shutdown.clone();
        while !self.closing {
            let pause = self.throttle.wait();
            let room = self.in_flight_bytes < IN_FLIGHT_BYTES_MAX && pause.is_none();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {
                    self.settle_all().await;
                    self.close(CloseCode::Away, "the server ends");
                }
                ended = lease.ended() => self.close(CLOSE_UNAUTHORIZED, ended.reason()),
                settled = oldest(&mut self.in_flight), if !self.in_flight.is_empty() => self.settle(settled),
                _ = beat.tick() => {
                    if peer.received() != heard || !room {
                        (heard, heard_at) = (peer.received(), Instant::now());
                        self.spoken.heartbeat();
                    } else if heard_at.elapsed() > peer.silence() {
                        self.state.metrics.peers_dropped.inc();
                        return;
                    }
                }
                () = sleep(pause.unwrap_or_default()), if pause.is_some() => {}
                message = source.next(), if room => {
                    let more = self.take_ready(message, &mut source).await;
                    self.flush().await;
                    if !more {
                        return;
                    }
                }
            }
        }
        // The peer's answer to our close is still to be read.
        while let Some(Ok(_)) = source.next().await {}
    }

    /// Takes a message and all that can be had without waiting; false at the connection's end.
    async fn take_ready<E: std::fmt::Display>(
        &mut self,
        first: Option<Result<Message, E>>,
        source: &mut (impl futures::Stream<Item = Result<Message, E>> + Unpin),
    ) -> bool {
        let mut next = first;
        let mut frames = 0;
        loop {
            match next {
                Some(Ok(Message::Text(text))) => self.message(text.as_bytes()).await,
                // Fragmented text comes as binary, see `oversize`.
                Some(Ok(Message::Binary(bytes))) => self.message(&bytes).await,
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    tracing::debug!(%error, "a worker's connection broke");
                    return false;
                }
                None => return false,
            }
            // Asked before the next is taken: what is taken is handled.
            frames += 1;
            let full = self.in_flight_bytes >= IN_FLIGHT_BYTES_MAX || self.throttle.is_reached();
            if frames >= DRAIN_FRAMES_MAX || full || self.closing {
                return true;
            }
            match source.next().now_or_never() {
                Some(ready) => next = ready,
                None => return true,
            }
        }
    }

    async fn message(&mut self, bytes: &[u8]) {
        self.state.metrics.bytes_received.inc_by(u64::try_from(bytes.len()).unwrap_or(0));
        if oversize::is_marker(bytes) {
            let limit = limits::MESSAGE_BYTES_MAX;
            let message = format!("a message has at most {limit} bytes: this one was skipped");
            return self.refuse("too_large", message, None);
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return self.refuse("bad_json", "the message is not UTF-8".to_owned(), None);
        };
        let parsed = WorkerMessage::parse(text, Timestamp::now());
        if let Ok(message) = &parsed
            && let Err((task, error)) = self.permit(message)
        {
            self.outbox.be_polite();
            return self.refuse(error.code(), error.detail().to_owned(), Some(task));
        }
        match parsed {
            Ok(WorkerMessage::Lines { task, first_seq, lines }) => self.lines(task, first_seq, lines).await,
            Ok(WorkerMessage::End(end)) => self.end(end).await,
            Ok(WorkerMessage::TaskStart(start)) => self.start(start).await,
            Ok(WorkerMessage::Hello { worker }) => self.hello(worker.as_deref()),
            Err(error) => self.bad(error),
        }
    }

    /// Whether the caller may say this of its task, and of the run that a label names.
    fn permit(&self, message: &WorkerMessage<'_>) -> Result<(), (TaskRef, ApiError)> {
        let (task, run) = match message {
            WorkerMessage::Lines { task, .. } => (task, None),
            WorkerMessage::End(end) => (&end.task, None),
            WorkerMessage::TaskStart(start) => (&start.task, start.labels.get("run")),
            WorkerMessage::Hello { .. } => return Ok(()),
        };
        let absent = || ApiError::no_task(&task.id);
        let may = auth::permit(&self.caller, Scope::Write, Object::Task(&task.id), absent);
        let may = may.and_then(|()| match run.and_then(|run| run.parse::<RunId>().ok()) {
            Some(run) => auth::permit(&self.caller, Scope::Write, Object::Run(&run), || ApiError::no_run(&run)),
            None => Ok(()),
        });
        may.map_err(|error| (task.clone(), error))
    }

    fn bad(&self, error: BadMessage) {
        self.refuse(error.code, error.message, error.task);
    }

    /// A message or a line was not taken: it is counted, and the worker is told.
    fn refuse(&self, code: &'static str, message: String, task: Option<TaskRef>) {
        self.state.hops.worker_socket.rejected(code, &message);
        self.outbox.error(&self.state, code, message, task);
    }

    fn hello(&self, worker: Option<&str>) {
        tracing::debug!(worker, "a worker said hello");
        self.outbox.be_polite();
        let welcome = ServerReply::Welcome {
            protocol: PROTOCOL,
            heartbeat_s: self.state.options.limits.heartbeat.as_secs().max(1),
            line_bytes_max: limits::LINE_BYTES_MAX,
        };
        self.outbox.reply(&self.state, welcome);
    }

    async fn start(&mut self, start: TaskStart) {
        self.flush().await;
        self.outbox.be_polite();
        let TaskStart { task, session, command, host, labels, timestamp } = start;
        if !self.has_room(&task) {
            return;
        }
        let facts =
            TaskFacts { id: task.id.clone(), session: session.clone(), command, host, labels, started: timestamp };
        match self.state.tasks.start(facts).await {
            Ok((handle, acked_seq)) => {
                self.spoken.speak(handle, Some(session.clone()));
                self.outbox.reply(&self.state, ServerReply::Resume { work_request_id: task, session, acked_seq });
            }
            Err(error) => self.failed(&task, &error),
        }
    }

    async fn lines(&mut self, task: TaskRef, first_seq: Option<u64>, lines: Vec<Result<ReceivedLine<'_>, BadMessage>>) {
        if first_seq.is_some() {
            self.outbox.be_polite();
        }
        if first_seq == Some(0) {
            let message = "field `seq` (or `first_seq`) counts from 1".to_owned();
            return self.refuse("bad_message", message, Some(task));
        }
        self.state.metrics.lines_received.inc_by(u64::try_from(lines.len()).unwrap_or(0));
        let bytes = lines.iter().flatten().map(|line| line.line.text.len() as u64);
        self.throttle.took(lines.len() as u64, bytes.sum());
        let hop = &self.state.hops.worker_socket;
        hop.received(lines.len() as u64);
        hop.parsed(lines.iter().filter(|line| line.is_ok()).count() as u64);
        let mut seq = first_seq;
        for line in lines {
            match line {
                // A numbered line that cannot be taken leaves a hole, which the reader sees.
                Err(error) => self.bad(error),
                Ok(line) => {
                    if !self.fits(&task, seq) {
                        self.flush().await;
                    }
                    self.push(&task, seq, &line);
                }
            }
            seq = seq.map(|seq| seq.saturating_add(1));
        }
    }

    fn fits(&self, task: &TaskRef, seq: Option<u64>) -> bool {
        self.pending.as_ref().is_none_or(|pending| {
            pending.next_seq == seq && pending.task == *task && pending.batch.bytes() < BATCH_BYTES_MAX
        })
    }

    fn push(&mut self, task: &TaskRef, seq: Option<u64>, line: &ReceivedLine<'_>) {
        let Self { pending, spoken, .. } = self;
        let pending = pending.get_or_insert_with(|| {
            let batch = match seq {
                Some(seq) => LineBatch::with_session(spoken.session(&task.id), seq),
                None => LineBatch::new(),
            };
            Pending { task: task.clone(), batch, next_seq: seq }
        });
        let mut put = |index: usize, piece: &LineText<'_>| {
            // Only the first piece of a numbered line bears its number.
            if seq.is_some() && index > 0 { pending.batch.push_continuation(piece) } else { pending.batch.push(piece) }
        };
        if line.line.text.len() <= limits::LINE_BYTES_MAX {
            put(0, &line.line);
        } else {
            pieces(&line.line).enumerate().for_each(|(index, piece)| put(index, &piece));
        }
        if line.own_time && spoken.note_times(&task.id) {
            pending.batch.push_annotation(&LineText {
                channel: Channel::Internal,
                text: NO_TIME.into(),
                timestamp: Timestamp::now(),
                ..LineText::default()
            });
        }
        pending.next_seq = seq.map(|seq| seq.saturating_add(1));
    }

    async fn end(&mut self, end: TaskEnd) {
        self.flush().await;
        let TaskEnd { task, seq, exit_code, signal, aborted, timestamp, reported } = end;
        if seq.is_some() {
            self.outbox.be_polite();
        }
        if !self.has_room(&task) {
            return;
        }
        let session = seq.map(|seq| (self.spoken.session(&task.id).to_owned(), seq));
        let ended = match self.spoken.handle(&self.state.tasks, &task.id).await {
            Ok(handle) => {
                let ended = handle.end(End { exit_code, signal, aborted, at: timestamp, session, reported }).await;
                if let (Ok(EndOutcome::Ended), Some(fault)) = (&ended, handle.integrity_fault()) {
                    self.state.hops.worker_socket.rejected("log_mismatch", &format!("task {}: {fault}", task.id));
                }
                ended
            }
            Err(error) => Err(error),
        };
        self.spoken.ended(&task.id);
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

    fn has_room(&mut self, task: &TaskRef) -> bool {
        let room = self.spoken.has_room(&task.id);
        if !room {
            self.state.hits.count(Limit::connection_tasks_max);
            let max = self.state.options.limits.connection_tasks_max;
            let message = format!("a connection speaks of at most {max} tasks that have not ended");
            self.outbox.error(&self.state, "too_many", message, Some(task.clone()));
        }
        room
    }

    /// The store did not take something: the worker is told, and if it cannot go on, sent away
    /// with what it has not seen acked.
    fn failed(&mut self, task: &TaskRef, error: &TasksError) {
        let code = error::code_of(error);
        self.state.hops.worker_socket.failed(&error.to_string());
        self.outbox.error(&self.state, code, error.to_string(), Some(task.clone()));
        match error {
            TasksError::Ended(id) => self.spoken.ended(id),
            TasksError::NotFound(id) | TasksError::Removed(id) => self.spoken.forget(id),
            error => {
                if let Some(code) = error::close_of(error) {
                    self.close(code, "the store takes no lines now");
                }
            }
        }
    }

    fn close(&mut self, code: CloseCode, reason: &'static str) {
        self.outbox.close(code, reason);
        self.closing = true;
    }
}

/// The text of the line that notes missing times.
const NO_TIME: &str =
    "tasktail: the worker gives lines without a time (or one that is not RFC 3339); the server's is used";
