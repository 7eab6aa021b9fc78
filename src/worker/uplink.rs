//! Sends a task's lines to the server and reconnects as needed.
//!
//! ```text
//!   connect -> hello, task_start -> resume{acked_seq} -> log_lines.. / ack..  -> log_line_end -> ack
//!      ^                                                        |
//!      +--- backoff, perhaps another server <--- lost: note ----+
//! ```
//! A server that may lose acknowledged lines in a failure has them kept (`retain`): `acked_seq` is then lower than the
//! last ack, and the uplink continues there.

mod finish;
mod notes;
mod start;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};

use self::finish::{report_progress, wait_delivery_timeout};
use self::start::{OpenSession, SessionStart, open_session};
use super::encode::BatchForm;
use super::flood::{FloodGauge, LOOK_INTERVAL};
use super::session::WorkerSession;
use super::shared::SharedBuffer;
use super::spool::{SpoolCloseOutcome, SpoolKeeper};
use super::{Delivery, DeliveryEnd, Retained, WorkerOptions};
use crate::client::Endpoint;
use crate::client::connect::ClientSocket;
use crate::model::TaskId;
use crate::model::limits::{HEARTBEAT, SEND_TIMEOUT};
use crate::wire::worker::ServerReply;

/// Path of the worker endpoint.
const PATH: &str = "/ws/v1/worker";
/// Silence, without even a pong, after which the server is disconnected.
const SILENCE_MAX: Duration = HEARTBEAT.saturating_mul(3);
/// Minimum interval between displayed server errors.
const ERROR_NOTE_INTERVAL: Duration = Duration::from_secs(5);
/// A connection that lasted this long resets the backoff.
const GOOD_CONNECTION: Duration = Duration::from_secs(5);
/// Duration of an outage before it is reported: a server that is replaced by another one is back sooner.
const OUTAGE_NOTE_DELAY: Duration = Duration::from_secs(2);
/// Bytes of the log that are read on a thread for blocking work; fewer are in the page cache.
const BLOCKING_READ_BYTES: u64 = 64 * 1024;

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
    keeper: Option<SpoolKeeper>,
    /// Set while there is no connection.
    outage: Option<Outage>,
    /// A rejected token was logged already.
    denied_noted: bool,
    /// Receives the id of the task's log from the server.
    assign: watch::Sender<Option<TaskId>>,
}

