//! Follows a task's lines like a viewer: history, then live lines, across lost connections.
//!
//! The follower tracks its own position (the last cursor), so a new connection resumes where the
//! previous one broke. A line number is never returned twice, whatever the server repeats.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

use super::Endpoint;
use super::connect::{ClientSocket, connect};
use super::endpoint::path_with_query;
pub use super::follow_error::FollowError;
use super::receive::{FollowFailure, RETRY_DELAY_MAX, classify, receive, retry_delays};
use crate::model::{Cursor, Gap, Line, PartialLine, Task, TaskId};
use crate::wire::viewer::ServerMessage;

/// The position where a follower of a task starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TaskFollowStart {
    /// The first line.
    #[default]
    Beginning,
    /// The line with this number.
    From(u64),
    /// This many lines before the end.
    Tail(u64),
    /// The line after this cursor.
    After(Cursor),
}

/// An item of a followed task.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskUpdate {
    /// The first connection is open.
    Open {
        /// Details of the task.
        task: Task,
        /// First line that can be read; 0 if there is none yet.
        first_line: u64,
        /// Last line that can be read; 0 if there is none yet.
        last_line: u64,
    },
    /// Lines, each once and in order.
    Lines(Vec<Line<'static>>),
    /// The current unterminated line of a channel, until the next lines; an empty text removes it.
    Partial(PartialLine),
    /// A range of missing lines.
    Gap(Gap),
    /// Changed details of the task.
    Status(Task),
    /// The log was replaced, with the reason; lines start again from the first.
    Reset(String),
    /// The connection was lost, with the reason; the follower reconnects. Returned once until
    /// [`TaskUpdate::Reconnected`].
    Disconnected(String),
    /// The connection is open again, and lines continue without a loss.
    Reconnected,
    /// The end of the task; the last item.
    End(Task),
}

/// Returns the server's address, which may have changed. Called before each reconnect.
pub type Relocate = Box<dyn Fn() -> BoxFuture<'static, Option<Endpoint>> + Send + Sync>;

/// A follower of one task.
pub struct LogFollower {
    endpoint: Endpoint,
    task: TaskId,
    start: TaskFollowStart,
    wait: bool,
    partial: bool,
    relocate: Option<Relocate>,
    socket: Option<ClientSocket>,
    position: ReadPosition,
    opened: bool,
    broken: bool,
    ended: bool,
}

/// The progress of a follower.
#[derive(Debug, Default)]
pub(super) struct ReadPosition {
    /// Cursor of the last message.
    pub(super) cursor: Option<Cursor>,
    /// Number of the last returned line.
    pub(super) n: u64,
}

impl LogFollower {
    /// Creates a follower of `task`. With `wait` it waits for a task that does not exist yet.
    pub fn new(endpoint: Endpoint, task: TaskId, start: TaskFollowStart, wait: bool) -> Self {
        Self {
            endpoint,
            task,
            start,
            wait,
            partial: false,
            relocate: None,
            socket: None,
            position: ReadPosition::default(),
            opened: false,
            broken: false,
            ended: false,
        }
    }

    /// Returns the follower with [`TaskUpdate::Partial`] among its items, if `wanted`.
    #[must_use]
    pub fn with_partials(mut self, wanted: bool) -> Self {
        self.partial = wanted;
        self
    }

    /// Returns the follower with a function that locates the server before each reconnect.
    #[must_use]
    pub fn with_relocate(mut self, relocate: Relocate) -> Self {
        self.relocate = Some(relocate);
        self
    }

