//! The identity of a browser: its cookies, and the share that a page presents without one.

use serde_json::{Value, json};
use warp::http::{HeaderMap, Method, header};
use warp::reply::Response;

use super::cookies::CookieScope;
use super::share::is_shared_task;
use crate::auth::Caller;
use crate::model::{TaskId, Timestamp};
use crate::server::http::client_addr::ClientAddr;
use crate::server::http::error::ApiError;
use crate::server::http::origin::HostPolicy;
use crate::server::http::query::{self, QueryParams};
use crate::server::http::reply::uncached_json;
use crate::server::http::route_request::RouteRequest;
use crate::server::state::State;

/// The header with a share, and the prefix of the WebSocket subprotocol with one.
const SHARE_HEADER: &str = "tasktail-share";
const SHARE_PROTOCOL: &str = "tasktail.share.";

/// Returns the caller of a request without a token: a session, or a share of the requested `task`.
///
/// Cookies only count if no page of another site can have sent them: in requests that only read, and in
/// others if the browser's headers confirm that the page is one of the server's own.
pub(in crate::server::http) async fn authenticate(
    state: &State,
    client: &ClientAddr,
    method: &Method,
    headers: &HeaderMap,
    task: Option<&TaskId>,
) -> Option<Caller> {
    let reads = matches!(*method, Method::GET | Method::HEAD) && !headers.contains_key(header::UPGRADE);
    let policy = HostPolicy::new(state);
    let cookies_count = policy.is_own_request(headers, client) || reads && !policy.is_foreign_request(headers, client);
    let scope = CookieScope::of(state, client, headers);
    let session = if cookies_count { session_caller(state, &scope, headers) } else { None };
    let Some(task) = task else { return session };
    if session.as_ref().is_some_and(|session| session.sees_task(task)) {
        return session;
    }
    let cookie = if cookies_count { scope.find_share(headers, task) } else { None };
    match share_caller(state, task, presented_share(headers).or(cookie)).await {
        Some(shared) => Some(shared),
        None => session,
    }
}

fn session_caller(state: &State, scope: &CookieScope, headers: &HeaderMap) -> Option<Caller> {
    let id = scope.find_session(headers)?;
    let session = state.browser_auth.sessions.find(id, Timestamp::now())?;
    let token = state.auth.active(&session.token).filter(|token| token.sha256 == session.sha256)?;
    Some(Caller::session(token, session.expires, session.end))
}

async fn share_caller(state: &State, task: &TaskId, text: Option<&str>) -> Option<Caller> {
    let (share, withdrawn) = state.browser_auth.verify_share_or_jwt(task, text?)?;
    // If the task cannot be checked, the share does not count.
    let valid = is_shared_task(state, &share).await.unwrap_or(false);
    valid.then(|| Caller::share(share.task, share.expires, withdrawn))
}

/// Returns the share that a page presents in its headers.
fn presented_share(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get(SHARE_HEADER) {
        return value.to_str().ok();
    }
    let protocols = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|value| value.to_str().ok());
    protocols.flat_map(|value| value.split(',')).find_map(|protocol| protocol.trim().strip_prefix(SHARE_PROTOCOL))
}

/// `GET /api/v1/access?task=ID&origin=ORIGIN`: the identity of this browser, for its pages, and the protections that
/// are missing because of `--insecure`. With `origin`, also the problem that a WebSocket of such a page has. The route is public, so it reveals nothing about other callers.
pub(in crate::server::http) async fn access(request: RouteRequest) -> Result<Response, ApiError> {
    let query = request.query()?;
    let RouteRequest { state, client, headers, .. } = request;
    let mut identity = identify(&state, &client, &headers, &query).await?;
    if let Some(problem) = query.text("origin").and_then(|page| HostPolicy::new(&state).socket_problem(page, &client)) {
        identity["socket_problem"] = problem.into_json();
    }
    if !state.insecure.is_empty() {
        identity["exposed"] = json!(state.insecure);
    }
    Ok(uncached_json(&identity))
}

async fn identify(
    state: &State,
    client: &ClientAddr,
    headers: &HeaderMap,
    query: &QueryParams,
) -> Result<Value, ApiError> {
    if !state.auth.auth_required() {
        return Ok(json!({ "kind": "open", "scope": "admin" }));
    }
    let task = query.text("task").map(query::parse_task_id).transpose()?;
    let caller = authenticate(state, client, &Method::GET, headers, task.as_ref()).await;
    let Some(caller) = caller else { return Ok(json!({ "kind": "none" })) };
    let until = caller.until();
    Ok(match caller.token_entry() {
        Some(token) => json!({
            "kind": "session", "name": token.name, "scope": token.scope, "tasks": token.tasks, "until": until,
        }),
        None => json!({ "kind": "share", "scope": "read", "task": task, "until": until }),
    })
}
