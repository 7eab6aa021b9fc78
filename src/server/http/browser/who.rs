//! Who a browser is: its cookies, and the share that a page may show without one.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use warp::http::{HeaderMap, Method, header};
use warp::reply::Response;

use super::cookies::{self, Site};
use super::origins::{is_foreign_request, is_own_request};
use super::share::is_born;
use crate::auth::jwt::JwtKey;
use crate::auth::session::BrowserSessions;
use crate::auth::share::{Share, ShareFault, ShareKeyFile};
use crate::auth::{Authenticator, Caller};
use crate::model::{TaskId, Timestamp};
use crate::server::ServeError;
use crate::server::ServeOptions;
use crate::server::http::client_addr::ClientAddr;
use crate::server::http::error::ApiError;
use crate::server::http::query::{self, Query};
use crate::server::http::tasks::fresh;
use crate::server::state::{SharedState, State};

/// The header and, with the share behind it, the subprotocol of a WebSocket that show a share.
const SHARE_HEADER: &str = "tasktail-share";
const SHARE_PROTOCOL: &str = "tasktail.share.";
/// The file of the key is looked at this often: its end is heard within a second.
const LOOK: Duration = Duration::from_millis(300);
/// Sessions that are over are dropped this often.
const SWEEP: Duration = Duration::from_secs(60);

/// What a server keeps for browsers.
#[derive(Debug)]
pub(in crate::server) struct Browsers {
    pub(in crate::server) sessions: BrowserSessions,
    pub(in crate::server) share_key: ShareKeyFile,
    pub(in crate::server) jwt: Option<JwtKey>,
}

impl Browsers {
    /// Reads what is there.
    pub(in crate::server) fn open(options: &ServeOptions) -> Result<Self, ServeError> {
        let sessions_max = usize::try_from(options.limits.sessions_max).unwrap_or(usize::MAX);
        let data_error = |source| ServeError::DataFolder { data: options.data.clone(), source };
        let jwt = |path: &PathBuf| {
            let audience = options.share_jwt_audience.as_deref();
            let key = JwtKey::read(path, audience, options.limits.share_life_max);
            key.map_err(|source| ServeError::JwtKey { path: path.clone(), source })
        };
        Ok(Self {
            sessions: BrowserSessions::open(&options.data, sessions_max).map_err(data_error)?,
            share_key: ShareKeyFile::new(&options.data),
            jwt: options.share_jwt_key_file.as_ref().map(jwt).transpose()?,
        })
    }

    /// Looks after both until the server ends.
    pub(in crate::server) async fn keep(&self, gate: &Authenticator, shutdown: &CancellationToken) {
        let mut swept = tokio::time::Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            self.share_key.refresh();
            if swept.elapsed() >= SWEEP {
                swept = tokio::time::Instant::now();
                tokio::task::block_in_place(|| {
                    self.sessions.sweep(Timestamp::now(), |name, sha256| {
                        gate.active(name).is_some_and(|held| held.sha256 == *sha256)
                    });
                });
            }
        }
    }

    /// A share of ours, for this task, and what is cancelled when its key is withdrawn.
    pub(in crate::server) fn share(&self, task: &TaskId, text: &str) -> Result<(Share, CancellationToken), ShareFault> {
        let key = self.share_key.key().unwrap_or_else(|error: io::Error| {
            tracing::warn!(%error, "the key of share links cannot be read");
            None
        });
        let (key, end) = key.ok_or(ShareFault::Invalid)?;
        Ok((key.verify(task, text, Timestamp::now())?, end))
    }

    /// A share of ours or another system's ticket.
    fn share_or_ticket(&self, task: &TaskId, text: &str) -> Option<(Share, CancellationToken)> {
        if !text.contains('.') {
            return self.share(task, text).ok();
        }
        let verified = self.jwt.as_ref()?.verify(text, Timestamp::now());
        let share = verified.ok().filter(|share| share.task == *task)?;
        Some((share, CancellationToken::new()))
    }
}

/// Who a browser is that shows no token: one that is signed in, or one that was given a link to
/// `task`, the one that it asks for.
///
/// Cookies count where no page of another site can have sent them: in requests that only read, and
/// else with the word of the browser that it is our own page.
pub(in crate::server) async fn identify(
    state: &State,
    client: &ClientAddr,
    method: &Method,
    headers: &HeaderMap,
    task: Option<&TaskId>,
) -> Option<Caller> {
    let reads = matches!(*method, Method::GET | Method::HEAD) && !headers.contains_key(header::UPGRADE);
    let ours = state.site();
    let cookies_count = is_own_request(headers, client, ours) || reads && !is_foreign_request(headers, client, ours);
    let site = Site::new(client.https, client.host.as_deref());
    let session = if cookies_count { session(state, &site, headers) } else { None };
    let Some(task) = task else { return session };
    if session.as_ref().is_some_and(|session| session.sees_task(task)) {
        return session;
    }
    let cookie = if cookies_count { cookies::get(headers, &site.share_name(task)) } else { None };
    match share(state, task, shown_share(headers).or(cookie)).await {
        Some(shared) => Some(shared),
        None => session,
    }
}

fn session(state: &State, site: &Site, headers: &HeaderMap) -> Option<Caller> {
    let id = cookies::get(headers, &site.session_name())?;
    let session = state.browsers.sessions.find(id, Timestamp::now())?;
    let held = state.auth.active(&session.token).filter(|held| held.sha256 == session.sha256)?;
    Some(Caller::session(held, session.expires, session.end))
}

async fn share(state: &State, task: &TaskId, text: Option<&str>) -> Option<Caller> {
    let (share, end) = state.browsers.share_or_ticket(task, text?)?;
    // Whether it is still the task that was shared; if that cannot be known, it is not.
    let born = is_born(state, &share).await.unwrap_or(false);
    born.then(|| Caller::share(share.task, share.expires, end))
}

/// The share that a page shows by itself.
fn shown_share(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get(SHARE_HEADER) {
        return value.to_str().ok();
    }
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|value| value.to_str().ok());
    offered.flat_map(|value| value.split(',')).find_map(|protocol| protocol.trim().strip_prefix(SHARE_PROTOCOL))
}

/// `GET /api/v1/access?task=ID`: who this browser is, as its pages show it, and what is served without a
/// guard, if `--insecure` was given. For everyone, so it says of others nothing.
pub(in crate::server) async fn access(
    state: SharedState,
    client: ClientAddr,
    headers: HeaderMap,
    query: Query,
) -> Result<Response, ApiError> {
    let mut told = told_of(&state, &client, &headers, &query).await?;
    if !state.insecure.is_empty() {
        told["exposed"] = json!(state.insecure);
    }
    Ok(fresh(&told))
}

async fn told_of(state: &State, client: &ClientAddr, headers: &HeaderMap, query: &Query) -> Result<Value, ApiError> {
    if !state.auth.auth_required() {
        return Ok(json!({ "kind": "open", "scope": "admin" }));
    }
    let task = query.text("task").map(query::task_id).transpose()?;
    let caller = identify(state, client, &Method::GET, headers, task.as_ref()).await;
    let Some(caller) = caller else { return Ok(json!({ "kind": "none" })) };
    let until = caller.until();
    Ok(match caller.token_entry() {
        Some(held) => json!({
            "kind": "session", "name": held.name, "scope": held.scope, "tasks": held.tasks, "until": until,
        }),
        None => json!({ "kind": "share", "scope": "read", "task": task, "until": until }),
    })
}
