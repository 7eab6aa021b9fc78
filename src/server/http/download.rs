//! `GET /api/v1/tasks/{id}/log`: the whole log as a streamed download. The log of an unfinished task ends
//! at its current tail.

use std::error::Error;

use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, unfold};
use futures::{Stream, StreamExt};
use warp::http::{HeaderValue, header};
use warp::reply::{Reply, Response};

use super::error::ApiError;
use super::route_request::RouteRequest;
use super::sse::SyncStream;
use super::timeouts::SlowDownload;
use crate::auth::Lease;
use crate::model::{Channel, Line};
use crate::tasks::{FollowStart, TasksError};

/// Handles the route.
pub(super) async fn download(request: RouteRequest) -> Result<Response, ApiError> {
    let (query, lease) = (request.query()?, request.lease()?);
    let timestamps = query.flag("timestamps")?;
    let (content_type, extension, text) = match query.text("format") {
        None | Some("text") => ("text/plain; charset=utf-8", "log", true),
        Some("ndjson") => ("application/x-ndjson", "ndjson", false),
        Some(_) => return Err(ApiError::bad_query("format", "must be text or ndjson")),
    };
    let handle = request.task(FollowStart::From(1)).await?;
    let ndjson = handle.export().boxed();
    let chunks = if text { as_text(ndjson, timestamps) } else { ndjson };
    let mut response = warp::reply::stream(SyncStream::new(while_leased(chunks, lease))).into_response();
    response.extensions_mut().insert(SlowDownload);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Every character of an id is valid in a header, but `:` and a leading dot are bad in file names.
    let name = handle.id().as_str().replace(':', "_");
    let name = name.trim_start_matches('.');
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"task-{name}.{extension}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// Fails when the caller's lease ends: a regular end would make the download look complete.
fn while_leased(chunks: LogChunks, lease: Lease) -> impl Stream<Item = Result<Bytes, Box<dyn Error + Send + Sync>>> {
    unfold(Some((chunks, lease)), |open| async move {
        let (mut chunks, mut lease) = open?;
        tokio::select! {
            biased;
            end = lease.ended() => Some((Err(end.reason().into()), None)),
            chunk = chunks.next() => Some((chunk?.map_err(Into::into), Some((chunks, lease)))),
        }
    })
}

type LogChunks = BoxStream<'static, Result<Bytes, TasksError>>;

/// Converts NDJSON to plain text, chunk by chunk. The pieces of a split line are joined.
fn as_text(ndjson: LogChunks, timestamps: bool) -> LogChunks {
    let text = TextConverter { timestamps, rest: BytesMut::new(), open: None };
    let step = |(mut ndjson, mut text): (LogChunks, TextConverter)| async move {
        loop {
            let chunk = match ndjson.next().await? {
                Ok(chunk) => chunk,
                Err(error) => return Some((Err(error), (ndjson, text))),
            };
            let out = text.convert(&chunk);
            if !out.is_empty() {
                return Some((Ok(out), (ndjson, text)));
            }
        }
    };
    unfold((ndjson, text), step).boxed()
}

/// A converter of NDJSON rows to text. It buffers at most one incomplete row.
struct TextConverter {
    timestamps: bool,
    rest: BytesMut,
    /// The channel of a split line whose next piece is still to come.
    open: Option<Channel>,
}

impl TextConverter {
    fn convert(&mut self, chunk: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(chunk.len());
        let mut chunk = chunk;
        while let Some(end) = memchr::memchr(b'\n', chunk) {
            if self.rest.is_empty() {
                self.push_row(&chunk[..end], &mut out);
            } else {
                self.rest.extend_from_slice(&chunk[..end]);
                let row = self.rest.split();
                self.push_row(&row, &mut out);
            }
            chunk = &chunk[end + 1..];
        }
        self.rest.extend_from_slice(chunk);
        out.into()
    }

    fn push_row(&mut self, row: &[u8], out: &mut Vec<u8>) {
        let line: Line<'_> = match serde_json::from_slice(row) {
            Ok(line) => line,
            Err(error) => return tracing::error!(%error, "invalid row in an export"),
        };
        // A line of another channel, or a gap marker, does not continue it.
        if self.open.take_if(|open| *open != line.channel).is_some() {
            out.push(b'\n');
        }
        if self.timestamps && self.open.is_none() {
            out.extend_from_slice(line.timestamp.to_string().as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line.line.as_bytes());
        self.open = line.partial.then_some(line.channel);
        if !line.partial {
            out.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_line_are_joined() {
        let row = |text: &str, partial: &str| {
            format!(
                r#"{{"n":1,"id":"1-0","timestamp":"2026-05-09T14:23:01.000Z","stream":"stdout","line":"{text}"{partial}}}"#
            )
        };
        let part = r#","partial":true"#;
        let ndjson = format!("{}\n{}\n{}\n", row("one", ""), row("tw", part), row("o", ""));
        for timestamps in [false, true] {
            let mut text = TextConverter { timestamps, rest: BytesMut::new(), open: None };
            let out: Vec<u8> = ndjson.as_bytes().chunks(7).flat_map(|chunk| text.convert(chunk)).collect();
            let stamp = if timestamps { "2026-05-09T14:23:01.000Z " } else { "" };
            assert_eq!(String::from_utf8(out).unwrap(), format!("{stamp}one\n{stamp}two\n"));
            let mark = row("[1 messages skipped]", "").replace("stdout", "internal");
            let cut = text.convert(format!("{}\n{mark}\n{}\n", row("tw", part), row("next", "")).as_bytes());
            let wanted = format!("{stamp}tw\n{stamp}[1 messages skipped]\n{stamp}next\n");
            assert_eq!(String::from_utf8(cut.to_vec()).unwrap(), wanted);
        }
    }
}
