//! The client's side of TLS: proves that the server is the one that was asked for.
//!
//! Trusted are the authorities of this machine and what stands in one more file (`ca_file`): other
//! authorities, or, as its first block, the certificate of the very server. Whoever shows exactly
//! that one and has its key is that server, whatever names it bears; it must be within its time.
//! There is no way to leave the proof out.
//!
//! The machine's authorities rather than a list in the binary: they are kept current by the system,
//! and what an organisation has added or taken away there holds here too.

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

/// Puts TLS over a connection to `host`; whoever calls sets the time for it.
///
/// # Errors
/// `host` cannot prove who it is; the text says why, and what helps. The kind is then
/// [`io::ErrorKind::InvalidData`].
pub async fn connect_tls(stream: TcpStream, host: &str, ca_file: Option<&Path>) -> io::Result<NetStream> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| refused(format!("`{host}` is no name of a host")))?;
    let ca_file = ca_file.map(Path::to_owned);
    let config = tokio::task::spawn_blocking(move || config(ca_file)).await.map_err(io::Error::other)??;
    let shaken = TlsConnector::from(config).connect(name, stream).await;
    let stream = shaken.map_err(|error| match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(error) => refused(in_words(error, host)),
        None if error.kind() == io::ErrorKind::UnexpectedEof => refused("it hung up on the TLS handshake".to_owned()),
        None => error,
    })?;
    Ok(NetStream::Tls(Box::new(stream.into())))
}

/// The file is read at each connection: the certificate in it may be renewed under a client that runs for days.
fn config(ca_file: Option<PathBuf>) -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = system_roots().clone();
    let mut own = None;
    if let Some(path) = &ca_file {
        let text = pem::read(path).map_err(|error| refused(format!("ca_file: {error}")))?;
        let certs = pem::certificates(path, &text).map_err(|error| refused(format!("ca_file: {error}")))?;
        own = certs.first().cloned();
        // What is no authority is passed over: it may still be the server's own certificate.
        roots.add_parsable_certificates(certs);
    }
    if roots.is_empty() {
        let why = "no authority is known on this machine: install its root certificates (ca-certificates), \
                   or give the server's certificate with --ca-file FILE";
        return Err(refused(why.to_owned()));
    }
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let chain = chain.build().map_err(|error| refused(error.to_string()))?;
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13, &TLS12]);
    let builder = builder.map_err(|error| refused(error.to_string()))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Verifier { chain, own }));
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The machine's authorities, read once; none if it has none.
fn system_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::debug!(%error, "root certificates of this machine");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        roots
    })
}

/// A chain to an authority and the right name; or exactly the certificate that was given.
#[derive(Debug)]
struct Verifier {
    chain: Arc<WebPkiServerVerifier>,
    own: Option<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // Refuses what is no certificate of a known form before anything else is asked.
        ParsedCertificate::try_from(end_entity)?;
        let proven = self.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match proven {
            // Its time is looked at before its issuer, its being an authority, and its names, so these
            // errors say that it is within it.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer
                | CertificateError::BadSignature
                | CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. }
                | CertificateError::Other(_),
            )) if self.own.as_ref() == Some(end_entity) => Ok(ServerCertVerified::assertion()),
            proven => proven,
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

/// A server that could not prove who it is, in words.
#[derive(Debug)]
struct TlsConnectError(String);

impl fmt::Display for TlsConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsConnectError {}

fn refused(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, TlsConnectError(why))
}

fn in_words(error: &rustls::Error, host: &str) -> String {
    let rustls::Error::InvalidCertificate(fault) = error else {
        return match error {
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                "it does not speak TLS: its address begins with http://, not https://".to_owned()
            }
            error => format!("the TLS handshake failed: {error}"),
        };
    };
    match fault {
        // The second is that of an issuer whose name is known, and whose key is another.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is not signed by an authority that this machine knows: \
             give its certificate, or that of the authority, with --ca-file FILE (TASKTAIL_CA_FILE)"
                .to_owned()
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate has expired, on {}", date(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("its certificate is not valid before {}: is the clock right?", date(*not_before))
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            let names = if names.is_empty() { "no name at all".to_owned() } else { names.join(", ") };
            format!("its certificate is for {names}, not for {host}: use a name that is in it")
        }
        // As `openssl req -x509` makes it: an authority of its own, which no server should be.
        CertificateError::Other(other) if other.0.to_string() == "CaUsedAsEndEntity" => {
            "its certificate signs itself, and is not known here: give exactly it with --ca-file FILE (TASKTAIL_CA_FILE)"
                .to_owned()
        }
        fault => format!("its certificate cannot be used: {fault}"),
    }
}

/// `DnsName("x")`, as the library shows names, without its clothes.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"')
}

fn date(time: UnixTime) -> String {
    let second = i64::try_from(time.as_secs()).ok().and_then(|second| jiff::Timestamp::from_second(second).ok());
    second.map_or_else(|| "an unknown day".to_owned(), |second| second.to_string())
}
