//! A small HTTP/1 client: JSON requests and responses, streamed bodies, timeouts, and readable errors.
//!
//! It keeps one idle connection, which is enough for a command that sends batch after batch. It
//! repeats a request only if the server closed the idle connection before the request was sent:
//! only the caller knows whether any other repeat is safe.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, SERVER, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{BearerToken, Endpoint, Scheme};
use crate::transport::{self, NetStream};
use crate::wire::problem::{HTTPS_REQUIRED, Problem};

/// Maximum time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum time until a response starts, and between two parts of its body.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum bytes of a response that is read as a whole.
const RESPONSE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A request without a usable response.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection could not be opened.
    #[error("cannot reach {url}: {source}")]
    Connect {
        /// The server's address.
        url: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The connection was lost before the response was complete.
    #[error("lost connection to {url}: {why}")]
    Broken {
        /// The server's address.
        url: String,
        /// Reason, for people.
        why: String,
    },
    /// The server rejected the request.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    /// The response is not one of a tasktail server, or not of this version.
    #[error("unexpected response from {url}: {why}; is it a tasktail server of this version?")]
    UnexpectedResponse {
        /// The server's address.
        url: String,
        /// Reason, for people.
        why: String,
    },
}

impl ClientError {
    /// Reports whether a retry may succeed: the cause is the network or an overloaded server.
    pub fn is_transient(&self) -> bool {
        match self {
            ClientError::Connect { .. } | ClientError::Broken { .. } => true,
            ClientError::Refused(problem) => problem.status >= 500 || matches!(problem.status, 408 | 429),
            ClientError::UnexpectedResponse { .. } => false,
        }
    }

    /// Reports whether the server answered 404 with a problem.
    pub fn is_not_found(&self) -> bool {
        matches!(self, ClientError::Refused(problem) if problem.status == 404)
    }
}

/// The result of probing an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A tasktail server, with the id of its process if it names one.
    Tasktail(Option<String>),
    /// A tasktail server that accepts https only.
    HttpsRequired,
    /// A server whose certificate is not trusted, with the reason.
    Untrusted(String),
    /// Another program.
    Other,
    /// A program that accepts connections and does not respond in time.
    Silent,
    /// Nothing listens on the address.
    Free,
}

/// A client of one server.
#[derive(Debug)]
pub struct HttpClient {
    endpoint: Endpoint,
    /// Connection of the last request, if its response was read completely. Never locked across an await.
    idle: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl HttpClient {
    /// Creates a client; it connects with the first request.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, idle: Mutex::new(None) }
    }

    /// Returns the server's address.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends `GET /healthz` and returns the kind of server that responds within `limit`.
    pub async fn probe(&self, limit: Duration) -> Probe {
        let target = self.endpoint.target("/healthz", &[]);
        // An unknown server must not receive the token.
        let anonymous = Self::new(self.endpoint.clone().with_token(None));
        let request = async {
            let response = anonymous.send(Method::GET, &target, None).await?;
            let named = is_tasktail(&response);
            let body = self.collect(response).await?;
            let contains = |word: &str| memchr::memmem::find(&body, word.as_bytes()).is_some();
            Ok::<_, ClientError>(match (contains(HTTPS_REQUIRED), named || contains("tasktail")) {
                (true, _) => Probe::HttpsRequired,
                (false, true) => Probe::Tasktail(instance_of(&body)),
                (false, false) => Probe::Other,
            })
        };
        match timeout(limit, request).await {
            Ok(Ok(probe)) => probe,
            Ok(Err(ClientError::Connect { source, .. })) if source.kind() == std::io::ErrorKind::InvalidData => {
                Probe::Untrusted(source.to_string())
            }
            Ok(Err(ClientError::Connect { .. })) => Probe::Free,
            Ok(Err(_)) => Probe::Other,
            Err(_) => Probe::Silent,
        }
    }

