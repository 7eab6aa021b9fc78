//! Replies that several routes share.

use serde::Serialize;
use warp::reply::{Reply, Response};

/// Returns a JSON response that must not be cached.
pub(crate) fn uncached_json(body: &impl Serialize) -> Response {
    warp::reply::with_header(warp::reply::json(body), "cache-control", "no-store").into_response()
}
