//! `POST` and `PUT /api/v1/tasks/{id}/lines`: lines over plain HTTP, for jobs without a worker.
//!
//! A body may be of any length and last as long as the job that writes it: it is read line by line and appended
//! as it arrives, at most [`IN_FLIGHT_MAX`] batches ahead of the store. So when row 7 is invalid, rows 0 to 6
//! are already stored, and they stay. The problem names the row (from 0) and the number of lines appended.
//! Of a body that breaks off, everything received is stored.

use std::borrow::Cow;
use std::collections::VecDeque;

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
/// Maximum length of a row that has to be buffered: one in JSON, or one with a number, which is stored as a whole or
/// not at all. Other rows of text have no limit.
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
    /// The pieces of a row that has not ended yet were added.
    in_row: bool,
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
            in_row: false,
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
        let in_pieces = format == LineFormat::Text && self.session.is_none();
        let mut reader =
            if in_pieces { RowReader::in_pieces(limits::LINE_BYTES_MAX) } else { RowReader::new(ROW_BYTES_MAX) };
        let mut row_index = 0;
        loop {
            let state = SharedState::clone(&self.state);
            let chunk = reader.read_or_submit(body, &mut lease, &state, self.flush()).await;
            // A numbered row is sent again as a whole, and JSON cannot be read in part.
            if chunk.is_err() && in_pieces {
                reader.end();
            }
            while let Some(row) = reader.next_row() {
                self.push_row(format, row_index, &row).map_err(|error| (row_index, error))?;
                row_index += u64::from(!self.in_row);
                if self.batch.bytes() >= BATCH_BYTES_MAX {
                    self.flush().await.map_err(|error| (row_index, error))?;
                }
            }
            if reader.is_row_too_long() {
                return Err((row_index, self.row_too_long(row_index)));
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

    fn push_row(&mut self, format: LineFormat, index: u64, row: &BodyRow) -> Result<(), ApiError> {
        let (row, is_piece) = match row {
            BodyRow::Complete(row) => (row, false),
            BodyRow::Piece(row) => (row, true),
            BodyRow::TooLong(_) => return Err(self.row_too_long(index)),
        };
        let now = Timestamp::now();
        match format {
            LineFormat::Text if is_piece => self.push_piece(index, &LineText { partial: true, ..text_line(row, now) }),
            LineFormat::Text => self.push_piece(index, &text_line(row, now)),
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

    /// Adds a line of text, or a piece of a long one.
    fn push_piece(&mut self, row: u64, line: &LineText<'_>) {
        if !std::mem::replace(&mut self.in_row, line.partial) {
            return self.push_line(row, line);
        }
        self.rate.record(0, line.text.len() as u64);
        self.add_to_batch(row, line, true);
    }

    fn push_line(&mut self, row: u64, line: &LineText<'_>) {
        self.rate.record(1, line.text.len() as u64);
        self.add_to_batch(row, line, false);
        if let Some((_, next)) = &mut self.session {
            *next += 1;
        }
        self.state.metrics.lines_received.inc();
        self.state.stages.http_lines.received(1);
        self.state.stages.http_lines.parsed(1);
    }

    fn row_too_long(&self, row: u64) -> ApiError {
        let remedy = match self.session {
            Some(_) => "split it, or send it as text without a session, which has no limit",
            None => "split it, or send the line as text, which has no limit",
        };
        ApiError::new(413, "too_large", format!("row {row} (from 0) has over {ROW_BYTES_MAX} bytes: {remedy}"))
    }

    fn add_to_batch(&mut self, row: u64, line: &LineText<'_>, continues: bool) {
        for (index, piece) in split_line(line).enumerate() {
            // The line before may be in an earlier batch. It has no number then, so this needs none.
            if !self.batch.is_empty() && (continues || index > 0) {
                self.batch.push_continuation(&piece);
            } else {
                self.rows.push(row);
                self.batch.push(&piece);
            }
        }
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
