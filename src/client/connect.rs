//! Opens a single WebSocket connection to a server. Callers decide when to retry.

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

/// A client's WebSocket connection to a server.
pub type ClientSocket = WebSocketStream<NetStream>;

/// Maximum time to connect and to complete the WebSocket handshake.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A failed attempt to open a WebSocket.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The TCP or TLS connection failed.
    #[error("{0}")]
    Unreachable(#[source] std::io::Error),
    /// The attempt exceeded [`CONNECT_TIMEOUT`].
    #[error("no response within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    /// The server rejected the handshake.
    #[error("rejected with {status}{}", problem.as_deref().map(|problem| format!(": {}", problem.detail)).unwrap_or_default())]
    Refused {
        /// HTTP status of the response.
        status: StatusCode,
        /// The server's description of the problem, if the response contained one.
        problem: Option<Box<Problem>>,
    },
    /// The peer does not speak WebSocket, or the connection closed during the handshake.
    #[error("{0}")]
    Protocol(#[source] Box<WsError>),
}

/// Opens the WebSocket at `path`, which may include a query.
///
/// # Errors
/// See [`ConnectError`]. The attempt is dropped after [`CONNECT_TIMEOUT`].
pub async fn connect(server: &Endpoint, path: &str) -> Result<ClientSocket, ConnectError> {
    let attempt = Box::pin(attempt(server, path));
    tokio::time::timeout(CONNECT_TIMEOUT, attempt).await.unwrap_or(Err(ConnectError::Timeout))
}

async fn attempt(server: &Endpoint, path: &str) -> Result<ClientSocket, ConnectError> {
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
        Err(tungstenite::Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            let problem = serde_json::from_slice(body).ok();
            Err(ConnectError::Refused { status: response.status(), problem })
        }
        Err(error) => Err(protocol(error)),
    }
}
