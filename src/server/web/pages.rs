//! The pages and what they are made of, out of the binary.

use sha2::{Digest, Sha256};
use warp::http::{HeaderMap, HeaderValue, StatusCode, header};
use warp::reply::{Reply, Response};

use super::assets::{self, Asset};
use crate::server::http::error::ApiError;

/// `GET /`.
pub(in crate::server) fn list(headers: &HeaderMap) -> Response {
    serve(&assets::list_page(), headers)
}

/// `GET /tasks/{id}`: one page for all; it reads the id from its own address.
pub(in crate::server) fn task(headers: &HeaderMap) -> Response {
    serve(&assets::task_page(), headers)
}

/// `GET /runs`.
pub(in crate::server) fn runs(headers: &HeaderMap) -> Response {
    serve(&assets::runs_page(), headers)
}

/// `GET /runs/{id}`: one page for all, as a task's is.
pub(in crate::server) fn run(headers: &HeaderMap) -> Response {
    serve(&assets::run_page(), headers)
}

/// `GET /assets/{folder}/{name}`.
pub(in crate::server) fn asset(name: &str, headers: &HeaderMap) -> Result<Response, ApiError> {
    let found = assets::asset(name);
    let asset = found.ok_or_else(|| ApiError::new(404, "not_found", "there is no such asset"))?;
    Ok(serve(&asset, headers))
}

/// `/login`, with what was wrong.
pub(in crate::server) fn login(status: StatusCode, next: &str, problem: &str, life: &str) -> Response {
    let mut response = assets::login_page(next, problem, life).into_response();
    *response.status_mut() = status;
    let headers = response.headers_mut();
    harden(headers, "text/html; charset=utf-8", assets::LOGIN_SECURITY_POLICY);
    // Under `no-referrer` a browser hides the form's Origin too.
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
    let hash = Sha256::digest(asset.body);
    let etag = hash.iter().take(8).fold(String::from("\""), |text, byte| text + &format!("{byte:02x}")) + "\"";
    let asked = request.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let known = asked.is_some_and(|asked| asked.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag));
    let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { asset.body.into_response() };
    let headers = response.headers_mut();
    harden(headers, asset.content_type, assets::CONTENT_SECURITY_POLICY);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}