    /// Sends a `GET` and returns the JSON response.
    ///
    /// # Errors
    /// [`ClientError`] if there is no response, or one with an error status or of another form.
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
    ) -> Result<T, ClientError> {
        let response = self.send(Method::GET, &self.endpoint.target(path, query), None).await?;
        let body = self.read_ok(response).await?;
        self.parse(&body)
    }

    /// Sends a `POST` with a body of the media type `kind` and returns the JSON response.
    ///
    /// # Errors
    /// As [`HttpClient::get`]; after [`ClientError::Broken`] the server may have processed the request.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
        kind: &'static str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let response = self.send(Method::POST, &self.endpoint.target(path, query), Some((kind, body))).await?;
        let body = self.read_ok(response).await?;
        self.parse(&body)
    }

    /// Sends a `DELETE` and discards the response's body.
    ///
    /// # Errors
    /// As [`HttpClient::get`].
    pub async fn delete(&self, path: &str) -> Result<(), ClientError> {
        let response = self.send(Method::DELETE, &self.endpoint.target(path, &[]), None).await?;
        self.read_ok(response).await.map(drop)
    }

    /// Sends a `GET` and returns the body's size, if the server declares it, and a stream of the body.
    /// A truncated body is an error in the stream, never a short file.
    ///
    /// # Errors
    /// As [`HttpClient::get`].
    pub async fn download(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
    ) -> Result<(Option<u64>, impl futures::Stream<Item = Result<Bytes, ClientError>> + Send + use<>), ClientError>
    {
        let response = self.send(Method::GET, &self.endpoint.target(path, query), None).await?;
        self.open_body(response).await
    }

    /// As [`HttpClient::download`], for a `POST` without a body.
    ///
    /// # Errors
    /// As [`HttpClient::get`].
    pub async fn post_for_stream(
        &self,
        path: &str,
    ) -> Result<impl futures::Stream<Item = Result<Bytes, ClientError>> + Send + use<>, ClientError> {
        let body = Some(("application/json", Bytes::new()));
        let response = self.send(Method::POST, &self.endpoint.target(path, &[]), body).await?;
        Ok(self.open_body(response).await?.1)
    }

    /// Returns the declared size of a successful response's body, and a stream of the body.
    async fn open_body(
        &self,
        response: Response<Incoming>,
    ) -> Result<(Option<u64>, impl futures::Stream<Item = Result<Bytes, ClientError>> + Send + use<>), ClientError>
    {
        if !response.status().is_success() {
            return Err(self.error_of(response).await);
        }
        let length = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        // The connection cannot carry another request until this body is read.
        self.idle.lock().take();
        Ok((length, chunks(response.into_body(), self.endpoint.to_string())))
    }

    fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|error| self.unexpected(error.to_string()))
    }

    fn unexpected(&self, why: impl Into<String>) -> ClientError {
        ClientError::UnexpectedResponse { url: self.endpoint.to_string(), why: why.into() }
    }

    fn broken(&self, why: impl ToString) -> ClientError {
        ClientError::Broken { url: self.endpoint.to_string(), why: why.to_string() }
    }

    /// Returns the body of a successful response.
    async fn read_ok(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        if response.status().is_success() { self.collect(response).await } else { Err(self.error_of(response).await) }
    }

    /// Returns the error that an unsuccessful response describes.
    async fn error_of(&self, response: Response<Incoming>) -> ClientError {
        let status = response.status();
        match self.collect(response).await {
            Err(error) => error,
            Ok(body) => match serde_json::from_slice::<Problem>(&body) {
                Ok(problem) => ClientError::Refused(Box::new(problem)),
                Err(_) => self.unexpected(format!("HTTP status {status}")),
            },
        }
    }

    async fn collect(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        let body = http_body_util::Limited::new(response.into_body(), RESPONSE_BYTES_MAX);
        match timeout(RESPONSE_TIMEOUT, body.collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) => Err(self.broken(error)),
            Err(_) => Err(self.broken("response timed out")),
        }
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        body: Option<(&'static str, Bytes)>,
    ) -> Result<Response<Incoming>, ClientError> {
        let idle = self.idle.lock().take().filter(|sender| !sender.is_closed());
        let mut reused = idle.is_some();
        let mut sender = match idle {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        loop {
            let request = self.request(&method, target, body.clone())?;
            match timeout(RESPONSE_TIMEOUT, exchange(&mut sender, request)).await {
                Ok(Ok(response)) => {
                    *self.idle.lock() = Some(sender);
                    return Ok(response);
                }
                // The server closed the idle connection before it received any of this request.
                Ok(Err(error)) if reused && (error.is_canceled() || error.is_closed()) => {
                    reused = false;
                    sender = self.connect().await?;
                }
                Ok(Err(error)) => return Err(self.broken(error)),
                Err(_) => return Err(self.broken("response timed out")),
            }
        }
    }

    fn request(
        &self,
        method: &Method,
        target: &str,
        body: Option<(&'static str, Bytes)>,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let builder = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, self.endpoint.authority())
            .header(USER_AGENT, concat!("tasktail/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "application/json, */*");
        let builder = match self.endpoint.token().and_then(BearerToken::header) {
            Some(token) => builder.header(AUTHORIZATION, token),
            None => builder,
        };
        let (builder, body) = match body {
            Some((kind, body)) => (builder.header(CONTENT_TYPE, kind), body),
            None => (builder, Bytes::new()),
        };
        builder.body(Full::new(body)).map_err(|error| self.unexpected(error.to_string()))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let refused = |source| ClientError::Connect { url: self.endpoint.to_string(), source };
        let stream = open(&self.endpoint).await.map_err(refused)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.broken(e))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
        Ok(sender)
    }
}

/// Opens a connection to a server, with TLS for https, within [`CONNECT_TIMEOUT`].
pub(super) async fn open(endpoint: &Endpoint) -> std::io::Result<NetStream> {
    let connecting = async {
        let stream = TcpStream::connect((endpoint.host(), endpoint.port())).await?;
        stream.set_nodelay(true)?;
        match endpoint.scheme() {
            Scheme::Http => Ok(NetStream::Plain(stream)),
            Scheme::Https => Box::pin(transport::connect_tls(stream, endpoint.host(), endpoint.ca_file())).await,
        }
    };
    timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| std::io::ErrorKind::TimedOut)?
}

/// Waits until the connection is ready, then sends the request.
async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> hyper::Result<Response<Incoming>> {
    sender.ready().await?;
    sender.send_request(request).await
}

/// Returns the id of the process that answered `/healthz`.
fn instance_of(health: &[u8]) -> Option<String> {
    let health: serde_json::Value = serde_json::from_slice(health).ok()?;
    Some(health.get("instance")?.as_str()?.to_owned())
}

/// Reports whether the response names tasktail as its server, as every response of ours does.
fn is_tasktail(response: &Response<Incoming>) -> bool {
    response.headers().get(SERVER).is_some_and(|name| name.as_bytes().starts_with(b"tasktail"))
}

fn chunks(body: Incoming, url: String) -> impl futures::Stream<Item = Result<Bytes, ClientError>> + Send {
    let read = |(mut body, url): (http_body_util::BodyDataStream<Incoming>, String)| async move {
        let why = match timeout(RESPONSE_TIMEOUT, body.next()).await {
            Ok(None) => return None,
            Ok(Some(Ok(chunk))) => return Some((Ok(chunk), (body, url))),
            Ok(Some(Err(error))) => error.to_string(),
            Err(_) => "response timed out".to_owned(),
        };
        Some((Err(ClientError::Broken { url: url.clone(), why }), (body, url)))
    };
    stream::unfold((body.into_data_stream(), url), read)
}
