//! Prints lines of a log to stdout or stderr according to their stream, like `docker logs`.
//!
//! On a terminal, the current unterminated line is one provisional row at the bottom: redrawn in place, cut at
//! the right edge by the terminal, and erased before anything else is printed.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write};

use super::super::text;
use crate::model::{Channel, ChannelSet, Line, PartialLine};

/// Size of a buffer at which it is written; each batch is flushed at its end.
const BUFFER_BYTES: usize = 64 * 1024;

/// A printer of lines. A partial line is printed without a newline, so that joined pieces form the
/// line that the task wrote.
pub(super) struct LinePrinter {
    streams: ChannelSet,
    timestamps: bool,
    json: bool,
    stdout: OutputStream,
    stderr: OutputStream,
    /// Whether the last piece of each channel was partial, so that its line continues.
    inside_line: [bool; 3],
    /// The channel of the provisional row, while there is one.
    partial: Option<Channel>,
}

/// Moves to the start of the row and erases it.
const ERASE_ROW: &[u8] = b"\r\x1b[K";

/// The state of stdout or stderr.
struct OutputStream {
    terminal: bool,
    colours: bool,
    /// Bytes queued for writing.
    buffer: Vec<u8>,
}

impl OutputStream {
    fn new(terminal: bool, choice: anstream::ColorChoice) -> Self {
        Self { terminal, colours: choice != anstream::ColorChoice::Never, buffer: Vec::new() }
    }

    /// Returns the text as it is printed: unchanged to a pipe, sanitized to a terminal.
    fn safe<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.terminal { text::for_terminal(text, self.colours) } else { Cow::Borrowed(text) }
    }
}

impl LinePrinter {
    pub(super) fn new(streams: ChannelSet, timestamps: bool, json: bool) -> Self {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        Self {
            streams,
            timestamps,
            json,
            stdout: OutputStream::new(stdout.is_terminal(), anstream::AutoStream::choice(&stdout)),
            stderr: OutputStream::new(stderr.is_terminal(), anstream::AutoStream::choice(&stderr)),
            inside_line: [false; 3],
            partial: None,
        }
    }

    /// Reports whether a provisional row can be drawn at all.
    pub(super) fn shows_partials(&self) -> bool {
        !self.json && (self.stdout.terminal || self.stderr.terminal)
    }

    /// Draws the provisional row of a channel in place of the one before.
    ///
    /// # Errors
    /// Stdout or stderr is closed.
    pub(super) fn print_partial(&mut self, line: &PartialLine) -> io::Result<()> {
        self.erase_partial()?;
        // A piece of a line without its newline already stands on the last row.
        let inside = self.inside_line.contains(&true);
        let stream = if line.channel == Channel::Stdout { &mut self.stdout } else { &mut self.stderr };
        let text = stream.safe(&line.line);
        if !stream.terminal || self.json || inside || text.is_empty() || !self.streams.contains(line.channel) {
            return Ok(());
        }
        // Without automatic wrapping, so that one row is all there is to erase.
        stream.buffer.extend_from_slice(b"\x1b[?7l");
        if self.timestamps {
            stream.buffer.extend_from_slice(line.timestamp.to_string().as_bytes());
            stream.buffer.push(b' ');
        }
        stream.buffer.extend_from_slice(text.as_bytes());
        stream.buffer.extend_from_slice(b"\x1b[?7h");
        self.partial = Some(line.channel);
        self.write_stdout()?;
        self.write_stderr()
    }

    /// Erases the provisional row.
    ///
    /// # Errors
    /// Stdout or stderr is closed.
    pub(super) fn erase_partial(&mut self) -> io::Result<()> {
        let Some(channel) = self.partial.take() else { return Ok(()) };
        let stream = if channel == Channel::Stdout { &mut self.stdout } else { &mut self.stderr };
        stream.buffer.extend_from_slice(ERASE_ROW);
        self.write_stdout()?;
        self.write_stderr()
    }

    /// Reports whether lines of the worker and the server are printed.
    pub(super) fn shows_internal(&self) -> bool {
        self.streams.contains(Channel::Internal)
    }

