//! Sends a task's lines to the server and reconnects as needed.
//!
//! ```text
//!   connect -> hello, task_start -> resume{acked_seq} -> log_lines.. / ack..  -> log_line_end -> ack
//!      ^                                                        |
//!      +--- backoff, perhaps another server <--- lost: note ----+
//! ```

mod notes;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};

use super::session::WorkerSession;
use super::shared::SharedBuffer;
use super::spool::SpoolThread;
use super::{Delivery, WorkerOptions};
use crate::client::Endpoint;
use crate::client::connect::{CONNECT_TIMEOUT, ClientSocket, ConnectError, connect};
use crate::model::TaskId;
use crate::model::limits::{HEARTBEAT, SEND_TIMEOUT};
use crate::wire::worker::{OutgoingMessage, PROTOCOL, ServerReply};

/// Path of the worker endpoint.
const PATH: &str = "/ws/v1/worker";
/// Silence, without even a pong, after which the server is disconnected.
const SILENCE_MAX: Duration = HEARTBEAT.saturating_mul(3);
/// Minimum interval between displayed server errors.
const ERROR_NOTE_INTERVAL: Duration = Duration::from_secs(5);
/// A connection that lasted this long resets the backoff.
const GOOD_CONNECTION: Duration = Duration::from_secs(5);
/// Multiple of the timeout after which the final wait ends, even if an occasional line is still acked.
const DELIVERY_ROUNDS_MAX: u32 = 6;

/// Interval of attempts after the server rejected the token. A token can be renewed, and the server must not
/// be flooded.
const DENIED_DELAY: Duration = Duration::from_secs(30);

/// Error code for a task that accepts no more lines. It is final.
const TASK_ENDED: &str = "task_ended";

/// A description of a disconnect for the user.
type DisconnectReason = String;

/// An event that ends a connection.
enum Disconnect {
    /// Lost; a new connection may succeed.
    Lost(DisconnectReason),
    /// The task was ended elsewhere, and the server accepts no more lines of it.
    TaskEnded,
    /// The access token was rejected or lacks access; an early retry would fail too.
    Denied(DisconnectReason),
}

impl From<DisconnectReason> for Disconnect {
    fn from(lost: DisconnectReason) -> Self {
        Disconnect::Lost(lost)
    }
}

/// The single async task that connects a worker to the server.
pub(super) struct Uplink {
    options: WorkerOptions,
    session: WorkerSession,
    shared: Arc<SharedBuffer>,
    server: Endpoint,
    spool: Option<SpoolThread>,
    /// Wait at the end as long as there is progress.
    unlimited_wait: bool,
    /// Set while there is no connection.
    outage: Option<Outage>,
    /// A rejected token was logged already.
    denied_noted: bool,
    /// Receives the id of the task's log from the server.
    assign: watch::Sender<Option<TaskId>>,
}

struct Outage {
    since: Instant,
    skipped_lines: u64,
    /// There was an earlier connection.
    again: bool,
}

impl Uplink {
    /// Creates the uplink of a new session.
    pub(super) fn new(
        options: WorkerOptions,
        server: Endpoint,
        session: WorkerSession,
        shared: Arc<SharedBuffer>,
    ) -> Self {
        Self {
            server,
            options,
            session,
            shared,
            spool: None,
            unlimited_wait: false,
            outage: None,
            denied_noted: false,
            assign: watch::Sender::new(None),
        }
    }

    /// Adds the session's spool thread, which is closed at the end.
    pub(super) fn with_spool(self, spool: Option<SpoolThread>) -> Self {
        Self { spool, ..self }
    }

    /// Publishes the id of the task's log.
    pub(super) fn with_assign(self, assign: watch::Sender<Option<TaskId>>) -> Self {
        Self { assign, ..self }
    }

    /// Waits without a total limit, for lines of an ended task: only a stall ends the wait.
    pub(super) fn with_unlimited_wait(self) -> Self {
        Self { unlimited_wait: true, ..self }
    }

    /// Delivers until everything is confirmed, or until the timeout after the end.
    pub(super) async fn run(mut self) -> Delivery {
        let shared = Arc::clone(&self.shared);
        let options = self.options.clone();
        let rounds_max = if self.unlimited_wait { None } else { Some(DELIVERY_ROUNDS_MAX) };
        tokio::select! {
            () = self.deliver() => {}
            () = wait_delivery_timeout(&shared, &options, rounds_max) => {}
        }
        let delivery = shared.delivery();
        let closed = match self.spool.take() {
            Some(spool) => Some(spool.close().await),
            None => None,
        };
        if !delivery.complete {
            let what = match delivery.undelivered_lines {
                0 => "the end of the task".to_owned(),
                1 => "1 line and the end of the task".to_owned(),
                n => format!("{n} lines and the end of the task"),
            };
            let hint = self.spool_hint(closed);
            self.note(format_args!("{what} could not be delivered to {}{hint}", self.server));
        }
        delivery
    }

