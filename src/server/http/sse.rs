//! Server-sent events: the stream of a task (`GET /api/v1/tasks/{id}/stream`), and the loop that it shares
//! with the stream of a run.
//!
//! ```text
//! id: c1.1f.3.78.1778336581000-0
//! data: {"n":120,...}
//! ```
//! The id of the last event of a log, `end`, is its own: a browser that reconnects with it is answered with 204 and
//! stops. Events of the types `gap`, `reset` and `end` appear between the lines, with `partial=1` also `partial`, with
//! `open=1` also `open` and `status`, and a comment at the start, after two seconds, and at each heartbeat.
//! Only text of the server itself goes into `id` and `event`, and JSON contains no bare newline or carriage
//! return, so a line of a log cannot end its field.

use std::convert::Infallible;
use std::fmt::Display;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, unfold};
use futures::{Stream, StreamExt};
use serde_json::json;
use tokio::time::{Instant, Interval, interval_at};
use warp::http::{HeaderMap, HeaderValue, StatusCode, header};
use warp::reply::{Reply, Response};

use super::error::{self, ApiError};
use super::named_task::{find_task, wait_for_task};
use super::route_request::RouteRequest;
use crate::auth::{Caller, Lease};
use crate::model::{Cursor, TaskId, Timestamp};
use crate::server::state::{SharedState, State};
use crate::server::ws::frames::{before_first, cursor_after, push_json};
use crate::tasks::{FollowEvent, FollowStart, LogPage, TaskFollower, TaskHandle};

/// For events that are no position in a log.
pub(super) const NO_ID: Option<Cursor> = None;

/// A comment: it keeps the connection alive, and makes hyper send the head of the response.
const COMMENT: &[u8] = b":\n\n";

/// Time to the second comment. A client that has the first one and not the second is served through a proxy that
/// stores responses.
const PROBE: Duration = Duration::from_secs(2);

/// The header with which a browser continues a stream.
const LAST_EVENT_ID: &str = "last-event-id";

/// A source of server-sent events.
pub(super) trait SseSource: Send + 'static {
    /// Waits for the next events and appends them to `out`. Breaks at the end of the stream. Must be
    /// cancel-safe.
    fn next(&mut self, state: &State, out: &mut Vec<u8>) -> impl Future<Output = ControlFlow<()>> + Send;
}

/// Returns a response that streams `source` until it ends, the lease ends, or the server shuts down.
pub(super) fn event_stream(state: SharedState, lease: Lease, source: impl SseSource) -> Response {
    let period = state.options.limits.heartbeat;
    let heartbeat = interval_at(Instant::now() + period.min(PROBE), period);
    let stream = SseStream { source, viewer: ViewerCount::new(state), heartbeat, lease, ended: false };
    let events = unfold(stream, |mut stream| async move { stream.next().await.map(|chunk| (chunk, stream)) });
    let head = futures::stream::iter([Bytes::from_static(COMMENT)]);
    let body = SyncStream::new(head.chain(events).map(Ok::<_, Infallible>));
    let mut response = warp::reply::stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies must not buffer the stream.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Reports whether a browser reconnects that has received the end.
fn has_end(headers: &HeaderMap) -> bool {
    headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok()).is_some_and(Cursor::is_at_end)
}

/// Returns the cursor that a browser sends when it reconnects.
pub(super) fn last_event_id(headers: &HeaderMap) -> Result<Option<Cursor>, ApiError> {
    let Some(value) = headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty()) else { return Ok(None) };
    let cursor = value.to_str().ok().and_then(|text| text.parse::<Cursor>().ok());
    let invalid = || ApiError::new(400, "bad_cursor", "header Last-Event-ID is not a cursor");
    cursor.ok_or_else(invalid).map(Some)
}

/// Appends an event.
pub(super) fn put_event(
    out: &mut Vec<u8>,
    event: Option<&'static str>,
    id: Option<impl Display>,
    data: &impl serde::Serialize,
) {
    if let Some(event) = event {
        out.extend_from_slice(format!("event: {event}\n").as_bytes());
    }
    if let Some(id) = id {
        out.extend_from_slice(format!("id: {id}\n").as_bytes());
    }
    out.extend_from_slice(b"data: ");
    push_json(out, data);
    out.extend_from_slice(b"\n\n");
}

struct SseStream<S> {
    source: S,
    viewer: ViewerCount,
    heartbeat: Interval,
    lease: Lease,
    ended: bool,
}

impl<S: SseSource> SseStream<S> {
    /// Returns the next bytes, or `None` at the end of the stream.
    async fn next(&mut self) -> Option<Bytes> {
        while !self.ended {
            let mut out = Vec::new();
            let state = &self.viewer.state;
            let flow = tokio::select! {
                biased;
                () = state.shutdown.cancelled() => return None,
                end = self.lease.ended() => {
                    let data = json!({ "code": "unauthorized", "message": end.reason() });
                    put_event(&mut out, Some("error"), NO_ID, &data);
                    ControlFlow::Break(())
                }
                _ = self.heartbeat.tick() => return Some(Bytes::from_static(COMMENT)),
                flow = self.source.next(state, &mut out) => flow,
            };
            self.ended = flow.is_break();
            if !out.is_empty() {
                return Some(out.into());
            }
        }
        None
    }
}

/// A viewer in the server's metrics until it is dropped.
struct ViewerCount {
    state: SharedState,
}

