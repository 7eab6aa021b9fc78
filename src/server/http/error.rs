//! The one place where errors become an HTTP status, a problem's code, or a WebSocket's error and
//! close code.
//!
//! | what | HTTP | `code` | WebSocket close |
//! |---|---|---|---|
//! | no such route, no such task, or not the caller's to know of | 404 | `not_found` | 4404 |
//! | no access token, or one that is not taken (any more) | 401 | `unauthorized` | 4401 |
//! | the token's scope is too small | 403 | `forbidden` | stays open |
//! | too many wrong tokens from one address | 429 | `too_many_attempts` | |
//! | the store's tokens cannot be read | 503 | `tokens_unreadable` | 4401 |
//! | the task was removed while it was read | 404 | `removed` | 4404 |
//! | the task has ended | 409 | `task_ended` | stays open |
//! | the disk is full: reads and removals go on | 503 | `disk_full` | 1013 |
//! | the store takes no writes | 503 | `read_only` | 1013 |
//! | the disk did not answer in time: stored or not | 503 | `unconfirmed` | 1013 |
//! | the data folder is over its budget | 503 | `disk_budget` | 1013 |
//! | more came than the task may get now | 429 | `rate_limited` | stays open |
//! | there are as many tasks, or runs, as there may be | 429 | `too_many_tasks`, `too_many_runs` | stays open |
//! | the server is closing | 503 | `closing` | 1001 |
//! | a fault of ours | 500 | `internal` | 1011 |

use std::convert::Infallible;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use warp::http::{HeaderValue, Response, StatusCode, header};
use warp::reject::{MethodNotAllowed, Rejection};
use warp::reply::Response as WarpResponse;

use crate::auth::{Resource, Scope};
use crate::tasks::TasksError;
use crate::wire::problem::{PROBLEM_JSON, Problem};

/// The close code for a task that is not there.
pub(in crate::server) const CLOSE_NOT_FOUND: CloseCode = CloseCode::Library(4404);

/// The close code for a caller whose time is over: its token was revoked, has expired, ...
pub(in crate::server) const CLOSE_UNAUTHORIZED: CloseCode = CloseCode::Library(4401);

/// Words for what is wrong with a row, as counters know them.
const CODES: [&str; 16] = [
    "bad_body",
    "bad_line",
    "bad_message",
    "bad_json",
    "too_large",
    "task_ended",
    "removed",
    "read_only",
    "closing",
    "forbidden",
    "not_found",
    "disk_full",
    "unconfirmed",
    "disk_budget",
    "rate_limited",
    "too_many_tasks",
];

/// A request that was not done, and why.
#[derive(Debug)]
pub(in crate::server) struct ApiError {
    /// Boxed: results are moved about, errors are few.
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    problem: Problem,
    /// Members beyond those of RFC 9457, such as how far an append came.
    extra: Map<String, Value>,
    /// Seconds after which the same may be asked again.
    retry_after_s: Option<u64>,
}