    async fn deliver(&mut self) {
        let mut delays = backoff();
        loop {
            let began = Instant::now();
            let acked_before = self.shared.acked_seq();
            let (disconnect, connected) = match Box::pin(self.open_session()).await {
                Ok((socket, acked_seq)) => {
                    self.note_connected();
                    match Box::pin(self.exchange(socket, acked_seq)).await {
                        Ok(()) => return,
                        Err(disconnect) => (disconnect, true),
                    }
                }
                Err(disconnect) => (disconnect, false),
            };
            let lost = match disconnect {
                Disconnect::Lost(lost) => lost,
                Disconnect::TaskEnded => {
                    self.note("this task was ended at the server, which accepts no more lines of it");
                    self.shared.mark_rejected();
                    return self.shared.wait_finished().await;
                }
                Disconnect::Denied(why) => {
                    self.note_denied(&why);
                    if !self.switch_server().await {
                        sleep(DENIED_DELAY).await;
                    }
                    continue;
                }
            };
            if connected && (began.elapsed() > GOOD_CONNECTION || self.shared.acked_seq() > acked_before) {
                delays = backoff();
            }
            self.note_lost(&lost);
            if !connected && self.switch_server().await {
                delays = backoff();
            }
            sleep(delays.next().unwrap_or(GOOD_CONNECTION)).await;
        }
    }

    /// Connects, sends the session, and returns the server's position in it.
    async fn open_session(&self) -> Result<(ClientSocket, u64), Disconnect> {
        let mut socket = connect(&self.server, PATH).await.map_err(|error| match error {
            ConnectError::Refused { status, .. } if matches!(status.as_u16(), 401 | 403) => {
                Disconnect::Denied(error.to_string())
            }
            _ => Disconnect::Lost(error.to_string()),
        })?;
        let hello = OutgoingMessage::Hello { protocol: PROTOCOL, worker: &self.session.worker };
        let session = self.session.id.to_string();
        let start = OutgoingMessage::TaskStart {
            work_request_id: self.options.task.as_str(),
            session: &session,
            command: &self.session.command,
            host: &self.session.host,
            labels: &self.session.labels,
            timestamp: self.session.started,
            attempt: self.session.attempt,
        };
        for message in [hello, start] {
            let text = serde_json::to_string(&message).map_err(|e| e.to_string())?;
            with_send_timeout(socket.send(Message::text(text))).await?;
        }
        let resumed = timeout(CONNECT_TIMEOUT, self.wait_resume(&mut socket)).await;
        let acked_seq = resumed.map_err(|_| "the server did not send a resume position".to_owned())??;
        Ok((socket, acked_seq))
    }

    async fn wait_resume(&self, socket: &mut ClientSocket) -> Result<u64, Disconnect> {
        let own = self.session.id.to_string();
        loop {
            let Some(text) = text_of(socket.next().await)? else { continue };
            match serde_json::from_str(&text) {
                Ok(ServerReply::Resume { work_request_id, session, acked_seq, task })
                    if work_request_id.id == self.options.task && session == own =>
                {
                    self.assign.send_replace(Some(task.unwrap_or(work_request_id.id)));
                    return Ok(acked_seq);
                }
                Ok(ServerReply::Error { code, .. }) if code == TASK_ENDED => return Err(Disconnect::TaskEnded),
                Ok(ServerReply::Error { code, message, .. }) if ["not_found", "forbidden"].contains(&code.as_str()) => {
                    return Err(Disconnect::Denied(format!("{message}, for this worker's access token")));
                }
                Ok(ServerReply::Error { message, .. }) => {
                    return Err(format!("rejected by the server: {message}").into());
                }
                _ => {}
            }
        }
    }

    /// Sends and receives until everything is confirmed (`Ok`) or the connection ends.
    async fn exchange(&self, socket: ClientSocket, acked_seq: u64) -> Result<(), Disconnect> {
        self.shared.resume(acked_seq);
        if self.shared.is_complete() {
            return Ok(());
        }
        let (mut sink, stream) = socket.split();
        // Run both concurrently: acks and pings must be read while a send waits for a slow server.
        let result = tokio::select! {
            lost = self.send_messages(&mut sink) => Err(lost.into()),
            result = self.receive_replies(stream) => result,
        };
        // Wait only briefly for a clean close: all lines are confirmed or still buffered.
        timeout(Duration::from_millis(200), sink.close()).await.ok();
        result
    }

