//! How long a peer may keep the server waiting: a socket that is given up when the head of a request
//! does not come, when nothing comes at all, or when an answer is not taken.
//!
//! ```text
//! accepted ─ first ──head──> busy ──answer sent──> idle ──a byte──> head ──head──> busy ..
//!            header_timeout                        idle_timeout     header_timeout
//!            everywhere: send_timeout from the moment that the socket takes no more;
//!            for a download of a log download_timeout, as a person may sit before a pager
//! ```
//! Not hyper's own timer: it knows no difference between a head that is late and a connection that is
//! kept for later, and no time at all for writing. A socket that became a WebSocket has its own rules
//! (`socket`).

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

/// What is waited for from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first byte of another request.
    Idle = 0,
    /// The rest of a head.
    Head = 1,
    /// Nothing: a request is being answered.
    Busy = 2,
    /// Nothing: it is no HTTP any more.
    Upgraded = 3,
}

/// Marks an answer that may be taken slowly: an extension of the response.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Download;

/// Where a connection stands, known to its socket and to its requests.
#[derive(Debug)]
pub(in crate::server) struct Exchange {
    phase: AtomicU8,
    /// The answer is a [`Download`].
    download: AtomicBool,
    /// Who reads the socket: hyper does not look again by itself when an answer is sent.
    reader: AtomicWaker,
}

impl Exchange {
    /// A connection that has been accepted.
    pub(in crate::server) fn new() -> Arc<Self> {
        Arc::new(Self {
            phase: AtomicU8::new(Phase::Head as u8),
            download: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        })
    }

    /// A head has come; until the answer's body is gone, a request is being answered.
    pub(in crate::server) fn begin(self: &Arc<Self>) -> Answering {
        self.set(Phase::Busy);
        Answering(self.clone(), None)
    }

    fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Busy,
            _ => Phase::Upgraded,
        }
    }
}

/// While it lives, a request is being answered.
#[derive(Debug)]
pub(in crate::server) struct Answering(Arc<Exchange>, Option<ConnectionPermit>);

impl Answering {
    /// Holds this until the answer is sent.
    pub(in crate::server) fn keep(&mut self, place: ConnectionPermit) {
        self.1 = Some(place);
    }

    /// The answer, which keeps the request alive until it is sent.
    pub(in crate::server) fn answer<B>(self, response: Response<B>) -> Response<Answer<B>> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.0.set(Phase::Upgraded);
        }
        let download = response.extensions().get::<Download>().is_some();
        self.0.download.store(download, Ordering::Release);
        response.map(|body| Answer { body, _answering: self })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if self.0.phase() == Phase::Busy {
            self.0.set(Phase::Idle);
            self.0.reader.wake();
        }
    }
}

/// An answer's body.
#[derive(Debug)]
pub(in crate::server) struct Answer<B> {
    body: B,
    _answering: Answering,
}

impl<B: Body + Unpin> Body for Answer<B> {
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

/// The socket of a connection.
#[derive(Debug)]
pub(in crate::server) struct Patience {
    inner: NetStream,
    exchange: Arc<Exchange>,
    header: Duration,
    idle: Duration,
    send: Duration,
    download: Duration,
    /// Whether the system knows that a download is being sent.
    downloads: bool,
    hits: Arc<LimitCounters>,
    /// Until when the peer may send nothing, and in which phase that was said.
    reading: Option<(Phase, Pin<Box<Sleep>>)>,
    /// Until when it may take nothing.
    writing: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Around a socket that was just accepted.
    pub(in crate::server) fn new(
        inner: NetStream,
        exchange: Arc<Exchange>,
        limits: &Limits,
        hits: Arc<LimitCounters>,
    ) -> Self {
        let (header, idle, send) = (limits.header_timeout, limits.idle_timeout, limits.send_timeout);
        let (download, downloads) = (limits.download_timeout, false);
        Self { inner, exchange, header, idle, send, download, downloads, hits, reading: None, writing: None }
    }

    /// Nothing has come: is there still time?
    fn still_waits(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.exchange.reader.register(cx.waker());
        let phase = self.exchange.phase();
        let (time, limit) = match phase {
            Phase::Head => (self.header, Limit::header_timeout),
            Phase::Idle => (self.idle, Limit::idle_timeout),
            Phase::Busy | Phase::Upgraded => {
                self.reading = None;
                return Poll::Pending;
            }
        };
        // One timer a phase: a byte now and then buys no time.
        let timer = match &mut self.reading {
            Some((since, timer)) if *since == phase => timer,
            Some((since, timer)) => {
                *since = phase;
                timer.as_mut().reset(Instant::now() + time);
                timer
            }
            none => &mut none.insert((phase, Box::pin(sleep(time)))).1,
        };
        ready!(timer.as_mut().poll(cx));
        self.hits.count(limit);
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, format!("no request came within {time:?}")))
    }

    /// How long the peer may take nothing of the answer.
    fn sending(&self) -> (Duration, Limit) {
        if self.downloads { (self.download, Limit::download_timeout) } else { (self.send, Limit::send_timeout) }
    }

    /// The system too gives up who takes nothing: it is told when a download begins, and when it ends.
    fn tell_system(&mut self) {
        let downloads = self.exchange.download.load(Ordering::Acquire);
        if std::mem::replace(&mut self.downloads, downloads) != downloads
            && let Err(error) = tcp::set_ack_timeout(self.inner.tcp(), self.sending().0)
        {
            tracing::debug!(%error, "TCP_USER_TIMEOUT could not be set");
        }
    }

    /// What came of writing; an error when the peer has taken nothing for too long.
    fn taken<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &polled {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::TimedOut => self.hits.count(self.sending().1),
            Poll::Ready(_) => self.writing = None,
            Poll::Pending if self.exchange.phase() == Phase::Upgraded => self.writing = None,
            Poll::Pending => {
                let (time, limit) = self.sending();
                let timer = self.writing.get_or_insert_with(|| Box::pin(sleep(time)));
                ready!(timer.as_mut().poll(cx));
                self.hits.count(limit);
                let error = format!("the peer took nothing for {time:?}");
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, error)));
            }
        }
        polled
    }
}

impl AsyncRead for Patience {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, out) {
            Poll::Ready(result) => {
                if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
                    // The system gave the peer up: it has confirmed nothing for too long.
                    this.hits.count(this.sending().1);
                }
                if out.filled().len() > before && this.exchange.phase() == Phase::Idle {
                    this.exchange.set(Phase::Head);
                }
                Poll::Ready(result)
            }
            Poll::Pending => this.still_waits(cx).map(Err),
        }
    }
}

impl AsyncWrite for Patience {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.tell_system();
        let polled = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.taken(cx, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.tell_system();
        let polled = Pin::new(&mut this.inner).poll_write_vectored(cx, bytes);
        this.taken(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_flush(cx);
        this.taken(cx, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_shutdown(cx);
        this.taken(cx, polled)
    }
}
