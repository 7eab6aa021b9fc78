//! `GET /api/v1/runs/{id}/events/stream`: a run's events as server-sent events, stored ones first, then live.
//!
//! `id:` is the cursor, `data:` the stored event. `event: reset` follows a cursor of an earlier log of this
//! run. Each heartbeat is a comment. The stream ends with the server, because a run can always continue.

use std::ops::ControlFlow;

use serde_json::json;
use warp::reply::Response;

use super::{find, parse_filter};
use crate::runs::{RunEvent, RunFollowStart, RunHandle, RunTail, StoredEvent};
use crate::server::http::error::ApiError;
use crate::server::http::route_request::RouteRequest;
use crate::server::http::sse::{NO_ID, SseSource, event_stream, last_event_id, put_event};
use crate::server::state::State;
use crate::tasks::FollowStart;

/// Handles the route. The `Last-Event-ID` of a reconnecting browser overrides `?after=`.
pub(in crate::server::http) async fn stream(request: RouteRequest) -> Result<Response, ApiError> {
    let (id, query, lease) = (request.run_id()?, request.query()?, request.lease()?);
    let filter = parse_filter(&query)?;
    let start = match last_event_id(&request.headers)? {
        Some(cursor) => RunFollowStart::After(cursor),
        None => match query.start()? {
            FollowStart::After(cursor) => RunFollowStart::After(cursor),
            FollowStart::Tail(count) => RunFollowStart::Tail(count),
            FollowStart::From(_) => RunFollowStart::First,
        },
    };
    let state = request.state;
    // With `wait`, the run is awaited inside the stream, so that the head of the response is not delayed.
    let run = if query.flag("wait")? { state.runs.get_or_new(&id) } else { find(&state, &id)? };
    Ok(event_stream(state, lease, RunEvents { tail: run.follow(start, filter), run }))
}

/// The events of a run.
struct RunEvents {
    tail: RunTail,
    run: RunHandle,
}

impl SseSource for RunEvents {
    async fn next(&mut self, _state: &State, out: &mut Vec<u8>) -> ControlFlow<()> {
        match self.tail.next().await {
            Ok(RunEvent::Events(events)) => {
                for stored in &events {
                    put_stored(out, stored);
                }
                self.run.stage(|meters| &meters.runs_sse).delivered(events.len() as u64);
            }
            Ok(RunEvent::Reset { reason }) => put_event(out, Some("reset"), NO_ID, &json!({ "reason": reason })),
            Err(error) => {
                self.run.stage(|meters| &meters.runs_sse).failed(&error.to_string());
                tracing::warn!(%error, "event stream of a run ended early");
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

fn put_stored(out: &mut Vec<u8>, stored: &StoredEvent) {
    let StoredEvent { cursor, event } = stored;
    out.extend_from_slice(format!("id: {cursor}\ndata: ").as_bytes());
    // The stored event is one line of JSON: it contains neither a newline nor a carriage return.
    out.extend_from_slice(event.as_str().as_bytes());
    out.extend_from_slice(b"\n\n");
}
