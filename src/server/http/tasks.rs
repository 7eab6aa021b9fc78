//! Tasks over HTTP: the list, the details of one task, its end, its deletion.

use serde::Deserialize;
use serde_json::json;
use warp::http::StatusCode;
use warp::reply::{Reply, Response};

use super::auth::sees_task;
use super::body;
use super::decode::decoded;
use super::error::ApiError;
use super::reply::uncached_json;
use super::route_request::RouteRequest;
use crate::model::{TaskEventCounts, Timestamp};
use crate::tasks::{EndOutcome, EndRequest, FollowStart, ListQuery, TasksError};

/// Default and maximum number of tasks in one response.
const LIST_DEFAULT: u64 = 100;
const LIST_MAX: u64 = 1_000;

/// `GET /api/v1/tasks?status=&label=k:v&prefix=&limit=&after=`: the tasks that the caller may see.
pub(super) async fn list(request: RouteRequest) -> Result<Response, ApiError> {
    let (caller, query) = (request.caller()?, request.query()?);
    let limit = query.limit(LIST_DEFAULT, LIST_MAX)?;
    let list_query = ListQuery {
        status: query.get("status")?,
        labels: query.labels()?,
        prefix: query.text("prefix").map(str::to_owned),
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        after: query.text("after").map(str::to_owned),
    };
    let page = request.state.tasks.list_where(&list_query, |task| sees_task(&request.state, &caller, task)).await?;
    Ok(uncached_json(&json!({ "tasks": page.tasks, "next": page.next })))
}

/// `GET /api/v1/tasks/{id}`.
pub(super) async fn show(request: RouteRequest) -> Result<Response, ApiError> {
    let handle = request.task(FollowStart::From(1)).await?;
    Ok(uncached_json(&handle.details()))
}

/// `GET /api/v1/tasks/{id}/events`: how many events were found in the task's output, and the texts that look like
/// events and are not. Counted since the server began to read the task.
pub(super) async fn events(request: RouteRequest) -> Result<Response, ApiError> {
    let handle = request.task(FollowStart::From(1)).await?;
    let counts = request.state.runs.task_events(handle.id());
    Ok(uncached_json(&TaskEventCounts { task: Some(handle.id().clone()), ..counts }))
}

/// `DELETE /api/v1/tasks/{id}`: 204. The task's viewers are notified.
pub(super) async fn remove(request: RouteRequest) -> Result<Response, ApiError> {
    let (id, tasks) = (request.task_id()?, &request.state.tasks);
    if tasks.remove(&id).await? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    // `NAME.1` is the first attempt of a name.
    let first = request.task(FollowStart::From(1)).await?;
    if id.first_attempt().as_ref() != Some(first.id()) || !tasks.remove(first.id()).await? {
        return Err(ApiError::task_not_found(&id));
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The body of `POST /api/v1/tasks/{id}/end`.
#[derive(Debug, Default, Deserialize)]
struct EndBody {
    exit_code: Option<i32>,
    signal: Option<i32>,
    status: Option<String>,
    timestamp: Option<Timestamp>,
}

/// `POST /api/v1/tasks/{id}/end`: returns the ended task.
pub(super) async fn end(request: RouteRequest) -> Result<Response, ApiError> {
    let handle = request.task(FollowStart::From(1)).await?;
    // Another site's form cannot send this type without a preflight request.
    body::require_json(&request.headers)?;
    let RouteRequest { state, headers, mut body, .. } = request;
    let decoded = decoded(&mut body, &headers, state.options.limits.append_ratio_max)?;
    let bytes = body::read_all(decoded).await?;
    let end: EndBody = serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::new(400, "bad_message", format!("the body must be {{\"exit_code\":0}}: {error}")))?;
    let aborted = match end.status.as_deref() {
        None | Some("completed") => false,
        Some("aborted") => true,
        Some(_) => return Err(ApiError::new(400, "bad_message", "field `status` must be completed or aborted")),
    };
    let EndBody { exit_code, signal, timestamp, .. } = end;
    match handle.end(EndRequest { exit_code, signal, aborted, at: timestamp, ..EndRequest::default() }).await? {
        EndOutcome::Ended => Ok(warp::reply::json(&handle.details()).into_response()),
        EndOutcome::Repeated | EndOutcome::AlreadyEnded => Err(TasksError::Ended(handle.id().clone()).into()),
    }
}
