//! `GET /api/v1/tasks/{id}/log`: the whole log as a streamed download. The log of an unfinished task ends
//! at its current tail.
//!
//! In text, lines of tasktail itself and missing line numbers are marked with `# `, as in `follow`. The parameter
//! `stream` selects channels: `stdout,stderr` is what the command wrote.
//!
//! ```text
//! archive, journal ── NDJSON ── rows (text, channels) ── coding (gzip, zstd) ── body
//!                └── zstd frames of the archive ───────────────────────────────┘
//! ```
//! A sealed log never changes: its downloads have an entity tag and serve ranges.

mod coding;
mod range;
mod rows;
mod scan;

use std::io;

use bytes::Bytes;
use futures::stream::{BoxStream, unfold};
use futures::{Stream, StreamExt, TryStreamExt};
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use warp::reply::{Reply, Response};

use self::coding::Coding;
use self::range::{ByteRange, RangeRequest};
use self::rows::{RowFormat, convert};
use super::conditional;
use super::error::ApiError;
use super::query::QueryParams;
use super::route_request::RouteRequest;
use super::sse::SyncStream;
use super::timeouts::SlowDownload;
use crate::auth::Lease;
use crate::model::ChannelSet;
use crate::tasks::{FollowStart, TaskHandle, TasksError};

/// Chunks of a log.
type LogChunks = BoxStream<'static, Result<Bytes, TasksError>>;
/// Chunks of a response.
type BodyChunks = BoxStream<'static, io::Result<Bytes>>;

/// Handles the route.
pub(super) async fn download(request: RouteRequest) -> Result<Response, ApiError> {
    let (query, lease) = (request.query()?, request.lease()?);
    let form = Form::parse(&query)?;
    let handle = request.task(FollowStart::From(1)).await?;
    let (headers, is_get) = (&request.headers, request.method == Method::GET);
    let range = RangeRequest::parse(headers).filter(|_| is_get);
    let coding = if range.is_some() { None } else { coding::accepted(headers, form.codings()) };
    let etag = handle.details().artifact.map(|artifact| form.etag(&artifact.sha256, coding));
    let mut response = match &etag {
        Some(etag) if conditional::matches(headers, etag) => StatusCode::NOT_MODIFIED.into_response(),
        Some(etag) => match range.filter(|_| conditional::range_applies(headers, etag)) {
            Some(range) => ranged(&form, &handle, range, lease).await?,
            None => whole(&form, &handle, coding, lease),
        },
        None => whole(&form, &handle, coding, lease),
    };
    describe(response.headers_mut(), &form, &handle, etag);
    Ok(response)
}

/// The form of a download: its parameters.
#[derive(Clone, Copy, Debug)]
struct Form {
    row_format: RowFormat,
    streams: ChannelSet,
}

impl Form {
    fn parse(query: &QueryParams) -> Result<Self, ApiError> {
        let (timestamps, streams) = (query.flag("timestamps")?, query.get("stream")?.unwrap_or(ChannelSet::ALL));
        let row_format = match query.text("format") {
            None | Some("text") => RowFormat::Text { timestamps },
            Some("ndjson") => RowFormat::Ndjson,
            Some(_) => return Err(ApiError::bad_query("format", "must be text or ndjson")),
        };
        Ok(Self { row_format, streams })
    }

    /// Returns the content type and the extension of the file's name.
    fn media(&self) -> (&'static str, &'static str) {
        match self.row_format {
            RowFormat::Text { .. } => ("text/plain; charset=utf-8", "log"),
            RowFormat::Ndjson => ("application/x-ndjson", "ndjson"),
        }
    }

    /// Reports whether this is the export of the log itself.
    fn is_export(&self) -> bool {
        matches!(self.row_format, RowFormat::Ndjson) && self.streams.is_all()
    }

