//! One viewer of one task: `GET /ws/v1/tasks/{id}?after=|from=|tail=&wait=1`.
//!
//! Nothing is queued for a viewer: while it takes no frame its follower is not asked, and later
//! reads on from the store. With `wait=1` a task that is not there is waited for; otherwise the
//! viewer gets an `error` with code `not_found` and close 4404.

use std::time::Duration;

use tokio::time::{Instant, interval_at, timeout};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use warp::reply::Response;

use super::frames;
use super::socket::{Gone, Heard, Peer, Sink, Sizes, Source, Upgrade, both, close, send};
use crate::auth::Lease;
use crate::model::TaskId;
use crate::server::http::error::{self, ApiError, CLOSE_UNAUTHORIZED};
use crate::server::http::query::Query;
use crate::server::state::{SharedState, State};
use crate::tasks::{FollowEvent, Follower, Start, TaskHandle, TasksError};

/// The rest of an ended task has this long at a shutdown.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// Answers the handshake; a bad query is a 400 before it.
pub(in crate::server) fn view(
    state: &SharedState,
    id: TaskId,
    query: &Query,
    upgrade: Upgrade,
) -> Result<Response, ApiError> {
    let (start, wait) = (query.start()?, query.flag("wait")?);
    let shared = state.clone();
    upgrade.accept(state, Sizes::VIEWER, move |sink, source, peer, lease| async move {
        shared.metrics.viewers.inc();
        let writer = tell(&shared, sink, lease, id, start, wait);
        both(listen(&shared, source, peer), writer).await;
        shared.metrics.viewers.dec();
    })
}

/// A viewer has nothing to say; reading answers its pings and notices its end.
async fn listen(state: &State, mut source: Source, peer: Peer) {
    loop {
        match peer.hear(&mut source).await {
            Heard::Message(_) => {}
            Heard::Closed => return,
            Heard::Silent => {
                state.metrics.peers_dropped.inc();
                return;
            }
        }
    }
}

async fn tell(state: &State, mut sink: Sink, mut lease: Lease, id: TaskId, start: Start, wait: bool) {
    let told = tokio::select! {
        biased;
        ended = lease.ended() => Ok((CLOSE_UNAUTHORIZED, ended.reason())),
        // Boxed: a thousand idle viewers should not carry the largest state of this future each.
        told = Box::pin(tell_all(state, &mut sink, id, start, wait)) => told,
    };
    match told {
        Ok((code, reason)) => close(&mut sink, code, reason).await,
        Err(gone) => state.went(&gone, "a viewer"),
    }
}

/// Sends everything there is to tell; answers how to close.
async fn tell_all(
    state: &State,
    sink: &mut Sink,
    id: TaskId,
    start: Start,
    wait: bool,
) -> Result<(CloseCode, &'static str), Gone> {
    let mut beat = interval_at(Instant::now() + state.options.limits.heartbeat, state.options.limits.heartbeat);
    let mut follower = loop {
        tokio::select! {
            biased;
            () = state.shutdown.cancelled() => return Ok((CloseCode::Away, "the server ends")),
            _ = beat.tick() => send(sink, Message::Ping(Bytes::new())).await?,
            found = find(state, &id, wait) => match found {
                Ok(handle) => break handle.follow(start),
                Err(error) => return fail(sink, &error).await,
            },
        }
    };
    loop {
        tokio::select! {
            biased;
            () = state.shutdown.cancelled() => return last_words(state, sink, &mut follower).await,
            _ = beat.tick() => send(sink, Message::Ping(Bytes::new())).await?,
            event = follower.next() => match event {
                Ok(Some(event)) => tell_event(state, sink, event).await?,
                Ok(None) => return Ok((CloseCode::Normal, "the task has ended")),
                Err(error) => return fail(sink, &error).await,
            },
        }
    }
}

/// The server ends. Of a task that has ended the viewer still hears the rest, if that is soon: a
/// server that lives as long as its task would else take the end with it.
async fn last_words(
    state: &State,
    sink: &mut Sink,
    follower: &mut Follower,
) -> Result<(CloseCode, &'static str), Gone> {
    let rest = async {
        while follower.is_over() {
            match follower.next().await {
                Ok(Some(event)) => tell_event(state, sink, event).await?,
                Ok(None) => return Ok(true),
                Err(_) => break,
            }
        }
        Ok(false)
    };
    match timeout(LAST_WORDS_TIMEOUT, rest).await {
        Ok(Ok(true)) => Ok((CloseCode::Normal, "the task has ended")),
        Ok(Err(gone)) => Err(gone),
        _ => Ok((CloseCode::Away, "the server ends")),
    }
}

/// The task, waited for if asked. Cancel-safe: it only looks.
pub(in crate::server) async fn find(state: &State, id: &TaskId, wait: bool) -> Result<TaskHandle, TasksError> {
    match state.tasks.get(id).await? {
        Some(handle) => Ok(handle),
        None if wait => Ok(state.tasks.appeared(id).await),
        None => Err(TasksError::NotFound(id.clone())),
    }
}

async fn tell_event(state: &State, sink: &mut Sink, event: FollowEvent) -> Result<(), Gone> {
    let FollowEvent::Page(page) = event else {
        return send(sink, frames::text(frames::event(event))).await;
    };
    let encoded = page.encoded(frames::encode_page);
    let lines = page.lines.len();
    // The page itself goes before the sending: a viewer that takes its time holds only the frames.
    drop(page);
    for frame in frames::frames(&encoded) {
        send(sink, frames::text(frame)).await?;
    }
    state.metrics.lines_delivered.inc_by(u64::try_from(lines).unwrap_or(0));
    state.hops.viewer_socket.delivered(lines as u64);
    Ok(())
}

async fn fail(sink: &mut Sink, error: &TasksError) -> Result<(CloseCode, &'static str), Gone> {
    send(sink, frames::text(frames::error(error::code_of(error), error.to_string()))).await?;
    Ok((error::close_of(error).unwrap_or(CloseCode::Normal), "see the error before"))
}
