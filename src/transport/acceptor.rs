//! The server's side of TLS: one certificate for all ports, reloaded when its files change.

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

/// Performs TLS handshakes with the last valid certificate.
#[derive(Debug)]
pub struct Acceptor {
    files: CertificateFiles,
    /// The configuration in use. Locked only briefly.
    current: RwLock<TlsConfigs>,
    /// Hash of the files at the last attempt to load them. Locked only briefly.
    tried: Mutex<[u8; 32]>,
}

/// Configuration of new connections. Created for each certificate, so that sessions of an old one
/// cannot be resumed.
#[derive(Clone, Debug)]
struct TlsConfigs {
    http: Arc<ServerConfig>,
    redis: Arc<ServerConfig>,
    chain: Arc<[u8]>,
    expired: bool,
}

/// Contents of the two files.
struct PemPair {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Acceptor {
    /// Loads the files.
    ///
    /// # Errors
    /// A file cannot be read or used, or the two do not match.
    pub fn load(files: CertificateFiles) -> Result<Self, TlsError> {
        let pair = PemPair::read(&files)?;
        let current = RwLock::new(TlsConfigs::new(&files, &pair)?);
        Ok(Self { files, current, tried: Mutex::new(pair.hash()) })
    }

    /// Loads the files again if they have changed since the last attempt. Blocks on the disk.
    pub fn reload(&self) -> ReloadOutcome {
        let pair = match PemPair::read(&self.files) {
            Ok(pair) => pair,
            // A file that is being replaced may be missing for a moment; one that stays missing is reported once.
            Err(error) => {
                let missing = Sha256::digest(error.to_string()).into();
                let before = std::mem::replace(&mut *self.tried.lock(), missing);
                return if before == missing { ReloadOutcome::Unchanged } else { ReloadOutcome::Invalid(error) };
            }
        };
        let hash = pair.hash();
        if std::mem::replace(&mut *self.tried.lock(), hash) == hash {
            return ReloadOutcome::Unchanged;
        }
        match TlsConfigs::new(&self.files, &pair) {
            Ok(configs) => {
                *self.current.write() = configs;
                ReloadOutcome::Changed
            }
            Err(error) => ReloadOutcome::Invalid(error),
        }
    }

    /// Returns the files of the certificate.
    pub fn files(&self) -> &CertificateFiles {
        &self.files
    }

    /// Returns the current certificate chain as PEM, without the key.
    pub fn chain(&self) -> Arc<[u8]> {
        self.current.read().chain.clone()
    }

    /// Reports whether the certificate was outside its validity period when it was loaded: clients will
    /// reject it.
    pub fn is_expired(&self) -> bool {
        self.current.read().expired
    }

    /// Reports whether every user of this machine can read the key.
    pub fn key_is_world_readable(&self) -> bool {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(&self.files.key).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
    }

    /// Performs the handshake. The caller must set a timeout.
    ///
    /// # Errors
    /// The client does not use TLS, uses no supported version, or disconnected.
    pub async fn accept(&self, stream: TcpStream, protocol: AppProtocol) -> io::Result<NetStream> {
        let config = {
            let current = self.current.read();
            match protocol {
                AppProtocol::Http => current.http.clone(),
                AppProtocol::Redis => current.redis.clone(),
            }
        };
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        Ok(NetStream::Tls(Box::new(stream.into())))
    }
}

impl PemPair {
    fn read(files: &CertificateFiles) -> Result<Self, TlsError> {
        Ok(Self { cert: pem::read(&files.cert)?, key: pem::read(&files.key)? })
    }

    fn hash(&self) -> [u8; 32] {
        let each = [Sha256::digest(&self.cert), Sha256::digest(&self.key)];
        Sha256::digest(each.concat()).into()
    }
}

impl TlsConfigs {
    fn new(files: &CertificateFiles, pair: &PemPair) -> Result<Self, TlsError> {
        let chain = pem::certificates(&files.cert, &pair.cert)?;
        let key = pem::key(&files.key, &pair.key)?;
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
        let chain = only_certificates(&pair.cert);
        Ok(Self { http: Arc::new(http), redis: Arc::new(redis), chain: chain.into(), expired })
    }
}

/// Reports whether a certificate is outside its validity period. Verifies it without any root: the period
/// is checked before the issuer.
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

/// Returns only the certificates of a PEM text: the key may be in the same file.
fn only_certificates(text: &[u8]) -> Vec<u8> {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    const END: &[u8] = b"-----END CERTIFICATE-----";
    let mut certificates = Vec::new();
    let mut rest = text;
    while let Some(begin) = memchr::memmem::find(rest, BEGIN) {
        let Some(length) = memchr::memmem::find(&rest[begin..], END) else { break };
        certificates.extend_from_slice(&rest[begin..begin + length + END.len()]);
        certificates.push(b'\n');
        rest = &rest[begin + length + END.len()..];
    }
    certificates
}
