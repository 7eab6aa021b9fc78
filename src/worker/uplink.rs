//! Carries a task's lines to the server over connections that come and go.
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
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};

use super::session::Session;
use super::shared::Shared;
use super::spool::SpoolThread;
use super::{Delivery, WorkerOptions};
use crate::client::Endpoint;
use crate::client::connect::{CONNECT_TIMEOUT, ClientSocket, ConnectError, connect};
use crate::model::limits::{HEARTBEAT, SEND_TIMEOUT};
use crate::wire::worker::{OutgoingMessage, PROTOCOL, ServerReply};

/// The worker's door at the server.
const PATH: &str = "/ws/v1/worker";
/// A server that says nothing for this long, not even the answer to a ping, is given up.
const SILENCE_MAX: Duration = HEARTBEAT.saturating_mul(3);
/// Errors of the server are shown at most this often.
const ERROR_NOTE_INTERVAL: Duration = Duration::from_secs(5);
/// A connection that lived this long was a good one: the next attempt comes soon.
const GOOD_CONNECTION: Duration = Duration::from_secs(5);
/// The wait at the end is over after this many times its limit, even if a line arrives now and then.
const DELIVERY_ROUNDS_MAX: u32 = 6;

/// A worker that is not let in tries again this often: a token can be renewed, and nobody is to be flooded.
const DENIED_DELAY: Duration = Duration::from_secs(30);

/// The server's word for a task that takes no more lines; it will not change its mind.
const TASK_ENDED: &str = "task_ended";

/// Why a connection is over, in words for a person.
type Lost = String;

/// Why there is nothing more to do on a connection.
enum Over {
    /// Another may come.
    Lost(Lost),
    /// Someone else has ended this task: the server takes no more of it.
    Ended,
    /// The access token is not taken, or not for this: another try does no better soon.
    Denied(Lost),
}

impl From<Lost> for Over {
    fn from(lost: Lost) -> Self {
        Over::Lost(lost)
    }
}

/// The one task that speaks for a worker to the server.
pub(super) struct Uplink {
    options: WorkerOptions,
    session: Session,
    shared: Arc<Shared>,
    server: Endpoint,
    spool: Option<SpoolThread>,
    /// As long as something moves, the end is waited for.
    patient: bool,
    /// Set while there is no connection.
    away: Option<Away>,
    /// It was told that the server lets this worker in no more.
    denied: bool,
}

struct Away {
    since: Instant,
    skipped_lines: u64,
    /// There was a connection before.
    again: bool,
}

impl Uplink {
    /// A new session of the task.
    pub(super) fn new(options: WorkerOptions, server: Endpoint, session: Session, shared: Arc<Shared>) -> Self {
        Self { server, options, session, shared, spool: None, patient: false, away: None, denied: false }
    }

    /// With the thread of the session's spool, which is closed at the end.
    pub(super) fn with_spool(self, spool: Option<SpoolThread>) -> Self {
        Self { spool, ..self }
    }

    /// For lines that are long past: only a standstill is an end.
    pub(super) fn patient(self) -> Self {
        Self { patient: true, ..self }
    }

    /// Delivers until everything is confirmed, or time is up after the end.
    pub(super) async fn run(mut self) -> Delivery {
        let shared = Arc::clone(&self.shared);
        let options = self.options.clone();
        let rounds_max = if self.patient { None } else { Some(DELIVERY_ROUNDS_MAX) };
        tokio::select! {
            () = self.deliver() => {}
            () = out_of_time(&shared, &options, rounds_max) => {}
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
            let kept = self.kept(closed);
            self.note(format_args!("{what} could not be delivered to {}{kept}", self.server));
        }
        delivery
    }

    async fn deliver(&mut self) {
        let mut delays = backoff();
        loop {
            let began = Instant::now();
            let acked_before = self.shared.acked_seq();
            let (over, connected) = match Box::pin(self.open()).await {
                Ok((socket, acked_seq)) => {
                    self.note_connected();
                    match Box::pin(self.talk(socket, acked_seq)).await {
                        Ok(()) => return,
                        Err(over) => (over, true),
                    }
                }
                Err(over) => (over, false),
            };
            let lost = match over {
                Over::Lost(lost) => lost,
                Over::Ended => {
                    self.note("this task was ended at the server: it takes no more lines of it");
                    self.shared.refuse();
                    return self.shared.finished().await;
                }
                Over::Denied(why) => {
                    self.note_denied(&why);
                    if !self.move_to_another_server().await {
                        sleep(DENIED_DELAY).await;
                    }
                    continue;
                }
            };
            if connected && (began.elapsed() > GOOD_CONNECTION || self.shared.acked_seq() > acked_before) {
                delays = backoff();
            }
            self.note_lost(&lost);
            if !connected && self.move_to_another_server().await {
                delays = backoff();
            }
            sleep(delays.next().unwrap_or(GOOD_CONNECTION)).await;
        }
    }

