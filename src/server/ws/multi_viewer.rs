//! The WebSocket of a viewer of many tasks: `GET /ws/v1/follow`.
//!
//! Each subscription is a separate stream. Streams are polled in turn, and only when the connection can accept
//! a message. So there is no queue, and a busy task does not delay a quiet one. A subscription to a missing
//! task results in an `error` with its `task_id`; the connection stays open.

use std::collections::HashMap;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{AbortHandle, Abortable, BoxStream, SelectAll, abortable, unfold};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use warp::reply::Response;

use super::frames;
use super::oversize;
use super::socket::{
    BufferSizes, Peer, Received, SendError, SocketSink, SocketSource, Upgrade, close, run_duplex, send,
};
use super::viewer::ViewedTask;
use crate::auth::{Caller, Lease};
use crate::model::limits::Limit;
use crate::model::{TaskId, Timestamp};
use crate::server::http::auth::sees_task;
use crate::server::http::error::{self, ApiError, CLOSE_UNAUTHORIZED};
use crate::server::http::query::QueryParams;
use crate::server::state::{SharedState, State};
use crate::tasks::{FollowEvent, FollowStart, TaskFollower, TasksError};
use crate::wire::viewer::FollowRequest;

/// Maximum number of unprocessed requests. Reading pauses at this number.
const REQUESTS_MAX: usize = 16;

/// Accepts the WebSocket.
pub(in crate::server) fn follow(
    state: &SharedState,
    query: &QueryParams,
    upgrade: Upgrade,
) -> Result<Response, ApiError> {
    let (shared, partial) = (state.clone(), query.flag("partial")?);
    upgrade.accept(state, BufferSizes::VIEWER, move |sink, source, peer, lease| async move {
        let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
        let reader = read(&shared, source, peer, sender);
        run_duplex(reader, Box::pin(write(shared.clone(), sink, lease, receiver, partial))).await;
    })
}

