//! The checks of the two WebSockets.

use std::collections::BTreeMap;

use futures::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;

use super::hops::same_lines;
use super::{Examination, Outcome, Trouble};
use crate::client::connect::{self, ClientSocket, ConnectError};
use crate::model::{Channel, Timestamp};
use crate::wire::viewer::ServerMessage;
use crate::wire::worker::{OutgoingLine, OutgoingMessage, ServerReply};

impl Examination {
    /// A worker of one session: the lines go in, and their ack comes back.
    pub(super) async fn worker_socket(&self) -> Outcome {
        let mut socket = self.open("/ws/v1/worker").await?;
        let lines = self.sentinel.lines();
        let (task, command, labels) = (self.sentinel.name(), ["tasktail doctor".to_owned()], BTreeMap::new());
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
            },
            OutgoingMessage::LogLines {
                work_request_id: &task,
                first_seq: 1,
                lines: lines.iter().map(|line| whole(line.as_str())).collect(),
            },
        ];
        for message in &messages {
            let text = serde_json::to_string(message).unwrap_or_default();
            socket.send(Message::text(text)).await.map_err(|error| broke(&error, "the lines are taken"))?;
        }
        let wanted = lines.len() as u64;
        let expected = format!("ack of line {wanted}");
        loop {
            let text = next_text(&mut socket, &expected).await?;
            match serde_json::from_str::<ServerReply>(&text) {
                Ok(ServerReply::Ack { seq, .. }) if seq >= wanted => break,
                Ok(ServerReply::Error { code, message, .. }) => {
                    let cause = "the server is there and refuses the lines: its words tell why";
                    return Err(Trouble::new(format!("error {code}: {message}"), expected, cause));
                }
                Ok(_) => {}
                Err(error) => {
                    let arrived = format!("{text:.200}: {error}");
                    return Err(Trouble::new(arrived, expected, "the server is of another version"));
                }
            }
        }
        socket.close(None).await.ok();
        Ok(())
    }

    /// A viewer from the first line on.
    pub(super) async fn viewer_socket(&self) -> Outcome {
        let expected = self.sentinel.lines();
        let mut socket = self.open(&format!("/ws/v1/tasks/{}?from=1", self.sentinel.name())).await?;
        let mut arrived: Vec<String> = Vec::new();
        while arrived.len() < expected.len() {
            let text = next_text(&mut socket, "the lines that were sent").await?;
            match serde_json::from_str::<ServerMessage>(&text) {
                Ok(ServerMessage::Lines { lines, .. }) => {
                    let of_child = lines.into_iter().filter(|line| line.channel != Channel::Internal);
                    arrived.extend(of_child.map(|line| line.line.into_owned()));
                }
                Ok(ServerMessage::Error { code, message }) => {
                    let cause = "the server is there and says no: its words tell why";
                    return Err(Trouble::new(format!("error {code}: {message}"), "the lines that were sent", cause));
                }
                Ok(_) => {}
                Err(error) => {
                    let arrived = format!("{text:.200}: {error}");
                    return Err(Trouble::new(arrived, "lines", "the server is of another version"));
                }
            }
        }
        socket.close(None).await.ok();
        let arrived: Vec<&str> = arrived.iter().map(String::as_str).collect();
        same_lines(&arrived, &expected, "the server gave other lines than it stored")
    }

    async fn open(&self, path: &str) -> Result<ClientSocket, Trouble> {
        connect::connect(&self.options.endpoint, path).await.map_err(|error| {
            let cause = match &error {
                ConnectError::Refused { status, .. } if matches!(status.as_u16(), 401 | 403) => {
                    "the access token is missing or may not do this: give one in TASKTAIL_TOKEN or with --token-file"
                }
                ConnectError::Refused { .. } | ConnectError::Protocol(_) => {
                    "something between here and the server does not pass WebSockets on (a proxy without Upgrade?)"
                }
                ConnectError::Unreachable(_) | ConnectError::Timeout => "the server has gone, or takes no connection",
            };
            Trouble::new(format!("no WebSocket at {path}: {error}"), "an open WebSocket", cause)
        })
    }
}

async fn next_text(socket: &mut ClientSocket, expected: &str) -> Result<String, Trouble> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
            Some(Ok(Message::Close(frame))) => {
                let arrived = frame.map_or_else(|| "a close".to_owned(), |f| format!("close {}: {}", f.code, f.reason));
                return Err(Trouble::new(arrived, expected, "the server ended the socket: look at its own output"));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(broke(&error, expected)),
            None => {
                let cause = "the server, or a proxy before it, cut the socket";
                return Err(Trouble::new("the end of the connection", expected, cause));
            }
        }
    }
}

fn broke(error: &dyn std::fmt::Display, expected: &str) -> Trouble {
    Trouble::new(error.to_string(), expected, "the server, or a proxy before it, cut the socket")
}
