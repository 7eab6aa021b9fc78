//! The server's side of TLS: one certificate for all ports, read again when its files change.

use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, CertificateError, InconsistentKeys, RootCertStore, ServerConfig};

use super::{AppProtocol, CertificateFiles, NetStream, ReloadOutcome, TlsError, pem};

/// Shakes hands with the certificate that was last read whole and fitting.
#[derive(Debug)]
pub struct Acceptor {
    files: CertificateFiles,
    /// Held for a moment.
    served: RwLock<Served>,
    /// The hash of the files' texts when they were last tried. Held for a moment.
    tried: Mutex<[u8; 32]>,
}

/// What new connections get. Made anew with each certificate, so that no session that was begun
/// under the old one is resumed.
#[derive(Clone, Debug)]
struct Served {
    http: Arc<ServerConfig>,
    redis: Arc<ServerConfig>,
    chain: Arc<[u8]>,
    expired: bool,
}

/// The texts of the two files at one time.
struct Texts {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Acceptor {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that cannot be read or used, or two that do not fit.
    pub fn load(files: CertificateFiles) -> Result<Self, TlsError> {
        let texts = Texts::read(&files)?;
        let served = RwLock::new(Served::new(&files, &texts)?);
        Ok(Self { files, served, tried: Mutex::new(texts.hash()) })
    }

    /// Reads the files again if they are not as they were at the last try. Blocks on the disk.
    pub fn reload(&self) -> ReloadOutcome {
        let texts = match Texts::read(&self.files) {
            Ok(texts) => texts,
            // A file that is just being replaced is not there for a moment; one that stays away is told once.
            Err(error) => {
                let away = Sha256::digest(error.to_string()).into();
                let before = std::mem::replace(&mut *self.tried.lock(), away);
                return if before == away { ReloadOutcome::Unchanged } else { ReloadOutcome::Invalid(error) };
            }
        };
        let hash = texts.hash();
        if std::mem::replace(&mut *self.tried.lock(), hash) == hash {
            return ReloadOutcome::Unchanged;
        }
        match Served::new(&self.files, &texts) {
            Ok(served) => {
                *self.served.write() = served;
                ReloadOutcome::Changed
            }
            Err(error) => ReloadOutcome::Invalid(error),
        }
    }

    /// Where the certificate comes from.
    pub fn files(&self) -> &CertificateFiles {
        &self.files
    }

    /// The PEM text of the certificate that is served, with the others of its file; no key.
    pub fn chain(&self) -> Arc<[u8]> {
        self.served.read().chain.clone()
    }

    /// Whether the certificate was out of its time when it was read: clients will refuse it.
    pub fn is_expired(&self) -> bool {
        self.served.read().expired
    }

    /// Whether anyone on this machine can read the key.
    pub fn key_is_world_readable(&self) -> bool {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(&self.files.key).is_ok_and(|facts| facts.permissions().mode() & 0o004 != 0)
    }

    /// Shakes hands; whoever calls sets the time for it.
    ///
    /// # Errors
    /// The client speaks no TLS, none that is protocol here, or went away.
    pub async fn accept(&self, stream: TcpStream, protocol: AppProtocol) -> io::Result<NetStream> {
        let config = {
            let served = self.served.read();
            match protocol {
                AppProtocol::Http => served.http.clone(),
                AppProtocol::Redis => served.redis.clone(),
            }
        };
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        Ok(NetStream::Tls(Box::new(stream.into())))
    }
}

impl Texts {
    fn read(files: &CertificateFiles) -> Result<Self, TlsError> {
        Ok(Self { cert: pem::read(&files.cert)?, key: pem::read(&files.key)? })
    }

    fn hash(&self) -> [u8; 32] {
        let each = [Sha256::digest(&self.cert), Sha256::digest(&self.key)];
        Sha256::digest(each.concat()).into()
    }
}

impl Served {
    fn new(files: &CertificateFiles, texts: &Texts) -> Result<Self, TlsError> {
        let chain = pem::certificates(&files.cert, &texts.cert)?;
        let key = pem::key(&files.key, &texts.key)?;
        let provider = Arc::new(ring::default_provider());
        let expired = chain.first().is_some_and(|cert| is_expired(cert, &provider));
        let bad_cert = |why: String| TlsError::BadCertificate { path: files.cert.clone(), why };
        let mut http = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| bad_cert(error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain.clone(), key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    TlsError::KeyMismatch { cert: files.cert.clone(), key: files.key.clone() }
                }
                rustls::Error::InvalidCertificate(error) => bad_cert(error.to_string()),
                error => TlsError::BadKey { path: files.key.clone(), why: error.to_string() },
            })?;
        let redis = http.clone();
        http.alpn_protocols = vec![b"http/1.1".to_vec()];
        let chain = certificates_alone(&texts.cert);
        Ok(Self { http: Arc::new(http), redis: Arc::new(redis), chain: chain.into(), expired })
    }
}

/// Asks with no root at all: a certificate out of its time is told before one of an unknown issuer.
fn is_expired(cert: &CertificateDer<'_>, provider: &CryptoProvider) -> bool {
    let Ok(parsed) = ParsedCertificate::try_from(cert) else { return false };
    let algorithms = provider.signature_verification_algorithms.all;
    let roots = RootCertStore::empty();
    let checked = verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], UnixTime::now(), algorithms);
    matches!(
        checked,
        Err(rustls::Error::InvalidCertificate(
            CertificateError::ExpiredContext { .. } | CertificateError::NotValidYetContext { .. }
        ))
    )
}

/// The certificates of a PEM text, without what else it holds: the key may be in the same file.
fn certificates_alone(text: &[u8]) -> Vec<u8> {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    const END: &[u8] = b"-----END CERTIFICATE-----";
    let mut alone = Vec::new();
    let mut rest = text;
    while let Some(begin) = memchr::memmem::find(rest, BEGIN) {
        let Some(length) = memchr::memmem::find(&rest[begin..], END) else { break };
        alone.extend_from_slice(&rest[begin..begin + length + END.len()]);
        alone.push(b'\n');
        rest = &rest[begin + length + END.len()..];
    }
    alone
}
