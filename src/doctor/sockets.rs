//! Checks of the two WebSockets.

use std::collections::BTreeMap;

use futures::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;

use super::stages::same_lines;
use super::{CheckFailure, CheckOutcome, DoctorRun};
use crate::client::connect::{self, ClientSocket, ConnectError};
use crate::model::{AttemptMode, Channel, Timestamp};
use crate::wire::viewer::ServerMessage;
use crate::wire::worker::{OutgoingLine, OutgoingMessage, ServerReply};

impl DoctorRun {
    /// Checks a worker's session: sends the lines and waits for their ack.
    pub(super) async fn worker_socket(&self) -> CheckOutcome {
        let mut socket = self.open("/ws/v1/worker").await?;
        let lines = self.test_message.lines();
        let (task, command, labels) = (self.test_message.name(), ["tasktail doctor".to_owned()], BTreeMap::new());
        let now = Timestamp::now();
        let whole =
            |line| OutgoingLine { line, timestamp: now, channel: Channel::Stdout, partial: false, lossy: false };
        let messages = [
            OutgoingMessage::Hello { protocol: 1, worker: "doctor" },
            OutgoingMessage::TaskStart {
                work_request_id: &task,
                session: &task,
                command: &command,
                host: "doctor",
                labels: &labels,
                timestamp: now,
                attempt: AttemptMode::Join,
            },
            OutgoingMessage::LogLines {
                work_request_id: &task,
                first_seq: 1,
                lines: lines.iter().map(|line| whole(line.as_str())).collect(),
            },
        ];
        for message in &messages {
            let text = serde_json::to_string(message).unwrap_or_default();
            socket
                .send(Message::text(text))
                .await
                .map_err(|error| connection_failure(&error, "the lines are accepted"))?;
        }
        let wanted = lines.len() as u64;
        let expected = format!("ack of line {wanted}");
        loop {
            let text = next_text(&mut socket, &expected).await?;
            match serde_json::from_str::<ServerReply>(&text) {
                Ok(ServerReply::Ack { seq, .. }) if seq >= wanted => break,
                Ok(ServerReply::Error { code, message, .. }) => {
                    let cause = "the server rejected the lines; see its message";
                    return Err(CheckFailure::new(format!("error {code}: {message}"), expected, cause));
                }
                Ok(_) => {}
                Err(error) => {
                    let arrived = format!("{text:.200}: {error}");
                    return Err(CheckFailure::new(arrived, expected, "the server has a different version"));
                }
            }
        }
        socket.close(None).await.ok();
        Ok(())
    }

    /// Checks a viewer from the first line on.
    pub(super) async fn viewer_socket(&self) -> CheckOutcome {
        let expected = self.test_message.lines();
        let mut socket = self.open(&format!("/ws/v1/tasks/{}?from=1", self.test_message.name())).await?;
        let mut arrived: Vec<String> = Vec::new();
        while arrived.len() < expected.len() {
            let text = next_text(&mut socket, "the lines that were sent").await?;
            match serde_json::from_str::<ServerMessage>(&text) {
                Ok(ServerMessage::Lines { lines, .. }) => {
                    let of_child = lines.into_iter().filter(|line| line.channel != Channel::Internal);
                    arrived.extend(of_child.map(|line| line.line.into_owned()));
                }
                Ok(ServerMessage::Error { code, message }) => {
                    let cause = "the server rejected the request; see its message";
                    return Err(CheckFailure::new(
                        format!("error {code}: {message}"),
                        "the lines that were sent",
                        cause,
                    ));
                }
                Ok(_) => {}
                Err(error) => {
                    let arrived = format!("{text:.200}: {error}");
                    return Err(CheckFailure::new(arrived, "lines", "the server has a different version"));
                }
            }
        }
        socket.close(None).await.ok();
        let arrived: Vec<&str> = arrived.iter().map(String::as_str).collect();
        same_lines(&arrived, &expected, "the server returned other lines than it stored")
    }

    async fn open(&self, path: &str) -> Result<ClientSocket, CheckFailure> {
        connect::connect(&self.options.endpoint, path).await.map_err(|error| {
            let cause = match &error {
                ConnectError::Refused { status, .. } if matches!(status.as_u16(), 401 | 403) => {
                    "the access token is missing or has no permission: set TASKTAIL_TOKEN or --token-file"
                }
                ConnectError::Refused { .. } | ConnectError::Protocol(_) => {
                    "a proxy does not forward WebSockets (no Upgrade?)"
                }
                ConnectError::Unreachable(_) | ConnectError::Timeout => "the server stopped, or accepts no connections",
            };
            CheckFailure::new(format!("no WebSocket at {path}: {error}"), "an open WebSocket", cause)
        })
    }
}

async fn next_text(socket: &mut ClientSocket, expected: &str) -> Result<String, CheckFailure> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
            Some(Ok(Message::Close(frame))) => {
                let arrived =
                    frame.map_or_else(|| "a close frame".to_owned(), |f| format!("close {}: {}", f.code, f.reason));
                return Err(CheckFailure::new(arrived, expected, "the server closed the socket: check its log"));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(connection_failure(&error, expected)),
            None => {
                let cause = "the server, or a proxy before it, closed the connection";
                return Err(CheckFailure::new("end of connection", expected, cause));
            }
        }
    }
}

fn connection_failure(error: &dyn std::fmt::Display, expected: &str) -> CheckFailure {
    CheckFailure::new(error.to_string(), expected, "the server, or a proxy before it, closed the connection")
}
