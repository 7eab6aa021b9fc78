//! The accept loop: warp's filters under hyper's HTTP/1, with limits and a graceful shutdown.
//!
//! warp's own server cannot report a bind error, limit its connections, or shut down while a WebSocket or a
//! stream is open.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use warp::http::{HeaderValue, Method, Request, StatusCode, header};
use warp::reply::Response;

use super::auth;
use super::body::{self, DrainLimit};
use super::client_addr::ClientAddr;
use super::cors;
use super::error::{ApiError, ReportedProblem, RouteError};
use super::origin::HostPolicy;
use super::prefix;
use super::routes;
use super::timeouts::{ConnectionPhase, GuardedBody, RequestGuard, TimeoutStream};
use crate::model::limits::{Limit, SHUTDOWN_TIMEOUT};
use crate::server::net::connection_limit::{ConnectionLimiter, ConnectionPermit, LimitReached};
use crate::server::net::{tcp, tls};
use crate::server::state::{SharedState, State};
use crate::server::web::pages;
use crate::transport::AppProtocol;
use crate::wire::problem::{PROBLEM_JSON, Problem};

/// hyper's buffer for a request head. A longer head is answered with 431.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Connections over the limit that are answered at the same time, and the time allowed for each.
const REFUSALS_MAX: usize = 64;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Accepts connections until shutdown.
pub(crate) async fn serve(listener: TcpListener, state: SharedState) {
    let limits = &state.options.limits;
    let limiter = Arc::new(ConnectionLimiter::new(limits.connections_max, limits.connections_per_address_max));
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let mut errors = tcp::AcceptErrors::default();
    let mut builder = http1::Builder::new();
    // `timeouts` limits the time for a request head.
    builder.header_read_timeout(None).max_buf_size(HEAD_BYTES_MAX);
    let routes = TowerToHyperService::new(warp::service(routes::filter(&state)));
    let server = HttpServer { builder, routes, limiter, state: state.clone() };
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
            tracing::debug!(%error, "failed to set socket options");
        }
        match server.try_acquire(peer) {
            Ok(permit) => {
                state.tracker.spawn(server.clone().serve_connection(stream, peer, permit));
            }
            Err(full) => {
                state.metrics.refused.inc();
                let response = raw_limit_response(&state, full);
                // Under TLS the response would need a handshake, which costs more than it is worth.
                if state.tls.is_none()
                    && let Ok(permit) = refusals.clone().try_acquire_owned()
                {
                    state.tracker.spawn(refuse(stream, response, permit));
                }
            }
        }
    }
}

/// Everything that a connection is served with.
#[derive(Clone)]
struct HttpServer<S> {
    builder: http1::Builder,
    /// The service of all routes.
    routes: S,
    limiter: Arc<ConnectionLimiter>,
    state: SharedState,
}

impl<S> HttpServer<S> {
    /// Acquires a permit for a connection. One from a trusted proxy does not count against its address,
    /// because it carries the requests of many clients.
    fn try_acquire(&self, peer: SocketAddr) -> Result<ConnectionPermit, LimitReached> {
        let seat = self.limiter.try_acquire()?;
        let by_proxy = self.state.options.trusted_proxy.contains(peer.ip());
        let share = if by_proxy { None } else { Some(self.limiter.try_acquire_for(peer.ip())?) };
        Ok(ConnectionPermit::new(seat, share))
    }
}

