//! A proxy in front of an S3 service that injects faults into chosen requests.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};

/// What happens to a request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The service does not see it; the answer is this status, with an S3 code.
    Status(u16, &'static str),
    /// It is forwarded after a pause.
    Slow(Duration),
    /// It is forwarded; the body of the answer is cut after so many bytes.
    Cut(usize),
    /// It is forwarded and succeeds; the connection is closed without an answer.
    AnswerLost,
    /// The connection is closed before the service sees it.
    Closed,
    /// It is never answered.
    Silent,
}

/// A fault of the next request with this method whose target contains the text.
#[derive(Debug)]
struct Planned {
    method: Method,
    target: &'static str,
    fault: Fault,
}

#[derive(Debug)]
struct ProxyState {
    upstream: String,
    plan: Mutex<VecDeque<Planned>>,
    seen: Mutex<Vec<String>>,
    key_ids: Mutex<Vec<String>>,
    connections: AtomicUsize,
}

pub(crate) struct Proxy {
    pub(crate) endpoint: String,
    state: Arc<ProxyState>,
}

type ProxyBody = UnsyncBoxBody<Bytes, std::io::Error>;

impl Proxy {
    pub(crate) async fn start(endpoint: &str) -> Self {
        let upstream = endpoint.trim_start_matches("http://").to_owned();
        let state = Arc::new(ProxyState {
            upstream,
            plan: Mutex::default(),
            seen: Mutex::default(),
            key_ids: Mutex::default(),
            connections: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let accepting = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = accepting.clone();
                state.connections.fetch_add(1, Relaxed);
                let answer = service_fn(move |request| answer(state.clone(), request));
                tokio::spawn(server::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        Self { endpoint, state }
    }

    /// Plans a fault of the next request with this method whose target contains the text.
    pub(crate) fn next(&self, method: Method, target: &'static str, fault: Fault) {
        self.state.plan.lock().push_back(Planned { method, target, fault });
    }

    /// Returns whether all planned faults have happened.
    pub(crate) fn is_done(&self) -> bool {
        self.state.plan.lock().is_empty()
    }

    /// Returns the number of connections that were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Relaxed)
    }

    /// Returns the access key id of each request.
    pub(crate) fn key_ids(&self) -> Vec<String> {
        self.state.key_ids.lock().clone()
    }

    /// Returns the number of requests with this method whose target contains the text.
    pub(crate) fn count(&self, method: &Method, target: &str) -> usize {
        let start = format!("{method} ");
        self.state.seen.lock().iter().filter(|seen| seen.starts_with(&start) && seen.contains(target)).count()
    }
}

async fn answer(state: Arc<ProxyState>, request: Request<Incoming>) -> std::io::Result<Response<ProxyBody>> {
    let target = request.uri().to_string();
    state.seen.lock().push(format!("{} {target}", request.method()));
    let signed = request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let key_id = signed.split_once("Credential=").and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default();
    state.key_ids.lock().push(key_id.to_owned());
    let fault = {
        let mut plan = state.plan.lock();
        let found = plan.iter().position(|one| one.method == *request.method() && target.contains(one.target));
        found.and_then(|index| plan.remove(index)).map(|planned| planned.fault)
    };
    let closed = || std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    match fault {
        Some(Fault::Status(status, code)) => {
            // The body is read first: a client that is still sending could miss the answer.
            request.into_body().collect().await.map_err(std::io::Error::other)?;
            let body = Bytes::from(format!("<Error><Code>{code}</Code><Message>injected</Message></Error>"));
            let mut response = Response::new(Full::new(body).map_err(never).boxed_unsync());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            Ok(response)
        }
        Some(Fault::Slow(pause)) => {
            tokio::time::sleep(pause).await;
            forward(&state.upstream, request).await
        }
        Some(Fault::Cut(length)) => {
            let (parts, body) = forward(&state.upstream, request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            assert!(body.len() > length, "the body is long enough to be cut");
            // The pause lets the beginning be sent before the connection is closed.
            let pieces = stream::unfold(0, move |step| {
                let beginning = body.slice(..length);
                async move {
                    match step {
                        0 => Some((Ok(Frame::data(beginning)), 1)),
                        _ => {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                            Some((Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)), 2))
                        }
                    }
                }
            });
            Ok(Response::from_parts(parts, StreamBody::new(pieces).boxed_unsync()))
        }
        Some(Fault::AnswerLost) => {
            let response = forward(&state.upstream, request).await?;
            assert!(response.status().is_success(), "the service did it: {}", response.status());
            Err(closed())
        }
        Some(Fault::Closed) => Err(closed()),
        Some(Fault::Silent) => std::future::pending().await,
        None => forward(&state.upstream, request).await,
    }
}

fn never(error: Infallible) -> std::io::Error {
    match error {}
}

/// Sends a request on a new connection.
async fn forward(upstream: &str, request: Request<Incoming>) -> std::io::Result<Response<ProxyBody>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let (mut parts, body) = exchange(upstream, Request::from_parts(parts, Full::new(body))).await.into_parts();
    // moto closes each connection; most services do not.
    parts.headers.remove("connection");
    Ok(Response::from_parts(parts, Full::new(body).map_err(never).boxed_unsync()))
}

async fn exchange(upstream: &str, request: Request<Full<Bytes>>) -> Response<Bytes> {
    let is_head = request.method() == Method::HEAD;
    let stream = TcpStream::connect(upstream).await.unwrap();
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = if is_head { Bytes::new() } else { body.collect().await.unwrap().to_bytes() };
    Response::from_parts(parts, body)
}

/// Sends a request without credentials, which moto accepts, and returns the status.
pub(crate) async fn request(method: &str, url: &str) -> u16 {
    send(method, url).await.status().as_u16()
}

/// Returns the body of a `GET` without credentials.
pub(crate) async fn get(url: &str) -> String {
    String::from_utf8(send("GET", url).await.into_body().into()).unwrap()
}

async fn send(method: &str, url: &str) -> Response<Bytes> {
    let (host, path) = url.trim_start_matches("http://").split_once('/').unwrap();
    let request = Request::builder().method(method).uri(format!("/{path}")).header("host", host);
    exchange(host, request.body(Full::new(Bytes::new())).unwrap()).await
}
