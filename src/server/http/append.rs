//! Lines and the end of a task by plain HTTP, for jobs that have no worker.
//!
//! A body may be of any length: it is read line by line and appended as it comes, at most
//! [`IN_FLIGHT_MAX`] batches ahead of the store. So a fault in row 7 comes when rows 0 to 6 are
//! stored already, and they stay; the problem names the row (from 0) and says how many were appended.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{sleep, timeout};
use warp::http::{HeaderMap, header};
use warp::reply::{Reply, Response};

use super::body::Body;
use super::error::ApiError;
use super::query::Query;
use crate::model::{Channel, EntryId, LineText, TaskId, Timestamp, limits};
use crate::server::net::rate_limit::ConnectionRate;
use crate::server::state::SharedState;
use crate::server::ws::attached_tasks::{BATCH_BYTES_MAX, split_line};
use crate::tasks::{EndOutcome, EndRequest, LineBatch, LineTicket, TaskHandle, TasksError};
use crate::wire::worker::LineFields;

/// Batches given to the store and not yet durable; then the body is not read on.
const IN_FLIGHT_MAX: usize = 8;
/// Bytes of one row or line; a longer one is refused, because it would have to be held.
const ROW_BYTES_MAX: usize = limits::MESSAGE_BYTES_MAX;

/// Bytes of a refused body that are read, and how long.
const DRAIN_BYTES_MAX: usize = 256 * 1024 * 1024;
const DRAIN_WAIT: Duration = Duration::from_secs(30);

/// How a body is read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Format {
    Ndjson,
    Text,
}

/// `POST /api/v1/tasks/{id}/lines`.
pub(in crate::server) async fn lines(
    state: SharedState,
    id: TaskId,
    query: Query,
    headers: HeaderMap,
    mut body: Body,
) -> Result<Response, ApiError> {
    let result = append_body(state, id, query, &headers, &mut body).await;
    if result.is_err() {
        drain(body).await;
    }
    result
}

/// Reads the rest of a body that is refused: closing while the client still writes would cost it
/// the answer. Bounded; a client beyond that finds out the hard way.
pub(in crate::server) async fn drain(mut body: Body) {
    let mut bytes = 0;
    let drained = async {
        while let Some(Ok(chunk)) = body.next().await {
            bytes += chunk.len();
            if bytes > DRAIN_BYTES_MAX {
                break;
            }
        }
    };
    if timeout(DRAIN_WAIT, drained).await.is_err() {
        tracing::debug!(bytes, "a refused body did not end");
    }
}

