//! Links that share one task: making them, and exchanging them for a cookie.

use serde::Deserialize;
use serde_json::json;
use warp::http::{HeaderMap, HeaderValue, StatusCode, header};
use warp::reply::{Reply, Response};

use super::cookies::Site;
use crate::auth::AuthError;
use crate::auth::jwt::JwtFault;
use crate::auth::share::{Share, ShareFault};
use crate::model::limits::Limit;
use crate::model::{TaskId, Timestamp, units};
use crate::server::http::append;
use crate::server::http::auth;
use crate::server::http::body::Body;
use crate::server::http::client_addr::ClientAddr;
use crate::server::http::error::ApiError;
use crate::server::http::tasks::fresh;
use crate::server::state::{SharedState, State};

/// How long a link is good when nothing is said, unless the limit is less.
const LIFE_DEFAULT: std::time::Duration = std::time::Duration::from_hours(7 * 24);

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    expires_in: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown {
    task: TaskId,
    share: String,
}

/// `POST /api/v1/tasks/{id}/share`: `{"expires_in":"7d"}` -> `{"url","expires"}`.
pub(in crate::server) async fn make(
    state: SharedState,
    id: TaskId,
    client: ClientAddr,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let bytes = append::whole(body).await?;
    let wanted = if bytes.trim_ascii().is_empty() { Wanted::default() } else { json_body(&headers, &bytes)? };
    let life_max = state.options.limits.share_life_max;
    let life = match &wanted.expires_in {
        None => LIFE_DEFAULT.min(life_max),
        Some(text) => units::duration(text)
            .map_err(|error| ApiError::new(400, "bad_body", format!("field `expires_in`: {error}")))?,
    };
    if life > life_max {
        state.hits.count(Limit::share_life_max);
        let most = units::show_duration(life_max);
        let detail = format!("field `expires_in`: at most {most}, as the setting share_life_max says");
        return Err(ApiError::new(400, "too_long", detail));
    }
    let task = state.tasks.get(&id).await?.ok_or_else(|| ApiError::no_task(&id))?;
    let now_s = Timestamp::now().as_millis().div_ceil(1000);
    let expires = Timestamp::from_millis(now_s.saturating_add(life.as_secs().max(1)).saturating_mul(1000));
    let share = Share { task: id, born: Some(task.details().created), expires };
    let key = state.browsers.share_key.key_or_new();
    let key = key.map_err(|error| ApiError::new(503, "read_only", format!("no key for share links: {error}")))?;
    let public_url = state.options.public_url.as_ref().map(ToString::to_string);
    let base = public_url.or_else(|| client.origin());
    let base = base.ok_or_else(|| ApiError::new(400, "bad_host", "header Host is missing"))?;
    let url = format!("{base}/tasks/{}#share={}", share.task, key.sign(&share));
    Ok(fresh(&json!({ "url": url, "expires": share.expires })))
}

/// `POST /share`: `{"task","share"}`, the share of a link or another system's ticket, for a cookie.
pub(in crate::server) async fn exchange(
    state: SharedState,
    client: ClientAddr,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let shown: Shown = json_body(&headers, &append::whole(body).await?)?;
    let (share, text) = match open(&state, &shown).await {
        Ok(opened) => opened,
        Err(error) => {
            state.login_attempts.count("share", error.code());
            if auth::note_failure(&state, client.ip, &AuthError::Unknown, None) {
                state.login_attempts.delay().await;
                let detail = "too many links that are not valid came from your address: wait a minute";
                return Err(ApiError::new(429, "too_many_attempts", detail));
            }
            return Err(error);
        }
    };
    let site = Site::new(client.https, client.host.as_deref());
    let cookie = site.set_cookie(&site.share_name(&share.task), &text, share.expires, Timestamp::now());
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::SET_COOKIE, cookie);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What is shared, and the share as the cookie holds it.
async fn open(state: &SharedState, shown: &Shown) -> Result<(Share, String), ApiError> {
    // A share of ours has no dot, a JWT has two.
    if !shown.share.contains('.') {
        let share = verify(state, &shown.task, &shown.share).await?;
        return Ok((share, shown.share.clone()));
    }
    let Some(jwt) = &state.browsers.jwt else { return Err(refused(ShareFault::Invalid)) };
    let share = jwt.verify(&shown.share, Timestamp::now()).map_err(|fault| {
        let code = if fault == JwtFault::Expired { "share_expired" } else { "share_invalid" };
        ApiError::new(403, code, fault.to_string())
    })?;
    if share.task != shown.task {
        return Err(ApiError::new(403, "share_invalid", "this link is for another task"));
    }
    let key = state.browsers.share_key.key_or_new();
    let key = key.map_err(|error| ApiError::new(503, "read_only", format!("no key for share links: {error}")))?;
    let text = key.sign(&share);
    Ok((share, text))
}

/// A share of ours, if it is good and its task is still the one that was shared.
async fn verify(state: &SharedState, task: &TaskId, text: &str) -> Result<Share, ApiError> {
    let share = state.browsers.share(task, text).map(|(share, _)| share).map_err(refused)?;
    if !is_born(state, &share).await? {
        return Err(refused(ShareFault::Invalid));
    }
    Ok(share)
}

/// Whether the task of this name is the one that was shared.
pub(in crate::server) async fn is_born(state: &State, share: &Share) -> Result<bool, ApiError> {
    let Some(born) = share.born else { return Ok(true) };
    let task = state.tasks.get(&share.task).await?;
    Ok(task.is_some_and(|task| task.details().created == born))
}

fn refused(fault: ShareFault) -> ApiError {
    let code = match fault {
        ShareFault::Invalid => "share_invalid",
        ShareFault::Expired => "share_expired",
    };
    ApiError::new(403, code, fault.to_string())
}

/// A JSON body; its type must be said, which another site's form cannot.
fn json_body<T: for<'de> Deserialize<'de>>(headers: &HeaderMap, bytes: &[u8]) -> Result<T, ApiError> {
    if append::media_type(headers).as_deref() != Some("application/json") {
        return Err(ApiError::new(415, "bad_content_type", "header Content-Type must be application/json"));
    }
    // The parser's own words could quote what is secret.
    serde_json::from_slice(bytes).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        ApiError::new(400, "bad_body", format!("the body is not the JSON object that this route takes ({place})"))
    })
}
