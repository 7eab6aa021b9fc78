//! `POST` and `PUT /api/v1/tasks/{id}/lines`: lines over plain HTTP, for jobs without a worker.
//!
//! A body may be of any length and last as long as the job that writes it: it is read line by line and appended
//! as it arrives, at most [`IN_FLIGHT_MAX`] batches ahead of the store. So when row 7 is invalid, rows 0 to 6
//! are already stored, and they stay. The problem names the row (from 0) and the number of lines appended.
//! Of a body that breaks off, everything received is stored.

use std::borrow::Cow;
use std::collections::VecDeque;

use futures::FutureExt;
use serde_json::{Value, json};
use tokio::time::sleep;
use warp::http::HeaderMap;
use warp::reply::{Reply, Response};

use super::body::{self, BodyStream, DrainLimit, RequestBody};
use super::decode::decoded;
use super::error::ApiError;
use super::query::QueryParams;
use super::route_request::RouteRequest;
use super::rows::{BodyRow, RowReader};
use crate::auth::Lease;
use crate::model::{Channel, EntryId, LineText, TaskId, Timestamp, limits};
use crate::server::net::rate_limit::ConnectionRate;
use crate::server::state::SharedState;
use crate::server::ws::attached_tasks::{BATCH_BYTES_MAX, split_line};
use crate::tasks::{LineBatch, LineTicket, TaskHandle, TasksError};
use crate::wire::worker::LineFields;

/// Maximum number of batches that are submitted and not yet durable.
const IN_FLIGHT_MAX: usize = 8;
/// Maximum length of a row, because a row has to be buffered.
const ROW_BYTES_MAX: usize = limits::MESSAGE_BYTES_MAX;

/// The format of a body.
#[derive(Clone, Copy, Debug, PartialEq)]
enum LineFormat {
    Ndjson,
    Text,
}

impl LineFormat {
    /// Returns the format of a body. `curl --data-binary` and others send a type of their own without being
    /// asked, which means text.
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        match body::media_type(headers).as_deref() {
            Some("application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines") => {
                Ok(LineFormat::Ndjson)
            }
            None | Some("" | "application/x-www-form-urlencoded" | "application/octet-stream") => Ok(LineFormat::Text),
            Some(text) if text.starts_with("text/") => Ok(LineFormat::Text),
            Some(_) => {
                let detail = "header Content-Type must be application/x-ndjson, or text/plain, which is the default";
                Err(ApiError::new(415, "bad_content_type", detail))
            }
        }
    }
}

/// Handles the route.
pub(super) async fn lines(request: RouteRequest) -> Result<Response, ApiError> {
    let (id, query, lease) = (request.task_id()?, request.query()?, request.lease()?);
    let RouteRequest { state, headers, mut body, .. } = request;
    let result = append_body(state, id, &query, &headers, lease, &mut body).await;
    if result.is_err() {
        body::drain(body, DrainLimit::APPEND).await;
    }
    result
}

async fn append_body(
    state: SharedState,
    id: TaskId,
    query: &QueryParams,
    headers: &HeaderMap,
    lease: Lease,
    body: &mut RequestBody,
) -> Result<Response, ApiError> {
    let format = LineFormat::of(headers)?;
    let ratio_max = state.options.limits.append_ratio_max;
    let mut body = decoded(body, headers, ratio_max)?;
    let mut append = LineAppend::new(state, id, parse_session(query)?);
    match append.read(format, lease, &mut body).await {
        Ok(()) => Ok(warp::reply::json(&append.stored.to_json()).into_response()),
        Err((row, error)) => {
            let row = append.rejected_row.unwrap_or(row);
            append.state.metrics.errors.inc();
            append.state.stages.http_lines.rejected(error.code(), error.detail());
            // The rows before the error stay.
            append.flush().await?;
            append.wait_in_flight(0).await?;
            Err(error.with("row", row).with("appended", append.stored.appended))
        }
    }
}