    /// Returns the codings, the best first. The archive holds NDJSON in zstd frames; every client reads gzip.
    fn codings(&self) -> &'static [Coding] {
        if self.is_export() { &[Coding::Zstd, Coding::Gzip] } else { &[Coding::Gzip, Coding::Zstd] }
    }

    /// Returns the entity tag of a sealed log in this form.
    fn etag(&self, sha256: &str, coding: Option<Coding>) -> String {
        let format = match self.row_format {
            RowFormat::Text { timestamps: false } => "t",
            RowFormat::Text { timestamps: true } => "tt",
            RowFormat::Ndjson => "n",
        };
        let streams = self.streams.bits();
        let coding = coding.map_or("", Coding::name);
        // A later version may write the same log differently.
        let version = env!("CARGO_PKG_VERSION");
        format!("\"{}-{format}{streams}{coding}-{version}\"", sha256.get(..32).unwrap_or(sha256))
    }

    /// Returns the download without a coding.
    fn chunks(&self, handle: &TaskHandle) -> LogChunks {
        let ndjson = handle.export().boxed();
        if self.is_export() { ndjson } else { convert(ndjson, self.row_format, self.streams) }
    }
}

/// Returns the response with the whole download.
fn whole(form: &Form, handle: &TaskHandle, coding: Option<Coding>, lease: Lease) -> Response {
    let chunks = match coding {
        Some(Coding::Zstd) if form.is_export() => handle.export_zstd().map_err(io::Error::other).boxed(),
        Some(coding) => coding.encode(form.chunks(handle).map_err(io::Error::other).boxed()),
        None => form.chunks(handle).map_err(io::Error::other).boxed(),
    };
    let mut response = stream(chunks, lease);
    if let Some(coding) = coding {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    }
    response
}

/// Returns the response with a range of a sealed log. Its length is counted first, which reads the log once more.
async fn ranged(form: &Form, handle: &TaskHandle, range: RangeRequest, lease: Lease) -> Result<Response, ApiError> {
    let count = |sum: u64, chunk: Bytes| async move { Ok(sum + chunk.len() as u64) };
    let length = form.chunks(handle).try_fold(0, count).await?;
    let Some(ByteRange { first, last }) = range.within(length) else {
        let error = ApiError::new(416, "bad_range", format!("the log has {length} bytes in this form"));
        let mut response = error.into_response();
        range::set_content_range(response.headers_mut(), &format!("bytes */{length}"));
        return Ok(response);
    };
    let chunks = form.chunks(handle).map_err(io::Error::other).boxed();
    let mut response = stream(range::cut(chunks, first, last + 1 - first), lease);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let headers = response.headers_mut();
    range::set_content_range(headers, &format!("bytes {first}-{last}/{length}"));
    headers.insert(header::CONTENT_LENGTH, (last + 1 - first).into());
    Ok(response)
}

fn stream(chunks: BodyChunks, lease: Lease) -> Response {
    let mut response = warp::reply::stream(SyncStream::new(while_leased(chunks, lease))).into_response();
    response.extensions_mut().insert(SlowDownload);
    response
}

/// Adds the headers that describe a download.
fn describe(headers: &mut HeaderMap, form: &Form, handle: &TaskHandle, etag: Option<String>) {
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    match etag.and_then(|etag| HeaderValue::from_str(&etag).ok()) {
        Some(etag) => {
            headers.insert(header::ETAG, etag);
            headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        }
        None => {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }
    let (content_type, extension) = form.media();
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
    // Every character of an id is valid in a header, but `:` and a leading dot are bad in file names.
    let name = handle.id().as_str().replace(':', "_");
    let name = name.trim_start_matches('.');
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"task-{name}.{extension}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
}

/// Fails when the caller's lease ends: a regular end would make the download look complete.
fn while_leased(chunks: BodyChunks, lease: Lease) -> impl Stream<Item = io::Result<Bytes>> {
    unfold(Some((chunks, lease)), |open| async move {
        let (mut chunks, mut lease) = open?;
        tokio::select! {
            biased;
            end = lease.ended() => Some((Err(io::Error::other(end.reason())), None)),
            chunk = chunks.next() => Some((chunk?, Some((chunks, lease)))),
        }
    })
}
