//! Authentication and authorization of every request, before its route is called.
//!
//! ```text
//! request -> token in the URL? -> route's RequiredAccess -> credentials -> Caller -> access check
//! ```
//! - No valid token: 401 `unauthorized`, or for a page opened in a browser a redirect to the sign-in page.
//! - Resources hidden from the caller answer 404, like missing ones.
//! - Visible resources without the required scope answer 403 `forbidden`.
//! - If the tokens cannot be read, every route that is not public answers 503 `tokens_unreadable`.
//!
//! The request's extensions carry the [`Caller`] to the route. The route checks the ids inside messages and
//! bodies itself, and lists only what the caller may see.

mod access;
mod credentials;
mod task_access;

use std::fmt::Display;

use hyper::Request;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use warp::http::uri::PathAndQuery;
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use warp::reply::Response;

use super::browser;
use super::client_addr::ClientAddr;
use super::error::{ApiError, RouteError};
use super::query;
use crate::auth::{AuthError, Caller, Decision, Resource, Scope};
use crate::model::TaskId;
use crate::server::net::login_attempts;
use crate::server::state::State;

pub use access::RequiredAccess;
pub(crate) use task_access::{check_task_access, sees_task};

/// Path of the sign-in page.
const SIGN_IN: &str = "/login";

/// The access that a request requires, and the id in its path.
pub(crate) type RouteAccess<'a> = Result<(RequiredAccess, &'a str), RouteError>;

/// Authenticates and authorizes a request. Returns its caller and adds it to the request's extensions;
/// returns `None` for a public route.
///
/// # Errors
/// Returns the response to a request that is rejected.
pub(crate) async fn admit<B>(
    state: &State,
    client: &ClientAddr,
    request: &mut Request<B>,
    access: RouteAccess<'_>,
) -> Result<Option<Caller>, Response> {
    let caller = match authorize(state, client, request, access).await {
        Ok(Some(caller)) => caller,
        Ok(None) => return Ok(None),
        Err(AuthFailure::Request(error)) => return Err(error.into_response()),
        Err(AuthFailure::Caller { denied, page }) => return Err(deny(state, client, request, denied, page).await),
    };
    request.extensions_mut().insert(caller.clone());
    Ok(Some(caller))
}

/// A reason to reject a request.
enum AuthFailure {
    /// The request is invalid for any caller.
    Request(ApiError),
    /// The caller is not authenticated. `page` is set for a route that serves a page.
    Caller { denied: AuthError, page: bool },
}

impl From<ApiError> for AuthFailure {
    fn from(error: ApiError) -> Self {
        Self::Request(error)
    }
}

async fn authorize<B>(
    state: &State,
    client: &ClientAddr,
    request: &Request<B>,
    access: RouteAccess<'_>,
) -> Result<Option<Caller>, AuthFailure> {
    if let Some(name) = credentials::token_parameter(request.uri().query()) {
        let detail = format!(
            "parameter `{name}`: do not put an access token in a URL, as URLs end up in histories and logs; send it \
             as `Authorization: Bearer TOKEN`, and revoke this one"
        );
        return Err(ApiError::new(400, "token_in_url", detail).into());
    }
    let (access, id) = match access {
        Ok((RequiredAccess::Public, _)) => return Ok(None),
        Ok(found) => found,
        Err(error) => {
            if error == RouteError::MethodNotAllowed {
                let caller = authenticate(state, client, request, None).await;
                caller.map_err(|denied| AuthFailure::Caller { denied, page: false })?;
            }
            return Err(ApiError::from(error).into());
        }
    };
    let page = matches!(access, RequiredAccess::Page | RequiredAccess::TaskPage);
    let of_task = matches!(access, RequiredAccess::Task(_) | RequiredAccess::TaskPage);
    let task_id = of_task.then(|| query::parse_task_id(id).ok()).flatten();
    let caller = authenticate(state, client, request, task_id.as_ref()).await;
    let caller = caller.map_err(|denied| AuthFailure::Caller { denied, page })?;
    match access {
        RequiredAccess::Public | RequiredAccess::Page | RequiredAccess::TaskPage => {}
        RequiredAccess::Task(scope) => {
            let id = query::parse_task_id(id)?;
            check_task_access(state, &caller, scope, &id, || ApiError::task_not_found(&id))?;
        }
        RequiredAccess::Run(scope) => {
            let id = query::parse_run_id(id)?;
            check_access(&caller, scope, Resource::Run(&id), || ApiError::run_not_found(&id))?;
        }
        RequiredAccess::Any(scope) => check_access(&caller, scope, Resource::Any, ApiError::route_not_found)?,
        RequiredAccess::Store(scope) => check_access(&caller, scope, Resource::Store, ApiError::route_not_found)?,
    }
    Ok(Some(caller))
}

