//! Who may use which route, asked of every request before a route sees it.
//!
//! ```text
//! request -> a token in the URL? -> table: which route, what it needs -> credentials: who is it -> may it?
//! ```
//! - No token, or one that is not taken: 401 `unauthorized`. For a page that a browser navigates to: the
//!   sign-in page instead.
//! - What is not the caller's to know of: 404, the same as for what is not there.
//! - What it may see and not do: 403 `forbidden`.
//! - The tokens cannot be read: 503 `tokens_unreadable`, for everyone and everything but what is public.
//!
//! Whoever is let in goes as a [`Caller`] with the request's extensions to the route, which asks it about
//! what stands inside of messages and bodies, and lists only what it may see.

mod credentials;
mod table;

use std::fmt::Display;
use std::net::IpAddr;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::body::Incoming;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::timeout;
use warp::http::uri::PathAndQuery;
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use warp::reply::Response;

use super::browser;
use super::client_addr::ClientAddr;
use super::error::ApiError;
use super::query;
use crate::auth::{AuthError, Caller, Decision, Resource, Scope, TokenDigest};
use crate::model::TaskId;
use crate::model::limits::Limit;
use crate::server::net::login_attempts::{self, AttemptOutcome};
use crate::server::state::State;
use table::Found;

pub use table::{Need, ROUTES, Route};

/// The sign-in page.
const SIGN_IN: &str = "/login";

/// Lets a request in, with its caller in its extensions, or answers it.
pub(in crate::server) async fn admit<B>(
    state: &State,
    client: &ClientAddr,
    request: &mut Request<B>,
) -> Result<Option<Caller>, Response> {
    let caller = match check(state, client, request).await {
        Ok(Some(caller)) => caller,
        // A public route asks nobody who it is.
        Ok(None) => return Ok(None),
        Err(Refused::Error(error)) => return Err(error.into_response()),
        Err(Refused::Denied(denied, page)) => return Err(deny(state, client, request, denied, page).await),
    };
    request.extensions_mut().insert(caller.clone());
    Ok(Some(caller))
}

/// Bytes of a refused request's body that are taken, and how long that may last.
const DRAIN_BYTES_MAX: usize = 2 * 1024 * 1024;
const DRAIN_WAIT: Duration = Duration::from_secs(1);

/// Takes the body of a refused request, if it is not long: closed with bytes unread, the system would take
/// the answer back, and a client that writes first and reads then would never hear why.
pub(in crate::server) async fn drain(request: Request<Incoming>) {
    if request.headers().contains_key(header::EXPECT) {
        return;
    }
    let mut body = request.into_body();
    let drained = async {
        let mut bytes = 0;
        while bytes < DRAIN_BYTES_MAX
            && let Some(Ok(frame)) = body.frame().await
        {
            bytes += frame.data_ref().map_or(0, |data| data.len());
        }
    };
    if timeout(DRAIN_WAIT, drained).await.is_err() {
        tracing::debug!("a refused request's body did not end");
    }
}

/// Why a request is not let in.
enum Refused {
    /// Whoever it is from.
    Error(ApiError),
    /// Because of who it is from; whether it is for a page.
    Denied(AuthError, bool),
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self::Error(error)
    }
}

async fn check<B>(state: &State, client: &ClientAddr, request: &Request<B>) -> Result<Option<Caller>, Refused> {
    if let Some(name) = credentials::token_parameter(request.uri().query()) {
        let detail = format!(
            "parameter `{name}`: an access token has no place in a URL, which ends up in histories and logs; send it \
             as `Authorization: Bearer TOKEN`, and revoke this one"
        );
        return Err(ApiError::new(400, "token_in_url", detail).into());
    }
    let (need, id) = match table::find(request.method(), request.uri().path()) {
        Found::Route(Need::Public, _) => return Ok(None),
        Found::Route(need, id) => (need, id),
        Found::Nothing => return Err(ApiError::no_route().into()),
        Found::OtherMethod => {
            identify(state, client, request, None).await.map_err(|denied| Refused::Denied(denied, false))?;
            return Err(ApiError::other_method().into());
        }
    };
    let denied = |denied| Refused::Denied(denied, need == Need::Page);
    let task_id = table::is_of_task(request.uri().path()).then(|| query::task_id(id).ok()).flatten();
    let caller = identify(state, client, request, task_id.as_ref()).await.map_err(denied)?;
    match need {
        Need::Public | Need::Page => {}
        Need::Task(scope) => task(&caller, scope, id)?,
        Need::Run(scope) => run(&caller, scope, id)?,
        Need::Any(scope) => permit(&caller, scope, Resource::Any, ApiError::no_route)?,
        Need::Store(scope) => permit(&caller, scope, Resource::Store, ApiError::no_route)?,
    }
    Ok(Some(caller))
}

/// Who a request is from: by its token, else by its cookies or the share that it shows of `task`.
async fn identify<B>(
    state: &State,
    client: &ClientAddr,
    request: &Request<B>,
    task: Option<&TaskId>,
) -> Result<Caller, AuthError> {
    let (method, headers) = (request.method(), request.headers());
    let token = credentials::token(headers);
    // An open store takes whatever is shown, and a broken one nothing.
    if !state.auth.auth_required() {
        return Ok(Caller::anonymous());
    }
    match state.auth.check(token?) {
        Err(AuthError::Missing) => {
            browser::identify(state, client, method, headers, task).await.ok_or(AuthError::Missing)
        }
        checked => checked,
    }
}

