//! The messages to viewers as bytes; a page of lines is put into frames once for all its viewers.

use bytes::Bytes;
use serde::Serialize;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::model::{Cursor, EntryId, Gap, Line};
use crate::tasks::{FollowEvent, LogPage};
use crate::wire::viewer::ServerMessage;

/// A frame of lines is closed at this size; a longer line makes a longer frame. Small, because
/// every connection keeps a buffer as large as the largest frame it sent.
const FRAME_BYTES: usize = 8 * 1024;

/// The frames of a page, newline between them (JSON holds none): `gap` before the lines that come
/// after one, `lines`, and behind a line that stands for missing ones a `gap` again.
pub(in crate::server) fn encode_page(page: &LogPage) -> Bytes {
    let mut out = Vec::with_capacity(page.lines.len() * 128);
    if let Some(gap) = page.gap {
        put_gap(&mut out, gap, before_first(page));
    }
    let mut open = None;
    for line in &page.lines {
        let begin = *open.get_or_insert_with(|| {
            separate(&mut out);
            let begin = out.len();
            out.extend_from_slice(br#"{"type":"lines","lines":["#);
            begin
        });
        if out.last() != Some(&b'[') {
            out.push(b',');
        }
        put_json(&mut out, line);
        let gap = line.gap();
        if gap.is_some() || out.len() - begin >= FRAME_BYTES {
            close_lines(&mut out, behind(page, line));
            open = None;
        }
        if let Some(gap) = gap {
            put_gap(&mut out, gap, behind(page, line));
        }
    }
    if open.is_some() {
        close_lines(&mut out, page.cursor);
    }
    out.into()
}

/// The frames of an encoded page.
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

/// A text frame out of JSON that this server wrote: nobody looks at it again.
pub(in crate::server) fn text(json: Bytes) -> Message {
    Message::Frame(Frame::message(json, OpCode::Data(Data::Text), true))
}

/// A message as JSON.
pub(in crate::server) fn json(message: &ServerMessage) -> Bytes {
    let mut out = Vec::new();
    put_json(&mut out, message);
    out.into()
}

/// An error message as JSON.
pub(in crate::server) fn error(code: &str, message: impl Into<String>) -> Bytes {
    json(&ServerMessage::Error { code: code.to_owned(), message: message.into() })
}

/// An event that is not a page of lines, as JSON.
pub(in crate::server) fn event(event: FollowEvent) -> Bytes {
    let message = match event {
        FollowEvent::Open { task, epoch, first_line, last_line } => {
            ServerMessage::Open { task, epoch: epoch.to_string(), first_line, last_line }
        }
        FollowEvent::Status(task) => ServerMessage::Status { task },
        FollowEvent::Reset { epoch, reason } => ServerMessage::Reset { epoch: epoch.to_string(), reason },
        FollowEvent::End { task, cursor } => ServerMessage::End { task, cursor },
        FollowEvent::Page(page) => return page.encoded(encode_page),
    };
    json(&message)
}

/// The same message, saying which task it speaks of.
pub(in crate::server) fn tagged(task_id: &str, json: &Bytes) -> Bytes {
    // A task's id needs no escaping, and every message is an object with at least its type.
    let mut out = Vec::with_capacity(json.len() + task_id.len() + 16);
    out.extend_from_slice(br#"{"task_id":""#);
    out.extend_from_slice(task_id.as_bytes());
    out.extend_from_slice(br#"","#);
    out.extend_from_slice(&json[1..]);
    out.into()
}

/// The place behind a line of a page.
pub(in crate::server) fn behind(page: &LogPage, line: &Line<'_>) -> Cursor {
    Cursor { epoch: page.cursor.epoch, n: line.n, id: line.id }
}

/// The place behind the gap that a page begins with.
pub(in crate::server) fn before_first(page: &LogPage) -> Cursor {
    match page.lines.first() {
        None => page.cursor,
        Some(first) => {
            let id = first.id.previous().unwrap_or(EntryId::MIN);
            Cursor { epoch: page.cursor.epoch, n: first.n.saturating_sub(1), id }
        }
    }
}

/// Appends a value as JSON; only what the types of `wire` and `model` hold.
pub(in crate::server) fn put_json(out: &mut Vec<u8>, value: &impl Serialize) {
    if let Err(error) = serde_json::to_writer(out, value) {
        tracing::error!(%error, "a message could not be written");
    }
}

fn put_gap(out: &mut Vec<u8>, gap: Gap, cursor: Cursor) {
    separate(out);
    put_json(out, &ServerMessage::Gap { gap, cursor });
}

fn close_lines(out: &mut Vec<u8>, cursor: Cursor) {
    out.extend_from_slice(br#"],"cursor":"#);
    put_json(out, &cursor);
    out.push(b'}');
}

fn separate(out: &mut Vec<u8>) {
    if !out.is_empty() {
        out.push(b'\n');
    }
}
