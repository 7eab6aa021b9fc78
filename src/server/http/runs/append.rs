//! `POST /api/v1/runs/{id}/events`: events into a run, one JSON object a row.
//!
//! A body may be of any length: it is read row by row and appended as it comes. A row that is no
//! event is told in the answer and costs no other; what came is durable when the answer is given.

use std::sync::Arc;

use bytes::BytesMut;
use futures::StreamExt;
use serde_json::{Value, json, value::RawValue};
use warp::http::HeaderMap;
use warp::reply::{Reply, Response};

use crate::model::{Event, EventError, RunId, limits};
use crate::runs::{EventSource, IncomingEvent, RunHandle};
use crate::server::http::append::{drain, media_type};
use crate::server::http::body::Body;
use crate::server::http::error::ApiError;
use crate::server::http::query::Query;
use crate::server::state::SharedState;

/// Rows that were not taken, and are told one by one; `rejected_count` counts all of them.
const REJECTED_MAX: usize = 1_000;
/// Bytes of events that are gathered before they go to the run.
const GATHER_BYTES: usize = 512 * 1024;
/// Bytes of one row, white space and all; a longer one is passed over without being held.
const ROW_BYTES_MAX: usize = 2 * limits::EVENT_BYTES_MAX;
/// Bytes of an array of events (`application/json`), which has to be read whole.
const ARRAY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Where events of this route come from, if the sender names no source.
const HTTP: &str = "http";

/// How a body is read.
#[derive(Clone, Copy, PartialEq)]
enum Format {
    Ndjson,
    Json,
}

