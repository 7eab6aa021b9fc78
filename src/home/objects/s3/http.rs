//! The HTTP client of the S3 store: HTTP/1.1 over this crate's TLS, with reused connections.
//!
//! A response that is not a success becomes an error with its status and S3 code, see [`S3Failure`]: repeating
//! requests is left to the store alone.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::Uri;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderValue, USER_AGENT};
use hyper_util::rt::TokioIo;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, timeout};

use super::super::{ObjectCounters, ObjectLimits};
use super::failure::{ConnectionFailure, S3Failure};
use crate::transport::{NetStream, connect_tls};

/// Maximum size of the body of an error that is read, in bytes.
const ERROR_BODY_BYTES_MAX: usize = 16 * 1024;
/// Maximum time that a connection is kept without a request. Services close theirs after 5 s or more.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Maximum time to connect to a service of credentials on the local network, which does not exist on most machines.
const CREDENTIALS_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Creates clients that share connections, limits and counters.
#[derive(Clone, Debug)]
pub(super) struct S3Connector(Arc<Connections>);

/// Connections of a store, and what limits them.
#[derive(Debug)]
struct Connections {
    /// Host and port of the store, as in its endpoint. All others are services of credentials.
    store_authority: String,
    ca_file: Option<std::path::PathBuf>,
    limits: ObjectLimits,
    counters: Arc<ObjectCounters>,
    permits: Arc<Semaphore>,
    /// Connections without a request, at most [`ObjectLimits::requests_at_once_max`]. Locked only briefly.
    idle: Mutex<HashMap<ServiceAddress, Vec<IdleConnection>>>,
}

/// What a connection leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ServiceAddress {
    tls: bool,
    host: String,
    port: u16,
}

#[derive(Debug)]
struct IdleConnection {
    sender: SendRequest<HttpRequestBody>,
    since: Instant,
    /// Refers to the last response until its body is read or dropped.
    last: Weak<()>,
}

impl S3Connector {
    pub(super) fn new(
        store_authority: String,
        ca_file: Option<std::path::PathBuf>,
        limits: &ObjectLimits,
        counters: Arc<ObjectCounters>,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(limits.requests_at_once_max));
        let idle = Mutex::default();
        Self(Arc::new(Connections { store_authority, ca_file, limits: limits.clone(), counters, permits, idle }))
    }
}

impl HttpConnector for S3Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait::async_trait]
impl HttpService for S3Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let is_store = host == self.0.store_authority;
        let failed = |why: String| ConnectionFailure { host: host.clone(), is_store, is_final: false, why };
        self.0.exchange(request, is_store).await.map_err(|error| match error {
            Exchange::Refused(failure) => HttpError::new(HttpErrorKind::Unknown, S3Failure { is_store, ..failure }),
            Exchange::Broken(why) => HttpError::new(HttpErrorKind::Unknown, failed(why)),
            Exchange::Untrusted(why) => {
                HttpError::new(HttpErrorKind::Unknown, ConnectionFailure { is_final: true, ..failed(why) })
            }
        })
    }
}

/// An exchange without a usable response.
enum Exchange {
    /// The response is an error.
    Refused(S3Failure),
    /// The connection failed.
    Broken(String),
    /// The server's certificate is not accepted.
    Untrusted(String),
}

