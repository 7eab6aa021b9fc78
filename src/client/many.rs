//! Follows several tasks on one connection, `GET /ws/v1/follow`, across lost connections.
//!
//! As in `follow`, each task has its own position, and after a reconnect it resumes there. The server sends
//! the messages of all tasks in turn, and only when they are read, so no queue grows here.

use std::collections::HashMap;
use std::collections::VecDeque;

use futures::SinkExt as _;
use tokio_tungstenite::tungstenite::Message;

use super::Endpoint;
use super::connect::{ClientSocket, connect};
use super::follow::{ReadPosition, Relocate, TaskFollowStart, TaskUpdate};
use super::follow_error::FollowError;
use super::receive::{FollowFailure, RETRY_DELAY_MAX, classify, receive, retry_delays};
use crate::model::TaskId;
use crate::wire::viewer::{FollowRequest, ServerMessage, TaggedMessage};

/// An item of the followed tasks.
#[derive(Clone, Debug, PartialEq)]
pub enum ManyUpdate {
    /// An item of one task. After [`TaskUpdate::End`] the task is no longer followed.
    Task(TaskId, Box<TaskUpdate>),
    /// The server rejects to follow a task, or it was removed; it is no longer followed.
    Refused {
        /// The task.
        task: TaskId,
        /// Stable code.
        code: String,
        /// Description, for people.
        message: String,
    },
    /// The connection was lost, with the reason; the follower reconnects. Returned once until
    /// [`ManyUpdate::Reconnected`].
    Disconnected(String),
    /// The connection is open again, and lines continue without a loss.
    Reconnected,
}

/// A task that is followed.
#[derive(Debug)]
struct Subscription {
    start: TaskFollowStart,
    wait: bool,
    position: ReadPosition,
    opened: bool,
}

/// A follower of several tasks. It connects with the first call of [`ManyFollower::next`].
pub struct ManyFollower {
    endpoint: Endpoint,
    relocate: Option<Relocate>,
    socket: Option<ClientSocket>,
    tasks: HashMap<TaskId, Subscription>,
    /// Requests that were not sent yet: at most two for each task.
    requests: VecDeque<FollowRequest>,
    opened: bool,
    broken: bool,
}

impl std::fmt::Debug for ManyFollower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManyFollower").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

impl ManyFollower {
    /// Creates a follower of no task.
    pub fn new(endpoint: Endpoint) -> Self {
        let (tasks, requests) = (HashMap::new(), VecDeque::new());
        Self { endpoint, relocate: None, socket: None, tasks, requests, opened: false, broken: false }
    }

    /// Returns the follower with a function that locates the server before each reconnect.
    #[must_use]
    pub fn with_relocate(mut self, relocate: Relocate) -> Self {
        self.relocate = Some(relocate);
        self
    }

    /// Starts to follow a task. With `wait` it may not exist yet.
    pub fn subscribe(&mut self, task: TaskId, start: TaskFollowStart, wait: bool) {
        let subscription = Subscription { start, wait, position: ReadPosition::default(), opened: false };
        if self.socket.is_some() {
            self.requests.push_back(subscription.request(&task));
        }
        self.tasks.insert(task, subscription);
    }

    /// Stops following a task.
    pub fn unsubscribe(&mut self, task: &TaskId) {
        if self.tasks.remove(task).is_some() && self.socket.is_some() {
            self.requests.push_back(FollowRequest::Unsubscribe { task: task.to_string() });
        }
    }

    /// Returns the number of followed tasks.
    pub fn followed(&self) -> usize {
        self.tasks.len()
    }

    /// Returns the next item; waits for it, also if no task is followed. After the first connection it reconnects
    /// without a limit. Cancel-safe.
    ///
    /// # Errors
    /// [`FollowError`] if the first connection fails, or if the server rejects the request.
    pub async fn next(&mut self) -> Result<ManyUpdate, FollowError> {
        loop {
            let result = match &mut self.socket {
                None => match self.connect().await {
                    Ok(true) => return Ok(ManyUpdate::Reconnected),
                    Ok(false) => continue,
                    Err(failure) => Err(failure),
                },
                Some(socket) => match send(socket, &mut self.requests).await {
                    Ok(()) => receive::<TaggedMessage>(socket).await,
                    Err(failure) => Err(failure),
                },
            };
            match result {
                Ok(Some(message)) => {
                    if let Some(update) = self.apply(message)? {
                        return Ok(update);
                    }
                }
                Ok(None) => {}
                Err(FollowFailure::Final(error)) => return Err(error),
                Err(FollowFailure::Transient(why)) => {
                    self.socket = None;
                    if !self.opened {
                        return Err(FollowError::Unreachable { url: self.endpoint.to_string(), why });
                    }
                    if !std::mem::replace(&mut self.broken, true) {
                        return Ok(ManyUpdate::Disconnected(why));
                    }
                }
            }
        }
    }

