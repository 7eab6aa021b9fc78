//! A connection, plain or with TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connection. Reads and writes are those of the protocol inside, without TLS records.
#[derive(Debug)]
pub enum NetStream {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS, after the handshake. Boxed, since its state is large.
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::TlsStream<TcpStream>>),
}

impl NetStream {
    /// Reports whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        !matches!(self, NetStream::Plain(_))
    }

    /// Returns the underlying TCP connection.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            NetStream::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            NetStream::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Reads bytes that have already arrived.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there are none.
    pub fn try_read_buf(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            NetStream::Plain(stream) => stream.try_read_buf(buffer),
            #[cfg(feature = "tls")]
            NetStream::Tls(stream) => without_waiting(tokio::io::AsyncReadExt::read_buf(stream, buffer)),
        }
    }

    /// Writes as many bytes as the system accepts at once. With TLS they are sent only after a flush.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if it accepts none.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            NetStream::Plain(stream) => stream.try_write(bytes),
            #[cfg(feature = "tls")]
            NetStream::Tls(stream) => without_waiting(tokio::io::AsyncWriteExt::write(stream, bytes)),
        }
    }
}

/// Runs a cancel-safe operation as far as possible without waiting.
#[cfg(feature = "tls")]
fn without_waiting<T>(operation: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    use futures::FutureExt as _;
    operation.now_or_never().unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
}

impl AsyncRead for NetStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            NetStream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            #[cfg(feature = "tls")]
            NetStream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for NetStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            NetStream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            #[cfg(feature = "tls")]
            NetStream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            NetStream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            #[cfg(feature = "tls")]
            NetStream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            NetStream::Plain(stream) => stream.is_write_vectored(),
            #[cfg(feature = "tls")]
            NetStream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            NetStream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(feature = "tls")]
            NetStream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            NetStream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "tls")]
            NetStream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
