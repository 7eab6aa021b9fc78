//! One request to a server of any kind.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::Endpoint;
use super::http::open;

/// Maximum time from the request to the head of the response.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// A request without a response, or one that cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The connection could not be opened.
    #[error("cannot reach {url}: {source}")]
    Unreachable {
        /// The server's address.
        url: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// There is no response.
    #[error("no response from {url}: {why}")]
    Unanswered {
        /// The server's address.
        url: String,
        /// Reason, for people.
        why: String,
    },
}

/// Sends a `POST` with a JSON body on a connection of its own, and returns the status. A redirect is a status like
/// another: it is not followed.
///
/// # Errors
/// There is no response, or the path or a header is invalid.
pub async fn post_json(
    endpoint: &Endpoint,
    path: &str,
    headers: &[(&'static str, String)],
    body: Bytes,
) -> Result<u16, PostError> {
    let url = || endpoint.to_string();
    let unanswered = |why: String| PostError::Unanswered { url: url(), why };
    let mut builder = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, endpoint.authority())
        .header(USER_AGENT, concat!("tasktail/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json");
    for (name, value) in headers {
        let mut value = HeaderValue::try_from(value).map_err(|error| unanswered(error.to_string()))?;
        value.set_sensitive(true);
        builder = builder.header(HeaderName::from_static(name), value);
    }
    let request = builder.body(Full::new(body)).map_err(|error| unanswered(error.to_string()))?;
    let stream = open(endpoint).await.map_err(|source| PostError::Unreachable { url: url(), source })?;
    let exchange = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut connection = std::pin::pin!(connection);
        let mut answer = std::pin::pin!(sender.send_request(request));
        tokio::select! {
            answer = &mut answer => answer,
            ended = &mut connection => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(error),
            },
        }
    };
    match timeout(ANSWER_TIMEOUT, exchange).await {
        Ok(Ok(response)) => Ok(response.status().as_u16()),
        Ok(Err(error)) => Err(unanswered(error.to_string())),
        Err(_) => Err(unanswered(format!("none within {} s", ANSWER_TIMEOUT.as_secs()))),
    }
}
