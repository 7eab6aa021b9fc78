//! Handlers of the routes that are served by [`web`](crate::server::web) and [`ws`](crate::server::ws).

use warp::reply::Response;

use super::auth::sees_task;
use super::error::ApiError;
use super::route_request::RouteRequest;
use crate::server::web::pages;
use crate::server::ws::{multi_viewer, viewer, worker};
use crate::tasks::FollowStart;

/// `GET /`.
pub(super) async fn task_list_page(request: RouteRequest) -> Result<Response, ApiError> {
    Ok(pages::list(&request.headers, &request.root))
}

/// `GET /tasks/{task}`.
pub(super) async fn task_page(request: RouteRequest) -> Result<Response, ApiError> {
    let (id, caller) = (request.task_id()?, request.caller()?);
    // Everyone gets the page; its script reports why a task cannot be read.
    let readable = sees_task(&request.state, &caller, &id);
    let task = if readable { request.task(FollowStart::From(1)).await.ok() } else { None };
    Ok(pages::task(&request.headers, &request.root, &request.path_id, task.map(|task| task.details()).as_ref()))
}

/// `GET /tasks/{task}/diff`.
pub(super) async fn diff_page(request: RouteRequest) -> Result<Response, ApiError> {
    request.task_id()?;
    Ok(pages::diff(&request.headers, &request.root))
}

/// `GET /search`.
pub(super) async fn search_page(request: RouteRequest) -> Result<Response, ApiError> {
    Ok(pages::search(&request.headers, &request.root))
}

/// `GET /runs`.
pub(super) async fn run_list_page(request: RouteRequest) -> Result<Response, ApiError> {
    Ok(pages::runs(&request.headers, &request.root))
}

/// `GET /runs/{run}`.
pub(super) async fn run_page(request: RouteRequest) -> Result<Response, ApiError> {
    request.run_id()?;
    Ok(pages::run(&request.headers, &request.root))
}

/// `GET /assets/{folder}/{name}`.
pub(super) async fn asset(request: RouteRequest) -> Result<Response, ApiError> {
    pages::asset(&request.path_id, &request.headers)
}

/// `GET /assets/embed.js`.
pub(super) async fn embed_script(request: RouteRequest) -> Result<Response, ApiError> {
    Ok(pages::embed_script(&request.headers))
}

/// `GET /embed/{task}`: the page without a log. Its script reads the log with the share of the embedding page, as
/// cookies of this server do not reach a frame on another site.
pub(super) async fn embed_page(request: RouteRequest) -> Result<Response, ApiError> {
    request.task_id()?;
    Ok(pages::embed(&request.headers, &request.root, &request.path_id, &request.state.options.frame_ancestors))
}

/// `GET /ws/v1/tasks/{task}`.
pub(super) async fn view_socket(mut request: RouteRequest) -> Result<Response, ApiError> {
    let upgrade = request.upgrade()?;
    viewer::view(&request.state, request.task_id()?, &request.query()?, upgrade)
}

/// `GET /ws/v1/follow`.
pub(super) async fn follow_socket(mut request: RouteRequest) -> Result<Response, ApiError> {
    let upgrade = request.upgrade()?;
    multi_viewer::follow(&request.state, &request.query()?, upgrade)
}

/// `GET /ws/v1/worker`.
pub(super) async fn worker_socket(mut request: RouteRequest) -> Result<Response, ApiError> {
    let upgrade = request.upgrade()?;
    worker::ingest(&request.state, upgrade)
}