async fn append_body(
    state: SharedState,
    id: TaskId,
    query: Query,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<Response, ApiError> {
    let format = match media_type(headers).as_deref() {
        Some("application/x-ndjson" | "application/ndjson") => Format::Ndjson,
        Some("text/plain") => Format::Text,
        _ => {
            let detail = "header Content-Type must be application/x-ndjson or text/plain";
            return Err(ApiError::new(415, "bad_content_type", detail));
        }
    };
    let session = match (query.text("session"), query.number("first_seq")?) {
        (Some(session), first_seq) if (1..=limits::SESSION_BYTES_MAX).contains(&session.len()) => {
            Some((session.to_owned(), first_seq.unwrap_or(1)))
        }
        (Some(_), _) => return Err(ApiError::bad_query("session", "must have 1 to 128 bytes")),
        (None, Some(_)) => return Err(ApiError::bad_query("session", "is missing: first_seq counts in it")),
        (None, None) => None,
    };
    let batch = new_batch(session.as_ref());
    let rate = ConnectionRate::new(&state);
    let mut append = Append {
        state,
        id,
        handle: None,
        session,
        batch,
        rows: Vec::new(),
        refused_row: None,
        rate,
        tickets: VecDeque::new(),
        done: Done::default(),
    };
    match append.read(format, body).await {
        Ok(()) => Ok(warp::reply::json(&append.done.answer()).into_response()),
        Err((row, error)) => {
            let row = append.refused_row.unwrap_or(row);
            append.state.metrics.errors.inc();
            append.state.hops.http_lines.rejected(error.code(), error.detail());
            // What came before the fault stays.
            append.flush().await?;
            append.settle(0).await?;
            Err(error.with("row", row).with("appended", append.done.appended))
        }
    }
}

fn new_batch(session: Option<&(String, u64)>) -> LineBatch {
    match session {
        Some((session, first_seq)) => LineBatch::with_session(session, *first_seq),
        None => LineBatch::new(),
    }
}

/// What has been stored for a request.
#[derive(Debug, Default)]
struct Done {
    appended: u64,
    first_line: Option<u64>,
    last: Option<(u64, EntryId)>,
}

impl Done {
    fn answer(&self) -> serde_json::Value {
        json!({
            "appended": self.appended,
            "first_line": self.first_line,
            "last_line": self.last.map(|(line, _)| line),
            "last_id": self.last.map(|(_, id)| id.to_string()),
        })
    }
}

struct Append {
    state: SharedState,
    id: TaskId,
    handle: Option<TaskHandle>,
    /// The session and the number of the next line.
    session: Option<(String, u64)>,
    batch: LineBatch,
    /// The row of each line in the batch.
    rows: Vec<u64>,
    /// The first row that was over the task's limit.
    refused_row: Option<u64>,
    /// Holds the connection to its rates.
    rate: ConnectionRate,
    /// What is not durable yet, with the lines in it.
    tickets: VecDeque<(LineTicket, u64)>,
    done: Done,
}

impl Append {
    /// Reads the whole body; a fault comes with the index of its row.
    async fn read(&mut self, format: Format, body: &mut Body) -> Result<(), (u64, ApiError)> {
        let mut buffer = BytesMut::new();
        let mut row = 0;
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|fault| (row, fault.into()))?;
            self.state.metrics.bytes_received.inc_by(u64::try_from(chunk.len()).unwrap_or(0));
            // Only what is new is searched: a long row coming in small pieces is looked at once.
            let mut searched = buffer.len();
            buffer.extend_from_slice(&chunk);
            while let Some(end) = memchr::memchr(b'\n', &buffer[searched..]) {
                let line = buffer.split_to(searched + end + 1);
                searched = 0;
                self.row(format, row, &line[..line.len() - 1]).map_err(|error| (row, error))?;
                row += 1;
                if self.batch.bytes() >= BATCH_BYTES_MAX {
                    self.flush().await.map_err(|error| (row, error))?;
                }
            }
            if buffer.len() > ROW_BYTES_MAX {
                return Err((row, too_long()));
            }
            if let Some(wait) = self.rate.pause() {
                sleep(wait).await;
            }
        }
        if !buffer.is_empty() {
            self.row(format, row, &buffer).map_err(|error| (row, error))?;
        }
        self.flush().await.map_err(|error| (row, error))?;
        self.settle(0).await.map_err(|error| (row, error))
    }

    fn row(&mut self, format: Format, index: u64, row: &[u8]) -> Result<(), ApiError> {
        if row.len() > ROW_BYTES_MAX {
            return Err(too_long());
        }
        let now = Timestamp::now();
        match format {
            Format::Text => self.push(index, &text_line(row, now)),
            Format::Ndjson if row.trim_ascii().is_empty() => {}
            Format::Ndjson => {
                let text =
                    std::str::from_utf8(row).map_err(|_| ApiError::new(400, "bad_line", "the row is not UTF-8"))?;
                let line =
                    LineFields::parse(text, now).map_err(|error| ApiError::new(400, error.code, error.message))?;
                self.push(index, &line.line);
            }
        }
        Ok(())
    }

    fn push(&mut self, row: u64, line: &LineText<'_>) {
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
        self.state.hops.http_lines.received(1);
        self.state.hops.http_lines.parsed(1);
    }

    async fn flush(&mut self) -> Result<(), ApiError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        let batch = std::mem::replace(&mut self.batch, new_batch(self.session.as_ref()));
        let handle = match &self.handle {
            Some(handle) => handle,
            // Only now: a body without a single good line makes no task.
            None => self.handle.insert(self.state.tasks.get_or_create(&self.id).await?),
        };
        let appended = handle.append_or_reject(batch).await.inspect_err(|error| {
            if matches!(error, TasksError::RateLimited { .. }) {
                self.refused_row = rows.first().copied();
            }
        });
        let (ticket, refused) = appended?;
        let taken = rows.len() - refused.as_ref().map_or(0, |refused| refused.lines);
        self.tickets.push_back((ticket, taken as u64));
        self.settle(IN_FLIGHT_MAX).await?;
        match refused {
            Some(refused) => {
                self.refused_row = rows.get(taken).copied();
                Err(refused.error.into())
            }
            None => Ok(()),
        }
    }

    /// Waits until at most so many batches are not durable yet.
    async fn settle(&mut self, in_flight: usize) -> Result<(), ApiError> {
        while self.tickets.len() > in_flight {
            let Some((ticket, lines)) = self.tickets.pop_front() else { break };
            let appended = ticket.await.inspect_err(|error| self.state.hops.http_lines.failed(&error.to_string()))?;
            self.state.hops.http_lines.stored(appended.count);
            self.state.hops.http_lines.deduplicated(lines.saturating_sub(appended.count));
            if appended.count > 0 {
                self.state.metrics.lines_stored.inc_by(appended.count);
                self.done.appended += appended.count;
                self.done.first_line.get_or_insert(appended.first_line);
                self.done.last = Some((appended.last_line, appended.last_id));
            }
        }
        Ok(())
    }
}

