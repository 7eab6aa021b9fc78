//! The accept loop: warp's filters under hyper's HTTP/1, with limits and an orderly end.
//!
//! warp's own server can neither survive a bind error, nor bound its connections, nor end while a
//! WebSocket or a stream is open.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use warp::http::Request;
use warp::reply::Response;

use super::state::SharedState;
use super::{access, guard, handshake, routes};
use crate::model::limits::Limit;
use crate::transport::Spoken;

/// A pause after the system refused a connection (no file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// hyper's buffer for a request's head; a longer one is answered 431.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// The answer to a connection too many.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Connections over the limit that are told so at one time, and for how long.
const REFUSALS_MAX: usize = 64;
const REFUSE_WAIT: Duration = Duration::from_secs(1);

/// A connection's place under the limit; a WebSocket keeps it after the HTTP connection is done.
pub(super) type Place = Arc<OwnedSemaphorePermit>;

/// Accepts until the server is to end.
pub(super) async fn serve(listener: TcpListener, state: SharedState) {
    let limits = &state.options.limits;
    let places = usize::try_from(limits.connections_max).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(places));
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let service = TowerToHyperService::new(warp::service(routes::all(&state)));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(HEAD_BYTES_MAX);
    loop {
        let accepted = tokio::select! {
            () = state.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let Ok(place) = places.clone().try_acquire_owned() else {
            state.metrics.refused.inc();
            state.hits.count(Limit::connections_max);
            // Under TLS only a handshake could tell it, which costs more than it is worth.
            if state.tls.is_none()
                && let Ok(place) = refusals.clone().try_acquire_owned()
            {
                state.tracker.spawn(refuse(stream, place));
            }
            continue;
        };
        let serving = (builder.clone(), service.clone());
        state.tracker.spawn(connection(stream, peer, Arc::new(place), serving, state.clone()));
    }
}

/// Says 503 to a request, once it has come; what floods even this is dropped without a word.
async fn refuse(mut stream: TcpStream, _place: OwnedSemaphorePermit) {
    let said = timeout(REFUSE_WAIT, async {
        let mut head = [0; 4096];
        let read = stream.read(&mut head).await?;
        stream.write_all(TOO_MANY).await?;
        stream.shutdown().await?;
        Ok::<_, std::io::Error>(read)
    });
    let said = said.await;
    tracing::debug!(?said, "a connection over the limit was refused");
}

async fn connection<S>(
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    (builder, service): (http1::Builder, S),
    state: SharedState,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let guarded = hyper::service::service_fn({
        let state = state.clone();
        move |mut request: Request<Incoming>| {
            let (service, state) = (service.clone(), state.clone());
            request.extensions_mut().insert(place.clone());
            state.metrics.requests.inc();
            async move {
                if let Err(error) = guard::check(request.method(), request.headers(), state.loopback) {
                    return Ok(error.into_response());
                }
                let caller = match access::admit(&state, peer, &mut request).await {
                    Ok(caller) => caller,
                    Err(response) => return Ok(response),
                };
                // What is read goes out in a stream, which ends by itself.
                let Some(caller) = caller.filter(|_| !request.method().is_safe()) else {
                    return service.call(request).await;
                };
                let mut lease = state.gate.lease(caller);
                tokio::select! {
                    biased;
                    response = service.call(request) => response,
                    ended = lease.ended() => Ok(access::unauthorized(ended)),
                }
            }
        }
    });
    state.metrics.connections.inc();
    let Some(stream) = handshake::open(stream, Spoken::Http, &state).await else {
        state.metrics.connections.dec();
        return;
    };
    let connection = builder.serve_connection(TokioIo::new(stream), guarded).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = state.shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let rest = crate::model::limits::SHUTDOWN_TIMEOUT.saturating_sub(Duration::from_secs(1));
            timeout(rest, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
    state.metrics.connections.dec();
}
