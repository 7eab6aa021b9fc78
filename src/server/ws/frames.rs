//! Encoding of messages to viewers. A page of lines is encoded once for all its viewers.

use bytes::Bytes;
use serde::Serialize;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::model::{Cursor, EntryId, Gap, Line};
use crate::tasks::{FollowEvent, LogPage};
use crate::wire::viewer::ServerMessage;

/// Size at which a frame of lines is completed; one long line may exceed it. Small, because every
/// connection retains a buffer as large as the largest frame it has sent.
const FRAME_BYTES: usize = 8 * 1024;

/// Encodes the frames of a page, separated by newlines, which JSON does not contain. A gap at the start of the
/// page becomes a `gap` message before `lines`; a line that marks missing ones is followed by another `gap`.
pub(in crate::server) fn encode_page(page: &LogPage) -> Bytes {
    let mut out = Vec::with_capacity(page.lines.len() * 128);
    if let Some(gap) = page.gap {
        push_gap(&mut out, gap, before_first(page));
    }
    let mut open = None;
    for line in &page.lines {
        let start = *open.get_or_insert_with(|| {
            separate(&mut out);
            let start = out.len();
            out.extend_from_slice(br#"{"type":"lines","lines":["#);
            start
        });
        if out.last() != Some(&b'[') {
            out.push(b',');
        }
        push_json(&mut out, line);
        let gap = line.gap();
        if gap.is_some() || out.len() - start >= FRAME_BYTES {
            close_lines(&mut out, cursor_after(page, line));
            open = None;
        }
        if let Some(gap) = gap {
            push_gap(&mut out, gap, cursor_after(page, line));
        }
    }
    if open.is_some() {
        close_lines(&mut out, page.cursor);
    }
    out.into()
}

/// Returns the frames of an encoded page.
pub(in crate::server) fn frames(encoded: &Bytes) -> impl Iterator<Item = Bytes> + use<> {
    let encoded = encoded.clone();
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= encoded.len() {
            return None;
        }
        let end = memchr::memchr(b'\n', &encoded[at..]).map_or(encoded.len(), |found| at + found);
        let frame = encoded.slice(at..end);
        at = end + 1;
        Some(frame)
    })
}

/// Returns a text frame of JSON written by this server, skipping UTF-8 validation.
pub(in crate::server) fn text(json: Bytes) -> Message {
    Message::Frame(Frame::message(json, OpCode::Data(Data::Text), true))
}

/// Encodes a message as JSON.
pub(in crate::server) fn json(message: &ServerMessage) -> Bytes {
    let mut out = Vec::new();
    push_json(&mut out, message);
    out.into()
}

/// Encodes an error message as JSON.
pub(in crate::server) fn error(code: &str, message: impl Into<String>) -> Bytes {
    json(&ServerMessage::Error { code: code.to_owned(), message: message.into() })
}

/// Encodes an event. A page of lines may result in several frames, see [`frames`].
pub(in crate::server) fn event(event: FollowEvent) -> Bytes {
    let message = match event {
        FollowEvent::Open { task, epoch, first_line, last_line } => {
            ServerMessage::Open { task, epoch: epoch.to_string(), first_line, last_line }
        }
        FollowEvent::Partial(line) => ServerMessage::Partial { line },
        FollowEvent::Status(task) => ServerMessage::Status { task },
        FollowEvent::Reset { epoch, reason } => ServerMessage::Reset { epoch: epoch.to_string(), reason },
        FollowEvent::End { task, cursor } => ServerMessage::End { task, cursor },
        FollowEvent::Page(page) => return page.encoded(encode_page),
    };
    json(&message)
}

/// Returns the message with a `task_id` field added.
pub(in crate::server) fn tagged(task_id: &str, json: &Bytes) -> Bytes {
    // Task ids need no escaping, and every message is an object with at least a type.
    let mut out = Vec::with_capacity(json.len() + task_id.len() + 16);
    out.extend_from_slice(br#"{"task_id":""#);
    out.extend_from_slice(task_id.as_bytes());
    out.extend_from_slice(br#"","#);
    out.extend_from_slice(&json[1..]);
    out.into()
}

/// Returns the cursor after a line of a page.
pub(in crate::server) fn cursor_after(page: &LogPage, line: &Line<'_>) -> Cursor {
    Cursor { epoch: page.cursor.epoch, n: line.n, id: line.id }
}

/// Returns the cursor after the gap at the start of a page.
pub(in crate::server) fn before_first(page: &LogPage) -> Cursor {
    match page.lines.first() {
        None => page.cursor,
        Some(first) => {
            let id = first.id.previous().unwrap_or(EntryId::MIN);
            Cursor { epoch: page.cursor.epoch, n: first.n.saturating_sub(1), id }
        }
    }
}

/// Appends a value as JSON. The types of `wire` and `model` never fail to serialize.
pub(in crate::server) fn push_json(out: &mut Vec<u8>, value: &impl Serialize) {
    if let Err(error) = serde_json::to_writer(out, value) {
        tracing::error!(%error, "failed to encode a message");
    }
}

/// Appends a `gap` message.
fn push_gap(out: &mut Vec<u8>, gap: Gap, cursor: Cursor) {
    separate(out);
    push_json(out, &ServerMessage::Gap { gap, cursor });
}

/// Completes a `lines` message.
fn close_lines(out: &mut Vec<u8>, cursor: Cursor) {
    out.extend_from_slice(br#"],"cursor":"#);
    push_json(out, &cursor);
    out.push(b'}');
}

/// Appends a newline, unless `out` is empty.
fn separate(out: &mut Vec<u8>) {
    if !out.is_empty() {
        out.push(b'\n');
    }
}
