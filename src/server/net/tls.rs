//! TLS handshakes of new connections, if the server has a certificate, and reloading of the certificate.
//!
//! A handshake runs in the task of its connection and counts against the connection limit, so that a slow
//! client delays no others.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::model::limits::{FILE_POLL, Limit};
use crate::server::server_file;
use crate::server::state::{SharedState, State};
use crate::transport::{Acceptor, AppProtocol, NetStream, ReloadOutcome};
use crate::wire::problem::{HTTPS_REQUIRED, PROBLEM_JSON, Problem};

/// Time limit for the response to a client without TLS.
const REJECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The response to a Redis client without TLS.
const REDIS_PLAIN: &[u8] = b"-ERR this port requires TLS: use rediss://, or redis-cli --tls\r\n";

/// The result of a handshake.
enum Handshake {
    /// An encrypted connection.
    Encrypted(NetStream),
    /// A client that does not use TLS.
    Plain(TcpStream),
}

/// Performs the handshake, if the server has a certificate. Returns `None` if it failed.
pub(in crate::server) async fn open(stream: TcpStream, protocol: AppProtocol, state: &State) -> Option<NetStream> {
    let Some(tls) = &state.tls else { return Some(NetStream::Plain(stream)) };
    let result = tokio::select! {
        result = timeout(state.options.limits.handshake_timeout, Box::pin(handshake(tls, stream, protocol))) => result,
        () = state.shutdown.cancelled() => return None,
    };
    match result {
        Ok(Ok(Handshake::Encrypted(stream))) => return Some(stream),
        Ok(Ok(Handshake::Plain(stream))) => {
            let response = timeout(REJECT_TIMEOUT, reject_plain(stream, protocol)).await;
            tracing::debug!(?response, "rejected a client without TLS");
        }
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => {
            state.limit_counters.count(Limit::handshake_timeout);
            tracing::debug!("TLS handshake timed out");
        }
    }
    state.metrics.handshakes_failed.inc();
    None
}

/// Performs a handshake, unless the first byte shows that the client does not use TLS.
async fn handshake(tls: &Acceptor, stream: TcpStream, protocol: AppProtocol) -> io::Result<Handshake> {
    let mut first = [0];
    // A handshake record starts with byte 22, HTTP and RESP with a printable character.
    if stream.peek(&mut first).await? == 1 && first[0].is_ascii_graphic() {
        return Ok(Handshake::Plain(stream));
    }
    tls.accept(stream, protocol).await.map(Handshake::Encrypted)
}

/// Sends an error in the client's protocol that TLS is required. All input is read, since closing a socket
/// with unread input would discard the response (RST).
async fn reject_plain(mut stream: TcpStream, protocol: AppProtocol) -> io::Result<()> {
    let mut sink = [0; 4096];
    let response = match protocol {
        AppProtocol::Http => https_required(),
        AppProtocol::Redis => REDIS_PLAIN.to_vec(),
    };
    let _read = stream.read(&mut sink).await?;
    stream.write_all(&response).await?;
    stream.shutdown().await?;
    while stream.read(&mut sink).await? > 0 {}
    Ok(())
}

/// Returns the HTTP response to a client without TLS.
fn https_required() -> Vec<u8> {
    let detail = "this port requires HTTPS: use https:// instead of http://";
    let body = serde_json::json!(Problem::new(400, HTTPS_REQUIRED, detail)).to_string();
    let length = body.len();
    let head = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n";
    format!("{head}content-type: {PROBLEM_JSON}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

/// Reloads the certificate when its files change, until shutdown.
pub(in crate::server) async fn reload_certificates(state: SharedState) {
    while state.tls.is_some() {
        tokio::select! {
            () = state.shutdown.cancelled() => return,
            () = sleep(FILE_POLL) => {}
        }
        reload_certificate(&state).await;
    }
}

/// Reloads the certificate if its files have changed. Each change is logged once. While the files do not match, the
/// old certificate stays in use.
pub(in crate::server) async fn reload_certificate(state: &State) {
    let Some(tls) = state.tls.clone() else { return };
    let reading = tls.clone();
    match tokio::task::spawn_blocking(move || reading.reload()).await {
        Ok(ReloadOutcome::Unchanged) => {}
        Ok(ReloadOutcome::Changed) => {
            state.metrics.certificates_renewed.inc();
            tracing::info!(cert = %tls.files().cert.display(), "reloaded the certificate for new connections");
            log_warnings(&tls);
            if let Err(error) = server_file::write_certificate(&state.options.data, &tls).await {
                tracing::warn!(%error, "failed to publish the new certificate to commands on this machine");
            }
        }
        Ok(ReloadOutcome::Invalid(error)) => {
            tracing::warn!(%error, "cannot use the changed certificate files; keeping the old pair");
        }
        Err(error) => tracing::warn!(%error, "failed to check the certificate files"),
    }
}

/// Logs warnings about a certificate that is usable, but has expired or has a readable key.
pub(in crate::server) fn log_warnings(tls: &Acceptor) {
    if tls.is_expired() {
        tracing::warn!(cert = %tls.files().cert.display(), "the certificate is expired or not yet valid; clients will reject it");
    }
    if tls.key_is_world_readable() {
        tracing::warn!(key = %tls.files().key.display(), "every user of this machine can read the key; run `chmod o-r` on it");
    }
}
