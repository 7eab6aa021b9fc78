//! Errors of certificate files, each with the name of the file.

use std::io;
use std::path::PathBuf;

/// A file that cannot be used as a certificate, a key, or a list of trusted certificates.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file has another format.
    #[error("{} is not PEM: {why}", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// The file has no certificate block.
    #[error("{} contains no certificate: expected a block that begins with -----BEGIN CERTIFICATE-----", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The file has no key block.
    #[error("{} contains no private key: expected a block that begins with -----BEGIN PRIVATE KEY-----", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is protected by a passphrase.
    #[error("the key in {} is encrypted; decrypt it with `openssl pkey -in FILE -out FILE`", path.display())]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
    /// The certificate is invalid or unsupported.
    #[error("cannot use the certificate in {}: {why}", path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// The key is invalid or of an unsupported kind.
    #[error("cannot use the key in {}: {why}; supported are RSA from 2048 bits, ECDSA (P-256, P-384) and Ed25519", path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// Both are valid, but do not belong together.
    #[error("the key in {} does not match the certificate in {}", key.display(), cert.display())]
    KeyMismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// This build does not support TLS.
    #[error("this tasktail was built without TLS; rebuild it with the cargo feature `tls`")]
    Disabled,
}
