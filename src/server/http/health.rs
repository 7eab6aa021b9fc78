//! `/healthz`, `/readyz`, and the counters of the stages.

use serde_json::json;
use warp::reply::{Reply, Response};

use super::error::ApiError;
use super::reply::uncached_json;
use super::route_request::RouteRequest;
use crate::model::Pipeline;
use crate::server::state::State;

/// `GET /healthz`: the process is alive.
pub(super) async fn healthz(request: RouteRequest) -> Result<Response, ApiError> {
    let instance = &request.state.instance;
    let version = env!("CARGO_PKG_VERSION");
    let body = json!({ "status": "ok", "name": "tasktail", "version": version, "instance": instance });
    Ok(warp::reply::json(&body).into_response())
}

/// `GET /readyz`: the store accepts writes.
pub(super) async fn readyz(request: RouteRequest) -> Result<Response, ApiError> {
    let state = &*request.state;
    state.tasks.health().map_err(|reason| ApiError::new(503, "not_ready", reason))?;
    let mut body = json!({ "status": "ready", "durability": durability(state) });
    if !state.insecure.is_empty() {
        body["insecure"] = json!(state.insecure);
    }
    Ok(warp::reply::json(&body).into_response())
}

/// `GET /api/v1/pipeline`: the counters of every stage. A caller who may not see everything gets no error
/// messages, because they name tasks and runs.
pub(super) async fn pipeline(request: RouteRequest) -> Result<Response, ApiError> {
    let state = &*request.state;
    let runs_folder = state.options.runs.as_ref().map(|folder| folder.display().to_string());
    let mut pipeline = Pipeline { stages: state.stages.snapshot(&state.tasks), runs_folder };
    if !request.caller()?.sees_all() {
        pipeline.runs_folder = None;
        for stage in &mut pipeline.stages {
            stage.last_error = None;
        }
    }
    Ok(uncached_json(&pipeline))
}

/// Returns the durability in force, as its setting is written.
pub(super) fn durability(state: &State) -> String {
    format!("{:?}", state.options.durability).to_lowercase()
}
