//! Certificates and keys from PEM files.

use std::path::Path;

use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// Reads a file.
///
/// # Errors
/// [`TlsError::Unreadable`].
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}

/// Returns the certificates in the text of a file, at least one.
///
/// # Errors
/// There is none, or the text is not valid PEM.
pub(super) fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let all = read.map_err(|error| invalid_pem(path, &error))?;
    if all.is_empty() { Err(TlsError::NoCertificate { path: path.to_owned() }) } else { Ok(all) }
}

/// Returns the first private key in the text of a file.
///
/// # Errors
/// There is none, it is encrypted, or the text is not valid PEM.
pub(super) fn key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound if memchr::memmem::find(text, b"BEGIN ENCRYPTED PRIVATE KEY").is_some() => {
            TlsError::EncryptedKey { path: path.to_owned() }
        }
        pem::Error::NoItemsFound => TlsError::NoKey { path: path.to_owned() },
        error => invalid_pem(path, &error),
    })
}

fn invalid_pem(path: &Path, error: &pem::Error) -> TlsError {
    let why = match error {
        pem::Error::MissingSectionEnd { .. } => "a block has no end line; the file is truncated".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "malformed start of a block".to_owned(),
        pem::Error::Base64Decode(_) => "a block is not valid base64".to_owned(),
        other => other.to_string(),
    };
    TlsError::NotPem { path: path.to_owned(), why }
}
