//! `GET /api/v1/tasks/{id}/explain?budget=BYTES`: the most telling lines of a log. The body of the response has at
//! most `budget` bytes, in JSON and with `format=text`.

use std::time::Instant;

use serde::Serialize;
use warp::http::{HeaderValue, header};
use warp::reply::{Reply, Response};

use super::diff::line_set;
use super::good_run;
use super::reader::{WholeLogReader, blocking};
use crate::analysis::{BUDGET_MIN, LogExplainer, Reason, TellingLine};
use crate::model::limits::Limit;
use crate::model::{Task, TaskStatus};
use crate::server::http::error::ApiError;
use crate::server::http::log_scan::acquire_search;
use crate::server::http::route_request::RouteRequest;
use crate::tasks::FollowStart;

/// Default and maximum budget.
const BUDGET_DEFAULT: usize = 8_000;
const BUDGET_MAX: usize = 1_000_000;

/// Handles the route.
pub(crate) async fn explain(request: RouteRequest) -> Result<Response, ApiError> {
    let (query, caller, state) = (request.query()?, request.caller()?, request.state.clone());
    let budget = query.get::<usize>("budget")?.unwrap_or(BUDGET_DEFAULT);
    if !(BUDGET_MIN..=BUDGET_MAX).contains(&budget) {
        return Err(ApiError::bad_query("budget", format!("must be {BUDGET_MIN} to {BUDGET_MAX} bytes")));
    }
    let format = match query.text("format") {
        None | Some("json") => Format::Json,
        Some("text") => Format::Text,
        Some(_) => return Err(ApiError::bad_query("format", "must be text or json")),
    };
    let task = request.task(FollowStart::From(1)).await?;
    let good = good_run::find(&state, &caller, &task.details()).await?;
    let _permit = acquire_search(&state).await?;
    let deadline = Instant::now() + state.options.limits.analysis_time_max;
    let counters = state.limit_counters.clone();
    let body = blocking(move |cancelled| {
        let good_lines = match &good {
            Some(good) => {
                let reader = WholeLogReader { task: good.clone(), deadline, cancelled: cancelled.clone() };
                Some(line_set(&reader)?.0)
            }
            None => None,
        };
        let facts = task.details();
        let reader = WholeLogReader { task, deadline, cancelled };
        let mut explainer = LogExplainer::new(good_lines.as_ref());
        let next = reader.read(1, |row| explainer.push(&row))?;
        if next <= facts.last_line {
            counters.count(Limit::analysis_time_max);
        }
        let mut head = Head::new(&facts, good.map(|good| good.details().exact_id()), next);
        (head.errors, head.warnings) = explainer.counts();
        Ok(format.render(&head, explainer, budget))
    });
    let mut response = body.await?.into_response();
    let content_type = match format {
        Format::Json => "application/json",
        Format::Text => "text/plain; charset=utf-8",
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// The parts of an explanation other than its lines.
#[derive(Serialize)]
struct Head {
    task: String,
    status: TaskStatus,
    exit_code: Option<i32>,
    signal: Option<i32>,
    /// The last line of the log.
    last_line: u64,
    /// The last line examined.
    scanned_to: u64,
    errors: u64,
    warnings: u64,
    /// The last good run, which has none of the new lines.
    good: Option<String>,
}

impl Head {
    fn new(task: &Task, good: Option<String>, next: u64) -> Self {
        Self {
            task: task.exact_id(),
            status: task.status,
            exit_code: task.exit_code,
            signal: task.signal,
            last_line: task.last_line,
            scanned_to: next.saturating_sub(1),
            errors: 0,
            warnings: 0,
            good,
        }
    }

    /// Returns the first row of the text.
    fn text(&self) -> String {
        let exit = match (self.exit_code, self.signal) {
            (Some(code), _) => format!(", exit code {code}"),
            (None, Some(signal)) => format!(", signal {signal}"),
            (None, None) => String::new(),
        };
        let good = self.good.as_ref().map_or(String::new(), |good| format!("; last good run: {good}"));
        let Self { task, status, last_line, errors, warnings, .. } = self;
        format!("{task}: {status}{exit}, {last_line} lines, {errors} errors, {warnings} warnings{good}\n")
    }
}

/// The format of an explanation.
#[derive(Clone, Copy)]
enum Format {
    Json,
    Text,
}

impl Format {
    /// Returns the body, of at most `budget` bytes.
    fn render(self, head: &Head, explainer: LogExplainer<'_>, budget: usize) -> Vec<u8> {
        match self {
            Format::Json => {
                let mut body = serde_json::to_vec(head).unwrap_or_default();
                body.pop();
                body.extend_from_slice(br#","lines":["#);
                let row = |line: &TellingLine| serde_json::to_vec(line).unwrap_or_default();
                let lines = explainer.finish(budget.saturating_sub(body.len() + 3), |line| row(line).len() + 1);
                for (at, line) in lines.iter().enumerate() {
                    if at > 0 {
                        body.push(b',');
                    }
                    body.extend(row(line));
                }
                body.extend_from_slice(b"]}\n");
                body
            }
            Format::Text => {
                let mut body = head.text().into_bytes();
                // Before a row there may be a row for the lines left out.
                let lines =
                    explainer.finish(budget.saturating_sub(body.len()), |line| text(line).len() + SKIPPED.len());
                let mut before = 0;
                for line in &lines {
                    if line.n > before + 1 {
                        body.extend_from_slice(SKIPPED);
                    }
                    body.extend_from_slice(text(line).as_bytes());
                    before = line.n;
                }
                body
            }
        }
    }
}

/// A row in place of lines that are left out.
const SKIPPED: &[u8] = b"...\n";

/// Returns a row of text: its mark, its number and its text.
fn text(line: &TellingLine) -> String {
    let mark = match line.reason {
        Reason::Error => "E",
        Reason::Warning => "W",
        Reason::New => "+",
        Reason::Context | Reason::Tail => " ",
    };
    format!("{mark} {}: {}\n", line.n, line.line)
}
