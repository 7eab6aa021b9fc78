//! The first thing on a new connection: TLS, where the server has a certificate; and the
//! certificate's renewal.
//!
//! A handshake takes place in the connection's own task, under its place in the limit of
//! connections, so that a client that is slow at it holds up nobody.

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

/// What a client is given to take the answer that it speaks the wrong way.
const TELL_WAIT: Duration = Duration::from_secs(1);
/// The answer to a Redis client without TLS on a port with it.
const REDIS_PLAIN: &[u8] = b"-ERR this port speaks TLS: use rediss://, or redis-cli --tls\r\n";

/// What a handshake came to.
enum Shaken {
    Stream(NetStream),
    /// The client speaks without TLS.
    Plain(TcpStream),
}

/// The connection, after the handshake where there is one; `None` if it came to nothing.
pub(in crate::server) async fn open(stream: TcpStream, protocol: AppProtocol, state: &State) -> Option<NetStream> {
    let Some(tls) = &state.tls else { return Some(NetStream::Plain(stream)) };
    let shaken = tokio::select! {
        shaken = timeout(state.options.limits.handshake_timeout, Box::pin(shake(tls, stream, protocol))) => shaken,
        () = state.shutdown.cancelled() => return None,
    };
    match shaken {
        Ok(Ok(Shaken::Stream(stream))) => return Some(stream),
        Ok(Ok(Shaken::Plain(stream))) => {
            let told = timeout(TELL_WAIT, tell_plain(stream, protocol)).await;
            tracing::debug!(?told, "a client without TLS on a port with it");
        }
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => {
            state.hits.count(Limit::handshake_timeout);
            tracing::debug!("a TLS handshake took too long");
        }
    }
    state.metrics.handshakes_failed.inc();
    None
}

async fn shake(tls: &Acceptor, stream: TcpStream, protocol: AppProtocol) -> io::Result<Shaken> {
    let mut first = [0];
    // A handshake begins with 22; what people's programs say without one begins with a letter or a sign.
    if stream.peek(&mut first).await? == 1 && first[0].is_ascii_graphic() {
        return Ok(Shaken::Plain(stream));
    }
    tls.accept(stream, protocol).await.map(Shaken::Stream)
}

/// Says in the client's own way that it must speak TLS. What it sent is read before and after, as
/// else the system would take the answer back.
async fn tell_plain(mut stream: TcpStream, protocol: AppProtocol) -> io::Result<()> {
    let mut sink = [0; 4096];
    let answer = match protocol {
        AppProtocol::Http => https_required(),
        AppProtocol::Redis => REDIS_PLAIN.to_vec(),
    };
    let _read = stream.read(&mut sink).await?;
    stream.write_all(&answer).await?;
    stream.shutdown().await?;
    while stream.read(&mut sink).await? > 0 {}
    Ok(())
}

fn https_required() -> Vec<u8> {
    let detail = "this port speaks https: begin the address with https:// instead of http://";
    let body = serde_json::json!(Problem::new(400, HTTPS_REQUIRED, detail)).to_string();
    let length = body.len();
    let head = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n";
    format!("{head}content-type: {PROBLEM_JSON}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

/// Takes a new certificate when its files change, until the server ends. Each change is told once;
/// while the files do not fit, the old certificate is served.
pub(in crate::server) async fn renew(state: SharedState) {
    let Some(tls) = state.tls.clone() else { return };
    loop {
        tokio::select! {
            () = state.shutdown.cancelled() => return,
            () = sleep(FILE_POLL) => {}
        }
        let reading = tls.clone();
        match tokio::task::spawn_blocking(move || reading.reload()).await {
            Ok(ReloadOutcome::Unchanged) => {}
            Ok(ReloadOutcome::Changed) => {
                state.metrics.certificates_renewed.inc();
                tracing::info!(cert = %tls.files().cert.display(), "new connections get the new certificate");
                warn(&tls);
                if let Err(error) = server_file::certificate(&state.options.data, &tls).await {
                    tracing::warn!(%error, "commands on this machine are not told of the new certificate");
                }
            }
            Ok(ReloadOutcome::Invalid(error)) => {
                tracing::warn!(%error, "the certificate files have changed and cannot be used: the old pair is served until they fit");
            }
            Err(error) => tracing::warn!(%error, "the certificate files could not be looked at"),
        }
    }
}

/// Says what is wrong with a certificate that can be used all the same.
pub(in crate::server) fn warn(tls: &Acceptor) {
    if tls.is_expired() {
        tracing::warn!(cert = %tls.files().cert.display(), "the certificate is out of its time: clients will refuse it");
    }
    if tls.key_is_world_readable() {
        tracing::warn!(key = %tls.files().key.display(), "everyone on this machine can read the key: `chmod o-r` it");
    }
}
