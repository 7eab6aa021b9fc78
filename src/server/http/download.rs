//! `GET /api/v1/tasks/{id}/log`: the whole log as a download, streamed; one that is not finished
//! ends at its tip.

use std::error::Error;

use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, unfold};
use futures::{Stream, StreamExt};
use warp::http::{HeaderValue, header};
use warp::reply::{Reply, Response};

use super::error::ApiError;
use super::query::Query;
use super::sse::Shareable;
use super::timeouts::Download;
use crate::auth::Lease;
use crate::model::{Channel, Line, TaskId};
use crate::server::state::SharedState;
use crate::tasks::TasksError;

/// Answers the route.
pub(in crate::server) async fn download(
    state: SharedState,
    id: TaskId,
    query: Query,
    lease: Lease,
) -> Result<Response, ApiError> {
    let timestamps = query.flag("timestamps")?;
    let (kind, ending, text) = match query.text("format") {
        None | Some("text") => ("text/plain; charset=utf-8", "log", true),
        Some("ndjson") => ("application/x-ndjson", "ndjson", false),
        Some(_) => return Err(ApiError::bad_query("format", "must be text or ndjson")),
    };
    let handle = state.tasks.get(&id).await?.ok_or_else(|| ApiError::no_task(&id))?;
    let ndjson = handle.export().boxed();
    let chunks = if text { as_text(ndjson, timestamps) } else { ndjson };
    let mut response = warp::reply::stream(Shareable::new(while_leased(chunks, lease))).into_response();
    response.extensions_mut().insert(Download);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // An id has no character that a header minds; `:` and a leading dot are bad in file names.
    let name = id.as_str().replace(':', "_");
    let name = name.trim_start_matches('.');
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"task-{name}.{ending}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// Breaks off when the caller's time is over: what ended in good order would look whole.
fn while_leased(chunks: Chunks, lease: Lease) -> impl Stream<Item = Result<Bytes, Box<dyn Error + Send + Sync>>> {
    unfold(Some((chunks, lease)), |open| async move {
        let (mut chunks, mut lease) = open?;
        tokio::select! {
            biased;
            ended = lease.ended() => Some((Err(ended.reason().into()), None)),
            chunk = chunks.next() => Some((chunk?.map_err(Into::into), Some((chunks, lease)))),
        }
    })
}

type Chunks = BoxStream<'static, Result<Bytes, TasksError>>;

/// NDJSON turned into plain text, chunk by chunk; the pieces of a cut line are one line again.
fn as_text(ndjson: Chunks, timestamps: bool) -> Chunks {
    let text = Text { timestamps, rest: BytesMut::new(), open: None };
    let step = |(mut ndjson, mut text): (Chunks, Text)| async move {
        loop {
            let chunk = match ndjson.next().await? {
                Ok(chunk) => chunk,
                Err(error) => return Some((Err(error), (ndjson, text))),
            };
            let out = text.turn(&chunk);
            if !out.is_empty() {
                return Some((Ok(out), (ndjson, text)));
            }
        }
    };
    unfold((ndjson, text), step).boxed()
}

/// The turning of rows into text; holds at most one row that is not complete.
struct Text {
    timestamps: bool,
    rest: BytesMut,
    /// The line before was cut: the next one of this channel goes on where it stopped.
    open: Option<Channel>,
}

impl Text {
    fn turn(&mut self, chunk: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(chunk.len());
        let mut chunk = chunk;
        while let Some(end) = memchr::memchr(b'\n', chunk) {
            if self.rest.is_empty() {
                self.row(&chunk[..end], &mut out);
            } else {
                self.rest.extend_from_slice(&chunk[..end]);
                let row = self.rest.split();
                self.row(&row, &mut out);
            }
            chunk = &chunk[end + 1..];
        }
        self.rest.extend_from_slice(chunk);
        out.into()
    }

    fn row(&mut self, row: &[u8], out: &mut Vec<u8>) {
        let line: Line<'_> = match serde_json::from_slice(row) {
            Ok(line) => line,
            Err(error) => return tracing::error!(%error, "a row of an export could not be read"),
        };
        // Another channel's line, or the mark of what is missing, is not its rest.
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
    fn pieces_of_a_line_are_one_line_again() {
        let row = |text: &str, partial: &str| {
            format!(
                r#"{{"n":1,"id":"1-0","timestamp":"2026-05-09T14:23:01.000Z","stream":"stdout","line":"{text}"{partial}}}"#
            )
        };
        let part = r#","partial":true"#;
        let ndjson = format!("{}\n{}\n{}\n", row("one", ""), row("tw", part), row("o", ""));
        for timestamps in [false, true] {
            let mut text = Text { timestamps, rest: BytesMut::new(), open: None };
            let out: Vec<u8> = ndjson.as_bytes().chunks(7).flat_map(|chunk| text.turn(chunk)).collect();
            let stamp = if timestamps { "2026-05-09T14:23:01.000Z " } else { "" };
            assert_eq!(String::from_utf8(out).unwrap(), format!("{stamp}one\n{stamp}two\n"));
            let mark = row("[1 messages skipped]", "").replace("stdout", "internal");
            let cut = text.turn(format!("{}\n{mark}\n{}\n", row("tw", part), row("next", "")).as_bytes());
            let wanted = format!("{stamp}tw\n{stamp}[1 messages skipped]\n{stamp}next\n");
            assert_eq!(String::from_utf8(cut.to_vec()).unwrap(), wanted);
        }
    }
}
