//! The lines of a log as a recording in asciicast v2, which asciinema plays.
//!
//! ```text
//! {"version":2,"width":80,"height":24,"timestamp":1778336581,"title":"make -j8"}
//! [0.0,"o","Building...\r\n"]
//! ```

use anyhow::Context as _;
use serde_json::json;

use crate::model::{Channel, Line, Task, command_line};

/// Size of the terminal of a recording: the log does not record it.
const COLUMNS: u32 = 80;
const ROWS: u32 = 24;
/// Maximum bytes of one row of NDJSON from the server.
const ROW_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Converts NDJSON lines to a recording, piece by piece.
pub(super) struct CastWriter {
    header: Option<serde_json::Value>,
    /// Start of the recording in milliseconds since 1970.
    start: u64,
    /// Latest time so far: times of a recording never decrease.
    latest: u64,
    internal: bool,
    /// Bytes of an incomplete row.
    row: Vec<u8>,
}

impl CastWriter {
    /// Creates the recording of a task; with `internal`, with tasktail's own lines.
    pub(super) fn new(task: &Task, internal: bool) -> Self {
        let start = task.started.unwrap_or(task.created).as_millis();
        let title = match command_line(&task.command) {
            command if command.is_empty() => task.exact_id(),
            command => command,
        };
        let header = json!({
            "version": 2, "width": COLUMNS, "height": ROWS, "timestamp": start / 1_000, "title": title,
            "env": { "TERM": "xterm-256color" },
        });
        Self { header: Some(header), start, latest: start, internal, row: Vec::new() }
    }

    /// Appends to `out` what a chunk of NDJSON completes.
    ///
    /// # Errors
    /// The chunk contains something else.
    pub(super) fn convert(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> anyhow::Result<()> {
        self.begin(out);
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.row.extend_from_slice(piece);
            anyhow::ensure!(self.row.len() <= ROW_BYTES_MAX, "the server sent a line over 4 MiB");
            if piece.ends_with(b"\n") {
                let row = std::mem::take(&mut self.row);
                self.event(&row, out)?;
                self.row = row;
                self.row.clear();
            }
        }
        Ok(())
    }

    /// Appends the rest.
    ///
    /// # Errors
    /// As [`CastWriter::convert`].
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> anyhow::Result<()> {
        self.begin(out);
        let row = std::mem::take(&mut self.row);
        if row.is_empty() { Ok(()) } else { self.event(&row, out) }
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(header) = self.header.take() {
            out.extend_from_slice(header.to_string().as_bytes());
            out.push(b'\n');
        }
    }

    fn event(&mut self, row: &[u8], out: &mut Vec<u8>) -> anyhow::Result<()> {
        let value: serde_json::Value = serde_json::from_slice(row).context("the server sent an invalid line")?;
        // A gap has no text.
        let Ok(line) = serde_json::from_value::<Line<'static>>(value) else { return Ok(()) };
        if line.channel == Channel::Internal && !self.internal {
            return Ok(());
        }
        self.latest = self.latest.max(line.timestamp.as_millis());
        let (seconds, millis) = ((self.latest - self.start) / 1_000, (self.latest - self.start) % 1_000);
        let own = if line.channel == Channel::Internal { "# " } else { "" };
        let end = if line.partial { "" } else { "\r\n" };
        let text =
            format!("{own}{}{end}", line.line.strip_suffix('\r').filter(|_| !line.partial).unwrap_or(&line.line));
        let text = text.replace('\n', "\r\n").replace("\r\r\n", "\r\n");
        let text = serde_json::to_string(&text)?;
        out.extend_from_slice(format!("[{seconds}.{millis:03},\"o\",{text}]\n").as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_become_events_with_relative_times() {
        let task: Task = serde_json::from_str(
            r#"{"id":"t","status":"completed","exit_code":0,"signal":null,"command":["make","a b"],"labels":{},
            "host":null,"created":"1970-01-01T00:00:10Z","started":"1970-01-01T00:00:11Z","ended":null,"lines":3,
            "bytes":1,"first_line":1,"last_line":3,"skipped_lines":0,"trimmed_lines":0,"live":false,"artifact":null}"#,
        )
        .unwrap();
        let row = |n: u32, time: &str, stream: &str, text: &str, more: &str| {
            format!(
                r#"{{"n":{n},"id":"1-{n}","timestamp":"1970-01-01T00:00:{time}Z","stream":"{stream}","line":"{text}"{more}}}"#
            )
        };
        let ndjson = [
            row(1, "11.5", "internal", "starting", ""),
            row(2, "12.25", "stdout", "one", r#","partial":true"#),
            row(3, "12", "stdout", " \\u001b[31mred\\r", ""),
            row(4, "73.001", "stderr", "a\\nb", "").replace("00:73", "01:13"),
        ]
        .join("\n");
        let (mut writer, mut out) = (CastWriter::new(&task, false), Vec::new());
        for chunk in ndjson.as_bytes().chunks(7) {
            writer.convert(chunk, &mut out).unwrap();
        }
        writer.finish(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let mut lines = text.lines();
        let header: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        assert_eq!(
            (&header["version"], &header["timestamp"], &header["title"]),
            (&2.into(), &11.into(), &"make 'a b'".into())
        );
        let events: Vec<&str> = lines.collect();
        assert_eq!(events[0], r#"[1.250,"o","one"]"#);
        assert_eq!(events[1], r#"[1.250,"o"," \u001b[31mred\r\n"]"#, "times never decrease");
        assert_eq!(events[2], r#"[62.001,"o","a\r\nb\r\n"]"#);
        assert_eq!(events.len(), 3, "tasktail's own lines are left out");
    }
}
