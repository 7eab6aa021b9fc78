//! `GET /api/v1/tasks/{id}/outline`: the sections and the annotations of a task's log.

use std::time::Instant;

use warp::reply::Response;

use super::reader::{WholeLogReader, blocking};
use crate::model::TaskStatus;
use crate::server::http::error::ApiError;
use crate::server::http::log_scan::acquire_search;
use crate::server::http::reply::uncached_json;
use crate::server::http::route_request::RouteRequest;
use crate::tasks::FollowStart;

/// Handles the route. A long log is examined for at most `search_time_max`, and further in the next request:
/// `scanned_to` is the last line examined.
pub(crate) async fn outline(request: RouteRequest) -> Result<Response, ApiError> {
    let task = request.task(FollowStart::From(1)).await?;
    let _permit = acquire_search(&request.state).await?;
    let deadline = Instant::now() + request.state.options.limits.search_time_max;
    let cached = request.state.outlines.outline(task.id(), task.epoch().incarnation);
    let mut growing = cached.lock_owned().await;
    let view = blocking(move |cancelled| {
        // Before the lines are read, so that an ended outline has all of them.
        let facts = task.details();
        let reader = WholeLogReader { task, deadline, cancelled };
        let from = growing.next.max(1);
        growing.next = reader.read(from, |row| growing.outline.push(&row))?;
        let is_over = facts.status.is_final() || facts.status == TaskStatus::Lost;
        Ok(growing.outline.view(is_over && growing.next > facts.last_line))
    });
    Ok(uncached_json(&view.await?))
}
