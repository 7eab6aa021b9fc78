//! The WebSocket of a viewer of one task: `GET /ws/v1/tasks/{id}?after=|from=|tail=&wait=1&partial=1`.
//!
//! There is no queue per viewer: while a viewer accepts no frame, its follower is not polled, and later
//! continues from the store. With `wait=1` the server waits for a task that does not exist; otherwise the
//! viewer receives an `error` with code `not_found` and close code 4404.

use std::time::Duration;

use tokio::time::{Instant, interval_at, timeout};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use warp::reply::Response;

use super::frames;
use super::socket::{
    BufferSizes, Peer, Received, SendError, SocketSink, SocketSource, Upgrade, close, run_duplex, send,
};
use crate::auth::{Caller, Lease};
use crate::model::{TaskId, Timestamp};
use crate::server::http::error::{self, ApiError, CLOSE_UNAUTHORIZED};
use crate::server::http::named_task::{find_task, wait_for_task};
use crate::server::http::query::QueryParams;
use crate::server::state::{SharedState, State};
use crate::tasks::{FollowEvent, FollowStart, TaskFollower, TaskHandle, TasksError};

/// Time allowed at shutdown for sending the rest of an ended task.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Close reasons.
const TASK_ENDED: &str = "task has ended";
const SHUTTING_DOWN: &str = "server shutting down";

/// Accepts the WebSocket. A bad query is rejected with 400.
pub(in crate::server) fn view(
    state: &SharedState,
    id: TaskId,
    query: &QueryParams,
    upgrade: Upgrade,
) -> Result<Response, ApiError> {
    let task = ViewedTask { id, start: query.start()?, wait: query.flag("wait")?, partial: query.flag("partial")? };
    let shared = state.clone();
    upgrade.accept(state, BufferSizes::VIEWER, move |sink, source, peer, lease| async move {
        shared.metrics.viewers.inc();
        let writer = write(&shared, sink, lease, task);
        run_duplex(read(&shared, source, peer), writer).await;
        shared.metrics.viewers.dec();
    })
}

/// Reads and ignores messages. Reading answers pings and detects the end of the connection.
async fn read(state: &State, mut source: SocketSource, peer: Peer) {
    loop {
        match peer.recv(&mut source).await {
            Received::Message(_) => {}
            Received::Closed => return,
            Received::Silent => {
                state.metrics.peers_dropped.inc();
                return;
            }
        }
    }
}

/// Sends the task's log until it ends, the caller loses access, or the connection fails.
async fn write(state: &State, mut sink: SocketSink, mut lease: Lease, task: ViewedTask) {
    let caller = lease.caller().clone();
    let result = tokio::select! {
        biased;
        ended = lease.ended() => Ok((CLOSE_UNAUTHORIZED, ended.reason())),
        // Boxed, so that a thousand idle viewers do not each carry the largest state of this future.
        result = Box::pin(send_log(state, &mut sink, &caller, task)) => result,
    };
    match result {
        Ok((code, reason)) => close(&mut sink, code, reason).await,
        Err(error) => error.log_disconnect(state, "viewer"),
    }
}

/// Sends the log, history and live. Returns the code and reason of the close.
async fn send_log(
    state: &State,
    sink: &mut SocketSink,
    caller: &Caller,
    task: ViewedTask,
) -> Result<(CloseCode, &'static str), SendError> {
    let since = Timestamp::now();
    let mut beat = interval_at(Instant::now() + state.options.limits.heartbeat, state.options.limits.heartbeat);
    let mut follower = loop {
        tokio::select! {
            biased;
            () = state.shutdown.cancelled() => return Ok((CloseCode::Away, SHUTTING_DOWN)),
            _ = beat.tick() => send(sink, Message::Ping(Bytes::new())).await?,
            found = task.find(state, caller) => match found {
                Ok(handle) => break handle.follow(task.start).with_partials(task.partial),
                Err(error) => return send_error(sink, &error).await,
            },
        }
    };
    loop {
        tokio::select! {
            biased;
            () = state.shutdown.cancelled() => return drain_ended_task(state, sink, &mut follower, since).await,
            _ = beat.tick() => send(sink, Message::Ping(Bytes::new())).await?,
            event = follower.next() => match event {
                Ok(Some(event)) => send_event(state, sink, event, since).await?,
                Ok(None) => return Ok((CloseCode::Normal, TASK_ENDED)),
                Err(error) => return send_error(sink, &error).await,
            },
        }
    }
}

/// Sends the rest of an ended task at shutdown, within a time limit. Otherwise viewers of a server that exits
/// together with its task would miss the end.
async fn drain_ended_task(
    state: &State,
    sink: &mut SocketSink,
    follower: &mut TaskFollower,
    since: Timestamp,
) -> Result<(CloseCode, &'static str), SendError> {
    let rest = async {
        while follower.has_ended() {
            match follower.next().await {
                Ok(Some(event)) => send_event(state, sink, event, since).await?,
                Ok(None) => return Ok(true),
                Err(_) => break,
            }
        }
        Ok(false)
    };
    match timeout(DRAIN_TIMEOUT, rest).await {
        Ok(Ok(true)) => Ok((CloseCode::Normal, TASK_ENDED)),
        Ok(Err(error)) => Err(error),
        _ => Ok((CloseCode::Away, SHUTTING_DOWN)),
    }
}

/// A task as a viewer asks for it.
pub(in crate::server) struct ViewedTask {
    pub(in crate::server) id: TaskId,
    /// Position to read from.
    pub(in crate::server) start: FollowStart,
    /// Set to wait until the task exists.
    pub(in crate::server) wait: bool,
    /// Set if the current unterminated line is wanted.
    pub(in crate::server) partial: bool,
}

impl ViewedTask {
    /// Returns the task. Cancel-safe.
    pub(in crate::server) async fn find(&self, state: &State, caller: &Caller) -> Result<TaskHandle, TasksError> {
        if self.wait {
            return wait_for_task(state, caller, &self.id, self.start).await;
        }
        let found = find_task(state, caller, &self.id, self.start).await?;
        found.ok_or_else(|| TasksError::NotFound(self.id.clone()))
    }
}

/// Sends an event to a viewer that is connected since `since`.
async fn send_event(
    state: &State,
    sink: &mut SocketSink,
    event: FollowEvent,
    since: Timestamp,
) -> Result<(), SendError> {
    let FollowEvent::Page(page) = event else {
        return send(sink, frames::text(frames::event(event))).await;
    };
    let encoded = page.encoded(frames::encode_page);
    let lines = page.lines.len();
    state.metrics.line_to_viewer.observe(page.lines.last(), since);
    // Dropped before sending, so that a slow viewer keeps only the frames in memory.
    drop(page);
    for frame in frames::frames(&encoded) {
        send(sink, frames::text(frame)).await?;
    }
    state.metrics.lines_delivered.inc_by(u64::try_from(lines).unwrap_or(0));
    state.stages.viewer_socket.delivered(lines as u64);
    Ok(())
}

/// Sends an error. Returns the code and reason of the close.
async fn send_error(sink: &mut SocketSink, error: &TasksError) -> Result<(CloseCode, &'static str), SendError> {
    send(sink, frames::text(frames::error(error::error_code(error), error.to_string()))).await?;
    Ok((error::close_code(error).unwrap_or(CloseCode::Normal), "see the preceding error message"))
}
