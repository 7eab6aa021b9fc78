//! One WebSocket connection to a server. Whoever uses it decides when to try again.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, Uri};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Error as WsError};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::model::limits::MESSAGE_BYTES_MAX;

/// A connection to a server.
pub type Socket = WebSocketStream<TcpStream>;

/// How long a server may take to accept a connection and answer its handshake.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not an `http://HOST:PORT`; trying again does not help.
    #[error("{0}")]
    BadUrl(String),
    /// Nobody accepts there.
    #[error("{0}")]
    Unreachable(#[source] std::io::Error),
    /// It took too long.
    #[error("no answer within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    /// There is a server, and it says no.
    #[error("refused with {0}")]
    Refused(StatusCode),
    /// What answers there does not speak this protocol, or went away in the middle.
    #[error("{0}")]
    Protocol(#[source] Box<WsError>),
}

/// Whether `url` names a server; if not, why.
pub fn check_url(url: &str) -> Result<(), String> {
    target(url, "/").map(drop)
}

/// Opens the WebSocket at `path` (with its query) of the server at `url`, `http://HOST[:PORT]`.
///
/// # Errors
/// See [`ConnectError`]; it gives up after [`CONNECT_TIMEOUT`].
pub async fn connect(url: &str, path: &str, token: Option<&str>) -> Result<Socket, ConnectError> {
    let attempt = Box::pin(attempt(url, path, token));
    tokio::time::timeout(CONNECT_TIMEOUT, attempt).await.unwrap_or(Err(ConnectError::Timeout))
}

async fn attempt(url: &str, path: &str, token: Option<&str>) -> Result<Socket, ConnectError> {
    let (ws_url, host, port) = target(url, path).map_err(ConnectError::BadUrl)?;
    let protocol = |error| ConnectError::Protocol(Box::new(error));
    let mut request = ws_url.into_client_request().map_err(protocol)?;
    if let Some(token) = token {
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| ConnectError::BadUrl("the token has characters that no header can carry".into()))?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(ConnectError::Unreachable)?;
    // Small messages are sent when they are there, not when the last one was confirmed.
    stream.set_nodelay(true).map_err(ConnectError::Unreachable)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .write_buffer_size(64 * 1024)
        .max_write_buffer_size(4 * MESSAGE_BYTES_MAX)
        .max_message_size(Some(4 * MESSAGE_BYTES_MAX))
        .max_frame_size(Some(4 * MESSAGE_BYTES_MAX));
    match client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, _response)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => Err(ConnectError::Refused(response.status())),
        Err(error) => Err(protocol(error)),
    }
}

/// The WebSocket's URL, and where to connect to.
fn target(url: &str, path: &str) -> Result<(String, String, u16), String> {
    let uri: Uri = url.trim_end_matches('/').parse().map_err(|e| format!("{e}: write http://HOST:PORT"))?;
    let port = match uri.scheme_str() {
        Some("http" | "ws") => uri.port_u16().unwrap_or(80),
        Some("https" | "wss") => return Err("this build speaks plain http only".into()),
        _ => return Err("it must begin with http://".into()),
    };
    let Some(authority) = uri.authority() else { return Err("it names no host: write http://HOST:PORT".into()) };
    if authority.as_str().contains('@') {
        return Err("a name and password have no place in it".into());
    }
    let host = authority.host();
    let prefix = uri.path().trim_end_matches('/');
    let ws_url = format!("ws://{authority}{prefix}{path}");
    Ok((ws_url, host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_websocket_urls() {
        let ok = |url: &str| target(url, "/ws/v1/worker").unwrap();
        assert_eq!(ok("http://127.0.0.1:7117"), ("ws://127.0.0.1:7117/ws/v1/worker".into(), "127.0.0.1".into(), 7117));
        assert_eq!(ok("http://h/").2, 80);
        assert_eq!(ok("http://[::1]:9/").1, "::1");
        assert_eq!(ok("http://h:1/logs/").0, "ws://h:1/logs/ws/v1/worker");
        for bad in ["", "localhost:7117", "https://h", "ftp://h", "http://", "/tmp", "http://u:p@h"] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }
}