/// Returns the caller of a request: by its token, otherwise by its cookies or its share of `task`.
async fn authenticate<B>(
    state: &State,
    client: &ClientAddr,
    request: &Request<B>,
    task: Option<&TaskId>,
) -> Result<Caller, AuthError> {
    let (method, headers) = (request.method(), request.headers());
    let token = credentials::token(headers);
    // A store without tokens ignores credentials, even invalid ones.
    if !state.auth.auth_required() {
        return Ok(Caller::anonymous());
    }
    match state.auth.check(token?) {
        Err(AuthError::Missing) => {
            browser::authenticate(state, client, method, headers, task).await.ok_or(AuthError::Missing)
        }
        checked => checked,
    }
}

/// Checks that a caller has a scope for an object.
///
/// # Errors
/// Returns 403, or `hidden()` if the caller may not know that the object exists.
pub(crate) fn check_access(
    caller: &Caller,
    scope: Scope,
    object: Resource<'_>,
    hidden: impl FnOnce() -> ApiError,
) -> Result<(), ApiError> {
    match caller.may(scope, object) {
        Decision::Allowed => Ok(()),
        Decision::Forbidden => Err(ApiError::forbidden(scope, object)),
        Decision::Hidden => Err(hidden()),
    }
}

/// Returns the response to a request without valid credentials.
async fn deny<B>(state: &State, client: &ClientAddr, request: &Request<B>, denied: AuthError, page: bool) -> Response {
    state.login_attempts.count("http", denied.reason());
    let invalid = match &denied {
        AuthError::Unreadable(_) => {
            return ApiError::new(503, "tokens_unreadable", denied.to_string()).into_response();
        }
        AuthError::Missing => None,
        AuthError::Unknown | AuthError::Revoked(_) | AuthError::Expired(_) | AuthError::Contradictory => Some(&denied),
    };
    if let Some(invalid) = invalid
        && state.record_login_failure(client.ip, invalid, credentials::token(request.headers()).ok().flatten())
    {
        state.login_attempts.delay().await;
        let detail = "too many invalid access tokens from this address: wait a minute";
        let mut response = ApiError::new(429, "too_many_attempts", detail).into_response();
        let wait = HeaderValue::from(login_attempts::WINDOW.as_secs());
        response.headers_mut().insert(header::RETRY_AFTER, wait);
        return response;
    }
    if page && *request.method() == Method::GET && accepts_html(request.headers()) {
        let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        return redirect_to_sign_in(state.prefix(), path);
    }
    unauthorized(denied)
}

/// Returns a 401 with the reason and the remedy.
pub(crate) fn unauthorized(reason: impl Display) -> Response {
    let detail = format!(
        "{reason}: send `Authorization: Bearer TOKEN` with a token from `tasktail token create`; commands read it \
         from TASKTAIL_TOKEN or --token-file"
    );
    let mut response = ApiError::new(401, "unauthorized", detail).into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Reports whether a browser is navigating to a page, as opposed to a program making a request.
pub(crate) fn accepts_html(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    accepts.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with("text/html"))
}

/// Returns a redirect to the sign-in page, which leads back to `path`, below the prefix of a proxy.
fn redirect_to_sign_in(prefix: &str, path: &str) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SEE_OTHER;
    let target = format!("{prefix}{SIGN_IN}?next={}", utf8_percent_encode(path, NON_ALPHANUMERIC));
    let headers = response.headers_mut();
    if let Ok(target) = HeaderValue::from_str(&target) {
        headers.insert(header::LOCATION, target);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
