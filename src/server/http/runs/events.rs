//! `GET /api/v1/runs/{id}/events?type=&failures=1&after=|from=|tail=&limit=`: a page of a run's events.
//!
//! A filter examines a bounded number of events per request, so a response may have fewer than `limit` although
//! there are more. Then it has `next`, the cursor to continue after.

use serde::Serialize;
use warp::reply::Response;

use super::{find, parse_filter};
use crate::model::{Cursor, Event, limits};
use crate::runs::RunsError;
use crate::server::http::error::ApiError;
use crate::server::http::reply::uncached_json;
use crate::server::http::route_request::RouteRequest;
use crate::tasks::{FollowStart, TasksError};

/// A page of stored events.
#[derive(Serialize)]
struct EventPageJson<'a> {
    events: Vec<&'a Event>,
    cursor: Cursor,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Cursor>,
}

/// Handles the route.
pub(in crate::server::http) async fn page(request: RouteRequest) -> Result<Response, ApiError> {
    let (id, query) = (request.run_id()?, request.query()?);
    let limit = query.limit(limits::PAGE_LINES_DEFAULT as u64, limits::PAGE_LINES_MAX as u64)?;
    let (filter, start) = (parse_filter(&query)?, query.start()?);
    let run = find(&request.state, &id)?;
    let from = match start {
        FollowStart::From(from) => from,
        FollowStart::Tail(tail) => run.line_before(tail.min(limit), &filter).await?,
        FollowStart::After(cursor) => run.line_after(&cursor)?,
    };
    let page = run.page(from, usize::try_from(limit).unwrap_or(usize::MAX), &filter).await?;
    let page = page.ok_or_else(|| ApiError::run_not_found(&id))?;
    let events = page.events.iter().map(|stored| &stored.event).collect();
    Ok(uncached_json(&EventPageJson { events, cursor: page.cursor, next: page.more.then_some(page.cursor) }))
}

impl From<RunsError> for ApiError {
    fn from(error: RunsError) -> Self {
        match error {
            RunsError::Journal(error) => TasksError::from(error).into(),
            RunsError::Refused(error) => error.into(),
            RunsError::TooMany(_) => Self::new(429, "too_many_runs", error.to_string()),
            RunsError::Removed(_) => Self::new(404, "removed", error.to_string()),
            RunsError::Reset(_) => Self::new(409, "reset", format!("{error}: start again with from=1")),
        }
    }
}
