//! Rows of a request body, separated by newlines.

use bytes::BytesMut;
use futures::{FutureExt, StreamExt};

use super::body::{BodyError, BodyStream};
use super::error::ApiError;
use crate::auth::Lease;
use crate::model::cut;
use crate::server::state::State;

/// A row, without its newline.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BodyRow {
    /// A complete row.
    Complete(BytesMut),
    /// The first part of a row that is longer than a line can be; the rest follows as further rows.
    Piece(BytesMut),
    /// A row over the maximum. Only its length was kept.
    TooLong(usize),
}

/// Splits a body of any length into rows. It buffers at most one row and one chunk.
///
/// After each [`RowReader::read_chunk`], call [`RowReader::next_row`] until it returns `None`.
#[derive(Debug)]
pub(crate) struct RowReader {
    row_bytes_max: usize,
    /// A row over the maximum is returned in pieces of at most that size.
    in_pieces: bool,
    buffer: BytesMut,
    /// Bytes of the buffer that contain no newline, so that a long row is searched once.
    searched: usize,
    /// Bytes already discarded of a row that is too long.
    discarded: Option<usize>,
    ended: bool,
}

impl RowReader {
    /// Creates a reader of rows of at most `row_bytes_max`.
    pub(crate) fn new(row_bytes_max: usize) -> Self {
        let buffer = BytesMut::new();
        Self { row_bytes_max, in_pieces: false, buffer, searched: 0, discarded: None, ended: false }
    }

    /// Creates a reader of rows of any length: a row over `piece_bytes_max` is returned in pieces while it arrives.
    pub(crate) fn in_pieces(piece_bytes_max: usize) -> Self {
        Self { in_pieces: true, ..Self::new(piece_bytes_max) }
    }

    /// Reads and counts the next chunk of a request's body. Before it waits for one, it completes `submit`, which
    /// appends the rows that came before. Returns the chunk's length, or `None` at the end of the body.
    pub(crate) async fn read_or_submit(
        &mut self,
        body: &mut BodyStream<'_>,
        lease: &mut Lease,
        state: &State,
        submit: impl Future<Output = Result<(), ApiError>>,
    ) -> Result<Option<usize>, ApiError> {
        let ready = self.read_chunk(body).now_or_never();
        let chunk = match ready {
            Some(chunk) => chunk?,
            None => {
                submit.await?;
                tokio::select! {
                    biased;
                    () = state.shutdown.cancelled() => return Err(ApiError::closing()),
                    ended = lease.ended() => return Err(ApiError::new(401, "unauthorized", ended.reason())),
                    chunk = self.read_chunk(body) => chunk?,
                }
            }
        };
        state.metrics.bytes_received.inc_by(chunk.unwrap_or(0) as u64);
        Ok(chunk)
    }

    /// Reads the next chunk of the body. Returns its length, or `None` at the end of the body.
    async fn read_chunk(&mut self, body: &mut BodyStream<'_>) -> Result<Option<usize>, BodyError> {
        let Some(chunk) = body.next().await.transpose()? else {
            self.ended = true;
            return Ok(None);
        };
        self.buffer.extend_from_slice(&chunk);
        Ok(Some(chunk.len()))
    }

    /// Ends the rows where the body broke off: what came of the last row is a row too.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Returns the next complete row of the chunks read. At the end of the body, the rest is a row too.
    pub(crate) fn next_row(&mut self) -> Option<BodyRow> {
        if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
            let mut row = self.buffer.split_to(self.searched + at + 1);
            self.searched = 0;
            row.truncate(row.len() - 1);
            return Some(self.finish_row(row));
        }
        if self.ended {
            let row = self.buffer.split();
            self.searched = 0;
            return (!row.is_empty() || self.discarded.is_some()).then(|| self.finish_row(row));
        }
        if self.in_pieces && self.buffer.len() > self.row_bytes_max {
            let (head, next) = self.buffer.split_at(self.row_bytes_max);
            let piece = self.buffer.split_to(cut::position(head, next[0]));
            self.searched = self.buffer.len();
            return Some(BodyRow::Piece(piece));
        }
        if self.discarded.is_some() || self.buffer.len() > self.row_bytes_max {
            *self.discarded.get_or_insert(0) += self.buffer.len();
            self.buffer.clear();
        }
        self.searched = self.buffer.len();
        None
    }

    /// Reports whether the row being read is already too long.
    pub(crate) fn is_row_too_long(&self) -> bool {
        self.discarded.is_some()
    }

    fn finish_row(&mut self, row: BytesMut) -> BodyRow {
        match self.discarded.take() {
            Some(discarded) => BodyRow::TooLong(discarded + row.len()),
            None if row.len() > self.row_bytes_max && !self.in_pieces => BodyRow::TooLong(row.len()),
            None => BodyRow::Complete(row),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::stream;

    use super::*;

    async fn rows(text: &'static str, chunk: usize) -> Vec<BodyRow> {
        let chunks = text.as_bytes().chunks(chunk).map(|chunk| Ok(Bytes::from_static(chunk)));
        let mut body = stream::iter(chunks).boxed();
        let (mut reader, mut rows) = (RowReader::new(4), Vec::new());
        while reader.read_chunk(&mut body).await.unwrap().is_some() {
            rows.extend(std::iter::from_fn(|| reader.next_row()));
        }
        rows.extend(std::iter::from_fn(|| reader.next_row()));
        rows
    }

    #[tokio::test]
    async fn rows_are_the_same_in_chunks_of_any_size() {
        let complete = |text: &str| BodyRow::Complete(text.as_bytes().into());
        for chunk in 1..16 {
            assert_eq!(rows("one\n\ntwo", chunk).await, [complete("one"), complete(""), complete("two")], "{chunk}");
            assert_eq!(rows("four\n", chunk).await, [complete("four")], "{chunk}");
            let long = rows("a\ntoo long\nb\nlonger", chunk).await;
            assert_eq!(long, [complete("a"), BodyRow::TooLong(8), complete("b"), BodyRow::TooLong(6)], "{chunk}");
            assert_eq!(rows("", chunk).await, [], "{chunk}");
        }
    }

    #[tokio::test]
    async fn long_rows_in_pieces_lose_nothing_and_are_never_cut_inside_a_character() {
        let text = "a\nlong äöü line\nb\nunterminated";
        for chunk in 1..16 {
            let chunks = text.as_bytes().chunks(chunk).map(|chunk| Ok(Bytes::from_static(chunk)));
            let mut body = stream::iter(chunks).boxed();
            let (mut reader, mut kept) = (RowReader::in_pieces(4), String::new());
            let mut more = true;
            while more {
                more = reader.read_chunk(&mut body).await.unwrap().is_some();
                while let Some(row) = reader.next_row() {
                    match row {
                        BodyRow::Piece(piece) => {
                            assert!((1..=4).contains(&piece.len()), "{chunk}");
                            kept += std::str::from_utf8(&piece).unwrap();
                        }
                        BodyRow::Complete(row) => {
                            kept += std::str::from_utf8(&row).unwrap();
                            kept.push('\n');
                        }
                        BodyRow::TooLong(bytes) => panic!("{bytes} bytes were dropped"),
                    }
                }
            }
            assert_eq!(kept, format!("{text}\n"), "{chunk}");
        }
    }
}