fn too_long() -> ApiError {
    ApiError::new(413, "too_large", format!("the row has over {ROW_BYTES_MAX} bytes: split it"))
}

/// A line of plain text; what is not UTF-8, and NUL, becomes U+FFFD and the line is marked.
fn text_line(row: &[u8], now: Timestamp) -> LineText<'_> {
    let mut text = String::from_utf8_lossy(row);
    let mut lossy = matches!(text, Cow::Owned(_));
    if memchr::memchr(0, text.as_bytes()).is_some() {
        text = Cow::Owned(text.replace('\0', "\u{fffd}"));
        lossy = true;
    }
    LineText { timestamp: now, channel: Channel::Stdout, partial: false, lossy, text }
}

/// The body of `POST /api/v1/tasks/{id}/end`.
#[derive(Debug, Default, Deserialize)]
struct EndBody {
    exit_code: Option<i32>,
    signal: Option<i32>,
    status: Option<String>,
    timestamp: Option<Timestamp>,
}

/// `POST /api/v1/tasks/{id}/end`: answers the task as it is then.
pub(in crate::server) async fn end(
    state: SharedState,
    id: TaskId,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    // A form or a text of another site cannot claim this type without asking first.
    if media_type(&headers).as_deref() != Some("application/json") {
        return Err(ApiError::new(415, "bad_content_type", "header Content-Type must be application/json"));
    }
    let body = whole(body).await?;
    let asked: EndBody = serde_json::from_slice(&body)
        .map_err(|error| ApiError::new(400, "bad_message", format!("the body must be {{\"exit_code\":0}}: {error}")))?;
    let aborted = match asked.status.as_deref() {
        None | Some("completed") => false,
        Some("aborted") => true,
        Some(_) => {
            return Err(ApiError::new(400, "bad_message", "field `status` must be completed or aborted"));
        }
    };
    let handle = state.tasks.get(&id).await?.ok_or_else(|| ApiError::no_task(&id))?;
    let EndBody { exit_code, signal, timestamp, .. } = asked;
    match handle.end(EndRequest { exit_code, signal, aborted, at: timestamp, ..EndRequest::default() }).await? {
        EndOutcome::Ended => Ok(warp::reply::json(&handle.details()).into_response()),
        EndOutcome::Repeated | EndOutcome::AlreadyEnded => Err(TasksError::Ended(id).into()),
    }
}

pub(in crate::server) async fn whole(mut body: Body) -> Result<BytesMut, ApiError> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        if bytes.len() + chunk.len() > limits::BODY_BYTES_MAX {
            let detail = format!("the body has over {} bytes", limits::BODY_BYTES_MAX);
            return Err(ApiError::new(413, "too_large", detail));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The media type of a request, in small letters and without parameters.
pub(in crate::server) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or(value).trim().to_ascii_lowercase())
}
