//! Signing in with a token, and out.
//!
//! The form works without a script. A token comes in the body alone, and goes no further: what the
//! browser keeps is the id of a session.

use std::io;

use warp::http::{HeaderMap, HeaderValue, StatusCode, header};
use warp::reply::{Reply, Response};

use super::cookies::{self, Site};
use super::next;
use super::origins::is_own_request;
use crate::auth::AuthError;
use crate::model::Timestamp;
use crate::model::limits::Limit;
use crate::model::units;
use crate::server::http::append;
use crate::server::http::auth;
use crate::server::http::body::Body;
use crate::server::http::client_addr::ClientAddr;
use crate::server::http::error::ApiError;
use crate::server::http::query::Query;
use crate::server::state::SharedState;
use crate::server::web::pages;

/// `GET /login?next=PATH`.
pub(in crate::server) fn login_page(state: &SharedState, query: &Query) -> Response {
    let next = next::local(query.text("next").unwrap_or("/"));
    // There is nothing to sign in to.
    if !state.auth.auth_required() {
        return go(next);
    }
    form(state, StatusCode::OK, next, "")
}

/// `POST /login` with the fields `token` and `next` of a form.
pub(in crate::server) async fn sign_in(
    state: SharedState,
    client: ClientAddr,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    // Without one it could be another site's form, which would sign somebody in as somebody else.
    if !is_own_request(&headers, &client, state.site()) {
        return Err(ApiError::new(403, "bad_origin", "the sign-in form must be sent by the page itself"));
    }
    let bytes = append::whole(body).await?;
    let text = std::str::from_utf8(&bytes).map_err(|_| bad_form())?;
    let fields = Query::parse(text).map_err(|_| bad_form())?;
    let next = next::local(fields.text("next").unwrap_or("/")).to_owned();
    let token = fields.text("token").unwrap_or_default().trim().to_owned();
    let caller = match state.auth.check_latest(&token) {
        Ok(caller) => caller,
        Err(denied) => return Ok(refused(&state, &client, &denied, &token, &next).await),
    };
    let Some(held) = caller.token_entry() else { return Ok(go(&next)) };
    // The token of this process is in no file, and no session could outlive it.
    if state.auth.active(&held.name).is_none_or(|known| known.sha256 != held.sha256) {
        return Ok(refused(&state, &client, &AuthError::Unknown, &token, &next).await);
    }
    let now = Timestamp::now();
    let life_ms = u64::try_from(state.options.limits.session_life.as_millis()).unwrap_or(u64::MAX);
    let expires = Timestamp::from_millis(now.as_millis().saturating_add(life_ms));
    let expires = held.expires.map_or(expires, |end| end.min(expires));
    let site = Site::new(client.https, client.host.as_deref());
    let name = site.session_name();
    let before = cookies::get(&headers, &name).map(str::to_owned);
    let begun = {
        let (state, held) = (state.clone(), held.clone());
        tokio::task::spawn_blocking(move || {
            // Another person at the same browser: the one before is out.
            if let Some(before) = before {
                state.browsers.sessions.end(&before);
            }
            state.browsers.sessions.create(&held.name, held.sha256, now, expires)
        })
    };
    let begun = begun.await.map_err(io::Error::other).and_then(|begun| begun);
    let (id, displaced) = begun.map_err(|error| ApiError::new(500, "internal", format!("no session: {error}")))?;
    if displaced {
        state.hits.count(Limit::sessions_max);
    }
    tracing::info!(token = %held.name, address = %client.ip, "a browser signed in");
    let mut response = go(&next);
    response.headers_mut().insert(header::SET_COOKIE, site.set_cookie(&name, id.expose(), expires, now));
    Ok(response)
}

/// `POST /logout`: 204, and the cookie is taken back.
pub(in crate::server) async fn sign_out(
    state: SharedState,
    client: ClientAddr,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let site = Site::new(client.https, client.host.as_deref());
    let name = site.session_name();
    if let Some(id) = cookies::get(&headers, &name).map(str::to_owned) {
        let ended = tokio::task::spawn_blocking(move || state.browsers.sessions.end(&id)).await;
        ended.map_err(|error| ApiError::new(500, "internal", format!("not signed out: {error}")))?;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(header::SET_COOKIE, site.drop_cookie(&name));
    Ok(response)
}

/// The form again, with what was wrong; slower where much goes wrong.
async fn refused(state: &SharedState, client: &ClientAddr, denied: &AuthError, token: &str, next: &str) -> Response {
    state.login_attempts.count("sign_in", denied.reason());
    if auth::note_failure(state, client.ip, denied, Some(token)) {
        state.login_attempts.delay().await;
        let words = "Too many wrong tokens came from your address. Wait a minute, then try again.";
        return form(state, StatusCode::TOO_MANY_REQUESTS, next, words);
    }
    let words = match denied {
        AuthError::Missing | AuthError::Unknown | AuthError::Contradictory => {
            "This token is not known here. Check that you copied all of it, from tt_ to the end."
        }
        AuthError::Revoked(_) => "This token was revoked. Ask whoever runs this server for a new one.",
        AuthError::Expired(_) => "This token has expired. Ask whoever runs this server for a new one.",
        AuthError::Unreadable(_) => {
            "The server cannot read its access tokens, so nobody can sign in now. Its own log says why."
        }
    };
    let unreadable = matches!(denied, AuthError::Unreadable(_));
    let status = if unreadable { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::UNAUTHORIZED };
    form(state, status, next, words)
}

fn form(state: &SharedState, status: StatusCode, next: &str, problem: &str) -> Response {
    pages::login(status, next, problem, &units::show_duration(state.options.limits.session_life))
}

fn bad_form() -> ApiError {
    ApiError::new(400, "bad_body", "the body must be a form with the fields `token` and `next`")
}

/// To another page, as the answer to a form: with GET.
fn go(path: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/")));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
