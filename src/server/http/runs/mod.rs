//! Runs over HTTP: the list, one run's state, its removal; beside them `append` (events in),
//! `events` (a page of them) and `stream` (all of them, live).

pub(in crate::server) mod append;
pub(in crate::server) mod events;
pub(in crate::server) mod stream;

use serde_json::json;
use warp::http::StatusCode;
use warp::reply::{Reply, Response};

use super::error::ApiError;
use super::query::Query;
use crate::auth::Caller;
use crate::model::{RunId, RunStatus};
use crate::runs::{EventFilter, RunHandle, RunQuery};
use crate::server::state::SharedState;

/// Runs in one answer when the caller names no limit, and at most.
const LIST_DEFAULT: u64 = 100;
const LIST_MAX: u64 = 1_000;

/// `GET /api/v1/runs?status=&limit=`: those that are the caller's to see.
pub(in crate::server) async fn list(state: SharedState, caller: Caller, query: Query) -> Result<Response, ApiError> {
    let limit = query.number("limit")?.unwrap_or(LIST_DEFAULT);
    if limit == 0 || limit > LIST_MAX {
        return Err(ApiError::bad_query("limit", format!("must be 1 to {LIST_MAX}")));
    }
    let status = match query.text("status") {
        None => None,
        Some(word) => Some(serde_json::from_value::<RunStatus>(word.into()).map_err(|_| {
            ApiError::bad_query("status", "must be pending, running, blocked, done, failed, skipped or partial")
        })?),
    };
    let asked = RunQuery { status, limit: usize::try_from(limit).unwrap_or(usize::MAX) };
    let runs = state.runs.list_where(&asked, |run| caller.sees_run(run)).await?;
    Ok(fresh(&json!({ "runs": runs })))
}

/// `GET /api/v1/runs/{id}`.
pub(in crate::server) async fn show(state: SharedState, id: RunId) -> Result<Response, ApiError> {
    let run = find(&state, &id)?.state().await?;
    Ok(fresh(&run.ok_or_else(|| ApiError::no_run(&id))?))
}

/// `DELETE /api/v1/runs/{id}`: 204; its readers are told `reset`.
pub(in crate::server) async fn remove(state: SharedState, id: RunId) -> Result<Response, ApiError> {
    if !state.runs.remove(&id).await? {
        return Err(ApiError::no_run(&id));
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn find(state: &SharedState, id: &RunId) -> Result<RunHandle, ApiError> {
    state.runs.get(id)?.ok_or_else(|| ApiError::no_run(id))
}

/// `type=` and `failures=1`.
fn filter(query: &Query) -> Result<EventFilter, ApiError> {
    let mut filter: EventFilter = query.get("type")?.unwrap_or_default();
    filter.failures = query.flag("failures")?;
    Ok(filter)
}

/// JSON that is true only now.
fn fresh(body: &impl serde::Serialize) -> Response {
    warp::reply::with_header(warp::reply::json(body), "cache-control", "no-store").into_response()
}