struct Outage {
    since: Instant,
    why: DisconnectReason,
    skipped_lines: u64,
    /// There was an earlier connection.
    again: bool,
    /// The user was told.
    noted: bool,
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
            keeper: None,
            outage: None,
            denied_noted: false,
            assign: watch::Sender::new(None),
        }
    }

    /// Adds the keeper of the session's spool, which is closed at the end.
    pub(super) fn with_keeper(self, keeper: Option<SpoolKeeper>) -> Self {
        Self { keeper, ..self }
    }

    /// Publishes the id of the task's log.
    pub(super) fn with_assign(self, assign: watch::Sender<Option<TaskId>>) -> Self {
        Self { assign, ..self }
    }

    /// Delivers until everything is confirmed, or until there is no progress after the end.
    pub(super) async fn run(self) -> Delivery {
        self.deliver_and_close().await.0
    }

    /// Does the same, and returns what the spool still holds.
    pub(super) async fn deliver_and_close(mut self) -> (Delivery, Option<SpoolCloseOutcome>) {
        let shared = Arc::clone(&self.shared);
        let options = self.options.clone();
        let stopped = tokio::select! {
            () = self.deliver() => None,
            () = wait_delivery_timeout(&shared, &options) => Some(DeliveryEnd::Stalled),
            () = report_progress(&shared, &options) => None,
        };
        self.note_outage();
        let counted = tokio::task::spawn_blocking(move || shared.delivery()).await;
        let mut delivery = counted.unwrap_or_default();
        let closed = match self.keeper.take() {
            Some(keeper) => Some(keeper.close(delivery.complete).await),
            None => None,
        };
        delivery.retained = match closed {
            Some(SpoolCloseOutcome::Retained) => Retained::All,
            Some(SpoolCloseOutcome::PartlyRetained) => Retained::Part,
            Some(SpoolCloseOutcome::Removed) | None => Retained::Nothing,
        };
        delivery.end = match stopped {
            _ if delivery.complete => DeliveryEnd::Complete,
            _ if self.shared.is_aborted() => DeliveryEnd::Interrupted,
            _ if self.shared.is_rejected() => DeliveryEnd::TaskEnded,
            Some(end) if self.shared.was_reached() => end,
            _ => DeliveryEnd::NotReached,
        };
        (delivery, closed)
    }

    async fn deliver(&mut self) {
        let mut delays = backoff();
        loop {
            let began = Instant::now();
            let acked_before = self.shared.acked_seq();
            let attempt = open_session(self.server.clone(), self.session.clone());
            let (disconnect, connected) = match Box::pin(self.noting_outage(attempt)).await {
                Ok(session) => {
                    self.note_connected();
                    match Box::pin(self.exchange(session)).await {
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
                    self.shared.mark_rejected(self.keeper.is_some());
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
            self.start_outage(lost);
            if !connected && self.switch_server().await {
                delays = backoff();
            }
            let delay = sleep(delays.next().unwrap_or(GOOD_CONNECTION));
            self.noting_outage(delay).await;
        }
    }

    /// Waits for `future`, and reports an outage that has become long meanwhile.
    async fn noting_outage<T>(&mut self, future: impl Future<Output = T>) -> T {
        tokio::pin!(future);
        if let Some(outage) = self.outage.as_ref().filter(|outage| !outage.noted) {
            let until = outage.since + OUTAGE_NOTE_DELAY;
            tokio::select! {
                result = &mut future => return result,
                () = sleep_until(until) => self.note_outage(),
            }
        }
        future.await
    }

    /// Sends and receives until everything is confirmed (`Ok`) or the connection ends.
    async fn exchange(&self, session: OpenSession) -> Result<(), Disconnect> {
        let OpenSession { socket, start } = session;
        let SessionStart { task, acked_seq, blocks, partials, retain } = start;
        self.assign.send_replace(Some(task));
        let form = match (blocks, is_loopback(&self.server)) {
            (false, _) => BatchForm::Lines,
            (true, true) => BatchForm::Block,
            (true, false) => BatchForm::CompressedBlock,
        };
        self.shared.resume(acked_seq, form, partials, retain);
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
        let mut gauge = FloodGauge::new();
        loop {
            while gauge.should_wait(self.shared.level()) {
                sleep(LOOK_INTERVAL).await;
            }
            let sent = match self.next_message().await {
                Ok(Some(message)) => {
                    gauge.sent();
                    with_send_timeout(sink.send(message)).await
                }
                Ok(None) => {
                    let partials_due = self.shared.partials_due();
                    tokio::select! {
                        () = self.shared.wait_woken() => Ok(()),
                        () = sleep_until(partials_due.unwrap_or_else(Instant::now)), if partials_due.is_some() => Ok(()),
                        _ = heartbeat.tick() => with_send_timeout(sink.send(Message::Ping(Default::default()))).await,
                    }
                }
                Err(error) => Err(error),
            };
            if let Err(lost) = sent {
                return lost;
            }
            for partial in self.shared.partial_messages(&self.options.task) {
                if let Err(lost) = with_send_timeout(sink.send(Message::text(partial))).await {
                    return lost;
                }
            }
        }
    }

    /// Returns the next message, if any.
    async fn next_message(&self) -> Result<Option<Message>, DisconnectReason> {
        if self.shared.backlog_bytes() < BLOCKING_READ_BYTES {
            return self.shared.next_message(&self.options.task);
        }
        let (shared, task) = (Arc::clone(&self.shared), self.options.task.clone());
        let read = tokio::task::spawn_blocking(move || shared.next_message(&task));
        read.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    async fn receive_replies(&self, mut stream: SplitStream<ClientSocket>) -> Result<(), Disconnect> {
        let mut noted: Option<Instant> = None;
        let mut not_noted = 0u64;
        loop {
            let message = timeout(SILENCE_MAX, stream.next()).await;
            let message = message.map_err(|_| format!("no response for {} s", SILENCE_MAX.as_secs()))?;
            let Some(text) = text_of(message)? else { continue };
            match serde_json::from_str(&text) {
                Ok(ServerReply::Ack { work_request_id, seq, .. })
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
        let search = reconnect();
        let Some(server) = self.noting_outage(search).await else { return false };
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

fn is_loopback(server: &Endpoint) -> bool {
    let host = server.host();
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
#[path = "retain_tests.rs"]
mod retain_tests;
#[cfg(test)]
#[path = "uplink_tests.rs"]
mod tests;
