//! The tasks themselves over HTTP: the list, one task's facts, removal.

use serde_json::json;
use warp::http::StatusCode;
use warp::reply::{Reply, Response};

use super::error::ApiError;
use super::query::Query;
use crate::auth::Caller;
use crate::model::TaskId;
use crate::server::state::SharedState;
use crate::tasks::ListQuery;

/// Tasks in one answer when the caller names no limit, and at most.
const LIST_DEFAULT: u64 = 100;
const LIST_MAX: u64 = 1_000;

/// `GET /api/v1/tasks?status=&label=k:v&limit=&after=`: those that are the caller's to see.
pub(in crate::server) async fn list(state: SharedState, caller: Caller, query: Query) -> Result<Response, ApiError> {
    let limit = query.number("limit")?.unwrap_or(LIST_DEFAULT);
    if limit == 0 || limit > LIST_MAX {
        return Err(ApiError::bad_query("limit", format!("must be 1 to {LIST_MAX}")));
    }
    let label = match query.text("label") {
        None => None,
        Some(label) => {
            let pair = label.split_once(':').ok_or_else(|| ApiError::bad_query("label", "must be key:value"))?;
            Some((pair.0.to_owned(), pair.1.to_owned()))
        }
    };
    let asked = ListQuery {
        status: query.get("status")?,
        label,
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        after: query.text("after").map(str::to_owned),
    };
    let page = state.tasks.list_where(&asked, |task| caller.sees_task(task)).await?;
    Ok(fresh(&json!({ "tasks": page.tasks, "next": page.next })))
}

/// `GET /api/v1/tasks/{id}`.
pub(in crate::server) async fn show(state: SharedState, id: TaskId) -> Result<Response, ApiError> {
    let handle = state.tasks.get(&id).await?.ok_or_else(|| ApiError::no_task(&id))?;
    Ok(fresh(&handle.details()))
}

/// `DELETE /api/v1/tasks/{id}`: 204; its viewers are told.
pub(in crate::server) async fn remove(state: SharedState, id: TaskId) -> Result<Response, ApiError> {
    if !state.tasks.remove(&id).await? {
        return Err(ApiError::no_task(&id));
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// JSON that is true only now.
pub(in crate::server) fn fresh(body: &impl serde::Serialize) -> Response {
    warp::reply::with_header(warp::reply::json(body), "cache-control", "no-store").into_response()
}
