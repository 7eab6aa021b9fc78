//! Timeouts of an HTTP connection: the peer must send a request head, send its next request, and read a
//! response in time, or its connection is dropped.
//!
//! ```text
//! accepted ──head──> busy ──response sent──> idle ──a byte──> head ──head──> busy ..
//!  header_timeout                         idle_timeout     header_timeout
//!            always: send_timeout from the moment that the socket accepts no more data;
//!            for a download of a log download_timeout, as a person may pause a pager
//! ```
//! hyper's own timer does not distinguish a late head from an idle connection, and has no timeout for
//! writing. A connection upgraded to a WebSocket has its own rules (`ws::socket`).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::task::AtomicWaker;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};
use warp::http::{Response, StatusCode};

use crate::model::limits::{Limit, LimitCounters, Limits};
use crate::server::net::connection_limit::ConnectionPermit;
use crate::server::net::tcp;
use crate::transport::NetStream;

/// The phase of a connection: what the server waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HttpPhase {
    /// The first byte of the next request.
    Idle = 0,
    /// The rest of a request head.
    Head = 1,
    /// Nothing: a request is being answered.
    Busy = 2,
    /// Nothing: the connection no longer speaks HTTP.
    Upgraded = 3,
}

/// A response extension that permits a slow reader: [`Limits::download_timeout`] applies.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlowDownload;

/// The phase of a connection, shared by its socket and its requests.
#[derive(Debug)]
pub(super) struct ConnectionPhase {
    phase: AtomicU8,
    /// Set while the response is a [`SlowDownload`].
    download: AtomicBool,
    /// The task that reads the socket: hyper does not poll it again when a response has been sent.
    reader: AtomicWaker,
}

impl ConnectionPhase {
    /// Creates the phase of an accepted connection, which waits for its first request head.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            phase: AtomicU8::new(HttpPhase::Head as u8),
            download: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        })
    }

    /// Marks the connection as busy with a request until the guard is dropped.
    pub(super) fn start_request(self: &Arc<Self>) -> RequestGuard {
        self.set(HttpPhase::Busy);
        RequestGuard { connection: self.clone(), permit: None }
    }

    fn set(&self, phase: HttpPhase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    fn get(&self) -> HttpPhase {
        match self.phase.load(Ordering::Acquire) {
            0 => HttpPhase::Idle,
            1 => HttpPhase::Head,
            2 => HttpPhase::Busy,
            _ => HttpPhase::Upgraded,
        }
    }
}

/// A request being answered.
#[derive(Debug)]
pub(super) struct RequestGuard {
    connection: Arc<ConnectionPhase>,
    permit: Option<ConnectionPermit>,
}

impl RequestGuard {
    /// Holds a permit until the response has been sent.
    pub(super) fn hold(&mut self, permit: ConnectionPermit) {
        self.permit = Some(permit);
    }

    /// Moves the guard into the response's body, so that it is dropped when the response has been sent.
    pub(super) fn guard<B>(self, response: Response<B>) -> Response<GuardedBody<B>> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.connection.set(HttpPhase::Upgraded);
        }
        let download = response.extensions().get::<SlowDownload>().is_some();
        self.connection.download.store(download, Ordering::Release);
        response.map(|body| GuardedBody { body, _guard: self })
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        if self.connection.get() == HttpPhase::Busy {
            self.connection.set(HttpPhase::Idle);
            self.connection.reader.wake();
        }
    }
}

/// A response's body that holds its [`RequestGuard`].
#[derive(Debug)]
pub(super) struct GuardedBody<B> {
    body: B,
    _guard: RequestGuard,
}

impl<B: Body + Unpin> Body for GuardedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection's socket with timeouts: reads and writes fail with [`io::ErrorKind::TimedOut`].
#[derive(Debug)]
pub(super) struct TimeoutStream {
    inner: NetStream,
    connection: Arc<ConnectionPhase>,
    header_timeout: Duration,
    idle_timeout: Duration,
    send_timeout: Duration,
    download_timeout: Duration,
    /// Set while the system's own timeout is that of a download.
    downloading: bool,
    limit_counters: Arc<LimitCounters>,
    /// Deadline for reading, with the phase that it was set in.
    read_deadline: Option<(HttpPhase, Pin<Box<Sleep>>)>,
    /// Deadline for writing, while the socket accepts no data.
    write_deadline: Option<Pin<Box<Sleep>>>,
}

