//! Responses with the pages and their assets.

use std::borrow::Cow;

use sha2::{Digest, Sha256};
use warp::http::{HeaderMap, HeaderValue, StatusCode, header};
use warp::reply::{Reply, Response};

use super::assets::{self, Asset};
use crate::model::Task;
use crate::server::http::error::ApiError;

/// Returns the list of tasks, `GET /`.
pub(in crate::server) fn list(headers: &HeaderMap) -> Response {
    serve(&assets::list_page(), headers)
}

/// Returns the task page, `GET /tasks/{id}`; `id` is percent-encoded, `task` the task if the caller may read it.
pub(in crate::server) fn task(headers: &HeaderMap, id: &str, task: Option<&Task>) -> Response {
    let facts = task.map(facts).unwrap_or_default();
    serve_body("text/html; charset=utf-8", assets::task_page(id, &facts).into(), headers)
}

/// Returns the search across tasks, `GET /search`.
pub(in crate::server) fn search(headers: &HeaderMap) -> Response {
    serve(&assets::search_page(), headers)
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
pub(in crate::server) fn runs(headers: &HeaderMap) -> Response {
    serve(&assets::runs_page(), headers)
}

/// Returns the run page, `GET /runs/{id}`.
pub(in crate::server) fn run(headers: &HeaderMap) -> Response {
    serve(&assets::run_page(), headers)
}

/// Returns a script or a style, `GET /assets/{folder}/{name}`.
pub(in crate::server) fn asset(name: &str, headers: &HeaderMap) -> Result<Response, ApiError> {
    let found = assets::asset(name);
    let asset = found.ok_or_else(|| ApiError::new(404, "not_found", "no such asset"))?;
    Ok(serve(&asset, headers))
}

/// Returns the sign-in page, `/login`, with the problem to show, if any.
pub(in crate::server) fn login(status: StatusCode, next: &str, problem: &str, life: &str) -> Response {
    let mut response = assets::login_page(next, problem, life).into_response();
    *response.status_mut() = status;
    let headers = response.headers_mut();
    harden(headers, "text/html; charset=utf-8", assets::LOGIN_SECURITY_POLICY);
    // With `no-referrer`, browsers also omit the form's Origin.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn harden(headers: &mut HeaderMap, content_type: &'static str, policy: &'static str) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

fn serve(asset: &Asset, request: &HeaderMap) -> Response {
    serve_body(asset.content_type, asset.body.into(), request)
}

fn serve_body(content_type: &'static str, body: Cow<'static, str>, request: &HeaderMap) -> Response {
    let hash = Sha256::digest(body.as_bytes());
    let etag = hash.iter().take(8).fold(String::from("\""), |text, byte| text + &format!("{byte:02x}")) + "\"";
    let asked = request.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let known = asked.is_some_and(|asked| asked.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag));
    let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { body.into_owned().into_response() };
    let headers = response.headers_mut();
    harden(headers, content_type, assets::CONTENT_SECURITY_POLICY);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}