    /// Prints lines in order and flushes them.
    ///
    /// # Errors
    /// Stdout or stderr is closed.
    pub(super) fn print(&mut self, lines: &[Line<'_>]) -> io::Result<()> {
        let streams = self.streams;
        for line in lines {
            if !self.json && line.gap().is_some() {
                self.end_lines()?;
            }
            if !streams.contains(line.channel) {
                continue;
            }
            if self.json {
                let object = serde_json::to_string(line)?;
                self.stdout.buffer.extend_from_slice(text::json(&object, self.stdout.terminal).as_bytes());
                self.stdout.buffer.push(b'\n');
            } else if line.channel == Channel::Stdout {
                // Both streams may share one terminal, which must show the lines in their order.
                self.write_stderr()?;
                self.put(line);
            } else {
                self.write_stdout()?;
                self.put(line);
            }
            if self.stdout.buffer.len() > BUFFER_BYTES {
                self.write_stdout()?;
            }
        }
        self.write_stdout()?;
        self.write_stderr()
    }

    /// Ends partial lines before a gap, since the rest of a line may be missing.
    fn end_lines(&mut self) -> io::Result<()> {
        for channel in Channel::ALL {
            if std::mem::take(&mut self.inside_line[channel as usize]) {
                let stream = if channel == Channel::Stdout { &mut self.stdout } else { &mut self.stderr };
                stream.buffer.push(b'\n');
            }
        }
        self.write_stdout()?;
        self.write_stderr()
    }

    /// Ends a line that was left unfinished on a terminal.
    ///
    /// # Errors
    /// Stdout is closed.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if self.stdout.terminal && self.inside_line.contains(&true) {
            self.stdout.buffer.push(b'\n');
        }
        self.write_stdout()
    }

    fn put(&mut self, line: &Line<'_>) {
        let stream = if line.channel == Channel::Stdout { &mut self.stdout } else { &mut self.stderr };
        let text = stream.safe(&line.line);
        let inside = self.inside_line.get_mut(line.channel as usize);
        let begins = !inside.is_some_and(|inside| std::mem::replace(inside, line.partial));
        let dimmed = line.channel == Channel::Internal && stream.terminal && stream.colours;
        if dimmed {
            stream.buffer.extend_from_slice(b"\x1b[2m");
        }
        if begins && self.timestamps {
            stream.buffer.extend_from_slice(line.timestamp.to_string().as_bytes());
            stream.buffer.push(b' ');
        }
        if begins && line.channel == Channel::Internal {
            stream.buffer.extend_from_slice(b"# ");
        }
        stream.buffer.extend_from_slice(text.as_bytes());
        if dimmed {
            stream.buffer.extend_from_slice(b"\x1b[0m");
        }
        if !line.partial {
            stream.buffer.push(b'\n');
        }
    }

    fn write_stdout(&mut self) -> io::Result<()> {
        write_out(&mut self.stdout.buffer, &mut io::stdout().lock())
    }

    fn write_stderr(&mut self) -> io::Result<()> {
        write_out(&mut self.stderr.buffer, &mut io::stderr().lock())
    }
}

impl Drop for LinePrinter {
    fn drop(&mut self) {
        // An interrupted command leaves a clean row for the shell's prompt; an error has no reader.
        self.erase_partial().ok();
    }
}

fn write_out(buffer: &mut Vec<u8>, out: &mut impl Write) -> io::Result<()> {
    if !buffer.is_empty() {
        out.write_all(buffer)?;
        out.flush()?;
        buffer.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EntryId, Timestamp};

    fn printer(terminal: bool, timestamps: bool) -> LinePrinter {
        let stream = || OutputStream { terminal, colours: true, buffer: Vec::new() };
        let (stdout, stderr) = (stream(), stream());
        LinePrinter {
            streams: ChannelSet::ALL,
            timestamps,
            json: false,
            stdout,
            stderr,
            inside_line: [false; 3],
            partial: None,
        }
    }

    fn line(channel: Channel, text: &'static str, partial: bool) -> Line<'static> {
        let (id, timestamp) = (EntryId::MIN, Timestamp::from_millis(0));
        Line { n: 1, id, timestamp, channel, line: text.into(), partial, lossy: false }
    }

    #[test]
    fn partial_lines_are_joined_per_stream() {
        let mut printer = printer(false, true);
        for line in [
            line(Channel::Stdout, "ab", true),
            line(Channel::Stderr, "oops", false),
            line(Channel::Stdout, "cd\u{1b}[2J\r", false),
            line(Channel::Internal, "done", false),
        ] {
            printer.put(&line);
        }
        let text = |stream: &OutputStream| String::from_utf8(stream.buffer.clone()).unwrap();
        assert_eq!(text(&printer.stdout), "1970-01-01T00:00:00.000Z abcd\u{1b}[2J\r\n", "as it was");
        assert_eq!(text(&printer.stderr), "1970-01-01T00:00:00.000Z oops\n1970-01-01T00:00:00.000Z # done\n");
    }

    #[test]
    fn only_colours_reach_a_terminal() {
        let mut printer = printer(true, false);
        printer.put(&line(Channel::Stdout, "a\u{1b}[2J\u{1b}[31mb", false));
        assert_eq!(printer.stdout.buffer, b"a\x1b[31mb\x1b[0m\n");
        printer.put(&line(Channel::Internal, "done", false));
        assert_eq!(printer.stderr.buffer, b"\x1b[2m# done\x1b[0m\n");
    }
}
