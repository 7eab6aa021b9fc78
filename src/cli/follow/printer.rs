//! Lines of a log on stdout and stderr, each where it belongs, as `docker logs` has it.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write};

use super::super::text;
use crate::model::{Channel, ChannelSet, Line};

/// What is gathered before it is written; a terminal shows it no later than the batch it came in.
const BUFFER_BYTES: usize = 64 * 1024;

/// Prints lines. A piece of a longer line has no newline behind it, so that joined pieces are the
/// line that the task wrote.
pub(super) struct Printer {
    streams: ChannelSet,
    timestamps: bool,
    json: bool,
    stdout: Way,
    stderr: Way,
    /// Of each channel: the last piece was partial, its line goes on.
    inside_line: [bool; 3],
}

/// One of the two ways out.
struct Way {
    terminal: bool,
    colours: bool,
    /// Not yet written.
    buffer: Vec<u8>,
}

impl Way {
    fn new(terminal: bool, choice: anstream::ColorChoice) -> Self {
        Self { terminal, colours: choice != anstream::ColorChoice::Never, buffer: Vec::new() }
    }

    /// The text as it may go out here: everything into a pipe, the harmless onto a terminal.
    fn safe<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.terminal { text::for_terminal(text, self.colours) } else { Cow::Borrowed(text) }
    }
}

impl Printer {
    pub(super) fn new(streams: ChannelSet, timestamps: bool, json: bool) -> Self {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        Self {
            streams,
            timestamps,
            json,
            stdout: Way::new(stdout.is_terminal(), anstream::AutoStream::choice(&stdout)),
            stderr: Way::new(stderr.is_terminal(), anstream::AutoStream::choice(&stderr)),
            inside_line: [false; 3],
        }
    }

    /// Whether lines of the worker and the server are printed.
    pub(super) fn shows_internal(&self) -> bool {
        self.streams.contains(Channel::Internal)
    }

    /// Prints lines, in order, and lets nothing of them wait.
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
                // Two ways to one screen: what came first is seen first.
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

    /// The rest of a line may be among what is missing: what follows is not its end.
    fn end_lines(&mut self) -> io::Result<()> {
        for channel in Channel::ALL {
            if std::mem::take(&mut self.inside_line[channel as usize]) {
                let way = if channel == Channel::Stdout { &mut self.stdout } else { &mut self.stderr };
                way.buffer.push(b'\n');
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
        let way = if line.channel == Channel::Stdout { &mut self.stdout } else { &mut self.stderr };
        let text = way.safe(&line.line);
        let inside = self.inside_line.get_mut(line.channel as usize);
        let begins = !inside.is_some_and(|inside| std::mem::replace(inside, line.partial));
        let dimmed = line.channel == Channel::Internal && way.terminal && way.colours;
        if dimmed {
            way.buffer.extend_from_slice(b"\x1b[2m");
        }
        if begins && self.timestamps {
            way.buffer.extend_from_slice(line.timestamp.to_string().as_bytes());
            way.buffer.push(b' ');
        }
        if begins && line.channel == Channel::Internal {
            way.buffer.extend_from_slice(b"# ");
        }
        way.buffer.extend_from_slice(text.as_bytes());
        if dimmed {
            way.buffer.extend_from_slice(b"\x1b[0m");
        }
        if !line.partial {
            way.buffer.push(b'\n');
        }
    }

    fn write_stdout(&mut self) -> io::Result<()> {
        write_out(&mut self.stdout.buffer, &mut io::stdout().lock())
    }

    fn write_stderr(&mut self) -> io::Result<()> {
        write_out(&mut self.stderr.buffer, &mut io::stderr().lock())
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

    fn printer(terminal: bool, timestamps: bool) -> Printer {
        let way = || Way { terminal, colours: true, buffer: Vec::new() };
        let (stdout, stderr) = (way(), way());
        Printer { streams: ChannelSet::ALL, timestamps, json: false, stdout, stderr, inside_line: [false; 3] }
    }

    fn line(channel: Channel, text: &'static str, partial: bool) -> Line<'static> {
        let (id, timestamp) = (EntryId::MIN, Timestamp::from_millis(0));
        Line { n: 1, id, timestamp, channel, line: text.into(), partial, lossy: false }
    }

    #[test]
    fn pieces_of_a_line_are_joined_and_streams_kept_apart() {
        let mut printer = printer(false, true);
        for line in [
            line(Channel::Stdout, "ab", true),
            line(Channel::Stderr, "oops", false),
            line(Channel::Stdout, "cd\u{1b}[2J\r", false),
            line(Channel::Internal, "done", false),
        ] {
            printer.put(&line);
        }
        let text = |way: &Way| String::from_utf8(way.buffer.clone()).unwrap();
        assert_eq!(text(&printer.stdout), "1970-01-01T00:00:00.000Z abcd\u{1b}[2J\r\n", "as it was");
        assert_eq!(text(&printer.stderr), "1970-01-01T00:00:00.000Z oops\n1970-01-01T00:00:00.000Z # done\n");
    }

    #[test]
    fn a_terminal_gets_nothing_but_colours() {
        let mut printer = printer(true, false);
        printer.put(&line(Channel::Stdout, "a\u{1b}[2J\u{1b}[31mb", false));
        assert_eq!(printer.stdout.buffer, b"a\x1b[31mb\x1b[0m\n");
        printer.put(&line(Channel::Internal, "done", false));
        assert_eq!(printer.stderr.buffer, b"\x1b[2m# done\x1b[0m\n");
    }
}
