//! Server-sent events: `GET /api/v1/tasks/{id}/stream`.
//!
//! ```text
//! id: c1.1f.3.78.1778336581000-0
//! data: {"n":120,...}
//! ```
//! `event: gap`, `event: reset` and `event: end` beside the lines; a comment each heartbeat. Only
//! text of the server's own goes into `id` and `event`, and JSON holds no bare newline or carriage
//! return, so a line of a log cannot end its field.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::{BoxStream, unfold};
use futures::{Stream, StreamExt};
use tokio::time::{Instant, Interval, interval_at};
use warp::http::{HeaderMap, HeaderValue, header};
use warp::reply::{Reply, Response};

use super::error::{self, ApiError};
use super::query::Query;
use crate::auth::{Lease, LeaseEnd};
use crate::model::{Cursor, TaskId};
use crate::server::state::SharedState;
use crate::server::ws::frames::{before_first, cursor_after, push_json};
use crate::server::ws::viewer::find;
use crate::tasks::{FollowEvent, FollowStart, LogPage, TaskFollower};

/// Begins a stream. `Last-Event-ID` (what a browser sends by itself after a break) beats `?after=`.
pub(in crate::server) async fn stream(
    state: SharedState,
    id: TaskId,
    query: Query,
    headers: HeaderMap,
    lease: Lease,
) -> Result<Response, ApiError> {
    let start = match last_event_id(&headers)? {
        Some(cursor) => FollowStart::After(cursor),
        None => query.start()?,
    };
    let wait = query.flag("wait")?;
    // A task that is waited for is found in the stream: the head of the answer should not wait.
    let follower = match state.tasks.get(&id).await? {
        Some(handle) => Some(Box::new(handle.follow(start))),
        None if wait => None,
        None => return Err(ApiError::no_task(&id)),
    };
    let heartbeat = state.options.limits.heartbeat;
    let beat = interval_at(Instant::now() + heartbeat, heartbeat);
    let viewer = Viewer { counted: Counted::new(state), id, start, follower, beat, lease, over: false };
    let chunks = unfold(viewer, |mut viewer| async move { viewer.next().await.map(|chunk| (chunk, viewer)) });
    let body = Shareable::new(chunks.map(Ok::<_, std::convert::Infallible>));
    Ok(event_stream(warp::reply::stream(body).into_response()))
}

/// The cursor that a browser sends by itself after a break.
pub(in crate::server) fn last_event_id(headers: &HeaderMap) -> Result<Option<Cursor>, ApiError> {
    let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) else { return Ok(None) };
    let cursor = value.to_str().ok().and_then(|text| text.parse::<Cursor>().ok());
    let bad = || ApiError::new(400, "bad_cursor", "header Last-Event-ID is no cursor");
    cursor.ok_or_else(bad).map(Some)
}

/// A response marked as a stream of events that nobody is to keep or to gather.
pub(in crate::server) fn event_stream(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The state, and one viewer more in its count until it is dropped.
pub(in crate::server) struct Counted(SharedState);

impl Counted {
    pub(in crate::server) fn new(state: SharedState) -> Self {
        state.metrics.viewers.inc();
        Self(state)
    }

    pub(in crate::server) fn state(&self) -> &SharedState {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics.viewers.dec();
    }
}

struct Viewer {
    counted: Counted,
    id: TaskId,
    start: FollowStart,
    follower: Option<Box<TaskFollower>>,
    beat: Interval,
    lease: Lease,
    over: bool,
}

impl Viewer {
    /// The next bytes; `None` at the task's end or the server's.
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let state = &self.counted.0;
        loop {
            let Some(follower) = &mut self.follower else {
                tokio::select! {
                    () = state.shutdown.cancelled() => return None,
                    ended = self.lease.ended() => {
                        self.over = true;
                        return Some(last_word(ended));
                    }
                    _ = self.beat.tick() => return Some(Bytes::from_static(b":\n\n")),
                    found = find(state, &self.id, true) => match found {
                        Ok(handle) => self.follower = Some(Box::new(handle.follow(self.start))),
                        Err(_) => return None,
                    },
                }
                continue;
            };
            let event = tokio::select! {
                biased;
                () = state.shutdown.cancelled() => return None,
                ended = self.lease.ended() => {
                    self.over = true;
                    return Some(last_word(ended));
                }
                _ = self.beat.tick() => return Some(Bytes::from_static(b":\n\n")),
                event = follower.next() => event,
            };
            let mut out = Vec::new();
            match event {
                Ok(Some(FollowEvent::Page(page))) => {
                    put_page(&mut out, &page);
                    state.metrics.lines_delivered.inc_by(u64::try_from(page.lines.len()).unwrap_or(0));
                    state.hops.sse.delivered(page.lines.len() as u64);
                }
                Ok(Some(FollowEvent::Reset { epoch, reason })) => {
                    let data = serde_json::json!({ "epoch": epoch.to_string(), "reason": reason });
                    put_event(&mut out, Some("reset"), None, &data);
                }
                Ok(Some(FollowEvent::End { task, cursor })) => {
                    self.over = true;
                    let data = serde_json::json!({ "task": task, "cursor": cursor });
                    put_event(&mut out, Some("end"), Some(cursor), &data);
                }
                // A stream of lines: what a task is can be asked for by its own route. The comment
                // makes the head of the answer go out before the first line.
                Ok(Some(FollowEvent::Open { .. })) => out.extend_from_slice(b":\n\n"),
                Ok(Some(FollowEvent::Status(_))) => continue,
                Ok(None) => return None,
                Err(error) => {
                    self.over = true;
                    let data = serde_json::json!({ "code": error::code_of(&error), "message": error.to_string() });
                    put_event(&mut out, Some("error"), None, &data);
                }
            }
            if !out.is_empty() {
                return Some(out.into());
            }
        }
    }
}

/// Tells a viewer that its time is over.
pub(in crate::server) fn last_word(ended: LeaseEnd) -> Bytes {
    let mut out = Vec::new();
    let data = serde_json::json!({ "code": "unauthorized", "message": ended.reason() });
    put_event(&mut out, Some("error"), None, &data);
    out.into()
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

pub(in crate::server) fn put_event(
    out: &mut Vec<u8>,
    event: Option<&'static str>,
    id: Option<Cursor>,
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

/// A stream that warp takes: it wants `Sync`, which no shared access ever makes use of.
pub(in crate::server) struct Shareable<T>(parking_lot::Mutex<BoxStream<'static, T>>);

impl<T> Shareable<T> {
    /// Around any stream that can be sent.
    pub(in crate::server) fn new(stream: impl Stream<Item = T> + Send + 'static) -> Self {
        Self(parking_lot::Mutex::new(stream.boxed()))
    }
}

impl<T> Stream for Shareable<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.get_mut().0.get_mut().as_mut().poll_next(cx)
    }
}
