//! Responses with the pages and their assets.
//!
//! Every address in a page is relative to the `root` of the request, so the pages work below any path prefix.

use bytes::Bytes;
use warp::http::{HeaderMap, HeaderValue, StatusCode, header};
use warp::reply::{Reply, Response};

use super::assets::{self, Asset};
use crate::model::Task;
use crate::server::http::conditional;
use crate::server::http::cors::Origins;
use crate::server::http::error::{ApiError, ReportedProblem};

/// Returns the list of tasks, `GET /`.
pub(in crate::server) fn list(headers: &HeaderMap, root: &str) -> Response {
    serve_page(&assets::list_page(), headers, root)
}

/// Returns the task page, `GET /tasks/{id}`; `id` is percent-encoded, `task` the task if the caller may read it.
pub(in crate::server) fn task(headers: &HeaderMap, root: &str, id: &str, task: Option<&Task>) -> Response {
    let facts = task.map(facts).unwrap_or_default();
    serve(HTML, assets::task_page(root, id, &facts).into(), headers)
}

/// Returns the search across tasks, `GET /search`.
pub(in crate::server) fn search(headers: &HeaderMap, root: &str) -> Response {
    serve_page(&assets::search_page(), headers, root)
}

/// Returns the difference of two logs, `GET /tasks/{id}/diff`.
pub(in crate::server) fn diff(headers: &HeaderMap, root: &str) -> Response {
    serve_page(&assets::diff_page(), headers, root)
}

/// Returns a task in words, for browsers without JavaScript.
fn facts(task: &Task) -> String {
    let mut facts = task.status.to_string();
    if let Some(code) = task.exit_code {
        facts += &format!(", exit code {code}");
    }
    if let Some(signal) = task.signal {
        facts += &format!(", signal {signal}");
    }
    facts += &format!("; {} lines; started {}", task.lines, task.started.unwrap_or(task.created));
    if let Some(ended) = task.ended {
        facts += &format!(", ended {ended}");
    }
    if !task.command.is_empty() {
        facts += &format!("; command: {}", task.command.join(" "));
    }
    facts
}

/// Returns the list of runs, `GET /runs`.
pub(in crate::server) fn runs(headers: &HeaderMap, root: &str) -> Response {
    serve_page(&assets::runs_page(), headers, root)
}

/// Returns the run page, `GET /runs/{id}`.
pub(in crate::server) fn run(headers: &HeaderMap, root: &str) -> Response {
    serve_page(&assets::run_page(), headers, root)
}

/// Returns the page of a task for a frame of another site, `GET /embed/{id}`.
pub(in crate::server) fn embed(headers: &HeaderMap, root: &str, id: &str, ancestors: &Origins) -> Response {
    let mut response = serve(HTML, assets::embed_page(root, id).into(), headers);
    let mut sources: String = ancestors.iter().map(|origin| format!(" {origin}")).collect();
    if sources.is_empty() {
        " 'none'".clone_into(&mut sources);
    }
    let policy =
        assets::CONTENT_SECURITY_POLICY.replace("frame-ancestors 'none'", &format!("frame-ancestors{sources}"));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Returns the script that defines `<tasktail-log>`, `GET /assets/embed.js`. Pages of any site load it.
pub(in crate::server) fn embed_script(headers: &HeaderMap) -> Response {
    let asset = assets::embed_script();
    let mut response = serve(asset.content_type, asset.body.into(), headers);
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
    response
}

/// Returns a script or a style, `GET /assets/{folder}/{name}`.
pub(in crate::server) fn asset(name: &str, headers: &HeaderMap) -> Result<Response, ApiError> {
    let found = assets::asset(name);
    let asset = found.ok_or_else(|| ApiError::new(404, "not_found", "no such asset"))?;
    Ok(serve(asset.content_type, asset.body.into(), headers))
}

/// Returns the sign-in page, `/login`, with the problem to show, if any.
pub(in crate::server) fn login(status: StatusCode, root: &str, next: &str, problem: &str, life: &str) -> Response {
    let mut response = assets::login_page(root, next, problem, life).into_response();
    *response.status_mut() = status;
    let headers = response.headers_mut();
    harden(headers, HTML, assets::LOGIN_SECURITY_POLICY);
    // With `no-referrer`, browsers also omit the form's Origin.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Returns the page for a browser whose request failed, with the status and the headers of `response`.
pub(in crate::server) fn error(response: Response, problem: &ReportedProblem, root: &str) -> Response {
    let title = response.status().canonical_reason().unwrap_or("Error");
    let page = assets::error_page(root, title, problem.code, &problem.detail, &problem.fix);
    let (mut head, _) = response.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    harden(&mut head.headers, HTML, assets::CONTENT_SECURITY_POLICY);
    Response::from_parts(head, page.into())
}

const HTML: &str = "text/html; charset=utf-8";

fn harden(headers: &mut HeaderMap, content_type: &'static str, policy: &'static str) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

fn serve_page(page: &Asset, request: &HeaderMap, root: &str) -> Response {
    serve(page.content_type, assets::with_root(page.body, root).into(), request)
}

fn serve(content_type: &'static str, body: Bytes, request: &HeaderMap) -> Response {
    let mut response = conditional::respond(request, content_type, body);
    harden(response.headers_mut(), content_type, assets::CONTENT_SECURITY_POLICY);
    response
}
