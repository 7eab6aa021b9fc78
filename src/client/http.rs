//! A small HTTP/1 client: JSON both ways, streamed bodies, timeouts, and problems in words.
//!
//! It keeps one idle connection, which is what a command needs that sends batch after batch. It
//! never repeats a request by itself unless the server had hung up before it was sent: whether a
//! repeat is harmless is the caller's knowledge.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, SERVER, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{BearerToken, Endpoint, Scheme};
use crate::transport::{self, NetStream};
use crate::wire::problem::{HTTPS_REQUIRED, Problem};

/// A connection that is not there by then counts as refused.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that has not begun to answer by then, or is silent this long inside an answer, is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// An answer that is read whole is no larger than this.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why a request brought no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error("cannot reach {url}: {source}")]
    Connect {
        /// The server's address.
        url: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The connection broke before the answer was whole.
    #[error("the connection to {url} broke: {why}")]
    Broken {
        /// The server's address.
        url: String,
        /// In words.
        why: String,
    },
    /// The server understood and said no.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    /// Something answered that is no tasktail server, or not one of this kind.
    #[error("{url} does not answer like a tasktail server: {why}")]
    Strange {
        /// The server's address.
        url: String,
        /// In words.
        why: String,
    },
}

impl ClientError {
    /// Whether the same request may do better in a while: the network or an overloaded server.
    pub fn is_passing(&self) -> bool {
        match self {
            ClientError::Connect { .. } | ClientError::Broken { .. } => true,
            ClientError::Refused(problem) => problem.status >= 500 || matches!(problem.status, 408 | 429),
            ClientError::Strange { .. } => false,
        }
    }

    /// Whether the server says that what was asked for is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, ClientError::Refused(problem) if problem.status == 404)
    }
}

/// What answers at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A tasktail server.
    Tasktail,
    /// A tasktail server that speaks https only.
    WantsHttps,
    /// Someone who cannot prove to be the one; why, in words.
    Unproven(String),
    /// Something else, or something that does not answer.
    Other,
    /// Nobody: the address is free.
    Nobody,
}

/// A client of one server.
#[derive(Debug)]
pub struct HttpClient {
    endpoint: Endpoint,
    /// The connection of the last request, if its answer was read whole. Never held over an await.
    idle: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl HttpClient {
    /// A client; nothing is connected yet.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, idle: Mutex::new(None) }
    }

    /// The server's address.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Asks `GET /healthz` who is there, for at most `limit`.
    pub async fn probe(&self, limit: Duration) -> Probe {
        let target = self.endpoint.target("/healthz", &[]);
        // Who is there is to be known before it gets a token.
        let bare = Self::new(self.endpoint.clone().with_token(None));
        let ask = async {
            let answer = bare.send(Method::GET, &target, None).await?;
            let named = is_tasktail(&answer);
            let body = self.collect(answer).await?;
            let says = |word: &str| memchr::memmem::find(&body, word.as_bytes()).is_some();
            Ok::<_, ClientError>(match (says(HTTPS_REQUIRED), named || says("tasktail")) {
                (true, _) => Probe::WantsHttps,
                (false, true) => Probe::Tasktail,
                (false, false) => Probe::Other,
            })
        };
        match timeout(limit, ask).await {
            Ok(Ok(probe)) => probe,
            Ok(Err(ClientError::Connect { source, .. })) if source.kind() == std::io::ErrorKind::InvalidData => {
                Probe::Unproven(source.to_string())
            }
            Ok(Err(ClientError::Connect { .. })) => Probe::Nobody,
            Ok(Err(_)) | Err(_) => Probe::Other,
        }
    }

