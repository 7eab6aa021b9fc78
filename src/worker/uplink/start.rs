//! Opens a connection and resumes the session on it.

use futures::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::{Disconnect, PATH, TASK_ENDED, text_of, with_send_timeout};
use crate::client::Endpoint;
use crate::client::connect::{CONNECT_TIMEOUT, ClientSocket, ConnectError, connect};
use crate::model::TaskId;
use crate::wire::worker::{FEATURE_LOG_BLOCK, FEATURE_PARTIAL, OutgoingMessage, PROTOCOL, RetainLimits, ServerReply};
use crate::worker::session::WorkerSession;

/// A connection on which the session was resumed.
pub(super) struct OpenSession {
    pub(super) socket: ClientSocket,
    pub(super) start: SessionStart,
}

/// The server's answer to a session.
pub(super) struct SessionStart {
    /// The log that the session has.
    pub(super) task: TaskId,
    /// The server has every line up to this number.
    pub(super) acked_seq: u64,
    /// The server accepts `log_block`.
    pub(super) blocks: bool,
    /// The server accepts `partial`.
    pub(super) partials: bool,
    /// Acknowledged lines to keep.
    pub(super) retain: Option<RetainLimits>,
}

/// Connects, sends the session, and returns the connection with the server's position in the session.
pub(super) async fn open_session(server: Endpoint, session: WorkerSession) -> Result<OpenSession, Disconnect> {
    let mut socket = connect(&server, PATH).await.map_err(|error| match error {
        ConnectError::Refused { status, .. } if matches!(status.as_u16(), 401 | 403) => {
            Disconnect::Denied(error.to_string())
        }
        _ => Disconnect::Lost(error.to_string()),
    })?;
    let hello = OutgoingMessage::Hello { protocol: PROTOCOL, worker: &session.worker };
    let id = session.id.to_string();
    let start = OutgoingMessage::TaskStart {
        work_request_id: session.task.as_str(),
        session: &id,
        command: &session.command,
        host: &session.host,
        labels: &session.labels,
        timestamp: session.started,
        attempt: session.attempt,
    };
    for message in [hello, start] {
        let text = serde_json::to_string(&message).map_err(|e| e.to_string())?;
        with_send_timeout(socket.send(Message::text(text))).await?;
    }
    let resumed = timeout(CONNECT_TIMEOUT, wait_resume(&mut socket, &session)).await;
    let start = resumed.map_err(|_| "the server did not send a resume position".to_owned())??;
    Ok(OpenSession { socket, start })
}

/// Waits for the server's answer to a session.
async fn wait_resume(socket: &mut ClientSocket, own: &WorkerSession) -> Result<SessionStart, Disconnect> {
    let own_id = own.id.to_string();
    let (mut blocks, mut partials, mut welcome_retain) = (false, false, None);
    loop {
        let Some(text) = text_of(socket.next().await)? else { continue };
        match serde_json::from_str(&text) {
            Ok(ServerReply::Welcome { features, retain, .. }) => {
                blocks = features.iter().any(|feature| feature == FEATURE_LOG_BLOCK);
                partials = features.iter().any(|feature| feature == FEATURE_PARTIAL);
                welcome_retain = retain;
            }
            Ok(ServerReply::Resume { work_request_id, session, acked_seq, task, retain })
                if work_request_id.id == own.task && session == own_id =>
            {
                let task = task.unwrap_or(work_request_id.id);
                let retain = retain.or(welcome_retain);
                return Ok(SessionStart { task, acked_seq, blocks, partials, retain });
            }
            Ok(ServerReply::Error { code, .. }) if code == TASK_ENDED => return Err(Disconnect::TaskEnded),
            Ok(ServerReply::Error { code, message, .. }) if ["not_found", "forbidden"].contains(&code.as_str()) => {
                return Err(Disconnect::Denied(format!("{message}, for this worker's access token")));
            }
            Ok(ServerReply::Error { message, .. }) => {
                return Err(format!("rejected by the server: {message}").into());
            }
            _ => {}
        }
    }
}