/// A request, or the code and message of the error reply.
type ParsedRequest = Result<FollowRequest, (&'static str, String)>;

/// Reads requests until the connection ends.
async fn read(state: &State, mut source: SocketSource, peer: Peer, requests: mpsc::Sender<ParsedRequest>) {
    loop {
        let request = match peer.recv(&mut source).await {
            Received::Message(message @ (Message::Text(_) | Message::Binary(_))) => parse(&message.into_data()),
            Received::Message(_) => continue,
            Received::Closed => return,
            Received::Silent => {
                state.metrics.peers_dropped.inc();
                return;
            }
        };
        if requests.send(request).await.is_err() {
            // The writer has sent a close, whose reply must still be read.
            while matches!(peer.recv(&mut source).await, Received::Message(_)) {}
            return;
        }
    }
}

/// Parses a request.
fn parse(message: &[u8]) -> ParsedRequest {
    if oversize::is_marker(message) {
        return Err(("too_large", "message exceeds 16 KiB".to_owned()));
    }
    serde_json::from_slice(message).map_err(|error| {
        ("bad_message", format!("expected a subscribe or unsubscribe message with a field `task`: {error}"))
    })
}

/// An event of a subscription, with its task.
type SubscriptionEvent = (TaskId, Result<FollowEvent, TasksError>);

/// A subscription of a connection.
struct Subscribed {
    abort: AbortHandle,
    /// Time of the request.
    since: Timestamp,
}

/// The subscriptions of a connection.
struct Subscriptions {
    state: SharedState,
    caller: Caller,
    /// Whether current unterminated lines are wanted.
    partial: bool,
    streams: SelectAll<Abortable<BoxStream<'static, SubscriptionEvent>>>,
    by_task: HashMap<TaskId, Subscribed>,
}

/// Sends the events of all subscriptions, until shutdown, the caller loses access, or the connection fails.
async fn write(
    state: SharedState,
    mut sink: SocketSink,
    mut lease: Lease,
    mut requests: mpsc::Receiver<ParsedRequest>,
    partial: bool,
) {
    let (caller, streams, by_task) = (lease.caller().clone(), SelectAll::new(), HashMap::new());
    let mut all = Subscriptions { state: state.clone(), caller, partial, streams, by_task };
    let ended = tokio::select! {
        biased;
        ended = lease.ended() => Ok((CLOSE_UNAUTHORIZED, ended.reason())),
        sent = all.run(&state, &mut sink, &mut requests) => sent.map(|()| (CloseCode::Away, "server shutting down")),
    };
    let count = i64::try_from(all.by_task.len()).unwrap_or(0);
    state.metrics.viewers.dec_by(count);
    match ended {
        Ok((code, reason)) => close(&mut sink, code, reason).await,
        Err(error) => error.log_disconnect(&state, "viewer"),
    }
}

impl Subscriptions {
    /// Processes requests and events until shutdown, or until the connection fails.
    async fn run(
        &mut self,
        state: &State,
        sink: &mut SocketSink,
        requests: &mut mpsc::Receiver<ParsedRequest>,
    ) -> Result<(), SendError> {
        let mut beat = interval_at(Instant::now() + state.options.limits.heartbeat, state.options.limits.heartbeat);
        loop {
            tokio::select! {
                biased;
                () = state.shutdown.cancelled() => return Ok(()),
                _ = beat.tick() => send(sink, Message::Ping(Bytes::new())).await?,
                Some(request) = requests.recv() => self.handle(sink, request).await?,
                Some(event) = self.streams.next(), if !self.streams.is_empty() => self.send_event(sink, event).await?,
            }
        }
    }

    /// Applies a request, and sends an error if it fails.
    async fn handle(&mut self, sink: &mut SocketSink, request: ParsedRequest) -> Result<(), SendError> {
        let applied = match request {
            Ok(request) => self.apply(request),
            Err((code, message)) => Err((None, code, message)),
        };
        if let Err((id, code, message)) = applied {
            let error = frames::error(code, message);
            let error = id.map_or(error.clone(), |id: TaskId| frames::tagged(id.as_str(), &error));
            send(sink, frames::text(error)).await?;
        }
        Ok(())
    }

    /// Adds or removes a subscription. An error consists of the task, code and message.
    fn apply(&mut self, request: FollowRequest) -> Result<(), (Option<TaskId>, &'static str, String)> {
        let parse = |task: String| {
            task.parse::<TaskId>().map_err(|error| (None, "bad_message", format!("field `task`: {error}")))
        };
        match request {
            FollowRequest::Unsubscribe { task } => self.remove(&parse(task)?),
            FollowRequest::Subscribe { task, after, from, tail, wait } => {
                let id = parse(task)?;
                if !sees_task(&self.state, &self.caller, &id) {
                    // Hidden tasks must be indistinguishable from missing ones.
                    let not_found = TasksError::NotFound(id.clone());
                    return Err((Some(id), error::error_code(&not_found), not_found.to_string()));
                }
                let start = match (after, from, tail) {
                    (Some(cursor), _, _) => FollowStart::After(
                        cursor
                            .parse()
                            .map_err(|error| (Some(id.clone()), "bad_message", format!("field `after`: {error}")))?,
                    ),
                    (None, Some(from), _) => FollowStart::From(from.max(1)),
                    (None, None, Some(tail)) => FollowStart::Tail(tail),
                    (None, None, None) => FollowStart::From(1),
                };
                // A second subscription to a task replaces the first.
                self.remove(&id);
                let max = self.state.options.limits.connection_subscriptions_max;
                if self.by_task.len() as u64 >= max {
                    self.state.limit_counters.count(Limit::connection_subscriptions_max);
                    let message = format!("a connection may follow at most {max} tasks");
                    return Err((Some(id), "too_many", message));
                }
                let task = ViewedTask { id: id.clone(), start, wait, partial: self.partial };
                let (stream, abort) = abortable(subscription(self.state.clone(), self.caller.clone(), task));
                self.streams.push(stream);
                self.by_task.insert(id, Subscribed { abort, since: Timestamp::now() });
                self.state.metrics.viewers.inc();
            }
        }
        Ok(())
    }

    /// Removes a subscription, if there is one.
    fn remove(&mut self, id: &TaskId) {
        if let Some(subscribed) = self.by_task.remove(id) {
            subscribed.abort.abort();
            self.state.metrics.viewers.dec();
        }
    }

    /// Sends an event, and removes a subscription that has ended.
    async fn send_event(&mut self, sink: &mut SocketSink, (id, event): SubscriptionEvent) -> Result<(), SendError> {
        if matches!(event, Ok(FollowEvent::End { .. }) | Err(_)) {
            self.remove(&id);
        }
        let encoded = match event {
            Ok(event) => {
                if let FollowEvent::Page(page) = &event {
                    let lines = u64::try_from(page.lines.len()).unwrap_or(0);
                    if let Some(subscribed) = self.by_task.get(&id) {
                        self.state.metrics.line_to_viewer.observe(page.lines.last(), subscribed.since);
                    }
                    self.state.metrics.lines_delivered.inc_by(lines);
                    self.state.stages.viewer_socket.delivered(lines);
                }
                frames::event(event)
            }
            Err(error) => frames::error(error::error_code(&error), error.to_string()),
        };
        for frame in frames::frames(&encoded) {
            send(sink, frames::text(frames::tagged(id.as_str(), &frame))).await?;
        }
        Ok(())
    }
}

/// The state of a subscription.
enum SubscriptionState {
    /// Looking up the task.
    Find(ViewedTask),
    /// Following the task.
    Follow(Box<TaskFollower>),
    /// Finished.
    Ended,
}

/// Returns the stream of a task's events.
fn subscription(state: SharedState, caller: Caller, task: ViewedTask) -> BoxStream<'static, SubscriptionEvent> {
    let id = task.id.clone();
    let step = move |current| {
        let (state, caller, id) = (state.clone(), caller.clone(), id.clone());
        async move {
            let mut follower = match current {
                SubscriptionState::Find(task) => match task.find(&state, &caller).await {
                    Ok(handle) => Box::new(handle.follow(task.start).with_partials(task.partial)),
                    Err(error) => return Some(((id, Err(error)), SubscriptionState::Ended)),
                },
                SubscriptionState::Follow(follower) => follower,
                SubscriptionState::Ended => return None,
            };
            match follower.next().await {
                Ok(Some(event)) => Some(((id, Ok(event)), SubscriptionState::Follow(follower))),
                Ok(None) => None,
                Err(error) => Some(((id, Err(error)), SubscriptionState::Ended)),
            }
        }
    };
    unfold(SubscriptionState::Find(task), step).boxed()
}
