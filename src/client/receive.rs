//! Parts of both followers: receiving a message, and deciding whether a failure is worth a retry.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::{SinkExt, StreamExt};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

use super::Endpoint;
use super::connect::{ClientSocket, ConnectError};
use super::follow_error::FollowError;
use crate::model::{TaskId, limits};

/// Maximum silence of the server, which pings every [`limits::HEARTBEAT`]; then the connection counts as lost.
const SILENCE_MAX: Duration = limits::HEARTBEAT.saturating_mul(3);
/// Maximum delay between two attempts to reconnect.
pub(super) const RETRY_DELAY_MAX: Duration = Duration::from_secs(5);

/// A failure of a connection.
pub(super) enum FollowFailure {
    /// A retry may succeed.
    Transient(String),
    /// A retry would not help.
    Final(FollowError),
}

/// Returns the delays between attempts to reconnect.
pub(super) fn retry_delays() -> backon::ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(RETRY_DELAY_MAX)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Decides whether a failed connection is worth a retry.
pub(super) fn classify(error: ConnectError, endpoint: &Endpoint, task: Option<&TaskId>) -> FollowFailure {
    let ConnectError::Refused { status, problem } = error else {
        return FollowFailure::Transient(error.to_string());
    };
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return FollowFailure::Transient(format!("HTTP status {status}"));
    }
    FollowFailure::Final(match (problem, task) {
        (Some(problem), _) => FollowError::Refused { code: problem.code, message: problem.detail },
        (None, Some(task)) if status == StatusCode::NOT_FOUND => {
            let message = format!("there is no task `{task}` at {endpoint}");
            FollowError::Refused { code: "not_found".to_owned(), message }
        }
        (None, _) => {
            let message =
                format!("unexpected response from {endpoint}: HTTP status {status}; is it a tasktail server?");
            FollowError::Refused { code: "strange".to_owned(), message }
        }
    })
}

/// Returns the next message, or `None` after a frame without one, such as a ping. Cancel-safe.
pub(super) async fn receive<T: DeserializeOwned>(socket: &mut ClientSocket) -> Result<Option<T>, FollowFailure> {
    let frame = match timeout(SILENCE_MAX, socket.next()).await {
        Err(_) => return Err(FollowFailure::Transient("the server stopped responding".to_owned())),
        Ok(None) => return Err(FollowFailure::Transient("the server closed the connection".to_owned())),
        Ok(Some(Err(error))) => return Err(FollowFailure::Transient(error.to_string())),
        Ok(Some(Ok(frame))) => frame,
    };
    match frame {
        Message::Text(text) => match serde_json::from_str(&text) {
            Ok(message) => Ok(Some(message)),
            Err(error) => {
                // A later server may send messages that this client does not know and does not need.
                tracing::warn!(%error, "skipped an unknown message");
                Ok(None)
            }
        },
        Message::Ping(_) => {
            // The pong is queued by the reader; flushing sends it.
            socket.flush().await.map_err(|error| FollowFailure::Transient(error.to_string()))?;
            Ok(None)
        }
        Message::Close(frame) => Err(closed(frame)),
        Message::Binary(_) | Message::Pong(_) | Message::Frame(_) => Ok(None),
    }
}

/// Returns the failure for a close frame; most are worth a retry.
fn closed(frame: Option<CloseFrame>) -> FollowFailure {
    let Some(frame) = frame else { return FollowFailure::Transient("the server closed the connection".to_owned()) };
    let reason = if frame.reason.is_empty() { frame.code.to_string() } else { frame.reason.to_string() };
    match frame.code {
        CloseCode::Policy => FollowFailure::Final(FollowError::Refused { code: "policy".to_owned(), message: reason }),
        CloseCode::Away => FollowFailure::Transient("the server is shutting down".to_owned()),
        _ => FollowFailure::Transient(format!("the server closed the connection: {reason}")),
    }
}
