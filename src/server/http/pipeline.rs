//! `GET /api/v1/pipeline`: the counters of every stage.

use warp::reply::{Reply, Response};

use crate::auth::Caller;
use crate::model::Pipeline;
use crate::server::stages::snapshot;
use crate::server::state::State;

/// `GET /api/v1/pipeline`. A caller from whom something is hidden gets the counts alone: the words of an error
/// name tasks and runs.
pub(in crate::server) fn pipeline(state: &State, caller: &Caller) -> Response {
    let runs_folder = state.options.runs.as_ref().map(|folder| folder.display().to_string());
    let mut body = Pipeline { stages: snapshot(state), runs_folder };
    if !caller.sees_all() {
        body.runs_folder = None;
        body.stages.iter_mut().for_each(|hop| hop.last_error = None);
    }
    warp::reply::with_header(warp::reply::json(&body), "cache-control", "no-store").into_response()
}
