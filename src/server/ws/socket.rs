//! What all WebSockets of the server stand on: handshake, small buffers, sending with a deadline,
//! noticing a peer that is gone, closing in order.
//!
//! Not `warp::ws`: it gives each connection a read buffer of 128 KiB and clears it at each read.
//!
//! Close codes: 1000 all told, 1001 the server ends, 1011 a fault of ours, 1013 try again later, 4401 the
//! caller's token is not taken any more, 4404 the task is not there (or no longer).

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

use super::oversize::Oversize;
use crate::auth::Lease;
use crate::model::limits;
use crate::server::http::error::ApiError;
use crate::server::net::connection_limit::Place;
use crate::server::state::SharedState;

/// A server's end of a WebSocket.
pub(in crate::server) type Socket = WebSocketStream<Oversize<TokioIo<Upgraded>>>;
/// Its sending half, and how long the peer may take nothing.
#[derive(Debug)]
pub(in crate::server) struct Sink {
    inner: SplitSink<Socket, Message>,
    timeout: Duration,
}

/// Its receiving half: pings are answered only while it is polled.
pub(in crate::server) type Source = SplitStream<Socket>;

/// The name of our protocols, for pages that have to name one.
const PROTOCOL: &str = "tasktail.v1";
/// A peer may take this long to answer a close.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// Buffer sizes and limits of a kind of socket.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Sizes {
    read_bytes: usize,
    write_bytes: usize,
    message_bytes_max: usize,
}

impl Sizes {
    /// A viewer says little, and there are thousands of them.
    pub(in crate::server) const VIEWER: Sizes =
        Sizes { read_bytes: 4096, write_bytes: 0, message_bytes_max: 16 * 1024 };
    /// A worker says much.
    pub(in crate::server) const WORKER: Sizes =
        Sizes { read_bytes: 64 * 1024, write_bytes: 4096, message_bytes_max: limits::MESSAGE_BYTES_MAX };

    fn config(self) -> WebSocketConfig {
        // Above the adapter's limit: a fragmented message ends in the stand-in for its rest.
        let largest = self.message_bytes_max + 1024;
        WebSocketConfig::default()
            .read_buffer_size(self.read_bytes)
            .write_buffer_size(self.write_bytes)
            .max_write_buffer_size(2 * limits::MESSAGE_BYTES_MAX)
            .max_message_size(Some(largest))
            .max_frame_size(Some(largest))
    }
}

/// A request that may become a WebSocket.
pub(in crate::server) struct Upgrade {
    on_upgrade: OnUpgrade,
    accept_key: String,
    /// The protocol that a page asked for beside the share it shows.
    protocol: Option<&'static str>,
    place: Place,
    lease: Lease,
}

