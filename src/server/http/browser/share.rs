//! Links that share one task: creating them, and exchanging them for a cookie.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use warp::http::{HeaderMap, HeaderValue, StatusCode, header};
use warp::reply::{Reply, Response};

use super::cookies::CookieScope;
use crate::auth::AuthError;
use crate::auth::jwt::JwtFault;
use crate::auth::share::{Share, ShareFault, ShareKey};
use crate::model::limits::Limit;
use crate::model::{TaskId, Timestamp, units};
use crate::server::http::body;
use crate::server::http::error::ApiError;
use crate::server::http::reply::uncached_json;
use crate::server::http::route_request::RouteRequest;
use crate::server::state::State;
use crate::tasks::FollowStart;

/// Default lifetime of a link, unless the limit is shorter.
const LIFE_DEFAULT: Duration = Duration::from_hours(7 * 24);

/// The body of a request to create a link.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShareOptions {
    #[serde(default)]
    expires_in: Option<String>,
}

/// The body of a request to open a link: its task and its fragment.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PresentedShare {
    task: TaskId,
    share: String,
}

/// `POST /api/v1/tasks/{id}/share`: `{"expires_in":"7d"}` -> `{"url","expires"}`.
pub(in crate::server::http) async fn create(request: RouteRequest) -> Result<Response, ApiError> {
    let task = request.task(FollowStart::From(1)).await?;
    let RouteRequest { state, client, headers, body, .. } = request;
    let bytes = body::read_all(body).await?;
    let options = if bytes.trim_ascii().is_empty() { ShareOptions::default() } else { parse_json(&headers, &bytes)? };
    let life_max = state.options.limits.share_life_max;
    let life = match &options.expires_in {
        None => LIFE_DEFAULT.min(life_max),
        Some(text) => units::duration(text)
            .map_err(|error| ApiError::new(400, "bad_body", format!("field `expires_in`: {error}")))?,
    };
    if life > life_max {
        state.limit_counters.count(Limit::share_life_max);
        let max = units::show_duration(life_max);
        let detail = format!("field `expires_in`: at most {max} (setting share_life_max)");
        return Err(ApiError::new(400, "too_long", detail));
    }
    let now_s = Timestamp::now().as_millis().div_ceil(1000);
    let expires = Timestamp::from_millis(now_s.saturating_add(life.as_secs().max(1)).saturating_mul(1000));
    let share = Share { task: task.id().clone(), born: Some(task.details().created), expires };
    let key = signing_key(&state)?;
    let public_url = state.options.public_url.as_ref().map(ToString::to_string);
    let base = public_url.or_else(|| client.origin());
    let base = base.ok_or_else(|| ApiError::new(400, "bad_host", "header Host is missing"))?;
    let url = format!("{base}/tasks/{}#share={}", share.task, key.sign(&share));
    Ok(uncached_json(&json!({ "url": url, "expires": share.expires })))
}

/// `POST /share`: exchanges `{"task","share"}`, a link of this server or another system's JWT, for a cookie.
pub(in crate::server::http) async fn open(request: RouteRequest) -> Result<Response, ApiError> {
    let RouteRequest { state, client, headers, body, .. } = request;
    let presented: PresentedShare = parse_json(&headers, &body::read_all(body).await?)?;
    let (share, text) = match verify(&state, &presented).await {
        Ok(verified) => verified,
        Err(error) => {
            state.login_attempts.count("share", error.code());
            if state.record_login_failure(client.ip, &AuthError::Unknown, None) {
                state.login_attempts.delay().await;
                let detail = "too many invalid links from your address: wait a minute";
                return Err(ApiError::new(429, "too_many_attempts", detail));
            }
            return Err(error);
        }
    };
    let scope = CookieScope::of(&state, &client, &headers);
    let cookie = scope.set_cookie(&scope.share_name(&share.task), &text, share.expires, Timestamp::now());
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::SET_COOKIE, cookie);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Verifies a presented share. Returns it with its text for the cookie.
async fn verify(state: &State, presented: &PresentedShare) -> Result<(Share, String), ApiError> {
    // A share link has no dot, a JWT has two.
    if !presented.share.contains('.') {
        let verified = state.browser_auth.verify_share(&presented.task, &presented.share);
        let (share, _) = verified.map_err(invalid_share)?;
        if !is_shared_task(state, &share).await? {
            return Err(invalid_share(ShareFault::Invalid));
        }
        return Ok((share, presented.share.clone()));
    }
    let Some(jwt) = &state.browser_auth.jwt else { return Err(invalid_share(ShareFault::Invalid)) };
    let share = jwt.verify(&presented.share, Timestamp::now()).map_err(|fault| {
        let code = if fault == JwtFault::Expired { "share_expired" } else { "share_invalid" };
        ApiError::new(403, code, fault.to_string())
    })?;
    if share.task != presented.task {
        return Err(ApiError::new(403, "share_invalid", "this link is for another task"));
    }
    let text = signing_key(state)?.sign(&share);
    Ok((share, text))
}

/// Returns the key that signs share links, creating it if there is none.
fn signing_key(state: &State) -> Result<ShareKey, ApiError> {
    let key = state.browser_auth.share_key.key_or_new();
    key.map_err(|error| ApiError::new(503, "read_only", format!("no key for share links: {error}")))
}

/// Reports whether the task is still the one that was shared, not a later task of the same name.
pub(super) async fn is_shared_task(state: &State, share: &Share) -> Result<bool, ApiError> {
    let Some(born) = share.born else { return Ok(true) };
    let task = state.tasks.get(&share.task).await?;
    Ok(task.is_some_and(|task| task.details().created == born))
}

fn invalid_share(fault: ShareFault) -> ApiError {
    let code = match fault {
        ShareFault::Invalid => "share_invalid",
        ShareFault::Expired => "share_expired",
    };
    ApiError::new(403, code, fault.to_string())
}

/// Parses a JSON body. The media type is required, because another site's form cannot send it.
fn parse_json<T: for<'de> Deserialize<'de>>(headers: &HeaderMap, bytes: &[u8]) -> Result<T, ApiError> {
    body::require_json(headers)?;
    // The parser's message could quote a secret.
    serde_json::from_slice(bytes).map_err(|error| {
        let position = format!("line {}, column {}", error.line(), error.column());
        ApiError::new(400, "bad_body", format!("the body is not the JSON object that this route expects ({position})"))
    })
}
