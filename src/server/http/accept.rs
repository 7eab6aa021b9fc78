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
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use warp::http::{HeaderValue, Request, header};
use warp::reply::Response;

use super::auth;
use super::browser;
use super::client_addr::ClientAddr;
use super::error::ApiError;
use super::origin;
use super::routes;
use super::timeouts::{Exchange, Patience};
use crate::model::limits::Limit;
use crate::server::net::connection_limit::{ConnectionLimiter, ConnectionPermit, LimitReached};
use crate::server::net::tcp;
use crate::server::net::tls;
use crate::server::state::{SharedState, State};
use crate::transport::AppProtocol;
use crate::wire::problem::{PROBLEM_JSON, Problem};

/// hyper's buffer for a request's head; a longer one is answered 431.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Connections over the limit that are told so at one time, and for how long.
const REFUSALS_MAX: usize = 64;
const REFUSE_WAIT: Duration = Duration::from_secs(1);

/// Accepts until the server is to end.
pub(in crate::server) async fn serve(listener: TcpListener, state: SharedState) {
    let limits = &state.options.limits;
    let places = Arc::new(ConnectionLimiter::new(limits.connections_max, limits.connections_per_address_max));
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let mut errors = tcp::AcceptErrors::default();
    let service = TowerToHyperService::new(warp::service(routes::all(&state)));
    let mut builder = http1::Builder::new();
    // How long a head may take is `patience`'s to say.
    builder.header_read_timeout(None).max_buf_size(HEAD_BYTES_MAX);
    loop {
        let accepted = tokio::select! {
            () = state.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                errors.record(&state.metrics, &error).await;
                continue;
            }
        };
        if let Err(error) = tcp::configure(&stream, limits) {
            tracing::debug!(%error, "a socket could not be prepared");
        }
        // A proxy brings the connections of many.
        let counts = !state.options.trusted_proxy.contains(peer.ip());
        let share = || counts.then(|| places.try_acquire_for(peer.ip())).transpose();
        let place = places.try_acquire().and_then(|seat| Ok(ConnectionPermit::new(seat, share()?)));
        let place = match place {
            Ok(place) => place,
            Err(full) => {
                state.metrics.refused.inc();
                let answer = refusal(&state, full);
                // Under TLS only a handshake could tell it, which costs more than it is worth.
                if state.tls.is_none()
                    && let Ok(place) = refusals.clone().try_acquire_owned()
                {
                    state.tracker.spawn(refuse(stream, answer, place));
                }
                continue;
            }
        };
        let serving = Serving { builder: builder.clone(), service: service.clone(), places: places.clone() };
        state.tracker.spawn(connection(stream, peer, place, serving, state.clone()));
    }
}

/// What every connection is served with.
struct Serving<S> {
    builder: http1::Builder,
    service: S,
    places: Arc<ConnectionLimiter>,
}

/// Why there is no place; it is counted.
fn full_up(state: &State, full: LimitReached) -> Problem {
    let limits = &state.options.limits;
    let (limit, status, detail) = match full {
        LimitReached::Total => {
            let detail = format!("the server has as many connections as it serves ({})", limits.connections_max);
            (Limit::connections_max, 503, detail)
        }
        LimitReached::Address => {
            let max = limits.connections_per_address_max;
            let detail = format!("this address has as many connections as one address may have ({max})");
            (Limit::connections_per_address_max, 429, detail)
        }
    };
    state.hits.count(limit);
    Problem::new(status, "too_many_connections", detail)
}

/// What a connection too many is told.
fn refusal(state: &State, full: LimitReached) -> String {
    let body = serde_json::to_string(&full_up(state, full)).unwrap_or_default();
    let status = if full == LimitReached::Total { "503 Service Unavailable" } else { "429 Too Many Requests" };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nretry-after: 5\r\ncontent-type: {PROBLEM_JSON}\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    )
}

/// Answers a request, once it has come; what floods even this is dropped without a word.
async fn refuse(mut stream: TcpStream, answer: String, _place: OwnedSemaphorePermit) {
    let said = timeout(REFUSE_WAIT, async {
        let mut head = [0; 4096];
        let read = stream.read(&mut head).await?;
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        Ok::<_, std::io::Error>(read)
    });
    let said = said.await;
    tracing::debug!(?said, "a connection over the limit was refused");
}

async fn connection<S>(
    stream: TcpStream,
    peer: SocketAddr,
    place: ConnectionPermit,
    Serving { builder, service, places }: Serving<S>,
    state: SharedState,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let exchange = Exchange::new();
    let begun = exchange.clone();
    let guarded = hyper::service::service_fn({
        let state = state.clone();
        move |mut request: Request<Incoming>| {
            let mut answering = begun.begin();
            state.metrics.requests.inc();
            let cors = browser::cors(&state.options.allowed_origins, request.headers());
            let (trusted, tls) = (&state.options.trusted_proxy, state.tls.is_some());
            let client = ClientAddr::of(peer, tls, request.headers(), trusted);
            // A proxy that asks for itself is nobody's client.
            let place =
                if trusted.contains(client.ip) { Ok(place.clone()) } else { place.for_client(&places, client.ip) };
            request.extensions_mut().insert(client.clone());
            let answered = match place {
                Ok(place) => {
                    answering.keep(place.clone());
                    request.extensions_mut().insert(place);
                    Ok(answer(request, client, service.clone(), state.clone()))
                }
                Err(full) => Err(too_many(&state, full)),
            };
            async move {
                let mut response = match answered {
                    Ok(answered) => answered.await?,
                    Err(response) => response,
                };
                response.headers_mut().extend(cors);
                Ok::<_, Infallible>(answering.answer(response))
            }
        }
    });
    state.metrics.connections.inc();
    let Some(stream) = tls::open(stream, AppProtocol::Http, &state).await else {
        state.metrics.connections.dec();
        return;
    };
    let stream = Patience::new(stream, exchange, &state.options.limits, state.hits.clone());
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

/// The answer to a request for which its address has no place.
fn too_many(state: &State, full: LimitReached) -> Response {
    state.metrics.refused.inc();
    let Problem { status, code, detail, .. } = full_up(state, full);
    let mut response = ApiError::new(status, &code, detail).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

/// Answers a request, whose client is known, if its caller may ask it.
async fn answer<S>(
    mut request: Request<Incoming>,
    client: ClientAddr,
    service: S,
    state: SharedState,
) -> Result<Response, Infallible>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    if let Err(error) = origin::check(&request, &client, state.site()) {
        return Ok(error.into_response());
    }
    let origins = &state.options.allowed_origins;
    if let Some(response) = browser::preflight(origins, request.method(), request.headers()) {
        return Ok(response);
    }
    let caller = match auth::admit(&state, &client, &mut request).await {
        Ok(caller) => caller,
        Err(response) => {
            auth::drain(request).await;
            return Ok(response);
        }
    };
    // What is read goes out in a stream, which ends by itself.
    let Some(caller) = caller.filter(|_| !request.method().is_safe()) else {
        return service.call(request).await;
    };
    let mut lease = state.auth.lease(caller);
    tokio::select! {
        biased;
        response = service.call(request) => response,
        ended = lease.ended() => Ok(auth::unauthorized(ended)),
    }
}
