//! `GET /api/v1/runs/{id}/events?type=&failures=1&after=|from=|tail=&limit=`: a page of a run's events.
//!
//! A filter looks at a bounded number of events a request, so an answer may have fewer than `limit`
//! though there are more: then it has `next`, the cursor to go on behind.

use serde::Serialize;
use warp::reply::Response;

use super::filter;
use super::find;
use super::fresh;
use crate::model::{Cursor, Event, RunId, limits};
use crate::runs::RunsError;
use crate::server::http::error::ApiError;
use crate::server::http::query::Query;
use crate::server::state::SharedState;
use crate::tasks::FollowStart;

/// A page of events, each as it is stored.
#[derive(Serialize)]
struct Answer<'a> {
    events: Vec<&'a Event>,
    cursor: Cursor,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Cursor>,
}

/// Answers the route.
pub(in crate::server) async fn page(state: SharedState, id: RunId, query: Query) -> Result<Response, ApiError> {
    let (limit, max) = (query.number("limit")?, limits::PAGE_LINES_MAX as u64);
    let limit = limit.unwrap_or(limits::PAGE_LINES_DEFAULT as u64);
    if limit == 0 || limit > max {
        return Err(ApiError::bad_query("limit", format!("must be 1 to {max}")));
    }
    let (filter, start) = (filter(&query)?, query.start()?);
    let run = find(&state, &id)?;
    let from = match start {
        FollowStart::From(from) => from,
        FollowStart::Tail(tail) => run.line_before(tail.min(limit), &filter).await?,
        FollowStart::After(cursor) => run.line_after(&cursor)?,
    };
    let page = run.page(from, usize::try_from(limit).unwrap_or(usize::MAX), &filter).await?;
    let page = page.ok_or_else(|| ApiError::no_run(&id))?;
    let events = page.events.iter().map(|stored| &stored.event).collect();
    Ok(fresh(&Answer { events, cursor: page.cursor, next: page.more.then_some(page.cursor) }))
}

impl From<RunsError> for ApiError {
    fn from(error: RunsError) -> Self {
        match error {
            RunsError::Journal(error) => crate::tasks::TasksError::from(error).into(),
            RunsError::Refused(error) => error.into(),
            RunsError::TooMany(_) => Self::new(429, "too_many_runs", error.to_string()),
            RunsError::Removed(_) => Self::new(404, "removed", error.to_string()),
            RunsError::Reset(_) => Self::new(409, "reset", format!("{error}: begin again with from=1")),
        }
    }
}