/// Answers the route.
pub(in crate::server) async fn events(
    state: SharedState,
    id: RunId,
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

async fn append_body(
    state: SharedState,
    id: RunId,
    query: Query,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<Response, ApiError> {
    let format = match media_type(headers).as_deref() {
        Some("application/x-ndjson" | "application/ndjson") => Format::Ndjson,
        Some("application/json") => Format::Json,
        _ => {
            let detail = "header Content-Type must be application/x-ndjson or application/json";
            return Err(ApiError::new(415, "bad_content_type", detail));
        }
    };
    let source = match (query.text("source"), query.number("first_seq")?) {
        (Some(name), seq) if (1..=limits::SESSION_BYTES_MAX).contains(&name.len()) => (name, Some(seq.unwrap_or(1))),
        (Some(_), _) => return Err(ApiError::bad_query("source", "must have 1 to 128 bytes")),
        (None, Some(_)) => return Err(ApiError::bad_query("source", "is missing: first_seq counts in it")),
        (None, None) => (HTTP, None),
    };
    let mut append = Append {
        run: state.runs.get_or_new(&id),
        state,
        name: source.0.into(),
        first_seq: source.1,
        rows: 0,
        gathered: Vec::new(),
        bytes: 0,
        done: Done::default(),
    };
    match format {
        Format::Ndjson => append.rows(body).await?,
        Format::Json => append.json(body).await?,
    }
    append.flush().await?;
    Ok(warp::reply::json(&append.done.answer()).into_response())
}

/// What has become of a request's rows.
#[derive(Debug, Default)]
struct Done {
    appended: u64,
    duplicates: u64,
    rejected_count: u64,
    rejected: Vec<Value>,
}

impl Done {
    fn answer(&self) -> Value {
        json!({
            "appended": self.appended,
            "duplicates": self.duplicates,
            "rejected_count": self.rejected_count,
            "rejected": self.rejected,
        })
    }
}

struct Append {
    state: SharedState,
    run: RunHandle,
    name: Arc<str>,
    /// The number of row 0, if the sender counts.
    first_seq: Option<u64>,
    rows: u64,
    /// Events with the index of their row.
    gathered: Vec<(u64, IncomingEvent)>,
    bytes: usize,
    done: Done,
}

impl Append {
    async fn rows(&mut self, body: &mut Body) -> Result<(), ApiError> {
        let mut buffer = BytesMut::new();
        // Of a row that is too long only its length is kept.
        let mut passed: Option<usize> = None;
        while let Some(chunk) = body.next().await {
            let chunk = chunk?;
            self.state.metrics.bytes_received.inc_by(chunk.len() as u64);
            let mut searched = buffer.len();
            buffer.extend_from_slice(&chunk);
            while let Some(end) = memchr::memchr(b'\n', &buffer[searched..]) {
                let row = buffer.split_to(searched + end + 1);
                searched = 0;
                match passed.take() {
                    Some(bytes) => self.refuse_long(bytes + row.len()),
                    None => self.row(&row[..row.len() - 1]),
                }
                if self.bytes >= GATHER_BYTES {
                    self.flush().await?;
                }
            }
            if passed.is_some() || buffer.len() > ROW_BYTES_MAX {
                passed = Some(passed.unwrap_or(0) + buffer.len());
                buffer.clear();
            }
        }
        match passed {
            Some(bytes) => self.refuse_long(bytes),
            None => self.row(&buffer),
        }
        Ok(())
    }

    async fn json(&mut self, body: &mut Body) -> Result<(), ApiError> {
        let mut bytes = BytesMut::new();
        while let Some(chunk) = body.next().await {
            let chunk = chunk?;
            if bytes.len() + chunk.len() > ARRAY_BYTES_MAX {
                let detail = format!("the body has over {ARRAY_BYTES_MAX} bytes: send it as application/x-ndjson");
                return Err(ApiError::new(413, "too_large", detail));
            }
            bytes.extend_from_slice(&chunk);
        }
        self.state.metrics.bytes_received.inc_by(bytes.len() as u64);
        if bytes.trim_ascii_start().first() != Some(&b'[') {
            self.row(&bytes);
            return Ok(());
        }
        let rows: Vec<&RawValue> = serde_json::from_slice(&bytes).map_err(|error| {
            ApiError::new(400, "bad_message", format!("the body must be an event or an array of events: {error}"))
        })?;
        for row in rows {
            self.row(row.get().as_bytes());
            if self.bytes >= GATHER_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Takes one row; an empty one is none.
    fn row(&mut self, row: &[u8]) {
        let index = self.rows;
        self.rows += 1;
        if row.trim_ascii().is_empty() {
            return;
        }
        let meter = &self.state.hops.runs_http;
        meter.received(1);
        let text = std::str::from_utf8(row).map_err(|error| EventError::NotJson(error.to_string()));
        match text.and_then(Event::parse) {
            Ok(event) => {
                meter.parsed(1);
                self.bytes += event.as_str().len();
                let seq = self.first_seq.map(|first| first.saturating_add(index));
                let source = Some(EventSource { name: self.name.clone(), seq });
                self.gathered.push((index, IncomingEvent { event, source }));
            }
            Err(fault) => self.refuse(index, &fault),
        }
    }

    fn refuse_long(&mut self, bytes: usize) {
        self.state.hops.runs_http.received(1);
        self.refuse(self.rows, &EventError::TooLong(bytes));
        self.rows += 1;
    }

    fn refuse(&mut self, index: u64, fault: &EventError) {
        self.state.hops.runs_http.rejected(fault.reason(), &fault.to_string());
        self.done.rejected_count += 1;
        if self.done.rejected.len() < REJECTED_MAX {
            let row = json!({ "index": index, "reason": fault.reason(), "message": fault.to_string() });
            self.done.rejected.push(row);
        }
    }

    async fn flush(&mut self) -> Result<(), ApiError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        let (indexes, events): (Vec<u64>, Vec<IncomingEvent>) = self.gathered.drain(..).unzip();
        let appended = self.run.append(&events).await.inspect_err(|error| {
            self.state.hops.runs_http.failed(&error.to_string());
        })?;
        for refused in &appended.rejected {
            self.refuse(indexes.get(refused.index).copied().unwrap_or_default(), &refused.fault);
        }
        let meter = &self.state.hops.runs_http;
        meter.stored(appended.appended);
        meter.deduplicated(appended.duplicates);
        self.done.appended += appended.appended;
        self.done.duplicates += appended.duplicates;
        Ok(())
    }
}
