//! Replacements in a build without TLS: an acceptor that cannot be constructed, and a function that fails.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::{AppProtocol, CertificateFiles, NetStream, ReloadOutcome, TlsError};

/// An acceptor that cannot exist.
#[derive(Debug)]
pub struct DisabledAcceptor(Infallible);

impl DisabledAcceptor {
    /// Fails.
    ///
    /// # Errors
    /// Always [`TlsError::Disabled`].
    pub fn load(_files: CertificateFiles) -> Result<Self, TlsError> {
        Err(TlsError::Disabled)
    }

    /// Never called.
    pub fn reload(&self) -> ReloadOutcome {
        match self.0 {}
    }

    /// Never called.
    pub fn files(&self) -> &CertificateFiles {
        match self.0 {}
    }

    /// Never called.
    pub fn chain(&self) -> Arc<[u8]> {
        match self.0 {}
    }

    /// Never called.
    pub fn is_expired(&self) -> bool {
        match self.0 {}
    }

    /// Never called.
    pub fn key_is_world_readable(&self) -> bool {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub async fn accept(&self, _stream: TcpStream, _protocol: AppProtocol) -> io::Result<NetStream> {
        match self.0 {}
    }
}

/// Fails.
///
/// # Errors
/// Always.
pub async fn connect_tls(_stream: TcpStream, _host: &str, _ca_file: Option<&Path>) -> io::Result<NetStream> {
    Err(io::Error::new(io::ErrorKind::InvalidData, TlsError::Disabled))
}
