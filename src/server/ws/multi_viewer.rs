//! Many tasks on one connection: `GET /ws/v1/follow`.
//!
//! Each subscription is a stream of its own, polled only when the connection can take a message,
//! and in turn: no queue, and a busy task does not hold up a quiet one.
//! A task that is not there gets an `error` with its `task_id`; the connection stays.

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
use super::socket::{Gone, Heard, Peer, Sink, Sizes, Source, Upgrade, both, close, send};
use super::viewer::find;
use crate::auth::{Caller, Lease};
use crate::model::TaskId;
use crate::model::limits::Limit;
use crate::server::http::error::{self, ApiError, CLOSE_UNAUTHORIZED};
use crate::server::state::{SharedState, State};
use crate::tasks::{FollowEvent, Follower, Start, TasksError};
use crate::wire::viewer::FollowRequest;

/// Requests read and not yet done; then the viewer waits.
const REQUESTS_MAX: usize = 16;

/// Answers the handshake.
pub(in crate::server) fn follow(state: &SharedState, upgrade: Upgrade) -> Result<Response, ApiError> {
    let shared = state.clone();
    upgrade.accept(state, Sizes::VIEWER, move |sink, source, peer, lease| async move {
        let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
        let reader = listen(&shared, source, peer, sender);
        both(reader, Box::pin(tell(shared.clone(), sink, lease, receiver))).await;
    })
}

