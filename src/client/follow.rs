//! A task's lines as a viewer gets them: history, then live, through every loss of the connection.
//!
//! The follower keeps its place itself (the last cursor), so a new connection goes on where the
//! old one broke. A line number that was seen is not given twice, whatever the server repeats.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::future::BoxFuture;
use futures::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::{BearerToken, Endpoint, http};
use crate::model::{Cursor, Gap, Line, Task, TaskId, limits};
use crate::transport::NetStream;
use crate::wire::problem::Problem;
use crate::wire::viewer::ServerMessage;

/// The server pings every [`limits::HEARTBEAT`]; after three without a sign it is gone.
const SILENCE_MAX: Duration = limits::HEARTBEAT.saturating_mul(3);
/// The longest wait between two tries to connect again.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(5);

/// Where reading begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// The first line there is.
    #[default]
    Beginning,
    /// This line number.
    From(u64),
    /// This many lines before the end.
    Tail(u64),
    /// Behind a cursor.
    After(Cursor),
}

/// What a follower tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A connection stands; told at the first one only.
    Open {
        /// The task's facts now.
        task: Task,
        /// The first line that can be read; 0 if there is none yet.
        first_line: u64,
        /// The last line that can be read now; 0 if there is none yet.
        last_line: u64,
    },
    /// Lines, each once and in order.
    Lines(Vec<Line<'static>>),
    /// Lines that are not there.
    Gap(Gap),
    /// The task's facts have changed.
    Status(Task),
    /// The log is another one now; lines begin anew.
    Reset(String),
    /// The connection broke; the follower goes on trying. Told once until [`Event::Reconnected`].
    Disconnected(String),
    /// The connection stands again and reading goes on where it broke.
    Reconnected,
    /// Nothing more will come.
    End(Task),
}

/// Why following cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The first connection could not be made.
    #[error("cannot reach {url}: {why}")]
    Unreachable {
        /// The server's address.
        url: String,
        /// In words.
        why: String,
    },
    /// The server said no, with a stable word and a text.
    #[error("{message}")]
    Refused {
        /// A stable word.
        code: String,
        /// In words.
        message: String,
    },
}

/// Asked for the server's address before each new connection: it may have moved.
pub type Relocate = Box<dyn Fn() -> BoxFuture<'static, Option<Endpoint>> + Send + Sync>;

/// Reads one task.
pub struct Follower {
    endpoint: Endpoint,
    task: TaskId,
    start: Start,
    wait: bool,
    relocate: Option<Relocate>,
    socket: Option<WebSocketStream<NetStream>>,
    place: Place,
    opened: bool,
    broken: bool,
    ended: bool,
}

/// How far the reader has come.
#[derive(Debug, Default)]
struct Place {
    /// Behind the last message that was taken.
    cursor: Option<Cursor>,
    /// The last line number given out.
    n: u64,
}

enum Failure {
    /// Try again.
    Passing(String),
    /// Trying again will not help.
    Final(FollowError),
}

impl Follower {
    /// A follower of `task`; with `wait` a task that is not there yet is waited for.
    pub fn new(endpoint: Endpoint, task: TaskId, start: Start, wait: bool) -> Self {
        Self {
            endpoint,
            task,
            start,
            wait,
            relocate: None,
            socket: None,
            place: Place::default(),
            opened: false,
            broken: false,
            ended: false,
        }
    }

    /// Asks `relocate` where the server is before each new connection after the first.
    #[must_use]
    pub fn with_relocate(mut self, relocate: Relocate) -> Self {
        self.relocate = Some(relocate);
        self
    }