impl Connections {
    async fn exchange(&self, mut request: HttpRequest, is_store: bool) -> Result<HttpResponse, Exchange> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|error| Exchange::Broken(error.to_string()))?;
        let origin = origin_form(&mut request).map_err(Exchange::Broken)?;
        ObjectCounters::add(&self.counters.sent_bytes, request.body().content_length());
        let (mut sender, reused) = match self.take_idle(&origin) {
            Some(sender) => (sender, true),
            None => (self.connect(&origin, is_store).await?, false),
        };
        let sent = timeout(self.limits.response_timeout, send(&mut sender, request.clone())).await;
        let response = match sent {
            // The server closed the idle connection before it received any of the request.
            Ok(Err(error)) if reused && (error.is_canceled() || error.is_closed()) => {
                sender = self.connect(&origin, is_store).await?;
                timeout(self.limits.response_timeout, send(&mut sender, request)).await
            }
            sent => sent,
        };
        let response = match response {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(Exchange::Broken(with_source(&error))),
            Err(_) => return Err(Exchange::Broken(no_response(self.limits.response_timeout))),
        };
        let status = response.status();
        let (parts, body) = response.into_parts();
        let body = TimedBody::new(body, self, permit);
        self.put_idle(origin, IdleConnection { sender, since: Instant::now(), last: Arc::downgrade(&body.alive) });
        if status.is_success() {
            return Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)));
        }
        Err(Exchange::Refused(S3Failure::parse(status, &read_error(body).await)))
    }

    async fn connect(&self, origin: &ServiceAddress, is_store: bool) -> Result<SendRequest<HttpRequestBody>, Exchange> {
        let limit = self.limits.connect_timeout;
        let limit = if is_store || origin.tls { limit } else { limit.min(CREDENTIALS_CONNECT_TIMEOUT) };
        let connecting = async {
            let stream = TcpStream::connect((origin.host.as_str(), origin.port)).await?;
            stream.set_nodelay(true)?;
            if origin.tls {
                Box::pin(connect_tls(stream, &origin.host, self.ca_file.as_deref())).await
            } else {
                Ok(NetStream::Plain(stream))
            }
        };
        let stream = match timeout(limit, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                return Err(Exchange::Untrusted(error.to_string()));
            }
            Ok(Err(error)) => return Err(Exchange::Broken(error.to_string())),
            Err(_) => return Err(Exchange::Broken(format!("no connection within {} s", limit.as_secs_f32()))),
        };
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| Exchange::Broken(with_source(&error)))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the object store ended");
            }
        });
        Ok(sender)
    }

    /// Returns a connection whose last response is not being read. If it was dropped half read, the connection is
    /// about to close, and nothing of a request is sent on it.
    fn take_idle(&self, origin: &ServiceAddress) -> Option<SendRequest<HttpRequestBody>> {
        let mut idle = self.idle.lock();
        let connections = idle.get_mut(origin)?;
        connections.retain(|one| !one.sender.is_closed() && one.since.elapsed() < IDLE_TIMEOUT);
        let ready = connections.iter().rposition(|one| one.last.strong_count() == 0)?;
        Some(connections.swap_remove(ready).sender)
    }

    /// Keeps a connection, whose response may still be read.
    fn put_idle(&self, origin: ServiceAddress, connection: IdleConnection) {
        let mut idle = self.idle.lock();
        let connections = idle.entry(origin).or_default();
        if connections.len() >= self.limits.requests_at_once_max {
            connections.remove(0);
        }
        connections.push(connection);
    }
}

/// Changes a request's target to a path, adds the headers of every request, and returns where it is sent.
fn origin_form(request: &mut HttpRequest) -> Result<ServiceAddress, String> {
    let uri = request.uri().clone();
    let (Some(authority), Some(host)) = (uri.authority(), uri.host()) else {
        return Err(format!("`{uri}` is not an absolute address"));
    };
    let tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(format!("`{uri}` is neither http nor https")),
    };
    let host_header = HeaderValue::from_str(authority.as_str()).map_err(|error| error.to_string())?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    *request.uri_mut() = target.parse::<Uri>().map_err(|error| error.to_string())?;
    let headers = request.headers_mut();
    headers.insert(HOST, host_header);
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("tasktail/", env!("CARGO_PKG_VERSION"))));
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    Ok(ServiceAddress { tls, host: host.trim_matches(['[', ']']).to_owned(), port })
}

async fn send(
    sender: &mut SendRequest<HttpRequestBody>,
    request: HttpRequest,
) -> hyper::Result<hyper::Response<Incoming>> {
    sender.ready().await?;
    sender.send_request(request).await
}

/// Returns the body of an error, cut at [`ERROR_BODY_BYTES_MAX`]; what was read if it cannot be read completely.
async fn read_error(mut body: TimedBody) -> Bytes {
    let mut read = BytesMut::new();
    while read.len() < ERROR_BODY_BYTES_MAX {
        let Some(Ok(frame)) = body.frame().await else { break };
        if let Ok(data) = frame.into_data() {
            read.extend_from_slice(&data);
        }
    }
    read.freeze()
}

/// Returns an error's text with its cause: hyper's errors leave it out.
fn with_source(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn no_response(limit: Duration) -> String {
    format!("no response within {} s", limit.as_secs_f32())
}

/// The body of a response, with a timeout between its pieces. Keeps the permit of its request.
struct TimedBody {
    body: Incoming,
    limit: Duration,
    timer: Pin<Box<Sleep>>,
    counters: Arc<ObjectCounters>,
    /// Referred to by the connection.
    alive: Arc<()>,
    _permit: OwnedSemaphorePermit,
}

impl TimedBody {
    fn new(body: Incoming, connections: &Connections, permit: OwnedSemaphorePermit) -> Self {
        let limit = connections.limits.response_timeout;
        let timer = Box::pin(tokio::time::sleep(limit));
        Self { body, limit, timer, counters: connections.counters.clone(), alive: Arc::new(()), _permit: permit }
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let broken = |why: String| HttpError::new(HttpErrorKind::Unknown, BrokenBody(why));
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.timer.as_mut().reset(tokio::time::Instant::now() + this.limit);
            if let Some(Ok(frame)) = &frame
                && let Some(data) = frame.data_ref()
            {
                ObjectCounters::add(&this.counters.received_bytes, data.len());
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| broken(with_source(&error)))));
        }
        this.timer.as_mut().poll(cx).map(|()| Some(Err(broken(no_response(this.limit)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that was not received completely.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BrokenBody(String);
