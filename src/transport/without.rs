//! What stands in for TLS in a build without it: nothing that can be made, so nothing to be asked.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::{CertificateFiles, Reloaded, Spoken, Stream, TlsError};

/// There is none.
#[derive(Debug)]
pub struct Acceptor(Infallible);

impl Acceptor {
    /// Refuses.
    ///
    /// # Errors
    /// Always [`TlsError::Without`].
    pub fn load(_files: CertificateFiles) -> Result<Self, TlsError> {
        Err(TlsError::Without)
    }

    /// Never called.
    pub fn reload(&self) -> Reloaded {
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
    pub fn key_is_open(&self) -> bool {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub async fn accept(&self, _stream: TcpStream, _spoken: Spoken) -> io::Result<Stream> {
        match self.0 {}
    }
}

/// Refuses.
///
/// # Errors
/// Always.
pub async fn secure(_stream: TcpStream, _host: &str, _ca_file: Option<&Path>) -> io::Result<Stream> {
    Err(io::Error::new(io::ErrorKind::InvalidData, TlsError::Without))
}