fn task(caller: &Caller, scope: Scope, id: &str) -> Result<(), ApiError> {
    let id = query::task_id(id)?;
    permit(caller, scope, Resource::Task(&id), || ApiError::no_task(&id))
}

fn run(caller: &Caller, scope: Scope, id: &str) -> Result<(), ApiError> {
    let id = query::run_id(id)?;
    permit(caller, scope, Resource::Run(&id), || ApiError::no_run(&id))
}

/// Whether a caller may do this; if it is not to know of it, `absent` is what it hears.
pub(in crate::server) fn permit(
    caller: &Caller,
    scope: Scope,
    object: Resource<'_>,
    absent: impl FnOnce() -> ApiError,
) -> Result<(), ApiError> {
    match caller.may(scope, object) {
        Decision::Allowed => Ok(()),
        Decision::Forbidden => Err(ApiError::forbidden(scope, object)),
        Decision::Hidden => Err(absent()),
    }
}

/// The answer to whoever is not let in.
async fn deny<B>(state: &State, client: &ClientAddr, request: &Request<B>, denied: AuthError, page: bool) -> Response {
    state.login_attempts.count("http", denied.reason());
    let wrong = match &denied {
        AuthError::Unreadable(_) => {
            return ApiError::new(503, "tokens_unreadable", denied.to_string()).into_response();
        }
        AuthError::Missing => None,
        AuthError::Unknown | AuthError::Revoked(_) | AuthError::Expired(_) | AuthError::Contradictory => Some(&denied),
    };
    if let Some(wrong) = wrong
        && note_failure(state, client.ip, wrong, shown(request.headers()))
    {
        state.login_attempts.delay().await;
        let detail = "too many wrong access tokens came from this address: wait a minute";
        let mut response = ApiError::new(429, "too_many_attempts", detail).into_response();
        let wait = HeaderValue::from(login_attempts::WINDOW.as_secs());
        response.headers_mut().insert(header::RETRY_AFTER, wait);
        return response;
    }
    if page && *request.method() == Method::GET && is_navigation(request.headers()) {
        return sign_in(request.uri().path_and_query().map_or("/", PathAndQuery::as_str));
    }
    unauthorized(denied)
}

/// 401: why, and what to do.
pub(in crate::server) fn unauthorized(why: impl Display) -> Response {
    let detail = format!(
        "{why}: send one that `tasktail token create` made as `Authorization: Bearer TOKEN`; commands take it from \
         TASKTAIL_TOKEN or --token-file"
    );
    let mut response = ApiError::new(401, "unauthorized", detail).into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Counts a wrong token against its address; true if there were too many. Never tells more of it than
/// its fingerprint.
pub(in crate::server) fn note_failure(state: &State, address: IpAddr, denied: &AuthError, shown: Option<&str>) -> bool {
    let fingerprint = shown.map(|token| TokenDigest::of(token.as_bytes()).fingerprint());
    tracing::debug!(%address, fingerprint, reason = denied.reason(), "an access token was refused: {denied}");
    match state.login_attempts.record_failure(address, state.options.limits.auth_failures_max) {
        AttemptOutcome::Allowed => false,
        AttemptOutcome::TooMany { first } => {
            state.hits.count(Limit::auth_failures_max);
            if first {
                tracing::warn!(%address, "many wrong access tokens come from this address");
            }
            true
        }
    }
}

/// What was shown, for its fingerprint.
fn shown(headers: &HeaderMap) -> Option<&str> {
    credentials::token(headers).ok().flatten()
}

/// Whether a person's browser goes to a page, rather than a program asking.
fn is_navigation(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    accepts.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with("text/html"))
}

/// To the sign-in page, and from there back to this path.
fn sign_in(path: &str) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SEE_OTHER;
    let target = format!("{SIGN_IN}?next={}", utf8_percent_encode(path, NON_ALPHANUMERIC));
    let headers = response.headers_mut();
    if let Ok(target) = HeaderValue::from_str(&target) {
        headers.insert(header::LOCATION, target);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{ServeOptions, Server};

    #[tokio::test(flavor = "multi_thread")]
    async fn what_has_no_row_reaches_no_route_whoever_asks() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().to_owned();
        let options = ServeOptions { listen: "127.0.0.1:0".to_owned(), data, ..ServeOptions::default() };
        // Open: there everyone may do everything that there is.
        let server = Server::start(options).await.unwrap();
        let peer = "127.0.0.1:1".parse().unwrap();
        for (method, path, status) in [
            (Method::GET, "/api/v1/tasks", None),
            (Method::GET, "/healthz", None),
            (Method::GET, "/nowhere", Some(404)),
            (Method::GET, "/healthz/deep", Some(404)),
            (Method::GET, "/api/v1/tasks/a/secrets", Some(404)),
            (Method::PATCH, "/api/v1/tasks/a", Some(405)),
            (Method::POST, "/metrics", Some(405)),
        ] {
            let mut request = Request::builder().method(&method).uri(path).body(()).unwrap();
            let client = ClientAddr::of(peer, false, request.headers(), &Default::default());
            let admitted = admit(&server.state, &client, &mut request).await;
            assert_eq!(admitted.err().map(|answer| answer.status().as_u16()), status, "{method} {path}");
        }
        server.shutdown().await.unwrap();
    }
}
