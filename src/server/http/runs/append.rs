//! `POST` and `PUT /api/v1/runs/{id}/events`: events into a run, one JSON object per row.
//!
//! A body may be of any length: it is read row by row and appended as it arrives. An invalid row is reported in
//! the response and affects no other row. When the response is sent, all accepted events are durable.

use std::sync::Arc;

use serde_json::{Value, json, value::RawValue};
use warp::http::HeaderMap;
use warp::reply::{Reply, Response};

use crate::auth::Lease;
use crate::events::excerpt;
use crate::model::{Event, EventError, RunId, events_in_line, limits};
use crate::runs::{EventSource, IncomingEvent, RunHandle};
use crate::server::http::body::{self, BodyStream, DrainLimit, RequestBody};
use crate::server::http::decode::decoded;
use crate::server::http::error::ApiError;
use crate::server::http::query::QueryParams;
use crate::server::http::route_request::RouteRequest;
use crate::server::http::rows::{BodyRow, RowReader};
use crate::server::state::SharedState;

/// Maximum number of rejected rows listed in a response; `rejected_count` counts all of them.
const REJECTED_MAX: usize = 1_000;
/// Bytes of events in one batch.
const BATCH_BYTES: usize = 512 * 1024;
/// Maximum length of a row, including white space. A longer row is rejected without being buffered.
const ROW_BYTES_MAX: usize = 2 * limits::EVENT_BYTES_MAX;
/// Maximum length of an array of events (`application/json`), which has to be buffered.
const ARRAY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Default source of the events of this route.
const DEFAULT_SOURCE: &str = "http";

/// The format of a body.
#[derive(Clone, Copy, PartialEq)]
enum EventFormat {
    Ndjson,
    Json,
}

/// Handles the route.
pub(in crate::server::http) async fn events(request: RouteRequest) -> Result<Response, ApiError> {
    let (id, query, lease) = (request.run_id()?, request.query()?, request.lease()?);
    let RouteRequest { state, headers, mut body, .. } = request;
    let result = append_body(state, &id, &query, &headers, lease, &mut body).await;
    if result.is_err() {
        body::drain(body, DrainLimit::APPEND).await;
    }
    result
}

async fn append_body(
    state: SharedState,
    id: &RunId,
    query: &QueryParams,
    headers: &HeaderMap,
    lease: Lease,
    body: &mut RequestBody,
) -> Result<Response, ApiError> {
    let mut body = decoded(body, headers, state.options.limits.append_ratio_max)?;
    let format = match body::media_type(headers).as_deref() {
        Some("application/x-ndjson" | "application/ndjson") => EventFormat::Ndjson,
        Some("application/json") => EventFormat::Json,
        _ => {
            let detail = "header Content-Type must be application/x-ndjson or application/json";
            return Err(ApiError::new(415, "bad_content_type", detail));
        }
    };
    let (source, first_seq) = match (query.text("source"), query.number("first_seq")?) {
        (Some(name), seq) if (1..=limits::SESSION_BYTES_MAX).contains(&name.len()) => (name, Some(seq.unwrap_or(1))),
        (Some(_), _) => return Err(ApiError::bad_query("source", "must have 1 to 128 bytes")),
        (None, Some(_)) => return Err(ApiError::bad_query("source", "is required with first_seq")),
        (None, None) => (DEFAULT_SOURCE, None),
    };
    let mut append = EventAppend {
        run: state.runs.get_or_new(id),
        state,
        source: source.into(),
        first_seq,
        row_count: 0,
        batch: Vec::new(),
        batch_bytes: 0,
        outcome: EventCounts::default(),
    };
    match format {
        EventFormat::Ndjson => append.read_ndjson(lease, &mut body).await?,
        EventFormat::Json => append.read_json(&mut body).await?,
    }
    append.flush().await?;
    Ok(warp::reply::json(&append.outcome.to_json()).into_response())
}

/// The outcome of a request's rows.
#[derive(Debug, Default)]
struct EventCounts {
    appended: u64,
    duplicates: u64,
    rejected_count: u64,
    rejected: Vec<Value>,
}

impl EventCounts {
    fn to_json(&self) -> Value {
        json!({
            "appended": self.appended,
            "duplicates": self.duplicates,
            "rejected_count": self.rejected_count,
            "rejected": self.rejected,
        })
    }
}

/// An append of a request body to a run.
struct EventAppend {
    state: SharedState,
    run: RunHandle,
    source: Arc<str>,
    /// The number of row 0, if the sender numbers its rows.
    first_seq: Option<u64>,
    row_count: u64,
    /// Events with the index of their row.
    batch: Vec<(u64, IncomingEvent)>,
    batch_bytes: usize,
    outcome: EventCounts,
}