impl Upgrade {
    /// Checks the handshake (RFC 6455, 4.2.1); the Origin was checked before any route.
    pub(in crate::server) fn check(
        headers: &HeaderMap,
        on_upgrade: Option<OnUpgrade>,
        place: Option<Place>,
        lease: Lease,
    ) -> Result<Self, ApiError> {
        let has = |name: header::HeaderName, word: &str| {
            let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
        };
        if !has(header::UPGRADE, "websocket") || !has(header::CONNECTION, "upgrade") {
            return Err(ApiError::new(426, "upgrade_required", "this route is a WebSocket"));
        }
        if !has(header::SEC_WEBSOCKET_VERSION, "13") {
            return Err(ApiError::new(426, "upgrade_required", "header Sec-WebSocket-Version must be 13"));
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
        let key = key.ok_or_else(|| ApiError::new(400, "bad_handshake", "header Sec-WebSocket-Key is missing"))?;
        let (Some(on_upgrade), Some(place)) = (on_upgrade, place) else {
            return Err(ApiError::new(400, "bad_handshake", "this connection cannot become a WebSocket"));
        };
        // A page that names protocols wants one of them back; what else it names is not said again.
        let protocol = has(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL).then_some(PROTOCOL);
        Ok(Self { on_upgrade, accept_key: derive_accept_key(key.as_bytes()), protocol, place, lease })
    }

    /// Answers 101 and runs `talk` on the socket, in the background, known to the shutdown.
    pub(in crate::server) fn accept<F, T>(
        self,
        state: &SharedState,
        sizes: Sizes,
        talk: F,
    ) -> Result<Response, ApiError>
    where
        F: FnOnce(Sink, Source, Peer, Lease) -> T + Send + 'static,
        T: Future<Output = ()> + Send,
    {
        let Self { on_upgrade, accept_key, protocol, place, lease } = self;
        let accept_key = HeaderValue::from_str(&accept_key)
            .map_err(|_| ApiError::new(400, "bad_handshake", "header Sec-WebSocket-Key is not a key"))?;
        let silence = state.options.limits.heartbeat.mul_f32(2.5);
        let send_timeout = state.options.limits.send_timeout;
        state.tracker.spawn(async move {
            let _place = place;
            let upgraded = match on_upgrade.await {
                Ok(upgraded) => TokioIo::new(upgraded),
                Err(error) => return tracing::debug!(%error, "a WebSocket did not come about"),
            };
            let received = Arc::new(AtomicU64::new(0));
            let peer = Peer { received: received.clone(), silence };
            let stream = Oversize::new(upgraded, sizes.message_bytes_max, received);
            let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(sizes.config())).await;
            let (sink, source) = socket.split();
            talk(Sink { inner: sink, timeout: send_timeout }, source, peer, lease).await;
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

/// Whether the other end still gives a sign of life. Any byte counts: a message may be long.
#[derive(Debug)]
pub(in crate::server) struct Peer {
    received: Arc<AtomicU64>,
    silence: Duration,
}

/// What came of waiting for a peer's next message.
pub(in crate::server) enum Heard {
    /// A message: text, binary, ping or pong.
    Message(Message),
    /// It closed, or the connection broke.
    Closed,
    /// Nothing for 2.5 heartbeats, though it was pinged.
    Silent,
}

impl Peer {
    /// The next message. Cancel-safe; what was waited counts again when called anew.
    pub(in crate::server) async fn hear(&self, source: &mut Source) -> Heard {
        loop {
            let before = self.received.load(Ordering::Relaxed);
            match timeout(self.silence, source.next()).await {
                Ok(Some(Ok(message))) => return Heard::Message(message),
                Ok(Some(Err(tungstenite::Error::Io(error)))) if error.kind() == io::ErrorKind::TimedOut => {
                    return Heard::Silent;
                }
                Ok(Some(Err(error))) => {
                    tracing::debug!(%error, "a WebSocket broke");
                    return Heard::Closed;
                }
                Ok(None) => return Heard::Closed,
                Err(_) if self.received.load(Ordering::Relaxed) != before => {}
                Err(_) => return Heard::Silent,
            }
        }
    }

    /// How long a peer may say nothing.
    pub(in crate::server) fn silence(&self) -> Duration {
        self.silence
    }

    /// Bytes that have come in.
    pub(in crate::server) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// The connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum Gone {
    /// It closed or broke.
    #[error("the connection is closed: {0}")]
    Closed(#[from] Box<tungstenite::Error>),
    /// It takes nothing.
    #[error("the peer took nothing for {0:?}")]
    Stuck(Duration),
}

/// Sends one message, for at most the limit `send_timeout`.
pub(in crate::server) async fn send(sink: &mut Sink, message: Message) -> Result<(), Gone> {
    in_time(sink.timeout, sink.inner.send(message)).await
}

/// Sends messages together, for at most the limit `send_timeout`.
pub(in crate::server) async fn send_all(sink: &mut Sink, messages: Vec<Message>) -> Result<(), Gone> {
    let Sink { inner, timeout } = sink;
    let sent = async {
        for message in messages {
            inner.feed(message).await?;
        }
        inner.flush().await
    };
    in_time(*timeout, sent).await
}

async fn in_time(time: Duration, sent: impl Future<Output = Result<(), tungstenite::Error>>) -> Result<(), Gone> {
    match timeout(time, sent).await {
        Ok(Ok(())) => Ok(()),
        // The system gave the peer up sooner than we did (`tcp::prepare`).
        Ok(Err(tungstenite::Error::Io(error))) if error.kind() == io::ErrorKind::TimedOut => Err(Gone::Stuck(time)),
        Ok(Err(error)) => Err(Gone::Closed(Box::new(error))),
        Err(_) => Err(Gone::Stuck(time)),
    }
}

/// Sends a close; the peer's answer is read by [`both`].
pub(in crate::server) async fn close(sink: &mut Sink, code: CloseCode, reason: &'static str) {
    let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
    match timeout(CLOSE_WAIT, sink.inner.send(close)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a close could not be sent"),
        Err(_) => tracing::debug!("a close could not be sent in time"),
    }
}

/// Runs the two halves of a connection until the reader is done (the peer went), or the writer is
/// (it closed) and the peer has had its time to answer. The reader is polled all the while.
///
/// The halves take turns at being first: tokio gives a task so much to do before it must yield,
/// and a half that uses all of it every time would starve the other.
pub(in crate::server) async fn both(reader: impl Future<Output = ()>, writer: impl Future<Output = ()>) {
    let (mut reader, mut writer) = (pin!(reader), pin!(writer));
    let mut reader_first = false;
    let read = poll_fn(|cx| {
        reader_first = !reader_first;
        if reader_first && reader.as_mut().poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        if writer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        if !reader_first && reader.as_mut().poll(cx).is_ready() { Poll::Ready(true) } else { Poll::Pending }
    });
    if !read.await && timeout(CLOSE_WAIT, reader).await.is_err() {
        tracing::debug!("a peer did not answer a close");
    }
}
