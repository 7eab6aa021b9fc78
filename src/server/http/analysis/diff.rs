//! `GET /api/v1/tasks/{id}/diff?with=ID`: the lines that this log has and another has not, and the reverse. The
//! other one is by default the last good run.

use std::time::Instant;

use serde_json::json;
use warp::reply::Response;

use super::good_run;
use super::reader::{WholeLogReader, blocking};
use crate::analysis::{DIFF_LINES_MAX, DiffLine, LineSet, errors_first};
use crate::auth::Caller;
use crate::model::limits::Limit;
use crate::model::{Channel, TaskId};
use crate::server::http::auth::sees_task;
use crate::server::http::error::ApiError;
use crate::server::http::log_scan::acquire_search;
use crate::server::http::named_task::find_task;
use crate::server::http::reply::uncached_json;
use crate::server::http::route_request::RouteRequest;
use crate::server::state::State;
use crate::tasks::{FollowStart, TaskHandle, TasksError};

/// Default number of lines of each side in a response.
const LINES_DEFAULT: u64 = 200;

/// Handles the route.
pub(crate) async fn diff(request: RouteRequest) -> Result<Response, ApiError> {
    let (query, caller, state) = (request.query()?, request.caller()?, request.state.clone());
    let limit = query.limit(LINES_DEFAULT, DIFF_LINES_MAX as u64)?;
    let limit = usize::try_from(limit).unwrap_or(DIFF_LINES_MAX);
    let with = query.get::<TaskId>("with")?;
    let task = request.task(FollowStart::From(1)).await?;
    let other = match with {
        Some(id) => named(&state, &caller, &id).await?,
        None => good_run::find(&state, &caller, &task.details()).await?.ok_or_else(|| {
            let detail = format!("there is no earlier successful log of `{}`: name another log with `with`", task.id());
            ApiError::new(409, "no_good_run", detail)
        })?,
    };
    let _permit = acquire_search(&state).await?;
    let deadline = Instant::now() + state.options.limits.analysis_time_max;
    let counters = state.limit_counters.clone();
    let difference = blocking(move |cancelled| {
        let reader = |task: &TaskHandle| WholeLogReader { task: task.clone(), deadline, cancelled: cancelled.clone() };
        let (task, other) = (reader(&task), reader(&other));
        let ((lines, whole), (other_lines, other_whole)) = (line_set(&task)?, line_set(&other)?);
        let (new, new_count) = rows(&task, &lines.missing_in(&other_lines), limit)?;
        let (missing, missing_count) = rows(&other, &other_lines.missing_in(&lines), limit)?;
        if !whole || !other_whole {
            counters.count(Limit::analysis_time_max);
        }
        let truncated = !whole || !other_whole || lines.is_truncated() || other_lines.is_truncated();
        Ok(json!({
            "task": task.task.details().exact_id(),
            "with": other.task.details().exact_id(),
            "new": new,
            "missing": missing,
            "new_count": new_count,
            "missing_count": missing_count,
            "lines": lines.count(),
            "with_lines": other_lines.count(),
            "truncated": truncated,
        }))
    });
    Ok(uncached_json(&difference.await?))
}

/// Returns the log that a parameter names.
async fn named(state: &State, caller: &Caller, id: &TaskId) -> Result<TaskHandle, ApiError> {
    let found =
        if sees_task(state, caller, id) { find_task(state, caller, id, FollowStart::From(1)).await? } else { None };
    found.ok_or_else(|| ApiError::task_not_found(id))
}

/// Returns the lines of a log, and whether all of them were read in time.
pub(super) fn line_set(reader: &WholeLogReader) -> Result<(LineSet, bool), TasksError> {
    let mut lines = LineSet::default();
    let next = reader.read(1, |row| {
        if row.channel != Channel::Internal {
            lines.push(row.n, &row.line);
        }
    })?;
    Ok((lines, next > reader.task.details().last_line))
}

/// Returns rows for these lines, errors first, and the number of all of them.
fn rows(reader: &WholeLogReader, wanted: &[(u64, u32)], limit: usize) -> Result<(Vec<DiffLine>, usize), TasksError> {
    let mut left = wanted.iter().peekable();
    let (mut errors, mut others) = (Vec::new(), Vec::new());
    let Some((first, _)) = wanted.first() else { return Ok((Vec::new(), 0)) };
    reader.read(*first, |row| {
        while left.next_if(|(n, _)| *n < row.n).is_some() {}
        let Some((_, count)) = left.next_if(|(n, _)| *n == row.n) else { return };
        let line = DiffLine::new(row.n, &row.line, *count);
        let kept = if line.error { &mut errors } else { &mut others };
        if kept.len() < limit {
            kept.push(line);
        }
    })?;
    errors.append(&mut others);
    errors_first(&mut errors);
    errors.truncate(limit);
    Ok((errors, wanted.len()))
}
