//! The client's side of TLS: verifies the server's certificate.
//!
//! Trusted are the certificate authorities of this machine and the certificates of one more file
//! (`ca_file`): other authorities, or, as its first block, the certificate of the server itself. A server
//! that presents exactly that certificate and has its key is accepted whatever its names are, within the
//! validity period. Verification cannot be turned off.
//!
//! The machine's authorities are used rather than a list in the binary: the system keeps them current, and
//! an organisation's additions and removals apply here too.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, DigitallySignedStruct, InvalidMessage, RootCertStore, SignatureScheme,
};

use super::{NetStream, pem};

/// Performs the TLS handshake with `host` on a connection. The caller must set a timeout.
///
/// # Errors
/// The certificate of `host` is not accepted: the kind is [`io::ErrorKind::InvalidData`], and the text
/// names reason and remedy. Other kinds are I/O errors.
pub async fn connect_tls(stream: TcpStream, host: &str, ca_file: Option<&Path>) -> io::Result<NetStream> {
    let name =
        ServerName::try_from(host.to_owned()).map_err(|_| rejected(format!("`{host}` is not a valid host name")))?;
    let ca_file = ca_file.map(Path::to_owned);
    let config = tokio::task::spawn_blocking(move || config(ca_file)).await.map_err(io::Error::other)??;
    let connected = TlsConnector::from(config).connect(name, stream).await;
    let stream = connected.map_err(|error| match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(error) => rejected(explain(error, host)),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            rejected("the server closed the connection during the TLS handshake".to_owned())
        }
        None => error,
    })?;
    Ok(NetStream::Tls(Box::new(stream.into())))
}

/// Returns the configuration. Reads the file for each connection: its certificate may be renewed while a
/// client runs for days.
fn config(ca_file: Option<PathBuf>) -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = system_roots().clone();
    let mut own = None;
    if let Some(path) = &ca_file {
        let text = pem::read(path).map_err(|error| rejected(format!("ca_file: {error}")))?;
        let certs = pem::certificates(path, &text).map_err(|error| rejected(format!("ca_file: {error}")))?;
        own = certs.first().cloned();
        // Ignores certificates that are no authority: one may be the server's own.
        roots.add_parsable_certificates(certs);
    }
    if roots.is_empty() {
        let why = "this machine has no trusted certificate authorities; install its root certificates (ca-certificates), \
                   or pass the server's certificate with --ca-file FILE";
        return Err(rejected(why.to_owned()));
    }
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let chain = chain.build().map_err(|error| rejected(error.to_string()))?;
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13, &TLS12]);
    let builder = builder.map_err(|error| rejected(error.to_string()))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(ServerVerifier { chain, own }));
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Returns the machine's certificate authorities, loaded once; may be empty.
fn system_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::debug!(%error, "failed to load a root certificate");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        roots
    })
}

/// Accepts a chain to an authority with the right name, or exactly the configured certificate.
#[derive(Debug)]
struct ServerVerifier {
    chain: Arc<WebPkiServerVerifier>,
    own: Option<CertificateDer<'static>>,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // Rejects anything but a supported certificate before any other check.
        ParsedCertificate::try_from(end_entity)?;
        let result = self.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match result {
            // The validity period is checked before the issuer, the CA flag, and the names, so with these
            // errors it is valid now.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer
                | CertificateError::BadSignature
                | CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. }
                | CertificateError::Other(_),
            )) if self.own.as_ref() == Some(end_entity) => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// A server whose certificate was not accepted, with the reason.
#[derive(Debug)]
struct TlsConnectError(String);

impl fmt::Display for TlsConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsConnectError {}

fn rejected(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, TlsConnectError(why))
}

/// Returns reason and remedy for a failed handshake.
fn explain(error: &rustls::Error, host: &str) -> String {
    let rustls::Error::InvalidCertificate(fault) = error else {
        return match error {
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                "the server does not use TLS; use an address that begins with http://, not https://".to_owned()
            }
            error => format!("the TLS handshake failed: {error}"),
        };
    };
    match fault {
        // BadSignature: an issuer of a known name, but with another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the server's certificate is not signed by an authority that this machine trusts; \
             pass its certificate, or that of the authority, with --ca-file FILE (TASKTAIL_CA_FILE)"
                .to_owned()
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the server's certificate expired on {}", date(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the server's certificate is not valid before {}; check the clock", date(*not_before))
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            format!("the server's certificate is for {names}, not for {host}; use one of its names")
        }
        // As created by `openssl req -x509`: an authority, which a server's certificate must not be.
        CertificateError::Other(other) if other.0.to_string() == "CaUsedAsEndEntity" => {
            "the server's certificate is self-signed and not trusted; pass it with --ca-file FILE (TASKTAIL_CA_FILE)"
                .to_owned()
        }
        fault => format!("cannot accept the server's certificate: {fault}"),
    }
}

/// Returns the name in `DnsName("x")`, as the library prints names.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"')
}

fn date(time: UnixTime) -> String {
    let second = i64::try_from(time.as_secs()).ok().and_then(|second| jiff::Timestamp::from_second(second).ok());
    second.map_or_else(|| "an unknown day".to_owned(), |second| second.to_string())
}