/// Parses `session=` and `first_seq=`: the session and the number of its first line.
fn parse_session(query: &QueryParams) -> Result<Option<(String, u64)>, ApiError> {
    match (query.text("session"), query.number("first_seq")?) {
        (Some(session), first_seq) if (1..=limits::SESSION_BYTES_MAX).contains(&session.len()) => {
            Ok(Some((session.to_owned(), first_seq.unwrap_or(1))))
        }
        (Some(_), _) => Err(ApiError::bad_query("session", "must have 1 to 128 bytes")),
        (None, Some(_)) => Err(ApiError::bad_query("session", "is required with first_seq")),
        (None, None) => Ok(None),
    }
}

fn new_batch(session: Option<&(String, u64)>) -> LineBatch {
    match session {
        Some((session, first_seq)) => LineBatch::with_session(session, *first_seq),
        None => LineBatch::new(),
    }
}

/// The lines of a request that have been stored.
#[derive(Debug, Default)]
struct StoredLines {
    appended: u64,
    first_line: Option<u64>,
    last: Option<(u64, EntryId)>,
}

impl StoredLines {
    fn to_json(&self) -> Value {
        json!({
            "appended": self.appended,
            "first_line": self.first_line,
            "last_line": self.last.map(|(line, _)| line),
            "last_id": self.last.map(|(_, id)| id.to_string()),
        })
    }
}

/// An append of a request body to a task.
struct LineAppend {
    state: SharedState,
    id: TaskId,
    handle: Option<TaskHandle>,
    /// The session and the number of the next line.
    session: Option<(String, u64)>,
    batch: LineBatch,
    /// The row of each line in the batch.
    rows: Vec<u64>,
    /// The first row over the task's rate limit.
    rejected_row: Option<u64>,
    /// The rate limit of the connection.
    rate: ConnectionRate,
    /// Submitted batches that are not durable yet, with their number of lines.
    in_flight: VecDeque<(LineTicket, u64)>,
    stored: StoredLines,
}

impl LineAppend {
    fn new(state: SharedState, id: TaskId, session: Option<(String, u64)>) -> Self {
        Self {
            batch: new_batch(session.as_ref()),
            rate: ConnectionRate::new(&state),
            state,
            id,
            handle: None,
            session,
            rows: Vec::new(),
            rejected_row: None,
            in_flight: VecDeque::new(),
            stored: StoredLines::default(),
        }
    }

    /// Appends the whole body. An error has the index of its row.
    async fn read(
        &mut self,
        format: LineFormat,
        mut lease: Lease,
        body: &mut BodyStream<'_>,
    ) -> Result<(), (u64, ApiError)> {
        let mut reader = RowReader::new(ROW_BYTES_MAX);
        let mut row_index = 0;
        loop {
            let chunk = self.next_chunk(&mut reader, &mut lease, body).await;
            if chunk.is_err() && format == LineFormat::Text {
                reader.end();
            }
            while let Some(row) = reader.next_row() {
                self.push_row(format, row_index, &row).map_err(|error| (row_index, error))?;
                row_index += 1;
                if self.batch.bytes() >= BATCH_BYTES_MAX {
                    self.flush().await.map_err(|error| (row_index, error))?;
                }
            }
            if reader.is_row_too_long() {
                return Err((row_index, row_too_long()));
            }
            if chunk.map_err(|error| (row_index, error))?.is_none() {
                break;
            }
            if let Some(wait) = self.rate.pause() {
                sleep(wait).await;
            }
        }
        self.flush().await.map_err(|error| (row_index, error))?;
        self.wait_in_flight(0).await.map_err(|error| (row_index, error))
    }

    /// Reads a chunk, and returns its length. Before it waits for one, it submits what came so far.
    async fn next_chunk(
        &mut self,
        reader: &mut RowReader,
        lease: &mut Lease,
        body: &mut BodyStream<'_>,
    ) -> Result<Option<usize>, ApiError> {
        let ready = reader.read_chunk(body).now_or_never();
        let chunk = match ready {
            Some(chunk) => chunk?,
            None => {
                self.flush().await?;
                tokio::select! {
                    biased;
                    () = self.state.shutdown.cancelled() => return Err(ApiError::closing()),
                    ended = lease.ended() => return Err(ApiError::new(401, "unauthorized", ended.reason())),
                    chunk = reader.read_chunk(body) => chunk?,
                }
            }
        };
        self.state.metrics.bytes_received.inc_by(chunk.unwrap_or(0) as u64);
        Ok(chunk)
    }

