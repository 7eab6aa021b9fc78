//! What can be wrong with certificate files: one sentence each, which names the file.

use std::io;
use std::path::PathBuf;

/// Files that cannot serve as a certificate, a key, or a list of trusted certificates.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{} is not PEM: {why}", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Not one block of the right kind.
    #[error("{} has no certificate in it: it should have a block that begins with -----BEGIN CERTIFICATE-----", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// Not one block of the right kind.
    #[error("{} has no private key in it: it should have a block that begins with -----BEGIN PRIVATE KEY-----", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A key that only a passphrase opens.
    #[error("the key in {} is encrypted, and nobody is there to type its passphrase: `openssl pkey -in FILE -out FILE` writes it without one", path.display())]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
    /// A certificate that cannot be understood.
    #[error("the certificate in {} cannot be used: {why}", path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A key of a kind that is not known.
    #[error("the key in {} cannot be used: {why}; RSA from 2048 bits, ECDSA (P-256, P-384) and Ed25519 keys can", path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Each is good, but not with the other.
    #[error("the key in {} does not fit the certificate in {}: its first certificate is of another key", key.display(), cert.display())]
    KeyMismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// This build cannot do it.
    #[error("this tasktail was built without TLS: build it with the cargo feature `tls`")]
    Disabled,
}