/// A request, or the error that answers it.
type Asked = Result<FollowRequest, (&'static str, String)>;

async fn listen(state: &State, mut source: Source, peer: Peer, requests: mpsc::Sender<Asked>) {
    loop {
        let asked = match peer.hear(&mut source).await {
            Heard::Message(message @ (Message::Text(_) | Message::Binary(_))) => parse(&message.into_data()),
            Heard::Message(_) => continue,
            Heard::Closed => return,
            Heard::Silent => {
                state.metrics.peers_dropped.inc();
                return;
            }
        };
        if requests.send(asked).await.is_err() {
            // The writer is closing: the answer to its close is still to be read.
            while matches!(peer.hear(&mut source).await, Heard::Message(_)) {}
            return;
        }
    }
}

fn parse(message: &[u8]) -> Asked {
    if oversize::is_marker(message) {
        return Err(("too_large", "a message of a viewer has at most 16 KiB".to_owned()));
    }
    serde_json::from_slice(message).map_err(|error| {
        ("bad_message", format!("the message must be a subscribe or unsubscribe with a field `task`: {error}"))
    })
}

/// What a subscription has to tell.
type Told = (TaskId, Result<FollowEvent, TasksError>);

/// All subscriptions of a connection.
struct Subscriptions {
    state: SharedState,
    caller: Caller,
    streams: SelectAll<Abortable<BoxStream<'static, Told>>>,
    by_task: HashMap<TaskId, AbortHandle>,
}

async fn tell(state: SharedState, mut sink: Sink, mut lease: Lease, mut requests: mpsc::Receiver<Asked>) {
    let caller = lease.caller().clone();
    let mut all = Subscriptions { state: state.clone(), caller, streams: SelectAll::new(), by_task: HashMap::new() };
    let ended = tokio::select! {
        biased;
        ended = lease.ended() => Ok((CLOSE_UNAUTHORIZED, ended.reason())),
        told = all.tell(&state, &mut sink, &mut requests) => told.map(|()| (CloseCode::Away, "the server ends")),
    };
    let count = i64::try_from(all.by_task.len()).unwrap_or(0);
    state.metrics.viewers.dec_by(count);
    match ended {
        Ok((code, reason)) => close(&mut sink, code, reason).await,
        Err(gone) => state.went(&gone, "a viewer"),
    }
}

impl Subscriptions {
    /// Runs until the server ends or the viewer goes.
    async fn tell(&mut self, state: &State, sink: &mut Sink, requests: &mut mpsc::Receiver<Asked>) -> Result<(), Gone> {
        let mut beat = interval_at(Instant::now() + state.options.limits.heartbeat, state.options.limits.heartbeat);
        loop {
            tokio::select! {
                biased;
                () = state.shutdown.cancelled() => return Ok(()),
                _ = beat.tick() => send(sink, Message::Ping(Bytes::new())).await?,
                Some(asked) = requests.recv() => self.answer(sink, asked).await?,
                Some(told) = self.streams.next(), if !self.streams.is_empty() => self.pass(sink, told).await?,
            }
        }
    }

    async fn answer(&mut self, sink: &mut Sink, asked: Asked) -> Result<(), Gone> {
        let refused = match asked {
            Ok(request) => self.change(request),
            Err((code, message)) => Err((None, code, message)),
        };
        if let Err((id, code, message)) = refused {
            let error = frames::error(code, message);
            let error = id.map_or(error.clone(), |id: TaskId| frames::tagged(id.as_str(), &error));
            send(sink, frames::text(error)).await?;
        }
        Ok(())
    }

    fn change(&mut self, request: FollowRequest) -> Result<(), (Option<TaskId>, &'static str, String)> {
        let parse = |task: String| {
            task.parse::<TaskId>().map_err(|error| (None, "bad_message", format!("field `task`: {error}")))
        };
        match request {
            FollowRequest::Unsubscribe { task } => self.forget(&parse(task)?),
            FollowRequest::Subscribe { task, after, from, tail, wait } => {
                let id = parse(task)?;
                if !self.caller.sees_task(&id) {
                    // As if it were not there.
                    let absent = TasksError::NotFound(id.clone());
                    return Err((Some(id), error::code_of(&absent), absent.to_string()));
                }
                let start = match (after, from, tail) {
                    (Some(cursor), _, _) => Start::After(
                        cursor
                            .parse()
                            .map_err(|error| (Some(id.clone()), "bad_message", format!("field `after`: {error}")))?,
                    ),
                    (None, Some(from), _) => Start::From(from.max(1)),
                    (None, None, Some(tail)) => Start::Tail(tail),
                    (None, None, None) => Start::From(1),
                };
                // A second subscription to a task takes the first one's place.
                self.forget(&id);
                let max = self.state.options.limits.connection_subscriptions_max;
                if self.by_task.len() as u64 >= max {
                    self.state.hits.count(Limit::connection_subscriptions_max);
                    let message = format!("a connection follows at most {max} tasks");
                    return Err((Some(id), "too_many", message));
                }
                let (stream, handle) = abortable(subscription(self.state.clone(), id.clone(), start, wait));
                self.streams.push(stream);
                self.by_task.insert(id, handle);
                self.state.metrics.viewers.inc();
            }
        }
        Ok(())
    }

    fn forget(&mut self, id: &TaskId) {
        if let Some(handle) = self.by_task.remove(id) {
            handle.abort();
            self.state.metrics.viewers.dec();
        }
    }

    async fn pass(&mut self, sink: &mut Sink, (id, told): Told) -> Result<(), Gone> {
        if matches!(told, Ok(FollowEvent::End { .. }) | Err(_)) {
            self.forget(&id);
        }
        let encoded = match told {
            Ok(event) => {
                if let FollowEvent::Page(page) = &event {
                    let lines = u64::try_from(page.lines.len()).unwrap_or(0);
                    self.state.metrics.lines_delivered.inc_by(lines);
                    self.state.hops.viewer_socket.delivered(lines);
                }
                frames::event(event)
            }
            Err(error) => frames::error(error::code_of(&error), error.to_string()),
        };
        for frame in frames::frames(&encoded) {
            send(sink, frames::text(frames::tagged(id.as_str(), &frame))).await?;
        }
        Ok(())
    }
}

/// Where a subscription stands.
enum Stage {
    Find(Start, bool),
    Follow(Box<Follower>),
    Over,
}

fn subscription(state: SharedState, id: TaskId, start: Start, wait: bool) -> BoxStream<'static, Told> {
    let step = move |stage| {
        let (state, id) = (state.clone(), id.clone());
        async move {
            let mut follower = match stage {
                Stage::Find(start, wait) => match find(&state, &id, wait).await {
                    Ok(handle) => Box::new(handle.follow(start)),
                    Err(error) => return Some(((id, Err(error)), Stage::Over)),
                },
                Stage::Follow(follower) => follower,
                Stage::Over => return None,
            };
            match follower.next().await {
                Ok(Some(event)) => Some(((id, Ok(event)), Stage::Follow(follower))),
                Ok(None) => None,
                Err(error) => Some(((id, Err(error)), Stage::Over)),
            }
        }
    };
    unfold(Stage::Find(start, wait), step).boxed()
}
