//! One WebSocket connection to a server. Whoever uses it decides when to try again.

use std::time::Duration;

use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Error as WsError};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::{BearerToken, Endpoint, http};
use crate::model::limits::MESSAGE_BYTES_MAX;
use crate::transport::NetStream;
use crate::wire::problem::Problem;

/// A connection to a server.
pub type Socket = WebSocketStream<NetStream>;

/// How long a server may take to accept a connection and answer its handshake.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody accepts there.
    #[error("{0}")]
    Unreachable(#[source] std::io::Error),
    /// It took too long.
    #[error("no answer within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    /// There is a server, and it says no.
    #[error("refused with {status}{}", why.as_deref().map(|why| format!(": {why}")).unwrap_or_default())]
    Refused {
        /// The answer's status.
        status: StatusCode,
        /// The server's words, if it gave any.
        why: Option<String>,
    },
    /// What answers there does not speak this protocol, or went away in the middle.
    #[error("{0}")]
    Protocol(#[source] Box<WsError>),
}

/// Opens the WebSocket at `path` (with its query) of a server.
///
/// # Errors
/// See [`ConnectError`]; it gives up after [`CONNECT_TIMEOUT`].
pub async fn connect(server: &Endpoint, path: &str) -> Result<Socket, ConnectError> {
    let attempt = Box::pin(attempt(server, path));
    tokio::time::timeout(CONNECT_TIMEOUT, attempt).await.unwrap_or(Err(ConnectError::Timeout))
}

async fn attempt(server: &Endpoint, path: &str) -> Result<Socket, ConnectError> {
    let protocol = |error| ConnectError::Protocol(Box::new(error));
    let mut request = server.ws_url(path, &[]).into_client_request().map_err(protocol)?;
    if let Some(value) = server.token().and_then(BearerToken::header) {
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let stream = http::open(server).await.map_err(ConnectError::Unreachable)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .write_buffer_size(64 * 1024)
        .max_write_buffer_size(4 * MESSAGE_BYTES_MAX)
        .max_message_size(Some(4 * MESSAGE_BYTES_MAX))
        .max_frame_size(Some(4 * MESSAGE_BYTES_MAX));
    match client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, _response)) => Ok(socket),
        Err(tungstenite::Error::Http(answer)) => {
            let body = answer.body().as_deref().unwrap_or_default();
            let why = serde_json::from_slice(body).ok().map(|problem: Problem| problem.detail);
            Err(ConnectError::Refused { status: answer.status(), why })
        }
        Err(error) => Err(protocol(error)),
    }
}