impl EventAppend {
    async fn read_ndjson(&mut self, mut lease: Lease, body: &mut BodyStream<'_>) -> Result<(), ApiError> {
        let mut reader = RowReader::new(ROW_BYTES_MAX);
        loop {
            let state = Arc::clone(&self.state);
            let chunk = reader.read_or_submit(body, &mut lease, &state, self.flush()).await?;
            while let Some(row) = reader.next_row() {
                match row {
                    BodyRow::Complete(row) | BodyRow::Piece(row) => self.push_row(&row),
                    BodyRow::TooLong(bytes) => self.reject_long_row(bytes),
                }
                if self.batch_bytes >= BATCH_BYTES {
                    self.flush().await?;
                }
            }
            if chunk.is_none() {
                return Ok(());
            }
        }
    }

    async fn read_json(&mut self, body: &mut BodyStream<'_>) -> Result<(), ApiError> {
        let bytes = body::read_at_most(body, ARRAY_BYTES_MAX, ": send it as application/x-ndjson").await?;
        self.state.metrics.bytes_received.inc_by(bytes.len() as u64);
        if bytes.trim_ascii_start().first() != Some(&b'[') {
            self.push_row(&bytes);
            return Ok(());
        }
        match serde_json::from_slice::<Vec<&RawValue>>(&bytes) {
            Ok(rows) => {
                for row in rows {
                    self.push_row(row.get().as_bytes());
                    if self.batch_bytes >= BATCH_BYTES {
                        self.flush().await?;
                    }
                }
            }
            Err(error) => self.read_lenient_array(&bytes, &error)?,
        }
        Ok(())
    }

    /// Reads an array that is not strict JSON, as Python writes it with `NaN`.
    fn read_lenient_array(&mut self, bytes: &[u8], error: &serde_json::Error) -> Result<(), ApiError> {
        let mut parts = Vec::new();
        events_in_line(bytes, &mut |part| parts.push(part));
        if !bytes.trim_ascii_end().ends_with(b"]")
            || parts.iter().any(|part| matches!(part.event, Err(EventError::NotJson(_))))
        {
            let detail = format!("the body must be an event or an array of events: {error}");
            return Err(ApiError::new(400, "bad_message", detail));
        }
        for part in parts {
            self.push_part(self.row_count, 0, part.event, bytes.get(part.offset..).unwrap_or_default());
            self.row_count += 1;
        }
        Ok(())
    }

    /// Adds the events of a row to the batch, and rejects the rest of it. A blank row is skipped.
    fn push_row(&mut self, row: &[u8]) {
        let index = self.row_count;
        self.row_count += 1;
        let mut parts = 0;
        events_in_line(row, &mut |part| {
            self.push_part(index, parts, part.event, row.get(part.offset..).unwrap_or_default());
            parts += 1;
        });
    }

    /// Adds an event to the batch, or rejects it. `part` is its number among those of its row, from 0.
    fn push_part(&mut self, index: u64, part: u64, event: Result<Event, EventError>, text: &[u8]) {
        let meter = self.run.stage(|meters| &meters.runs_http);
        meter.received(1);
        match event {
            Ok(mut event) => {
                meter.parsed(1);
                let seq = self.first_seq.map(|first| first.saturating_add(index));
                if let Some(seq) = seq.filter(|_| part > 0) {
                    event = event.with(&[("event_id", format!("{}:{seq}.{part}", self.source).into())]);
                }
                self.batch_bytes += event.as_str().len();
                let source = Some(EventSource { name: self.source.clone(), seq });
                self.batch.push((index, IncomingEvent { event, source }));
            }
            Err(fault) => self.reject(index, &fault, text),
        }
    }

    fn reject_long_row(&mut self, bytes: usize) {
        self.run.stage(|meters| &meters.runs_http).received(1);
        self.reject(self.row_count, &EventError::TooLong(bytes), b"");
        self.row_count += 1;
    }

    /// Counts a rejected text, and lists it in the response.
    fn reject(&mut self, index: u64, fault: &EventError, text: &[u8]) {
        let text = excerpt(text);
        let message = format!("run {}: {fault}: {text}", self.run.id());
        self.run.stage(|meters| &meters.runs_http).rejected(fault.reason(), &message);
        self.outcome.rejected_count += 1;
        if self.outcome.rejected.len() < REJECTED_MAX {
            let (reason, message) = (fault.reason(), fault.to_string());
            let row = json!({ "index": index, "reason": reason, "message": message, "excerpt": text });
            self.outcome.rejected.push(row);
        }
    }

    /// Appends the batch to the run.
    async fn flush(&mut self) -> Result<(), ApiError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.batch_bytes = 0;
        let (indexes, events): (Vec<u64>, Vec<IncomingEvent>) = self.batch.drain(..).unzip();
        let appended = self.run.append(&events).await.inspect_err(|error| {
            self.run.stage(|meters| &meters.runs_http).failed(&error.to_string());
        })?;
        for rejected in &appended.rejected {
            let text = events.get(rejected.index).map_or("", |incoming| incoming.event.as_str());
            self.reject(indexes.get(rejected.index).copied().unwrap_or_default(), &rejected.fault, text.as_bytes());
        }
        let meter = self.run.stage(|meters| &meters.runs_http);
        meter.stored(appended.appended);
        meter.deduplicated(appended.duplicates);
        self.outcome.appended += appended.appended;
        self.outcome.duplicates += appended.duplicates;
        Ok(())
    }
}