    /// Connects and requests all tasks from their positions on. Returns whether the connection had been lost.
    async fn connect(&mut self) -> Result<bool, FollowFailure> {
        let mut delays = retry_delays();
        loop {
            if self.broken
                && let Some(relocate) = &self.relocate
                && let Some(endpoint) = relocate().await
            {
                self.endpoint = endpoint;
            }
            match connect(&self.endpoint, "/ws/v1/follow").await {
                Ok(socket) => {
                    self.socket = Some(socket);
                    self.requests = self.tasks.iter().map(|(task, subscription)| subscription.request(task)).collect();
                    self.opened = true;
                    return Ok(std::mem::take(&mut self.broken));
                }
                Err(error) => match classify(error, &self.endpoint, None) {
                    FollowFailure::Transient(why) if self.broken => tracing::debug!(why, "cannot reconnect yet"),
                    failure => return Err(failure),
                },
            }
            tokio::time::sleep(delays.next().unwrap_or(RETRY_DELAY_MAX)).await;
        }
    }

    /// Updates a task's position and returns the item to report, without repeated lines.
    fn apply(&mut self, message: TaggedMessage) -> Result<Option<ManyUpdate>, FollowError> {
        let TaggedMessage { task_id, message } = message;
        let task = task_id.and_then(|id| id.parse::<TaskId>().ok());
        let Some(task) = task else {
            return match message {
                ServerMessage::Error { code, message } => Err(FollowError::Refused { code, message }),
                _ => Ok(None),
            };
        };
        // A message that the server sent before it received an unsubscribe.
        let Some(subscription) = self.tasks.get_mut(&task) else { return Ok(None) };
        let update = match message {
            ServerMessage::Open { task, first_line, last_line, .. } => {
                let first = !std::mem::replace(&mut subscription.opened, true);
                first.then_some(TaskUpdate::Open { task, first_line, last_line })
            }
            ServerMessage::Lines { lines, cursor } => subscription.position.lines(lines, cursor),
            ServerMessage::Gap { gap, cursor } => subscription.position.gap(gap, cursor),
            ServerMessage::Partial { line } => Some(TaskUpdate::Partial(line)),
            ServerMessage::Status { task } => Some(TaskUpdate::Status(task)),
            ServerMessage::Reset { reason, .. } => {
                subscription.position = ReadPosition::default();
                subscription.start = TaskFollowStart::Beginning;
                Some(TaskUpdate::Reset(reason))
            }
            ServerMessage::End { task: details, .. } => {
                self.tasks.remove(&task);
                Some(TaskUpdate::End(details))
            }
            ServerMessage::Error { code, message } => {
                self.tasks.remove(&task);
                return Ok(Some(ManyUpdate::Refused { task, code, message }));
            }
        };
        Ok(update.map(|update| ManyUpdate::Task(task, Box::new(update))))
    }
}

impl Subscription {
    /// Returns the request for what follows the position.
    fn request(&self, task: &TaskId) -> FollowRequest {
        let (mut after, mut from, mut tail) = (None, None, None);
        match (&self.position.cursor, &self.start) {
            (Some(cursor), _) | (None, TaskFollowStart::After(cursor)) => after = Some(cursor.to_string()),
            (None, TaskFollowStart::From(n)) => from = Some(*n),
            (None, TaskFollowStart::Tail(n)) => tail = Some(*n),
            (None, TaskFollowStart::Beginning) => {}
        }
        FollowRequest::Subscribe { task: task.to_string(), after, from, tail, wait: self.wait }
    }
}

/// Sends the requests. Cancel-safe: a request stays queued until the socket has accepted it.
async fn send(socket: &mut ClientSocket, requests: &mut VecDeque<FollowRequest>) -> Result<(), FollowFailure> {
    let failed = |error: tokio_tungstenite::tungstenite::Error| FollowFailure::Transient(error.to_string());
    if requests.is_empty() {
        return Ok(());
    }
    while let Some(request) = requests.front() {
        let request = serde_json::to_string(request).map_err(|error| FollowFailure::Transient(error.to_string()))?;
        socket.feed(Message::text(request)).await.map_err(failed)?;
        requests.pop_front();
    }
    socket.flush().await.map_err(failed)
}
