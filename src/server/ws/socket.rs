//! The basis of all WebSockets of the server: handshake, small buffers, sending with a timeout, detection of
//! dead peers, and an orderly close.
//!
//! `warp::ws` is not used, because it allocates a read buffer of 128 KiB per connection and clears it at each
//! read.
//!
//! Close codes: 1000 complete, 1001 server shutting down, 1011 internal error, 1013 try again later, 4401
//! access token no longer accepted, 4404 task not found (or deleted).

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use warp::http::{HeaderMap, HeaderValue, StatusCode, header};
use warp::reply::Response;

use super::oversize::MessageSizeFilter;
use crate::auth::Lease;
use crate::model::limits::{self, Limit};
use crate::server::http::error::ApiError;
use crate::server::net::connection_limit::ConnectionPermit;
use crate::server::state::{SharedState, State};

/// The server's end of a WebSocket.
pub(in crate::server) type ServerSocket = WebSocketStream<MessageSizeFilter<TokioIo<Upgraded>>>;
/// The sending half of a WebSocket.
#[derive(Debug)]
pub(in crate::server) struct SocketSink {
    inner: SplitSink<ServerSocket, Message>,
    /// Time after which a peer that accepts no data is dropped.
    timeout: Duration,
}

/// The receiving half of a WebSocket. Pings are answered only while it is polled.
pub(in crate::server) type SocketSource = SplitStream<ServerSocket>;

/// The name of our WebSocket subprotocol, for pages that request one.
const PROTOCOL: &str = "tasktail.v1";
/// Time allowed for the peer's reply to a close.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// The buffer sizes and message limit of a kind of socket.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct BufferSizes {
    read_bytes: usize,
    write_bytes: usize,
    message_bytes_max: usize,
}

impl BufferSizes {
    /// Small buffers for viewers: they send little, and there may be thousands.
    pub(in crate::server) const VIEWER: BufferSizes =
        BufferSizes { read_bytes: 4096, write_bytes: 0, message_bytes_max: 16 * 1024 };
    /// Large buffers for workers, which send much.
    pub(in crate::server) const WORKER: BufferSizes =
        BufferSizes { read_bytes: 64 * 1024, write_bytes: 4096, message_bytes_max: limits::MESSAGE_BYTES_MAX };

    /// Returns the configuration for tungstenite.
    fn config(self) -> WebSocketConfig {
        // Above the filter's limit, since an oversized fragmented message ends in a marker for its rest.
        let largest = self.message_bytes_max + 1024;
        WebSocketConfig::default()
            .read_buffer_size(self.read_bytes)
            .write_buffer_size(self.write_bytes)
            .max_write_buffer_size(2 * limits::MESSAGE_BYTES_MAX)
            .max_message_size(Some(largest))
            .max_frame_size(Some(largest))
    }
}

/// A validated request for a WebSocket.
pub(in crate::server) struct Upgrade {
    on_upgrade: OnUpgrade,
    accept_key: String,
    /// The subprotocol to confirm, if the page requested ours.
    protocol: Option<&'static str>,
    permit: ConnectionPermit,
    lease: Lease,
}

impl Upgrade {
    /// Validates the handshake (RFC 6455, 4.2.1). The Origin was checked before routing.
    pub(in crate::server) fn check(
        headers: &HeaderMap,
        on_upgrade: Option<OnUpgrade>,
        permit: Option<ConnectionPermit>,
        lease: Lease,
    ) -> Result<Self, ApiError> {
        let has = |name: header::HeaderName, expected: &str| {
            let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(expected))
        };
        if !has(header::UPGRADE, "websocket") || !has(header::CONNECTION, "upgrade") {
            return Err(ApiError::new(426, "upgrade_required", "this route requires a WebSocket handshake"));
        }
        if !has(header::SEC_WEBSOCKET_VERSION, "13") {
            return Err(ApiError::new(426, "upgrade_required", "header Sec-WebSocket-Version must be 13"));
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
        let key = key.ok_or_else(|| ApiError::new(400, "bad_handshake", "header Sec-WebSocket-Key is missing"))?;
        let (Some(on_upgrade), Some(permit)) = (on_upgrade, permit) else {
            return Err(ApiError::new(400, "bad_handshake", "this connection cannot be upgraded to a WebSocket"));
        };
        // A browser that requests subprotocols expects one of them back. Others it lists, such as a share, are
        // not repeated in the response.
        let protocol = has(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL).then_some(PROTOCOL);
        Ok(Self { on_upgrade, accept_key: derive_accept_key(key.as_bytes()), protocol, permit, lease })
    }

    /// Returns the response 101, and runs `serve` on the socket in a background task that shutdown waits for.
    pub(in crate::server) fn accept<F, T>(
        self,
        state: &SharedState,
        sizes: BufferSizes,
        serve: F,
    ) -> Result<Response, ApiError>
    where
        F: FnOnce(SocketSink, SocketSource, Peer, Lease) -> T + Send + 'static,
        T: Future<Output = ()> + Send,
    {
        let Self { on_upgrade, accept_key, protocol, permit, lease } = self;
        let accept_key = HeaderValue::from_str(&accept_key)
            .map_err(|_| ApiError::new(400, "bad_handshake", "header Sec-WebSocket-Key is invalid"))?;
        let silence = state.options.limits.heartbeat.mul_f32(2.5);
        let send_timeout = state.options.limits.send_timeout;
        state.tracker.spawn(async move {
            let _permit = permit;
            let upgraded = match on_upgrade.await {
                Ok(upgraded) => TokioIo::new(upgraded),
                Err(error) => return tracing::debug!(%error, "WebSocket upgrade failed"),
            };
            let received = Arc::new(AtomicU64::new(0));
            let peer = Peer { received: received.clone(), silence };
            let stream = MessageSizeFilter::new(upgraded, sizes.message_bytes_max, received);
            let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(sizes.config())).await;
            let (sink, source) = socket.split();
            serve(SocketSink { inner: sink, timeout: send_timeout }, source, peer, lease).await;
        });
        let mut response = Response::default();
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept_key);
        if let Some(protocol) = protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        Ok(response)
    }
}

