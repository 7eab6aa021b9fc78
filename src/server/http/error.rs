//! Errors: the one place that maps them to an HTTP status, a problem's code, and a WebSocket's close code.
//!
//! | error | HTTP | `code` | WebSocket close |
//! |---|---|---|---|
//! | no such route or task, or one hidden from the caller | 404 | `not_found` | 4404 |
//! | no valid access token | 401 | `unauthorized` | 4401 |
//! | the token lacks the scope | 403 | `forbidden` | stays open |
//! | too many invalid tokens from one address | 429 | `too_many_attempts` | |
//! | the store's tokens cannot be read | 503 | `tokens_unreadable` | 4401 |
//! | the task was deleted while it was read | 404 | `removed` | 4404 |
//! | the task has ended | 409 | `task_ended` | stays open |
//! | the disk is full; reads and deletions still work | 503 | `disk_full` | 1013 |
//! | the store is read-only | 503 | `read_only` | 1013 |
//! | the disk did not respond in time; stored or not | 503 | `unconfirmed` | 1013 |
//! | the data folder is over its budget | 503 | `disk_budget` | 1013 |
//! | the task is over its rate limit | 429 | `rate_limited` | stays open |
//! | the maximum number of tasks or runs exists | 429 | `too_many_tasks`, `too_many_runs` | stays open |
//! | the server is shutting down | 503 | `closing` | 1001 |
//! | an internal error | 500 | `internal` | 1011 |

use std::convert::Infallible;
use std::fmt::Display;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use warp::http::{HeaderValue, Response, StatusCode, header};
use warp::reject::Rejection;
use warp::reply::Response as WarpResponse;

use crate::auth::{Resource, Scope};
use crate::tasks::TasksError;
use crate::wire::problem::{PROBLEM_JSON, Problem};

/// The member of a problem with the lines of settings that remedy it.
const FIX: &str = "fix";

/// The close code for a missing task.
pub(crate) const CLOSE_NOT_FOUND: CloseCode = CloseCode::Library(4404);

/// The close code for a caller whose credentials are no longer valid.
pub(crate) const CLOSE_UNAUTHORIZED: CloseCode = CloseCode::Library(4401);

/// A rejected request, with the reason.
#[derive(Debug)]
pub(crate) struct ApiError {
    /// Boxed, because results are moved often and errors are rare.
    inner: Box<ApiErrorInner>,
}

#[derive(Debug)]
struct ApiErrorInner {
    status: u16,
    /// The stable code.
    code: &'static str,
    /// The reason and the remedy, for people.
    detail: String,
    /// Members beyond those of RFC 9457, such as the number of lines appended.
    extra: Map<String, Value>,
    /// Seconds after which the request may be repeated.
    retry_after_s: Option<u64>,
}

/// The report of an error response: an extension of the response, from which a browser gets a page.
#[derive(Clone, Debug)]
pub(crate) struct ReportedProblem {
    /// The stable code.
    pub(crate) code: &'static str,
    /// The reason and the remedy, for people.
    pub(crate) detail: String,
    /// Lines of settings that remedy it, by program.
    pub(crate) fix: Vec<(String, String)>,
}

/// A request that matches no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteError {
    /// No route has this path.
    NotFound,
    /// Routes with this path have other methods.
    MethodNotAllowed,
}

