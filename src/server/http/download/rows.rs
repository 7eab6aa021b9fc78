//! Conversion of the NDJSON of a log, row by row: to text, or to fewer rows.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::unfold;

use super::LogChunks;
use super::scan::RowFields;
use crate::model::{Channel, ChannelSet};

/// Converts NDJSON chunk by chunk.
pub(super) fn convert(ndjson: LogChunks, format: RowFormat, streams: ChannelSet) -> LogChunks {
    let step = |(mut ndjson, mut rows): (LogChunks, RowConverter)| async move {
        loop {
            let chunk = match ndjson.next().await? {
                Ok(chunk) => chunk,
                Err(error) => return Some((Err(error), (ndjson, rows))),
            };
            let out = rows.convert(&chunk);
            if !out.is_empty() {
                return Some((Ok(out), (ndjson, rows)));
            }
        }
    };
    unfold((ndjson, RowConverter::new(format, streams)), step).boxed()
}

/// The format of a download.
#[derive(Clone, Copy, Debug)]
pub(super) enum RowFormat {
    /// Text, with the time before each line if `timestamps` is set.
    Text { timestamps: bool },
    /// The rows themselves.
    Ndjson,
}

/// A converter of NDJSON rows: to text, in which the pieces of a split line are joined, or to fewer rows. It
/// buffers at most one incomplete row.
struct RowConverter {
    format: RowFormat,
    streams: ChannelSet,
    rest: BytesMut,
    /// The channel of a split line whose next piece is still to come.
    open: Option<Channel>,
    /// Number of the next line if none is missing.
    next: u64,
}

impl RowConverter {
    fn new(format: RowFormat, streams: ChannelSet) -> Self {
        Self { format, streams, rest: BytesMut::new(), open: None, next: 1 }
    }

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
        let line = match RowFields::parse(row) {
            Ok(line) => line,
            Err(error) => return tracing::error!(%error, "invalid row in an export"),
        };
        let missing = (line.n > self.next).then_some((self.next, line.n - 1));
        self.next = line.n + 1;
        match self.format {
            RowFormat::Text { timestamps } => {
                if let Some((from, to)) = missing {
                    self.push_hole(from, to, out);
                }
                if self.streams.contains(line.channel) {
                    self.push_text(&line, timestamps, out);
                } else if line.is_gap {
                    // The rest of a split line may be missing.
                    self.end_line(out);
                }
            }
            RowFormat::Ndjson if self.streams.contains(line.channel) => {
                out.extend_from_slice(row);
                out.push(b'\n');
            }
            RowFormat::Ndjson => {}
        }
    }

    fn push_text(&mut self, line: &RowFields<'_>, timestamps: bool, out: &mut Vec<u8>) {
        // A line of another channel, or a gap marker, does not continue it.
        if self.open.is_some_and(|open| open != line.channel) {
            self.end_line(out);
        }
        if self.open.is_none() {
            if timestamps {
                out.extend_from_slice(line.timestamp.as_bytes());
                out.push(b' ');
            }
            if line.channel == Channel::Internal {
                out.extend_from_slice(b"# ");
            }
        }
        out.extend_from_slice(line.line.as_bytes());
        self.open = line.partial.then_some(line.channel);
        if !line.partial {
            out.push(b'\n');
        }
    }

    /// Adds a line in place of lines that cannot be read any more.
    fn push_hole(&mut self, from: u64, to: u64, out: &mut Vec<u8>) {
        self.end_line(out);
        if self.streams.contains(Channel::Internal) {
            out.extend_from_slice(format!("# [lines {from} to {to} can no longer be read]\n").as_bytes());
        }
    }

    /// Ends a split line.
    fn end_line(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            out.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: u64, stream: &str, text: &str, partial: bool) -> String {
        let partial = if partial { r#","partial":true"# } else { "" };
        format!(
            r#"{{"n":{n},"id":"1-0","timestamp":"2026-05-09T14:23:01.000Z","stream":"{stream}","line":"{text}"{partial}}}"#
        ) + "\n"
    }

    /// Returns the converted rows, which arrive in pieces.
    fn converted(rows: &[String], format: RowFormat, streams: &str) -> String {
        let mut converter = RowConverter::new(format, streams.parse().unwrap());
        let bytes = rows.concat();
        let out: Vec<u8> = bytes.as_bytes().chunks(7).flat_map(|chunk| converter.convert(chunk)).collect();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn pieces_of_a_line_are_joined() {
        let rows = [row(1, "stdout", "one", false), row(2, "stdout", "tw", true), row(3, "stdout", "o", false)];
        for timestamps in [false, true] {
            let stamp = if timestamps { "2026-05-09T14:23:01.000Z " } else { "" };
            assert_eq!(converted(&rows, RowFormat::Text { timestamps }, ""), format!("{stamp}one\n{stamp}two\n"));
            let cut = [
                row(1, "stdout", "tw", true),
                row(2, "internal", "[1 messages skipped]", false),
                row(3, "stdout", "next", false),
            ];
            let wanted = format!("{stamp}tw\n{stamp}# [1 messages skipped]\n{stamp}next\n");
            assert_eq!(converted(&cut, RowFormat::Text { timestamps }, ""), wanted);
        }
    }

    #[test]
    fn only_the_wanted_channels_are_in_a_download() {
        let rows = [
            row(1, "internal", "starting", false),
            row(2, "stdout", "# mine", true),
            row(3, "stderr", "oops", false),
            row(4, "stdout", " and more", false),
            row(7, "stdout", "late", true),
            row(8, "internal", "[1 messages skipped]", false),
            row(9, "stdout", "end", false),
        ];
        let text = RowFormat::Text { timestamps: false };
        let wanted = "# starting\n# mine\noops\n and more\n# [lines 5 to 6 can no longer be read]\nlate\n\
            # [1 messages skipped]\nend\n";
        assert_eq!(converted(&rows, text, ""), wanted);
        assert_eq!(converted(&rows, text, "stdout,stderr"), "# mine\noops\n and more\nlate\nend\n");
        assert_eq!(converted(&rows, text, "stdout"), "# mine and more\nlate\nend\n");
        let stderr = converted(&rows, RowFormat::Ndjson, "stderr");
        assert_eq!(stderr, row(3, "stderr", "oops", false));
    }
}