    fn push_row(&mut self, format: LineFormat, index: u64, row: &BodyRow) -> Result<(), ApiError> {
        let BodyRow::Complete(row) = row else { return Err(row_too_long()) };
        let now = Timestamp::now();
        match format {
            LineFormat::Text => self.push_line(index, &text_line(row, now)),
            LineFormat::Ndjson if row.trim_ascii().is_empty() => {}
            LineFormat::Ndjson => {
                let text = String::from_utf8_lossy(row);
                let mut line =
                    LineFields::parse(&text, now).map_err(|error| ApiError::new(400, error.code, error.message))?;
                line.line.lossy |= matches!(text, Cow::Owned(_));
                if let Some(fault) = line.fault {
                    self.state.stages.http_lines.rejected(fault.code, &fault.message);
                }
                self.push_line(index, &line.line);
            }
        }
        Ok(())
    }

    fn push_line(&mut self, row: u64, line: &LineText<'_>) {
        self.rows.push(row);
        self.rate.record(1, line.text.len() as u64);
        for (index, piece) in split_line(line).enumerate() {
            if index == 0 {
                self.batch.push(&piece);
            } else {
                self.batch.push_continuation(&piece);
            }
        }
        if let Some((_, next)) = &mut self.session {
            *next += 1;
        }
        self.state.metrics.lines_received.inc();
        self.state.stages.http_lines.received(1);
        self.state.stages.http_lines.parsed(1);
    }

    /// Submits the current batch to the store.
    async fn flush(&mut self) -> Result<(), ApiError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        let batch = std::mem::replace(&mut self.batch, new_batch(self.session.as_ref()));
        let session = self.session.as_ref().map(|(session, _)| session.as_str());
        let handle = match &self.handle {
            Some(handle) => handle,
            // Not before: a body without a single valid line creates no task.
            None => self.handle.insert(self.state.tasks.find_or_create(&self.id, session).await?),
        };
        let appended = handle.append_or_reject(batch).await.inspect_err(|error| {
            if matches!(error, TasksError::RateLimited { .. }) {
                self.rejected_row = rows.first().copied();
            }
        });
        let (ticket, rejected) = appended?;
        let accepted = rows.len() - rejected.as_ref().map_or(0, |rejected| rejected.lines);
        self.in_flight.push_back((ticket, accepted as u64));
        self.wait_in_flight(IN_FLIGHT_MAX).await?;
        match rejected {
            Some(rejected) => {
                self.rejected_row = rows.get(accepted).copied();
                Err(rejected.error.into())
            }
            None => Ok(()),
        }
    }

    /// Waits until at most `max` batches are not durable yet.
    async fn wait_in_flight(&mut self, max: usize) -> Result<(), ApiError> {
        let meter = &self.state.stages.http_lines;
        while self.in_flight.len() > max {
            let Some((ticket, lines)) = self.in_flight.pop_front() else { break };
            let appended = ticket.await.inspect_err(|error| meter.failed(&error.to_string()))?;
            meter.stored(appended.count);
            meter.deduplicated(lines.saturating_sub(appended.count));
            if appended.count > 0 {
                self.state.metrics.lines_stored.inc_by(appended.count);
                self.stored.appended += appended.count;
                self.stored.first_line.get_or_insert(appended.first_line);
                self.stored.last = Some((appended.last_line, appended.last_id));
            }
        }
        Ok(())
    }
}

fn row_too_long() -> ApiError {
    ApiError::new(413, "too_large", format!("the row has over {ROW_BYTES_MAX} bytes: split it"))
}

/// Converts a row of plain text to a line. Invalid UTF-8 and NUL become U+FFFD, and the line is marked as
/// lossy.
fn text_line(row: &[u8], now: Timestamp) -> LineText<'_> {
    let mut text = String::from_utf8_lossy(row);
    let mut lossy = matches!(text, Cow::Owned(_));
    if memchr::memchr(0, text.as_bytes()).is_some() {
        text = Cow::Owned(text.replace('\0', "\u{fffd}"));
        lossy = true;
    }
    LineText { timestamp: now, channel: Channel::Stdout, partial: false, lossy, text }
}