impl<S> HttpServer<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    /// Serves a connection until its end, or until the shutdown has completed its last request.
    async fn serve_connection(self, stream: TcpStream, peer: SocketAddr, permit: ConnectionPermit) {
        self.state.metrics.connections.inc();
        if let Some(stream) = tls::open(stream, AppProtocol::Http, &self.state).await {
            let phase = ConnectionPhase::new();
            let limits = &self.state.options.limits;
            let stream = TimeoutStream::new(stream, phase.clone(), limits, self.state.limit_counters.clone());
            let service = hyper::service::service_fn(|request| {
                let served = self.clone().serve_request(request, peer, permit.clone(), phase.start_request());
                async move { Ok::<_, Infallible>(served.await) }
            });
            let connection = self.builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = self.state.shutdown.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    let rest = SHUTDOWN_TIMEOUT.saturating_sub(Duration::from_secs(1));
                    timeout(rest, connection).await.unwrap_or(Ok(()))
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "connection closed");
            }
        }
        self.state.metrics.connections.dec();
    }

    /// Answers a request, within the limit of connections of its client's address.
    async fn serve_request(
        self,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        permit: ConnectionPermit,
        mut guard: RequestGuard,
    ) -> warp::http::Response<GuardedBody<impl Body<Data = Bytes, Error = warp::Error> + Unpin + 'static>> {
        self.state.metrics.requests.inc();
        let (begun, state) = (Instant::now(), self.state.clone());
        if let Some(uri) = prefix::strip(request.uri(), self.state.prefix(), |path| !routes::allowed(path).is_empty()) {
            *request.uri_mut() = uri;
        }
        let browser = Browser::of(&request);
        let options = &self.state.options;
        let cors_headers = cors::response_headers(&options.allowed_origins, request.headers());
        let client = ClientAddr::new(peer, self.state.tls.is_some(), request.headers(), &options.trusted_proxy);
        // A request of a trusted proxy itself has no client.
        let permit = if options.trusted_proxy.contains(client.ip) {
            Ok(permit)
        } else {
            permit.for_client(&self.limiter, client.ip)
        };
        request.extensions_mut().insert(client.clone());
        let mut response = match permit {
            Ok(permit) => {
                guard.hold(permit.clone());
                request.extensions_mut().insert(permit);
                let Ok(response) = answer(request, client, self.routes, self.state).await;
                response
            }
            Err(full) => limit_response(&self.state, full),
        };
        // A response for every origin names none.
        let is_public = response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        for (name, value) in cors_headers.iter().filter(|_| !is_public) {
            response.headers_mut().append(name, value.clone());
        }
        if let Some(browser) = browser {
            response = browser.page_of(response);
        }
        state.metrics.request_seconds.observe(response.status().as_u16(), begun.elapsed().as_secs_f64());
        guard.guard(response)
    }
}

/// Answers a request: checks its host, origin and caller, then calls its route.
async fn answer<S>(
    mut request: Request<Incoming>,
    client: ClientAddr,
    routes: S,
    state: SharedState,
) -> Result<Response, Infallible>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    if let Err(error) = HostPolicy::new(&state).check(&request, &client) {
        return Ok(error.into_response());
    }
    let path = request.uri().path();
    // A relative address in a page would leave the prefix without the slash at its end.
    if !state.prefix().is_empty() && path == state.prefix() && routes::allowed(path).is_empty() {
        return Ok(redirect_to_folder(path));
    }
    let origins = &state.options.allowed_origins;
    let is_served = |method: &Method| !path.starts_with("/ws/") && routes::find(method, path).is_ok();
    if let Some(response) = cors::preflight(origins, request.method(), request.headers(), is_served) {
        return Ok(response);
    }
    let route = routes::find(request.method(), path);
    let allowed = (route.as_ref().err() == Some(&RouteError::MethodNotAllowed)).then(|| routes::allowed(path));
    let access = route.as_ref().map(routes::RouteMatch::access).map_err(|error| *error);
    let caller = match auth::admit(&state, &client, &mut request, access).await {
        Ok(caller) => caller,
        Err(mut response) => {
            // A client that expects `100 Continue` has not sent its body.
            if !request.headers().contains_key(header::EXPECT) {
                body::drain(request.into_body().into_data_stream(), DrainLimit::UNAUTHORIZED).await;
            }
            if let Some(allowed) = allowed.and_then(|methods| HeaderValue::from_str(&methods).ok()) {
                response.headers_mut().insert(header::ALLOW, allowed);
            }
            return Ok(response);
        }
    };
    if let Ok(route) = route {
        request.extensions_mut().insert(route);
    }
    // Responses to reads are streams, which end with the lease by themselves.
    let Some(caller) = caller.filter(|_| !request.method().is_safe()) else {
        return routes.call(request).await;
    };
    let mut lease = state.auth.lease(caller);
    tokio::select! {
        biased;
        response = routes.call(request) => response,
        ended = lease.ended() => Ok(auth::unauthorized(ended)),
    }
}