    async fn send_messages(&self, sink: &mut SplitSink<ClientSocket, Message>) -> DisconnectReason {
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let sent = match self.shared.next_message(&self.options.task) {
                Ok(Some(text)) => with_send_timeout(sink.send(Message::text(text))).await,
                Ok(None) => tokio::select! {
                    () = self.shared.wait_woken() => Ok(()),
                    _ = heartbeat.tick() => with_send_timeout(sink.send(Message::Ping(Default::default()))).await,
                },
                Err(error) => Err(error.to_string()),
            };
            if let Err(lost) = sent {
                return lost;
            }
        }
    }

    async fn receive_replies(&self, mut stream: SplitStream<ClientSocket>) -> Result<(), Disconnect> {
        let mut noted: Option<Instant> = None;
        let mut not_noted = 0u64;
        loop {
            let message = timeout(SILENCE_MAX, stream.next()).await;
            let message = message.map_err(|_| format!("no response for {} s", SILENCE_MAX.as_secs()))?;
            let Some(text) = text_of(message)? else { continue };
            match serde_json::from_str(&text) {
                Ok(ServerReply::Ack { work_request_id, seq })
                    if work_request_id.id == self.options.task && self.shared.ack(seq) =>
                {
                    return Ok(());
                }
                Ok(ServerReply::Error { code, work_request_id: Some(task), .. })
                    if code == TASK_ENDED && task.id == self.options.task =>
                {
                    return Err(Disconnect::TaskEnded);
                }
                Ok(ServerReply::Error { message, .. }) => {
                    if noted.is_some_and(|at| at.elapsed() < ERROR_NOTE_INTERVAL) {
                        not_noted += 1;
                        continue;
                    }
                    let more = if not_noted > 0 { format!(" (and {not_noted} more)") } else { String::new() };
                    self.note(format_args!("server error: {message}{more}"));
                    (noted, not_noted) = (Some(Instant::now()), 0);
                }
                // Ignore messages of newer servers.
                _ => {}
            }
        }
    }

    /// Switches to another server if the `reconnect` callback names one.
    async fn switch_server(&mut self) -> bool {
        let Some(reconnect) = &self.options.reconnect else { return false };
        let Some(server) = reconnect().await else { return false };
        if server == self.server {
            return false;
        }
        // It may be the same server with another token.
        if server.to_string() != self.server.to_string() {
            self.note(format_args!("switching to the server at {server}"));
        }
        self.server = server;
        true
    }
}

/// Returns delays from 0.1 s to 5 s, with jitter so that workers do not reconnect all at once.
fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .without_max_times()
        .build()
}

async fn with_send_timeout<E: Display>(send: impl Future<Output = Result<(), E>>) -> Result<(), DisconnectReason> {
    match timeout(SEND_TIMEOUT, send).await {
        Ok(sent) => sent.map_err(|e| e.to_string()),
        Err(_) => Err(format!("no data accepted for {} s", SEND_TIMEOUT.as_secs())),
    }
}

/// Returns the text of a message; `None` for a message without one.
fn text_of(message: Option<Result<Message, WsError>>) -> Result<Option<Utf8Bytes>, DisconnectReason> {
    match message {
        Some(Ok(Message::Text(text))) => Ok(Some(text)),
        Some(Ok(Message::Close(Some(frame)))) => Err(format!("closed with {} {}", frame.code, frame.reason)),
        Some(Ok(Message::Close(None))) | None => Err("closed".to_owned()),
        Some(Ok(_)) => Ok(None),
        Some(Err(WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => Err("connection reset".to_owned()),
        Some(Err(error)) => Err(error.to_string()),
    }
}

/// Waits, after the end, until there was no progress for the configured time.
async fn wait_delivery_timeout(shared: &SharedBuffer, options: &WorkerOptions, rounds_max: Option<u32>) {
    shared.wait_finished().await;
    let all = async {
        match rounds_max {
            Some(rounds) => sleep(options.delivery_timeout * rounds).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(all);
    loop {
        let before = (shared.acked_seq(), shared.was_reached());
        let limit = if before.1 { options.delivery_timeout } else { options.delivery_timeout_unreached };
        tokio::select! {
            () = sleep(limit) => {}
            () = &mut all => return,
            () = shared.wait_aborted() => return,
        }
        if before == (shared.acked_seq(), shared.was_reached()) {
            return;
        }
    }
}

#[cfg(test)]
#[path = "uplink_tests.rs"]
mod tests;
