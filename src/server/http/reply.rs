//! Replies that several routes share.

use serde::Serialize;
use warp::reply::{Reply, Response};

/// Returns a JSON response that must not be cached.
pub(crate) fn uncached_json(body: &impl Serialize) -> Response {
    warp::reply::with_header(warp::reply::json(body), "cache-control", "no-store").into_response()
}

/// Appends a row of NDJSON.
pub(super) fn push_row(rows: &mut Vec<u8>, row: &impl Serialize) {
    match serde_json::to_writer(&mut *rows, row) {
        Ok(()) => rows.push(b'\n'),
        Err(error) => tracing::error!(%error, "cannot write a row as JSON"),
    }
}