    /// Connects, says who it is, and learns what the server has of this session.
    async fn open(&self) -> Result<(ClientSocket, u64), Over> {
        let mut socket = connect(&self.server, PATH).await.map_err(|error| match error {
            ConnectError::Refused { status, .. } if matches!(status.as_u16(), 401 | 403) => {
                Over::Denied(error.to_string())
            }
            _ => Over::Lost(error.to_string()),
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
        };
        for message in [hello, start] {
            let text = serde_json::to_string(&message).map_err(|e| e.to_string())?;
            in_time(socket.send(Message::text(text))).await?;
        }
        let resumed = timeout(CONNECT_TIMEOUT, self.resumed(&mut socket)).await;
        let acked_seq = resumed.map_err(|_| "the server does not say where to resume".to_owned())??;
        Ok((socket, acked_seq))
    }

    async fn resumed(&self, socket: &mut ClientSocket) -> Result<u64, Over> {
        let own = self.session.id.to_string();
        loop {
            let Some(text) = text_of(socket.next().await)? else { continue };
            match serde_json::from_str(&text) {
                Ok(ServerReply::Resume { work_request_id, session, acked_seq })
                    if work_request_id.id == self.options.task && session == own =>
                {
                    return Ok(acked_seq);
                }
                Ok(ServerReply::Error { code, .. }) if code == TASK_ENDED => return Err(Over::Ended),
                Ok(ServerReply::Error { code, message, .. }) if ["not_found", "forbidden"].contains(&code.as_str()) => {
                    return Err(Over::Denied(format!("{message}, for this worker's access token")));
                }
                Ok(ServerReply::Error { message, .. }) => return Err(format!("the server refuses: {message}").into()),
                _ => {}
            }
        }
    }

    /// Until all is confirmed (`Ok`), or the connection is lost.
    async fn talk(&self, socket: ClientSocket, acked_seq: u64) -> Result<(), Over> {
        self.shared.resume(acked_seq);
        if self.shared.is_complete() {
            return Ok(());
        }
        let (mut sink, stream) = socket.split();
        // Both at once: acks and pings must be read while a send waits for a slow server.
        let result = tokio::select! {
            lost = self.write(&mut sink) => Err(lost.into()),
            result = self.read(stream) => result,
        };
        // A polite close is worth a moment, not more; what matters is confirmed or kept.
        timeout(Duration::from_millis(200), sink.close()).await.ok();
        result
    }

    async fn write(&self, sink: &mut SplitSink<ClientSocket, Message>) -> Lost {
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let sent = match self.shared.next_message(&self.options.task) {
                Ok(Some(text)) => in_time(sink.send(Message::text(text))).await,
                Ok(None) => tokio::select! {
                    () = self.shared.woken() => Ok(()),
                    _ = heartbeat.tick() => in_time(sink.send(Message::Ping(Default::default()))).await,
                },
                Err(error) => Err(error.to_string()),
            };
            if let Err(lost) = sent {
                return lost;
            }
        }
    }

    async fn read(&self, mut stream: SplitStream<ClientSocket>) -> Result<(), Over> {
        let mut noted: Option<Instant> = None;
        let mut not_noted = 0u64;
        loop {
            let message = timeout(SILENCE_MAX, stream.next()).await;
            let message = message.map_err(|_| format!("silent for {} s", SILENCE_MAX.as_secs()))?;
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
                    return Err(Over::Ended);
                }
                Ok(ServerReply::Error { message, .. }) => {
                    if noted.is_some_and(|at| at.elapsed() < ERROR_NOTE_INTERVAL) {
                        not_noted += 1;
                        continue;
                    }
                    let more = if not_noted > 0 { format!(" (and {not_noted} more)") } else { String::new() };
                    self.note(format_args!("the server says: {message}{more}"));
                    (noted, not_noted) = (Some(Instant::now()), 0);
                }
                // What a newer server says beyond this is none of this worker's business.
                _ => {}
            }
        }
    }

    /// Asks the owner for another server, if it offers to know one.
    async fn move_to_another_server(&mut self) -> bool {
        let Some(reconnect) = &self.options.reconnect else { return false };
        let Some(server) = reconnect().await else { return false };
        if server == self.server {
            return false;
        }
        // It may be another token for the same one.
        if server.to_string() != self.server.to_string() {
            self.note(format_args!("going on with the server at {server}"));
        }
        self.server = server;
        true
    }
}

/// From 0.1 s to 5 s, with jitter so that workers do not come back all at once.
fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .without_max_times()
        .build()
}

async fn in_time<E: Display>(send: impl Future<Output = Result<(), E>>) -> Result<(), Lost> {
    match timeout(SEND_TIMEOUT, send).await {
        Ok(sent) => sent.map_err(|e| e.to_string()),
        Err(_) => Err(format!("nothing taken for {} s", SEND_TIMEOUT.as_secs())),
    }
}

/// The text of a message; `None` for one without.
fn text_of(message: Option<Result<Message, WsError>>) -> Result<Option<Utf8Bytes>, Lost> {
    match message {
        Some(Ok(Message::Text(text))) => Ok(Some(text)),
        Some(Ok(Message::Close(Some(frame)))) => Err(format!("closed with {} {}", frame.code, frame.reason)),
        Some(Ok(Message::Close(None))) | None => Err("closed".to_owned()),
        Some(Ok(_)) => Ok(None),
        Some(Err(WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => Err("it broke off".to_owned()),
        Some(Err(error)) => Err(error.to_string()),
    }
}

/// After the end: until nothing has moved for as long as the options allow.
async fn out_of_time(shared: &Shared, options: &WorkerOptions, rounds_max: Option<u32>) {
    shared.finished().await;
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
            () = shared.hurried() => return,
        }
        if before == (shared.acked_seq(), shared.was_reached()) {
            return;
        }
    }
}

#[cfg(test)]
#[path = "uplink_tests.rs"]
mod tests;