impl ApiError {
    /// Creates an error.
    pub(crate) fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        let inner = ApiErrorInner { status, code, detail: detail.into(), extra: Map::new(), retry_after_s: None };
        Self { inner: Box::new(inner) }
    }

    /// Returns a 400 for a parameter in the URL.
    pub(crate) fn bad_query(name: &str, reason: impl Display) -> Self {
        let name: String = name.chars().take(64).collect();
        Self::new(400, "bad_query", format!("parameter `{name}`: {reason}"))
    }

    /// Returns a 404 for a task.
    pub(crate) fn task_not_found(id: impl Display) -> Self {
        Self::new(404, "not_found", format!("task `{id}` not found"))
    }

    /// Returns a 404 for a run.
    pub(crate) fn run_not_found(id: impl Display) -> Self {
        Self::new(404, "not_found", format!("run `{id}` not found"))
    }

    /// Returns a 404 for a path.
    pub(crate) fn route_not_found() -> Self {
        Self::new(404, "not_found", "no such route")
    }

    /// Returns the error for a request that the shutdown interrupts.
    pub(crate) fn closing() -> Self {
        Self::new(503, "closing", "the server is shutting down; what came of the body is stored")
    }

    /// Returns a 403 for a missing scope.
    pub(crate) fn forbidden(scope: Scope, object: Resource<'_>) -> Self {
        let range = if object == Resource::Store { " for all tasks and runs" } else { "" };
        Self::new(403, "forbidden", format!("this requires an access token of scope `{scope}`{range}"))
    }

    /// Adds a member to the problem.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.inner.extra.insert(name.to_owned(), value.into());
        self
    }

    /// Adds the line of settings that remedies the problem in a program.
    pub(crate) fn fixed_by(mut self, program: &str, line: impl Into<String>) -> Self {
        let fix = self.inner.extra.entry(FIX).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(lines) = fix {
            lines.insert(program.to_owned(), Value::String(line.into()));
        }
        self
    }

    /// Adds a `Retry-After` header.
    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        let up = u64::from(wait.subsec_nanos() > 0);
        self.inner.retry_after_s = Some((wait.as_secs().saturating_add(up)).max(1));
        self
    }

    /// Returns the stable code.
    pub(crate) fn code(&self) -> &'static str {
        self.inner.code
    }

    /// Returns the reason, for people.
    pub(crate) fn detail(&self) -> &str {
        &self.inner.detail
    }

    /// Returns the problem as JSON.
    pub(crate) fn into_json(self) -> Value {
        let ApiErrorInner { status, code, detail, extra, .. } = *self.inner;
        problem_json(&Problem::new(status, code, detail), extra)
    }

    /// Returns the response of an HTTP route.
    pub(crate) fn into_response(self) -> WarpResponse {
        let ApiErrorInner { status, code, detail, extra, retry_after_s } = *self.inner;
        let problem = Problem::new(status, code, detail);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::warn!(code, "{}", problem.detail);
        }
        let fix = extra.get(FIX).and_then(Value::as_object).into_iter().flatten();
        let fix = fix.filter_map(|(program, line)| Some((program.clone(), line.as_str()?.to_owned()))).collect();
        let reported = ReportedProblem { code, detail: problem.detail.clone(), fix };
        let json = problem_json(&problem, extra);
        let mut response = Response::new(json.to_string().into());
        *response.status_mut() = status;
        response.extensions_mut().insert(reported);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

fn problem_json(problem: &Problem, extra: Map<String, Value>) -> Value {
    let mut json = serde_json::to_value(problem).unwrap_or_default();
    if let Value::Object(members) = &mut json {
        members.extend(extra);
    }
    json
}

impl From<RouteError> for ApiError {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::NotFound => Self::route_not_found(),
            RouteError::MethodNotAllowed => {
                Self::new(405, "method_not_allowed", "this route does not support this method")
            }
        }
    }
}

impl From<TasksError> for ApiError {
    fn from(error: TasksError) -> Self {
        let ErrorClass { status, code, .. } = classify(&error);
        let problem = Self::new(status, code, error.to_string());
        match error {
            TasksError::RateLimited { retry_after, .. } => problem.retry_after(retry_after),
            _ => problem,
        }
    }
}

/// The codes of an error of the tasks layer.
struct ErrorClass {
    status: u16,
    code: &'static str,
    /// The close code of a WebSocket, or `None` if it stays open.
    close: Option<CloseCode>,
}

fn classify(error: &TasksError) -> ErrorClass {
    let (status, code, close) = match error {
        TasksError::NotFound(_) => (404, "not_found", Some(CLOSE_NOT_FOUND)),
        TasksError::Removed(_) => (404, "removed", Some(CLOSE_NOT_FOUND)),
        TasksError::Ended(_) => (409, "task_ended", None),
        TasksError::ReadOnly(_) => (503, "read_only", Some(CloseCode::Again)),
        TasksError::DiskFull(_) => (503, "disk_full", Some(CloseCode::Again)),
        TasksError::Unconfirmed(_) => (503, "unconfirmed", Some(CloseCode::Again)),
        TasksError::OverBudget(_) => (503, "disk_budget", Some(CloseCode::Again)),
        TasksError::RateLimited { .. } => (429, "rate_limited", None),
        TasksError::TooManyTasks(_) => (429, "too_many_tasks", None),
        TasksError::Closed => (503, "closing", Some(CloseCode::Away)),
        TasksError::Objects(_) => (503, "archive_unavailable", Some(CloseCode::Again)),
        TasksError::Journal(_) | TasksError::Archive(_) => (500, "internal", Some(CloseCode::Error)),
    };
    ErrorClass { status, code, close }
}

/// Returns the stable code of an error of the tasks layer.
pub(crate) fn error_code(error: &TasksError) -> &'static str {
    classify(error).code
}

/// Returns the code to close a WebSocket with after an error, or `None` if it stays open.
pub(crate) fn close_code(error: &TasksError) -> Option<CloseCode> {
    classify(error).close
}

/// Returns the response to a request that a filter rejected. The accept loop finds the route before,
/// so this is a fault of the server or a malformed request.
pub(crate) async fn recover(rejection: Rejection) -> Result<WarpResponse, Infallible> {
    tracing::warn!(?rejection, "unexpected rejection of a request");
    Ok(ApiError::new(400, "bad_request", "malformed request").into_response())
}
