//! `GET /api/v1/runs/{id}/events/stream`: a run's events as server-sent events, history then live.
//!
//! `id:` is the cursor, `data:` the event as it is stored; `event: reset` when the cursor was of
//! another log of this run; a comment each heartbeat. It ends with the server: a run can always go on.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::unfold;
use serde_json::json;
use tokio::time::{Instant, Interval, interval_at};
use warp::http::HeaderMap;
use warp::reply::{Reply, Response};

use super::filter;
use super::find;
use crate::auth::Lease;
use crate::model::{Cursor, RunId};
use crate::runs::{RunEvent, RunFollowStart, RunTail, StoredEvent};
use crate::server::http::error::ApiError;
use crate::server::http::query::Query;
use crate::server::http::sse::{Counted, Shareable, event_stream, last_event_id, last_word, put_event};
use crate::server::state::SharedState;
use crate::tasks::FollowStart;

/// Begins a stream. `Last-Event-ID` (what a browser sends by itself after a break) beats `?after=`.
pub(in crate::server) async fn stream(
    state: SharedState,
    id: RunId,
    query: Query,
    headers: HeaderMap,
    lease: Lease,
) -> Result<Response, ApiError> {
    let filter = filter(&query)?;
    let start = match last_event_id(&headers)? {
        Some(cursor) => RunFollowStart::After(cursor),
        None => match query.start()? {
            FollowStart::After(cursor) => RunFollowStart::After(cursor),
            FollowStart::Tail(count) => RunFollowStart::Tail(count),
            FollowStart::From(_) => RunFollowStart::First,
        },
    };
    // A run that is waited for is found in the stream: the head of the answer should not wait.
    let run = if query.flag("wait")? { state.runs.get_or_new(&id) } else { find(&state, &id)? };
    let heartbeat = state.options.limits.heartbeat;
    let beat = interval_at(Instant::now() + heartbeat, heartbeat);
    let viewer = Viewer {
        tail: run.follow(start, filter),
        counted: Counted::new(state),
        beat,
        lease,
        begun: false,
        over: false,
    };
    let chunks = unfold(viewer, |mut viewer| async move { viewer.next().await.map(|chunk| (chunk, viewer)) });
    let body = Shareable::new(chunks.map(Ok::<_, std::convert::Infallible>));
    Ok(event_stream(warp::reply::stream(body).into_response()))
}

struct Viewer {
    counted: Counted,
    tail: RunTail,
    beat: Interval,
    lease: Lease,
    begun: bool,
    over: bool,
}

impl Viewer {
    /// The next bytes; `None` when the server ends.
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        // The head of the answer goes out before the first event.
        if !std::mem::replace(&mut self.begun, true) {
            return Some(Bytes::from_static(b":\n\n"));
        }
        let state = self.counted.state();
        let news = tokio::select! {
            biased;
            () = state.shutdown.cancelled() => return None,
            ended = self.lease.ended() => {
                self.over = true;
                return Some(last_word(ended));
            }
            _ = self.beat.tick() => return Some(Bytes::from_static(b":\n\n")),
            news = self.tail.next() => news,
        };
        let mut out = Vec::new();
        match news {
            Ok(RunEvent::Events(events)) => {
                events.iter().for_each(|stored| put_stored(&mut out, stored));
                state.hops.runs_sse.delivered(events.len() as u64);
            }
            Ok(RunEvent::Reset { reason }) => put_event(&mut out, Some("reset"), None, &json!({ "reason": reason })),
            Err(error) => {
                state.hops.runs_sse.failed(&error.to_string());
                tracing::warn!(%error, "a stream of a run's events ends early");
                return None;
            }
        }
        Some(out.into())
    }
}

fn put_stored(out: &mut Vec<u8>, stored: &StoredEvent) {
    let StoredEvent { cursor, event } = stored;
    let cursor: &Cursor = cursor;
    out.extend_from_slice(format!("id: {cursor}\ndata: ").as_bytes());
    // JSON on one line holds neither a newline nor a carriage return.
    out.extend_from_slice(event.as_str().as_bytes());
    out.extend_from_slice(b"\n\n");
}