impl ViewerCount {
    fn new(state: SharedState) -> Self {
        state.metrics.viewers.inc();
        Self { state }
    }
}

impl Drop for ViewerCount {
    fn drop(&mut self) {
        self.state.metrics.viewers.dec();
    }
}

/// `GET /api/v1/tasks/{id}/stream`. The `Last-Event-ID` of a reconnecting browser overrides `?after=`.
pub(super) async fn stream(request: RouteRequest) -> Result<Response, ApiError> {
    let (id, query, caller, lease) = (request.task_id()?, request.query()?, request.caller()?, request.lease()?);
    let start = match last_event_id(&request.headers)? {
        Some(cursor) => FollowStart::After(cursor),
        None => query.start()?,
    };
    let (wait, partial, details) = (query.flag("wait")?, query.flag("partial")?, query.flag("open")?);
    let RouteRequest { state, headers, .. } = request;
    // With `wait`, the task is awaited inside the stream, so that the head of the response is not delayed.
    let follower = match find_task(&state, &caller, &id, start).await? {
        Some(handle) if has_end(&headers) && is_end_of(&handle, start) => {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        Some(handle) => Some(Box::new(handle.follow(start).with_partials(partial))),
        None if wait => None,
        None => return Err(ApiError::task_not_found(&id)),
    };
    Ok(event_stream(
        state,
        lease,
        TaskEvents { id, caller, start, partial, details, follower, since: Timestamp::now() },
    ))
}

/// Reports whether a position is the end of this log, which nothing can follow.
fn is_end_of(handle: &TaskHandle, start: FollowStart) -> bool {
    let FollowStart::After(cursor) = start else { return false };
    let is_this_log = cursor.epoch.incarnation == handle.epoch().incarnation;
    is_this_log && handle.has_ended() && cursor.n >= handle.details().last_line
}

/// The events of a task.
struct TaskEvents {
    id: TaskId,
    caller: Caller,
    start: FollowStart,
    /// Whether the current unterminated line is wanted.
    partial: bool,
    /// Whether the task's details are wanted, at the start and after changes.
    details: bool,
    /// `None` until the task exists.
    follower: Option<Box<TaskFollower>>,
    /// Time of the request.
    since: Timestamp,
}

impl SseSource for TaskEvents {
    async fn next(&mut self, state: &State, out: &mut Vec<u8>) -> ControlFlow<()> {
        let follower = match &mut self.follower {
            Some(follower) => follower,
            None => match wait_for_task(state, &self.caller, &self.id, self.start).await {
                Ok(handle) => self.follower.insert(Box::new(handle.follow(self.start).with_partials(self.partial))),
                Err(_) => return ControlFlow::Break(()),
            },
        };
        match follower.next().await {
            Ok(Some(FollowEvent::Page(page))) => {
                put_page(out, &page);
                let lines = page.lines.len() as u64;
                state.metrics.line_to_viewer.observe(page.lines.last(), self.since);
                state.metrics.lines_delivered.inc_by(lines);
                state.stages.sse.delivered(lines);
            }
            Ok(Some(FollowEvent::Partial(line))) => put_event(out, Some("partial"), NO_ID, &line),
            Ok(Some(FollowEvent::Reset { epoch, reason })) => {
                put_event(out, Some("reset"), NO_ID, &json!({ "epoch": epoch.to_string(), "reason": reason }));
            }
            Ok(Some(FollowEvent::End { task, cursor })) => {
                put_event(out, Some("end"), Some(cursor.at_end()), &json!({ "task": task, "cursor": cursor }));
                return ControlFlow::Break(());
            }
            Ok(Some(FollowEvent::Open { task, epoch, first_line, last_line })) if self.details => {
                let epoch = epoch.to_string();
                let data = json!({ "task": task, "epoch": epoch, "first_line": first_line, "last_line": last_line });
                put_event(out, Some("open"), NO_ID, &data);
            }
            Ok(Some(FollowEvent::Status(task))) if self.details => {
                put_event(out, Some("status"), NO_ID, &json!({ "task": task }));
            }
            // A stream of lines only: another route returns the task's details.
            Ok(Some(FollowEvent::Open { .. } | FollowEvent::Status(_))) => {}
            Ok(None) => return ControlFlow::Break(()),
            Err(error) => {
                let data = json!({ "code": error::error_code(&error), "message": error.to_string() });
                put_event(out, Some("error"), NO_ID, &data);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

fn put_page(out: &mut Vec<u8>, page: &LogPage) {
    if let Some(gap) = &page.gap {
        put_event(out, Some("gap"), Some(before_first(page)), gap);
    }
    for line in &page.lines {
        let cursor = cursor_after(page, line);
        put_event(out, None, Some(cursor), line);
        if let Some(gap) = line.gap() {
            put_event(out, Some("gap"), Some(cursor), &gap);
        }
    }
}

/// Makes a stream `Sync`, as warp requires. The mutex is never contended.
pub(super) struct SyncStream<T>(parking_lot::Mutex<BoxStream<'static, T>>);

impl<T> SyncStream<T> {
    /// Wraps a stream.
    pub(super) fn new(stream: impl Stream<Item = T> + Send + 'static) -> Self {
        Self(parking_lot::Mutex::new(stream.boxed()))
    }
}

impl<T> Stream for SyncStream<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.get_mut().0.get_mut().as_mut().poll_next(cx)
    }
}