/// A browser that opens an address itself, as opposed to a program: errors are answered with a page.
struct Browser {
    /// The front page, relative to the address.
    root: String,
    /// True if the address is one of data.
    data: bool,
}

impl Browser {
    /// Returns the browser that sent a request, if one did.
    fn of<B>(request: &Request<B>) -> Option<Self> {
        let path = request.uri().path();
        auth::accepts_html(request.headers())
            .then(|| Self { root: prefix::root_of(path), data: path.starts_with("/api/") })
    }

    /// Returns the page of a response that reports a problem, and any other response as it is.
    fn page_of(&self, mut response: Response) -> Response {
        // A missing token is reported to the program that asks for data, even if it claims to accept pages.
        if self.data && response.status() == StatusCode::UNAUTHORIZED {
            return response;
        }
        match response.extensions_mut().remove::<ReportedProblem>() {
            Some(problem) => pages::error(response, &problem, &self.root),
            None => response,
        }
    }
}

/// Returns a redirect from a folder to the same address with a slash.
fn redirect_to_folder(path: &str) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    let name = path.rsplit('/').next().unwrap_or_default();
    if let Ok(target) = HeaderValue::from_str(&format!("{name}/")) {
        response.headers_mut().insert(header::LOCATION, target);
    }
    response
}

/// Returns the problem of a reached connection limit, and counts it.
fn limit_problem(state: &State, full: LimitReached) -> (u16, String) {
    let limits = &state.options.limits;
    let (limit, status, detail) = match full {
        LimitReached::Total => {
            let detail = format!("connection limit reached ({})", limits.connections_max);
            (Limit::connections_max, 503, detail)
        }
        LimitReached::Address => {
            let detail = format!("connection limit of this address reached ({})", limits.connections_per_address_max);
            (Limit::connections_per_address_max, 429, detail)
        }
    };
    state.limit_counters.count(limit);
    (status, detail)
}

const TOO_MANY_CONNECTIONS: &str = "too_many_connections";

/// Returns the response to a request whose client has too many connections.
fn limit_response(state: &State, full: LimitReached) -> Response {
    state.metrics.refused.inc();
    let (status, detail) = limit_problem(state, full);
    let mut response = ApiError::new(status, TOO_MANY_CONNECTIONS, detail).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

/// Returns the response to a connection over the limit, as bytes for its socket.
fn raw_limit_response(state: &State, full: LimitReached) -> String {
    let (status, detail) = limit_problem(state, full);
    let body = serde_json::to_string(&Problem::new(status, TOO_MANY_CONNECTIONS, detail)).unwrap_or_default();
    let reason = if full == LimitReached::Total { "Service Unavailable" } else { "Too Many Requests" };
    let length = body.len();
    format!(
        "HTTP/1.1 {status} {reason}\r\nretry-after: 5\r\ncontent-type: {PROBLEM_JSON}\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    )
}

/// Answers a connection over the limit, after its request has arrived. Connections beyond
/// [`REFUSALS_MAX`] are closed without a response.
async fn refuse(mut stream: TcpStream, response: String, _permit: OwnedSemaphorePermit) {
    let sent = timeout(REFUSAL_TIMEOUT, async {
        let mut head = [0; 4096];
        let read = stream.read(&mut head).await?;
        stream.write_all(response.as_bytes()).await?;
        stream.shutdown().await?;
        Ok::<_, std::io::Error>(read)
    });
    let sent = sent.await;
    tracing::debug!(?sent, "refused a connection over the limit");
}