impl TimeoutStream {
    /// Wraps an accepted socket.
    pub(super) fn new(
        inner: NetStream,
        connection: Arc<ConnectionPhase>,
        limits: &Limits,
        limit_counters: Arc<LimitCounters>,
    ) -> Self {
        Self {
            inner,
            connection,
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
            send_timeout: limits.send_timeout,
            download_timeout: limits.download_timeout,
            downloading: false,
            limit_counters,
            read_deadline: None,
            write_deadline: None,
        }
    }

    /// Polls the read deadline while the socket has no data. Ready with an error when it has passed.
    fn poll_read_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.connection.reader.register(cx.waker());
        let phase = self.connection.get();
        let (time, limit) = match phase {
            HttpPhase::Head => (self.header_timeout, Limit::header_timeout),
            HttpPhase::Idle => (self.idle_timeout, Limit::idle_timeout),
            HttpPhase::Busy | HttpPhase::Upgraded => {
                self.read_deadline = None;
                return Poll::Pending;
            }
        };
        // One deadline per phase: single bytes do not extend it.
        let deadline = match &mut self.read_deadline {
            Some((since, deadline)) if *since == phase => deadline,
            Some((since, deadline)) => {
                *since = phase;
                deadline.as_mut().reset(Instant::now() + time);
                deadline
            }
            none => &mut none.insert((phase, Box::pin(sleep(time)))).1,
        };
        ready!(deadline.as_mut().poll(cx));
        self.limit_counters.count(limit);
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, format!("no request within {time:?}")))
    }

    /// Returns the timeout for writing, and its limit.
    fn write_timeout(&self) -> (Duration, Limit) {
        if self.downloading {
            (self.download_timeout, Limit::download_timeout)
        } else {
            (self.send_timeout, Limit::send_timeout)
        }
    }

    /// Updates the system's own timeout when a download starts or ends.
    fn update_tcp_timeout(&mut self) {
        let downloading = self.connection.download.load(Ordering::Acquire);
        if std::mem::replace(&mut self.downloading, downloading) != downloading
            && let Err(error) = tcp::set_ack_timeout(self.inner.tcp(), self.write_timeout().0)
        {
            tracing::debug!(%error, "failed to set TCP_USER_TIMEOUT");
        }
    }

    /// Applies the write deadline to the result of a write. Returns an error when the deadline has passed.
    fn poll_write_deadline<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &polled {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
                self.limit_counters.count(self.write_timeout().1);
            }
            Poll::Ready(_) => self.write_deadline = None,
            Poll::Pending if self.connection.get() == HttpPhase::Upgraded => self.write_deadline = None,
            Poll::Pending => {
                let (time, limit) = self.write_timeout();
                let deadline = self.write_deadline.get_or_insert_with(|| Box::pin(sleep(time)));
                ready!(deadline.as_mut().poll(cx));
                self.limit_counters.count(limit);
                let error = format!("the peer accepted no data for {time:?}");
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, error)));
            }
        }
        polled
    }
}

impl AsyncRead for TimeoutStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, out) {
            Poll::Ready(result) => {
                if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
                    // The system's own timeout: the peer has acknowledged no data for too long.
                    this.limit_counters.count(this.write_timeout().1);
                }
                if out.filled().len() > before && this.connection.get() == HttpPhase::Idle {
                    this.connection.set(HttpPhase::Head);
                }
                Poll::Ready(result)
            }
            Poll::Pending => this.poll_read_deadline(cx).map(Err),
        }
    }
}

impl AsyncWrite for TimeoutStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.update_tcp_timeout();
        let polled = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.poll_write_deadline(cx, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.update_tcp_timeout();
        let polled = Pin::new(&mut this.inner).poll_write_vectored(cx, bytes);
        this.poll_write_deadline(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_flush(cx);
        this.poll_write_deadline(cx, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_shutdown(cx);
        this.poll_write_deadline(cx, polled)
    }
}