impl ApiError {
    /// A problem of this status and code.
    pub(in crate::server) fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        Self {
            inner: Box::new(Inner {
                problem: Problem::new(status, code, detail),
                extra: Map::new(),
                retry_after_s: None,
            }),
        }
    }

    /// 400: a parameter in the URL, by name.
    pub(in crate::server) fn bad_query(name: &str, why: impl std::fmt::Display) -> Self {
        let name: String = name.chars().take(64).collect();
        Self::new(400, "bad_query", format!("parameter `{name}`: {why}"))
    }

    /// 404 for a task.
    pub(in crate::server) fn no_task(id: impl std::fmt::Display) -> Self {
        Self::new(404, "not_found", format!("there is no task `{id}`"))
    }

    /// 404 for a run.
    pub(in crate::server) fn no_run(id: impl std::fmt::Display) -> Self {
        Self::new(404, "not_found", format!("there is no run `{id}`"))
    }

    /// 404 for a path.
    pub(in crate::server) fn no_route() -> Self {
        Self::new(404, "not_found", "there is no such route")
    }

    /// 405 for a path that is there.
    pub(in crate::server) fn other_method() -> Self {
        Self::new(405, "method_not_allowed", "this route is there, but not for this method")
    }

    /// 403: what is asked for takes more than the caller has.
    pub(in crate::server) fn forbidden(scope: Scope, object: Resource<'_>) -> Self {
        let what = if object == Resource::Store { " for all tasks and runs" } else { "" };
        Self::new(403, "forbidden", format!("this takes an access token of scope `{scope}`{what}"))
    }

    /// The same problem with one more member.
    pub(in crate::server) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.inner.extra.insert(name.to_owned(), value.into());
        self
    }

    /// The same problem, saying when to ask again.
    pub(in crate::server) fn retry_after(mut self, wait: Duration) -> Self {
        let up = u64::from(wait.subsec_nanos() > 0);
        self.inner.retry_after_s = Some((wait.as_secs().saturating_add(up)).max(1));
        self
    }

    /// Its stable word, as counters know it.
    pub(in crate::server) fn code(&self) -> &'static str {
        CODES.iter().find(|code| **code == self.inner.problem.code).copied().unwrap_or("refused")
    }

    /// In words.
    pub(in crate::server) fn detail(&self) -> &str {
        &self.inner.problem.detail
    }

    /// What it says.
    #[cfg(test)]
    pub(in crate::server) fn problem(&self) -> &Problem {
        &self.inner.problem
    }

    /// The response of an HTTP route.
    pub(in crate::server) fn into_response(self) -> WarpResponse {
        let Inner { problem, extra, retry_after_s } = *self.inner;
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::warn!(code = problem.code, "{}", problem.detail);
        }
        let mut json = serde_json::to_value(&problem).unwrap_or_default();
        if let Value::Object(members) = &mut json {
            members.extend(extra);
        }
        let mut response = Response::new(json.to_string().into());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<TasksError> for ApiError {
    fn from(error: TasksError) -> Self {
        let status = match &error {
            TasksError::NotFound(_) | TasksError::Removed(_) => 404,
            TasksError::Ended(_) => 409,
            TasksError::ReadOnly(_)
            | TasksError::DiskFull(_)
            | TasksError::OverBudget(_)
            | TasksError::Unconfirmed(_)
            | TasksError::Closed => 503,
            TasksError::RateLimited { .. } | TasksError::TooManyTasks(_) => 429,
            TasksError::Journal(_) | TasksError::Archive(_) => 500,
        };
        let problem = Self::new(status, code_of(&error), error.to_string());
        match error {
            TasksError::RateLimited { retry_after, .. } => problem.retry_after(retry_after),
            _ => problem,
        }
    }
}

/// The stable word for an error of the tasks layer.
pub(in crate::server) fn code_of(error: &TasksError) -> &'static str {
    match error {
        TasksError::NotFound(_) => "not_found",
        TasksError::Removed(_) => "removed",
        TasksError::Ended(_) => "task_ended",
        TasksError::ReadOnly(_) => "read_only",
        TasksError::DiskFull(_) => "disk_full",
        TasksError::Unconfirmed(_) => "unconfirmed",
        TasksError::OverBudget(_) => "disk_budget",
        TasksError::RateLimited { .. } => "rate_limited",
        TasksError::TooManyTasks(_) => "too_many_tasks",
        TasksError::Closed => "closing",
        TasksError::Journal(_) | TasksError::Archive(_) => "internal",
    }
}

/// How a WebSocket is closed over an error; `None` if it can go on.
pub(in crate::server) fn close_of(error: &TasksError) -> Option<CloseCode> {
    match error {
        TasksError::Ended(_) | TasksError::RateLimited { .. } | TasksError::TooManyTasks(_) => None,
        TasksError::NotFound(_) | TasksError::Removed(_) => Some(CLOSE_NOT_FOUND),
        TasksError::ReadOnly(_) | TasksError::DiskFull(_) | TasksError::OverBudget(_) | TasksError::Unconfirmed(_) => {
            Some(CloseCode::Again)
        }
        TasksError::Closed => Some(CloseCode::Away),
        TasksError::Journal(_) | TasksError::Archive(_) => Some(CloseCode::Error),
    }
}

/// What a route answers, as a response.
pub(in crate::server) fn answer(result: Result<WarpResponse, ApiError>) -> WarpResponse {
    result.unwrap_or_else(ApiError::into_response)
}

/// What no filter took: an unknown path or a wrong method.
pub(in crate::server) async fn recover(rejection: Rejection) -> Result<WarpResponse, Infallible> {
    let error = if rejection.is_not_found() {
        ApiError::no_route()
    } else if rejection.find::<MethodNotAllowed>().is_some() {
        ApiError::other_method()
    } else {
        tracing::warn!(?rejection, "a request was rejected without a reason");
        ApiError::new(400, "bad_request", "the request could not be understood")
    };
    Ok(error.into_response())
}
