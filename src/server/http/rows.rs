//! Rows of a request body, separated by newlines.

use bytes::BytesMut;
use futures::StreamExt;

use super::body::{BodyError, BodyStream};

/// A row, without its newline.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BodyRow {
    /// A complete row.
    Complete(BytesMut),
    /// A row over the maximum. Only its length was kept.
    TooLong(usize),
}

/// Splits a body of any length into rows. It buffers at most one row and one chunk.
///
/// After each [`RowReader::read_chunk`], call [`RowReader::next_row`] until it returns `None`.
#[derive(Debug)]
pub(crate) struct RowReader {
    row_bytes_max: usize,
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
        Self { row_bytes_max, buffer: BytesMut::new(), searched: 0, discarded: None, ended: false }
    }

    /// Reads the next chunk of the body. Returns its length, or `None` at the end of the body.
    pub(crate) async fn read_chunk(&mut self, body: &mut BodyStream<'_>) -> Result<Option<usize>, BodyError> {
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
            None if row.len() > self.row_bytes_max => BodyRow::TooLong(row.len()),
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
}
