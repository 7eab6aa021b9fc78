//! `POST /api/v1/backup`: makes a snapshot of the data folder, which exists as long as the response is read.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{iter, unfold};
use serde_json::json;
use tokio::time::{Instant, Interval, interval_at};
use warp::http::{HeaderValue, header};
use warp::reply::{Reply, Response};

use super::error::ApiError;
use super::route_request::RouteRequest;
use super::sse::SyncStream;
use crate::server::state::SharedState;
use crate::tasks::backup::{DataSnapshot, DataSnapshotError};

/// Keeps the connection alive, and is an empty row of NDJSON.
const EMPTY_ROW: &[u8] = b"\n";
/// Maximum interval of empty rows: the client expects one within a minute.
const HEARTBEAT_MAX: Duration = Duration::from_secs(15);

/// Responds with a row that names the snapshot's folder and files, then with empty rows until the client closes the
/// connection. Then the snapshot is removed.
pub(super) async fn begin(request: RouteRequest) -> Result<Response, ApiError> {
    if !request.caller()?.sees_all() {
        let detail = "a backup has every log: this requires an access token of scope `admin` without patterns";
        return Err(ApiError::new(403, "forbidden", detail));
    }
    let state = request.state;
    let snapshot = state.tasks.data_snapshot(&state.options.data).await.map_err(|error| match error {
        DataSnapshotError::InProgress => ApiError::new(409, "backup_in_progress", error.to_string()),
        error => ApiError::new(503, "backup_failed", error.to_string()),
    })?;
    let folder = std::path::absolute(snapshot.folder()).unwrap_or_else(|_| snapshot.folder().to_owned());
    let files: Vec<_> = snapshot.files().map(|(name, bytes)| json!({ "name": name, "bytes": bytes })).collect();
    let mut row = json!({ "folder": folder.display().to_string(), "files": files }).to_string();
    row.push('\n');
    let period = state.options.limits.heartbeat.min(HEARTBEAT_MAX);
    let held = Held { _snapshot: snapshot, state, heartbeat: interval_at(Instant::now() + period, period) };
    let rows = unfold(held, |mut held| async move {
        tokio::select! {
            () = held.state.shutdown.cancelled() => None,
            _ = held.heartbeat.tick() => Some((Bytes::from_static(EMPTY_ROW), held)),
        }
    });
    let body = SyncStream::new(iter([Bytes::from(row)]).chain(rows).map(Ok::<_, Infallible>));
    let mut response = warp::reply::stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// A snapshot that a client is copying.
struct Held {
    _snapshot: DataSnapshot,
    state: SharedState,
    heartbeat: Interval,
}
