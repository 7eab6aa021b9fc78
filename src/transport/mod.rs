//! Connections: TCP, plain or with TLS, for clients and servers.
//!
//! - [`NetStream`] is a connection of either kind; the layers above need not know which.
//! - [`Acceptor`] is the server's side: a certificate and its key, reloaded when their files change.
//! - [`connect_tls`] is the client's side: it verifies the server's certificate, or returns an error that
//!   names the remedy.
//!
//! TLS 1.2 and 1.3 by rustls with ring. Without the cargo feature `tls` the same functions exist and fail.
//! Not here: protocols on a connection, and limits on their number.

#[cfg(feature = "tls")]
mod acceptor;
#[cfg(feature = "tls")]
mod connector;
#[cfg(not(feature = "tls"))]
mod disabled;
mod error;
#[cfg(feature = "tls")]
mod pem;
mod stream;

use std::path::PathBuf;

#[cfg(feature = "tls")]
pub use acceptor::Acceptor;
#[cfg(feature = "tls")]
pub use connector::connect_tls;
#[cfg(not(feature = "tls"))]
pub use disabled::{DisabledAcceptor as Acceptor, connect_tls};
pub use error::TlsError;
pub use stream::NetStream;

/// Whether this build supports TLS.
pub const HAS_TLS: bool = cfg!(feature = "tls");

/// The files of a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM file: the server's certificate first, then the intermediate ones.
    pub cert: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
}

/// The protocol inside TLS on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppProtocol {
    /// HTTP/1.1 and WebSockets, announced in the handshake (ALPN).
    Http,
    /// RESP, which has no ALPN name.
    Redis,
}

/// Result of reloading a certificate.
#[derive(Debug)]
pub enum ReloadOutcome {
    /// The files have not changed.
    Unchanged,
    /// New connections use the new certificate.
    Changed,
    /// The files have changed and cannot be used (yet): the old pair stays in use. Returned once per change.
    Invalid(TlsError),
}