/// The liveness of a peer. Any received byte counts, since a message may be long.
#[derive(Debug)]
pub(in crate::server) struct Peer {
    received: Arc<AtomicU64>,
    silence: Duration,
}

/// The result of waiting for a peer's next message.
pub(in crate::server) enum Received {
    /// A message: text, binary, ping or pong.
    Message(Message),
    /// The connection was closed or failed.
    Closed,
    /// No byte arrived for 2.5 heartbeats, despite pings.
    Silent,
}

impl Peer {
    /// Waits for the next message. Cancel-safe, but each call restarts the timeout.
    pub(in crate::server) async fn recv(&self, source: &mut SocketSource) -> Received {
        loop {
            let before = self.received.load(Ordering::Relaxed);
            match timeout(self.silence, source.next()).await {
                Ok(Some(Ok(message))) => return Received::Message(message),
                Ok(Some(Err(tungstenite::Error::Io(error)))) if error.kind() == io::ErrorKind::TimedOut => {
                    return Received::Silent;
                }
                Ok(Some(Err(error))) => {
                    tracing::debug!(%error, "WebSocket failed");
                    return Received::Closed;
                }
                Ok(None) => return Received::Closed,
                Err(_) if self.received.load(Ordering::Relaxed) != before => {}
                Err(_) => return Received::Silent,
            }
        }
    }

    /// Returns the time after which a silent peer is dropped.
    pub(in crate::server) fn silence(&self) -> Duration {
        self.silence
    }

    /// Returns the number of bytes received.
    pub(in crate::server) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// A failure to send that makes the connection unusable.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum SendError {
    /// The connection was closed or failed.
    #[error("connection closed: {0}")]
    Closed(#[from] Box<tungstenite::Error>),
    /// The peer accepts no data.
    #[error("the peer has accepted no data for {0:?}")]
    Stuck(Duration),
}

impl SendError {
    /// Logs the end of a connection to `peer`, and counts a peer that was dropped.
    pub(in crate::server) fn log_disconnect(&self, state: &State, peer: &str) {
        if matches!(self, SendError::Stuck(_)) {
            state.metrics.peers_dropped.inc();
            state.limit_counters.count(Limit::send_timeout);
        }
        tracing::debug!(reason = %self, "{peer} disconnected");
    }
}

/// Sends one message, within the limit `send_timeout`.
pub(in crate::server) async fn send(sink: &mut SocketSink, message: Message) -> Result<(), SendError> {
    with_timeout(sink.timeout, sink.inner.send(message)).await
}

/// Sends several messages with one flush, within the limit `send_timeout`.
pub(in crate::server) async fn send_all(sink: &mut SocketSink, messages: Vec<Message>) -> Result<(), SendError> {
    let SocketSink { inner, timeout } = sink;
    let sent = async {
        for message in messages {
            inner.feed(message).await?;
        }
        inner.flush().await
    };
    with_timeout(*timeout, sent).await
}

/// Waits for a send to complete, for at most `time`.
async fn with_timeout(
    time: Duration,
    sent: impl Future<Output = Result<(), tungstenite::Error>>,
) -> Result<(), SendError> {
    match timeout(time, sent).await {
        Ok(Ok(())) => Ok(()),
        // The system's own timeout, see `tcp::configure`, expired first.
        Ok(Err(tungstenite::Error::Io(error))) if error.kind() == io::ErrorKind::TimedOut => {
            Err(SendError::Stuck(time))
        }
        Ok(Err(error)) => Err(SendError::Closed(Box::new(error))),
        Err(_) => Err(SendError::Stuck(time)),
    }
}

/// Sends a close frame. The peer's reply is read by [`run_duplex`].
pub(in crate::server) async fn close(sink: &mut SocketSink, code: CloseCode, reason: &'static str) {
    let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
    match timeout(CLOSE_WAIT, sink.inner.send(close)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "failed to send a close frame"),
        Err(_) => tracing::debug!("timed out sending a close frame"),
    }
}

/// Runs both halves of a connection. Returns when the reader finishes (the peer disconnected), or when the
/// writer finishes (it sent a close) and the peer has replied or timed out. The reader is polled throughout.
///
/// The half that is polled first alternates. Otherwise a half that uses up tokio's cooperative budget every
/// time would starve the other.
pub(in crate::server) async fn run_duplex(reader: impl Future<Output = ()>, writer: impl Future<Output = ()>) {
    let (mut reader, mut writer) = (pin!(reader), pin!(writer));
    let mut reader_first = false;
    let reader_finished = poll_fn(|cx| {
        reader_first = !reader_first;
        if reader_first && reader.as_mut().poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        if writer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        if !reader_first && reader.as_mut().poll(cx).is_ready() { Poll::Ready(true) } else { Poll::Pending }
    });
    if !reader_finished.await && timeout(CLOSE_WAIT, reader).await.is_err() {
        tracing::debug!("the peer did not reply to a close frame");
    }
}