    /// `GET`, the answer as JSON.
    ///
    /// # Errors
    /// [`ClientError`] when there is no answer, a refusal, or an answer of another form.
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
    ) -> Result<T, ClientError> {
        let answer = self.send(Method::GET, &self.endpoint.target(path, query), None).await?;
        let body = self.read_ok(answer).await?;
        self.parse(&body)
    }

    /// `POST` of a body of the media type `kind`, the answer as JSON.
    ///
    /// # Errors
    /// As [`HttpClient::get`]; after [`ClientError::Broken`] the request may have been carried out.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
        kind: &'static str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let answer = self.send(Method::POST, &self.endpoint.target(path, query), Some((kind, body))).await?;
        let body = self.read_ok(answer).await?;
        self.parse(&body)
    }

    /// `DELETE`; what the server says to it is dropped.
    ///
    /// # Errors
    /// As [`HttpClient::get`].
    pub async fn delete(&self, path: &str) -> Result<(), ClientError> {
        let answer = self.send(Method::DELETE, &self.endpoint.target(path, &[]), None).await?;
        self.read_ok(answer).await.map(drop)
    }

    /// `GET` of something long: its size if the server names one, and its bytes as they come.
    /// A body that ends too early is an error in the stream, never a short file.
    ///
    /// # Errors
    /// As [`HttpClient::get`].
    pub async fn download(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
    ) -> Result<(Option<u64>, impl futures::Stream<Item = Result<Bytes, ClientError>> + Send + use<>), ClientError>
    {
        let answer = self.send(Method::GET, &self.endpoint.target(path, query), None).await?;
        if !answer.status().is_success() {
            return Err(self.refusal(answer).await);
        }
        let length = answer.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        // Of no use for another request before its body is read.
        self.idle.lock().take();
        Ok((length, chunks(answer.into_body(), self.endpoint.to_string())))
    }

    fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|error| self.strange(error.to_string()))
    }

    fn strange(&self, why: impl Into<String>) -> ClientError {
        ClientError::Strange { url: self.endpoint.to_string(), why: why.into() }
    }

    fn broken(&self, why: impl ToString) -> ClientError {
        ClientError::Broken { url: self.endpoint.to_string(), why: why.to_string() }
    }

    /// The body of an answer that is a yes.
    async fn read_ok(&self, answer: Response<Incoming>) -> Result<Bytes, ClientError> {
        if answer.status().is_success() { self.collect(answer).await } else { Err(self.refusal(answer).await) }
    }

    /// The words of an answer that is a no.
    async fn refusal(&self, answer: Response<Incoming>) -> ClientError {
        let status = answer.status();
        match self.collect(answer).await {
            Err(error) => error,
            Ok(body) => match serde_json::from_slice::<Problem>(&body) {
                Ok(problem) => ClientError::Refused(Box::new(problem)),
                Err(_) if status == StatusCode::NOT_FOUND => self.strange("it knows no such route (404)"),
                Err(_) => self.strange(format!("HTTP status {status}")),
            },
        }
    }

    async fn collect(&self, answer: Response<Incoming>) -> Result<Bytes, ClientError> {
        let body = http_body_util::Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
        match timeout(ANSWER_TIMEOUT, body.collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) => Err(self.broken(error)),
            Err(_) => Err(self.broken("no answer in time")),
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
            match timeout(ANSWER_TIMEOUT, exchange(&mut sender, request)).await {
                Ok(Ok(answer)) => {
                    *self.idle.lock() = Some(sender);
                    return Ok(answer);
                }
                // The server closed the idle connection before it saw anything of this request.
                Ok(Err(error)) if reused && (error.is_canceled() || error.is_closed()) => {
                    reused = false;
                    sender = self.connect().await?;
                }
                Ok(Err(error)) => return Err(self.broken(error)),
                Err(_) => return Err(self.broken("no answer in time")),
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
        builder.body(Full::new(body)).map_err(|error| self.strange(error.to_string()))
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

/// A connection to a server, under TLS if it is to be, made within a few seconds or not at all.
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

/// Waits for the connection to be free, then sends.
async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> hyper::Result<Response<Incoming>> {
    sender.ready().await?;
    sender.send_request(request).await
}

/// Our server names itself in every answer.
fn is_tasktail(answer: &Response<Incoming>) -> bool {
    answer.headers().get(SERVER).is_some_and(|name| name.as_bytes().starts_with(b"tasktail"))
}

fn chunks(body: Incoming, url: String) -> impl futures::Stream<Item = Result<Bytes, ClientError>> + Send {
    let read = |(mut body, url): (http_body_util::BodyDataStream<Incoming>, String)| async move {
        let why = match timeout(ANSWER_TIMEOUT, body.next()).await {
            Ok(None) => return None,
            Ok(Some(Ok(chunk))) => return Some((Ok(chunk), (body, url))),
            Ok(Some(Err(error))) => error.to_string(),
            Err(_) => "no more came in time".to_owned(),
        };
        Some((Err(ClientError::Broken { url: url.clone(), why }), (body, url)))
    };
    stream::unfold((body.into_data_stream(), url), read)
}