    /// Returns the next item, or `None` after [`TaskUpdate::End`]. After the first connection it
    /// reconnects without a limit.
    ///
    /// # Errors
    /// [`FollowError`] if the first connection fails, or if the server rejects the request.
    pub async fn next(&mut self) -> Result<Option<TaskUpdate>, FollowError> {
        while !self.ended {
            let result = match self.socket.as_mut() {
                None => self.connect().await,
                Some(socket) => receive(socket).await,
            };
            match result.map(|message| self.apply(message)) {
                Ok(Ok(Some(update))) => return Ok(Some(update)),
                Ok(Ok(None)) => {}
                Ok(Err(error)) | Err(FollowFailure::Final(error)) => {
                    self.ended = true;
                    return Err(error);
                }
                Err(FollowFailure::Transient(why)) => {
                    self.socket = None;
                    if !self.opened && !self.broken {
                        return Err(FollowError::Unreachable { url: self.endpoint.to_string(), why });
                    }
                    if !std::mem::replace(&mut self.broken, true) {
                        return Ok(Some(TaskUpdate::Disconnected(why)));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Closes the connection cleanly; waits only briefly for the server.
    pub async fn close(mut self) {
        if let Some(mut socket) = self.socket.take() {
            let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            if timeout(Duration::from_millis(200), socket.close(Some(frame))).await.is_err() {
                tracing::debug!("the close handshake timed out");
            }
        }
    }

    /// Updates the position and returns the item to report, without repeated lines.
    fn apply(&mut self, message: Option<ServerMessage>) -> Result<Option<TaskUpdate>, FollowError> {
        let Some(message) = message else { return Ok(None) };
        Ok(match message {
            ServerMessage::Open { task, first_line, last_line, .. } => {
                if std::mem::replace(&mut self.opened, true) {
                    std::mem::take(&mut self.broken).then_some(TaskUpdate::Reconnected)
                } else {
                    self.broken = false;
                    Some(TaskUpdate::Open { task, first_line, last_line })
                }
            }
            ServerMessage::Lines { lines, cursor } => self.position.lines(lines, cursor),
            ServerMessage::Gap { gap, cursor } => self.position.gap(gap, cursor),
            ServerMessage::Partial { line } => Some(TaskUpdate::Partial(line)),
            ServerMessage::Status { task } => Some(TaskUpdate::Status(task)),
            ServerMessage::Reset { reason, .. } => {
                self.position = ReadPosition::default();
                self.start = TaskFollowStart::Beginning;
                Some(TaskUpdate::Reset(reason))
            }
            ServerMessage::End { task, .. } => {
                self.ended = true;
                Some(TaskUpdate::End(task))
            }
            ServerMessage::Error { code, message } => return Err(FollowError::Refused { code, message }),
        })
    }

    /// Connects. After a loss it retries until it succeeds or the server rejects the request.
    async fn connect(&mut self) -> Result<Option<ServerMessage>, FollowFailure> {
        let mut delays = retry_delays();
        loop {
            if self.broken
                && let Some(relocate) = &self.relocate
                && let Some(endpoint) = relocate().await
            {
                self.endpoint = endpoint;
            }
            match connect(&self.endpoint, &self.request_path())
                .await
                .map_err(|error| classify(error, &self.endpoint, Some(&self.task)))
            {
                Err(FollowFailure::Transient(why)) if self.broken => tracing::debug!(why, "cannot reconnect yet"),
                Err(failure) => return Err(failure),
                Ok(socket) => {
                    self.socket = Some(socket);
                    return Ok(None);
                }
            }
            tokio::time::sleep(delays.next().unwrap_or(RETRY_DELAY_MAX)).await;
        }
    }

    /// Returns the path and query of the viewer socket, from the current position on.
    fn request_path(&self) -> String {
        let start = match (&self.position.cursor, &self.start) {
            (Some(cursor), _) | (None, TaskFollowStart::After(cursor)) => ("after", Some(cursor.to_string())),
            (None, TaskFollowStart::From(n)) => ("from", Some(n.to_string())),
            (None, TaskFollowStart::Tail(n)) => ("tail", Some(n.to_string())),
            (None, TaskFollowStart::Beginning) => ("from", None),
        };
        let wait = ("wait", self.wait.then(|| "1".to_owned()));
        let partial = ("partial", self.partial.then(|| "1".to_owned()));
        path_with_query(&format!("/ws/v1/tasks/{}", self.task), &[start, wait, partial])
    }
}

impl ReadPosition {
    /// Applies a message with lines and returns what is new of it.
    pub(super) fn lines(&mut self, lines: Vec<Line<'static>>, cursor: Cursor) -> Option<TaskUpdate> {
        let fresh = self.advance(lines, cursor);
        (!fresh.is_empty()).then_some(TaskUpdate::Lines(fresh))
    }

    /// Applies a message with a gap and returns it if it is new.
    pub(super) fn gap(&mut self, gap: Gap, cursor: Cursor) -> Option<TaskUpdate> {
        self.cursor = Some(cursor);
        // The gap of a marker refers to the line that was just returned.
        let known = gap.to < self.n;
        self.n = self.n.max(gap.to);
        (!known).then_some(TaskUpdate::Gap(gap))
    }

    /// Returns the lines after the position and moves it to the last of them.
    fn advance(&mut self, mut lines: Vec<Line<'static>>, cursor: Cursor) -> Vec<Line<'static>> {
        lines.retain(|line| line.n > self.n);
        if let Some(last) = lines.last() {
            self.n = last.n;
        }
        self.cursor = Some(cursor);
        lines
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
        let mut position = ReadPosition::default();
        assert_eq!(position.advance(lines(&[1, 2, 3]), cursor).len(), 3);
        let fresh = position.advance(lines(&[2, 3, 4]), cursor);
        assert_eq!(fresh.iter().map(|line| line.n).collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn reconnect_resumes_after_the_last_cursor() {
        let endpoint: Endpoint = "http://h:1".parse().unwrap();
        let mut follower = LogFollower::new(endpoint, "42".parse().unwrap(), TaskFollowStart::Tail(10), true);
        assert_eq!(follower.request_path(), "/ws/v1/tasks/42?tail=10&wait=1");
        follower = follower.with_partials(true);
        assert_eq!(follower.request_path(), "/ws/v1/tasks/42?tail=10&wait=1&partial=1");
        follower = follower.with_partials(false);
        let cursor: Cursor = "c1.1.1.3.3-0".parse().unwrap();
        follower.position.advance(lines(&[3]), cursor);
        assert_eq!(follower.request_path(), "/ws/v1/tasks/42?after=c1.1.1.3.3-0&wait=1");
    }
}
