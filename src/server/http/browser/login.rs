//! Sign-in with a token, and sign-out.
//!
//! The form works without a script. The token is sent only in the body; the browser stores only the id of a
//! session.

use std::io;
use std::sync::Arc;

use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::{Reply, Response};

use super::cookies::CookieScope;
use super::next;
use crate::auth::{AuthError, TokenEntry};
use crate::model::limits::Limit;
use crate::model::{Timestamp, units};
use crate::server::http::body;
use crate::server::http::client_addr::ClientAddr;
use crate::server::http::cors::request_origin;
use crate::server::http::error::ApiError;
use crate::server::http::origin::HostPolicy;
use crate::server::http::query::QueryParams;
use crate::server::http::route_request::RouteRequest;
use crate::server::state::{SharedState, State};
use crate::server::web::pages;

/// `GET /login?next=PATH`.
pub(in crate::server::http) async fn login_page(request: RouteRequest) -> Result<Response, ApiError> {
    let query = request.query()?;
    let next = next::local_path(query.text("next").unwrap_or("/"));
    // A store without tokens needs no sign-in.
    if !request.state.auth.auth_required() {
        return Ok(redirect(request.state.prefix(), next));
    }
    Ok(form(&request.state, &request.root, StatusCode::OK, next, ""))
}

/// `POST /login` with the form fields `token` and `next`.
pub(in crate::server::http) async fn sign_in(request: RouteRequest) -> Result<Response, ApiError> {
    let RouteRequest { state, client, headers, root, body, .. } = request;
    // Otherwise a form of another site could sign in its reader as someone else.
    if !HostPolicy::new(&state).is_own_request(&headers, &client) {
        let origin = request_origin(&headers);
        let problem = origin.and_then(|origin| HostPolicy::new(&state).socket_problem(&origin, &client));
        let unknown = || ApiError::new(403, "bad_origin", "the sign-in form must be sent from the sign-in page");
        return Err(problem.unwrap_or_else(unknown));
    }
    let bytes = body::read_all(body).await?;
    let text = std::str::from_utf8(&bytes).map_err(|_| bad_form())?;
    let fields = QueryParams::parse(text).map_err(|_| bad_form())?;
    let next = next::local_path(fields.text("next").unwrap_or("/"));
    let token = fields.text("token").unwrap_or_default().trim();
    let caller = match state.auth.check_latest(token) {
        Ok(caller) => caller,
        Err(denied) => return Ok(rejected(&state, &client, &root, &denied, token, next).await),
    };
    let Some(held) = caller.token_entry() else { return Ok(redirect(state.prefix(), next)) };
    // The owner token of this process is in no file, so no session could outlive it.
    if state.auth.active(&held.name).is_none_or(|known| known.sha256 != held.sha256) {
        return Ok(rejected(&state, &client, &root, &AuthError::Unknown, token, next).await);
    }
    let scope = CookieScope::of(&state, &client, &headers);
    let previous = scope.find_session(&headers).map(str::to_owned);
    let cookie = start_session(&state, &scope, held.clone(), previous).await?;
    tracing::info!(token = %held.name, address = %client.ip, "browser signed in");
    let mut response = redirect(state.prefix(), next);
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

/// Starts a session for a token, and ends the browser's previous one. Returns the session's cookie.
async fn start_session(
    state: &SharedState,
    scope: &CookieScope,
    token: Arc<TokenEntry>,
    previous: Option<String>,
) -> Result<HeaderValue, ApiError> {
    let now = Timestamp::now();
    let life_ms = u64::try_from(state.options.limits.session_life.as_millis()).unwrap_or(u64::MAX);
    let expires = Timestamp::from_millis(now.as_millis().saturating_add(life_ms));
    let expires = token.expires.map_or(expires, |end| end.min(expires));
    let started = {
        let state = state.clone();
        tokio::task::spawn_blocking(move || {
            if let Some(previous) = previous {
                state.browser_auth.sessions.end(&previous);
            }
            state.browser_auth.sessions.create(&token.name, token.sha256, now, expires)
        })
    };
    let started = started.await.map_err(io::Error::other).and_then(|started| started);
    let (id, displaced) =
        started.map_err(|error| ApiError::new(500, "internal", format!("failed to start a session: {error}")))?;
    if displaced {
        state.limit_counters.count(Limit::sessions_max);
    }
    Ok(scope.set_cookie(&scope.session_name(), id.expose(), expires, now))
}

/// `POST /logout`: 204. The cookie is deleted.
pub(in crate::server::http) async fn sign_out(request: RouteRequest) -> Result<Response, ApiError> {
    let RouteRequest { state, client, headers, .. } = request;
    let scope = CookieScope::of(&state, &client, &headers);
    if let Some(id) = scope.find_session(&headers).map(str::to_owned) {
        let ended = tokio::task::spawn_blocking(move || state.browser_auth.sessions.end(&id)).await;
        ended.map_err(|error| ApiError::new(500, "internal", format!("failed to sign out: {error}")))?;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    for cookie in scope.delete_session() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Returns the form again, with the reason. Delays the response if there are many failures.
async fn rejected(
    state: &State,
    client: &ClientAddr,
    root: &str,
    denied: &AuthError,
    token: &str,
    next: &str,
) -> Response {
    state.login_attempts.count("sign_in", denied.reason());
    if state.record_login_failure(client.ip, denied, Some(token)) {
        state.login_attempts.delay().await;
        let message = "Too many invalid tokens from your address. Wait a minute, then try again.";
        return form(state, root, StatusCode::TOO_MANY_REQUESTS, next, message);
    }
    let message = match denied {
        AuthError::Missing | AuthError::Unknown | AuthError::Contradictory => {
            "Invalid token. Check that you copied all of it, from tt_ to the end."
        }
        AuthError::Revoked(_) => "This token was revoked. Ask the administrator of this server for a new one.",
        AuthError::Expired(_) => "This token has expired. Ask the administrator of this server for a new one.",
        AuthError::Unreadable(_) => {
            "The server cannot read its access tokens, so sign-in is unavailable. See the server's log for the reason."
        }
    };
    let unreadable = matches!(denied, AuthError::Unreadable(_));
    let status = if unreadable { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::UNAUTHORIZED };
    form(state, root, status, next, message)
}

fn form(state: &State, root: &str, status: StatusCode, next: &str, problem: &str) -> Response {
    pages::login(status, root, next, problem, &units::show_duration(state.options.limits.session_life))
}

fn bad_form() -> ApiError {
    ApiError::new(400, "bad_body", "the body must be a form with the fields `token` and `next`")
}

/// Returns a redirect to another page below the prefix of a proxy, after a form: the browser sends a GET.
fn redirect(prefix: &str, path: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::LOCATION,
        HeaderValue::from_str(&format!("{prefix}{path}")).unwrap_or(HeaderValue::from_static("/")),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