    /// The next thing to tell; `None` after [`Event::End`]. Once it has been connected it tries
    /// to be so again for as long as it is asked.
    ///
    /// # Errors
    /// [`FollowError`] when the first connection fails, or when the server says no.
    pub async fn next(&mut self) -> Result<Option<Event>, FollowError> {
        while !self.ended {
            let result = match self.socket.as_mut() {
                None => self.connect().await,
                Some(socket) => receive(socket).await,
            };
            match result.map(|message| self.take(message)) {
                Ok(Ok(Some(event))) => return Ok(Some(event)),
                Ok(Ok(None)) => {}
                Ok(Err(error)) | Err(Failure::Final(error)) => {
                    self.ended = true;
                    return Err(error);
                }
                Err(Failure::Passing(why)) => {
                    self.socket = None;
                    if !self.opened && !self.broken {
                        return Err(FollowError::Unreachable { url: self.endpoint.to_string(), why });
                    }
                    if !std::mem::replace(&mut self.broken, true) {
                        return Ok(Some(Event::Disconnected(why)));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Closes the connection in good order, waiting a moment for the server at most.
    pub async fn close(mut self) {
        if let Some(mut socket) = self.socket.take() {
            let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            if timeout(Duration::from_millis(200), socket.close(Some(frame))).await.is_err() {
                tracing::debug!("the server did not take the close frame");
            }
        }
    }

    /// Turns a message into what is told of it: repeated lines are gone, the place is kept.
    fn take(&mut self, message: Option<ServerMessage>) -> Result<Option<Event>, FollowError> {
        let Some(message) = message else { return Ok(None) };
        Ok(match message {
            ServerMessage::Open { task, first_line, last_line, .. } => {
                if std::mem::replace(&mut self.opened, true) {
                    std::mem::take(&mut self.broken).then_some(Event::Reconnected)
                } else {
                    self.broken = false;
                    Some(Event::Open { task, first_line, last_line })
                }
            }
            ServerMessage::Lines { lines, cursor } => {
                let fresh = self.place.advance(lines, cursor);
                (!fresh.is_empty()).then_some(Event::Lines(fresh))
            }
            ServerMessage::Gap { gap, cursor } => {
                self.place.cursor = Some(cursor);
                // A mark's gap names the line that was just given.
                let known = gap.to < self.place.n;
                self.place.n = self.place.n.max(gap.to);
                (!known).then_some(Event::Gap(gap))
            }
            ServerMessage::Status { task } => Some(Event::Status(task)),
            ServerMessage::Reset { reason, .. } => {
                self.place = Place::default();
                self.start = Start::Beginning;
                Some(Event::Reset(reason))
            }
            ServerMessage::End { task, .. } => {
                self.ended = true;
                Some(Event::End(task))
            }
            ServerMessage::Error { code, message } => return Err(FollowError::Refused { code, message }),
        })
    }

    /// Connects, after a loss as often as it takes until something but the network says no.
    async fn connect(&mut self) -> Result<Option<ServerMessage>, Failure> {
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(RETRY_DELAY_MAX)
            .with_jitter()
            .without_max_times()
            .build();
        loop {
            if self.broken
                && let Some(relocate) = &self.relocate
                && let Some(endpoint) = relocate().await
            {
                self.endpoint = endpoint;
            }
            match self.dial().await {
                Err(Failure::Passing(why)) if self.broken => tracing::debug!(why, "not connected yet"),
                Err(failure) => return Err(failure),
                Ok(socket) => {
                    self.socket = Some(socket);
                    return Ok(None);
                }
            }
            tokio::time::sleep(delays.next().unwrap_or(RETRY_DELAY_MAX)).await;
        }
    }

    async fn dial(&self) -> Result<WebSocketStream<NetStream>, Failure> {
        let passing = |error: std::io::Error| Failure::Passing(error.to_string());
        let stream = http::open(&self.endpoint).await.map_err(passing)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(64 * 1024)
            .write_buffer_size(4 * 1024)
            .max_write_buffer_size(64 * 1024);
        let mut request =
            self.request_url().into_client_request().map_err(|error| Failure::Passing(error.to_string()))?;
        if let Some(token) = self.endpoint.token().and_then(BearerToken::header) {
            request.headers_mut().insert(AUTHORIZATION, token);
        }
        let shaking = client_async_with_config(request, stream, Some(config));
        match timeout(limits::SEND_TIMEOUT, shaking).await {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(error)) => Err(self.refusal(error)),
            Err(_) => Err(Failure::Passing("no answer in time".to_owned())),
        }
    }

    fn request_url(&self) -> String {
        let start = match (&self.place.cursor, &self.start) {
            (Some(cursor), _) | (None, Start::After(cursor)) => ("after", Some(cursor.to_string())),
            (None, Start::From(n)) => ("from", Some(n.to_string())),
            (None, Start::Tail(n)) => ("tail", Some(n.to_string())),
            (None, Start::Beginning) => ("from", None),
        };
        let wait = ("wait", self.wait.then(|| "1".to_owned()));
        self.endpoint.ws_url(&format!("/ws/v1/tasks/{}", self.task), &[start, wait])
    }

    /// What a handshake that failed means.
    fn refusal(&self, error: WsError) -> Failure {
        let WsError::Http(answer) = error else { return Failure::Passing(error.to_string()) };
        let status = answer.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Failure::Passing(format!("HTTP status {status}"));
        }
        let problem = answer.body().as_deref().and_then(|body| serde_json::from_slice::<Problem>(body).ok());
        Failure::Final(match problem {
            Some(problem) => FollowError::Refused { code: problem.code, message: problem.detail },
            None if status == StatusCode::NOT_FOUND => {
                let message = format!("there is no task `{}` at {}", self.task, self.endpoint);
                FollowError::Refused { code: "not_found".to_owned(), message }
            }
            None => {
                let message = format!("{} does not answer like a tasktail server: HTTP status {status}", self.endpoint);
                FollowError::Refused { code: "strange".to_owned(), message }
            }
        })
    }
}

impl Place {
    /// The lines that were not seen before; the place moves behind them.
    fn advance(&mut self, mut lines: Vec<Line<'static>>, cursor: Cursor) -> Vec<Line<'static>> {
        lines.retain(|line| line.n > self.n);
        if let Some(last) = lines.last() {
            self.n = last.n;
        }
        self.cursor = Some(cursor);
        lines
    }
}

/// The next message; `None` for a ping and the like, after which one asks again.
async fn receive(socket: &mut WebSocketStream<NetStream>) -> Result<Option<ServerMessage>, Failure> {
    let frame = match timeout(SILENCE_MAX, socket.next()).await {
        Err(_) => return Err(Failure::Passing("the server has gone silent".to_owned())),
        Ok(None) => return Err(Failure::Passing("the server hung up".to_owned())),
        Ok(Some(Err(error))) => return Err(Failure::Passing(error.to_string())),
        Ok(Some(Ok(frame))) => frame,
    };
    match frame {
        Message::Text(text) => match serde_json::from_str(&text) {
            Ok(message) => Ok(Some(message)),
            Err(error) => {
                // A later server may say more than this client knows; what it must know it does.
                tracing::warn!(%error, "a message that cannot be read was passed over");
                Ok(None)
            }
        },
        Message::Ping(_) => {
            // The answer is queued by the reader; this sends it.
            socket.flush().await.map_err(|error| Failure::Passing(error.to_string()))?;
            Ok(None)
        }
        Message::Close(frame) => Err(closed(frame)),
        Message::Binary(_) | Message::Pong(_) | Message::Frame(_) => Ok(None),
    }
}

/// What the server's close means: most are worth another try.
fn closed(frame: Option<CloseFrame>) -> Failure {
    let Some(frame) = frame else { return Failure::Passing("the server hung up".to_owned()) };
    let reason = if frame.reason.is_empty() { frame.code.to_string() } else { frame.reason.to_string() };
    match frame.code {
        CloseCode::Policy => Failure::Final(FollowError::Refused { code: "policy".to_owned(), message: reason }),
        CloseCode::Away => Failure::Passing("the server is shutting down".to_owned()),
        _ => Failure::Passing(format!("the server closed the connection: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EntryId;

    fn lines(numbers: &[u64]) -> Vec<Line<'static>> {
        let line = |n: &u64| Line {
            n: *n,
            id: EntryId::new(*n, 0),
            timestamp: crate::model::Timestamp::from_millis(*n),
            channel: crate::model::Channel::Stdout,
            line: "x".into(),
            partial: false,
            lossy: false,
        };
        numbers.iter().map(line).collect()
    }

    #[test]
    fn repeated_lines_are_dropped_by_number() {
        let cursor: Cursor = "c1.1.1.3.3-0".parse().unwrap();
        let mut place = Place::default();
        assert_eq!(place.advance(lines(&[1, 2, 3]), cursor).len(), 3);
        let fresh = place.advance(lines(&[2, 3, 4]), cursor);
        assert_eq!(fresh.iter().map(|line| line.n).collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn a_new_connection_goes_on_behind_the_last_cursor() {
        let endpoint: Endpoint = "http://h:1".parse().unwrap();
        let mut follower = Follower::new(endpoint, "42".parse().unwrap(), Start::Tail(10), true);
        assert_eq!(follower.request_url(), "ws://h:1/ws/v1/tasks/42?tail=10&wait=1");
        let cursor: Cursor = "c1.1.1.3.3-0".parse().unwrap();
        follower.place.advance(lines(&[3]), cursor);
        assert_eq!(follower.request_url(), "ws://h:1/ws/v1/tasks/42?after=c1.1.1.3.3-0&wait=1");
    }
}
