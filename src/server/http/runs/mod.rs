//! Runs over HTTP: the list, the state of one run, its deletion; `append` (events in), `events` (a page of
//! them) and `stream` (all of them, live).

pub(super) mod append;
pub(super) mod events;
pub(super) mod stream;

use serde_json::json;
use warp::http::StatusCode;
use warp::reply::{Reply, Response};

use super::error::ApiError;
use super::query::QueryParams;
use super::reply::uncached_json;
use super::route_request::RouteRequest;
use crate::model::{Pipeline, RunId, RunStatus};
use crate::runs::{EventFilter, RunHandle, RunQuery};
use crate::server::state::State;

/// Default and maximum number of runs in one response.
const LIST_DEFAULT: u64 = 100;
const LIST_MAX: u64 = 1_000;

/// `GET /api/v1/runs?status=&limit=`: the runs that the caller may see.
pub(super) async fn list(request: RouteRequest) -> Result<Response, ApiError> {
    let (caller, query) = (request.caller()?, request.query()?);
    let limit = query.limit(LIST_DEFAULT, LIST_MAX)?;
    let status = match query.text("status") {
        None => None,
        Some(text) => Some(serde_json::from_value::<RunStatus>(text.into()).map_err(|_| {
            ApiError::bad_query("status", "must be pending, running, blocked, done, failed, skipped or partial")
        })?),
    };
    let run_query = RunQuery { status, limit: usize::try_from(limit).unwrap_or(usize::MAX) };
    let runs = request.state.runs.list_where(&run_query, |run| caller.sees_run(run)).await?;
    Ok(uncached_json(&json!({ "runs": runs })))
}

/// `GET /api/v1/runs/{id}`.
pub(super) async fn show(request: RouteRequest) -> Result<Response, ApiError> {
    let id = request.run_id()?;
    let run = find(&request.state, &id)?.state().await?;
    Ok(uncached_json(&run.ok_or_else(|| ApiError::run_not_found(&id))?))
}

/// `GET /api/v1/runs/{id}/pipeline`: the counters of this run's own stages.
pub(super) async fn pipeline(request: RouteRequest) -> Result<Response, ApiError> {
    let id = request.run_id()?;
    let stages = request.state.runs.stages(&id)?.ok_or_else(|| ApiError::run_not_found(&id))?;
    Ok(uncached_json(&Pipeline { stages, runs_folder: None }))
}

/// `DELETE /api/v1/runs/{id}`: 204. The run's readers receive `reset`.
pub(super) async fn remove(request: RouteRequest) -> Result<Response, ApiError> {
    let id = request.run_id()?;
    if !request.state.runs.remove(&id).await? {
        return Err(ApiError::run_not_found(&id));
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn find(state: &State, id: &RunId) -> Result<RunHandle, ApiError> {
    state.runs.get(id)?.ok_or_else(|| ApiError::run_not_found(id))
}

/// Parses `type=` and `failures=1`.
fn parse_filter(query: &QueryParams) -> Result<EventFilter, ApiError> {
    let mut filter: EventFilter = query.get("type")?.unwrap_or_default();
    filter.failures = query.flag("failures")?;
    Ok(filter)
}
