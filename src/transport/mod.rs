//! What bytes travel on: a TCP connection, plain or under TLS, the same at both ends.
//!
//! - [`NetStream`] is a connection; nobody above needs to know which kind.
//! - [`Acceptor`] is the server's side: a certificate with its key out of two files, read again when
//!   they change.
//! - [`connect_tls`] is the client's side: it proves who the server is, or says in words why it cannot.
//!
//! TLS 1.2 and 1.3 by rustls with ring. Without the cargo feature `tls` all this is here and refuses.
//! Not here: what is said on a connection, and how many there may be.

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

/// Whether this build can do TLS.
pub const HAS_TLS: bool = cfg!(feature = "tls");

/// The files of a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM: the server's certificate first, then those between it and the root.
    pub cert: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
}

/// What is spoken under TLS on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppProtocol {
    /// HTTP/1.1 and WebSockets, and said so in the handshake (ALPN).
    Http,
    /// RESP, which has no such name.
    Redis,
}

/// What came of trying to read the certificate again.
#[derive(Debug)]
pub enum ReloadOutcome {
    /// The files are as they were.
    Unchanged,
    /// New connections get the new certificate.
    Changed,
    /// The files are new and cannot be used (yet): the old pair is served on. Told once per change.
    Invalid(TlsError),
}
