//! Stdout and stderr with buffers that keep the order of their lines.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write};

use super::super::text;
use super::painter::Painter;
use crate::model::Channel;

/// Size of a buffer at which it is written.
const BUFFER_BYTES: usize = 64 * 1024;

/// The state of stdout or stderr.
struct OutputStream {
    terminal: bool,
    colours: bool,
    /// Bytes queued for writing.
    buffer: Vec<u8>,
}

/// Stdout and stderr.
pub(super) struct OutputStreams {
    stdout: OutputStream,
    stderr: OutputStream,
}

impl OutputStreams {
    pub(super) fn new() -> Self {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let stream = |terminal, choice| OutputStream {
            terminal,
            colours: choice != anstream::ColorChoice::Never,
            buffer: Vec::new(),
        };
        Self {
            stdout: stream(stdout.is_terminal(), anstream::AutoStream::choice(&stdout)),
            stderr: stream(stderr.is_terminal(), anstream::AutoStream::choice(&stderr)),
        }
    }

    fn of(&self, channel: Channel) -> &OutputStream {
        if channel == Channel::Stdout { &self.stdout } else { &self.stderr }
    }

    /// Reports whether lines of a channel are printed to a terminal.
    pub(super) fn is_terminal(&self, channel: Channel) -> bool {
        self.of(channel).terminal
    }

    /// Reports whether the terminal shows colours.
    pub(super) fn colours(&self) -> bool {
        if self.stdout.terminal { self.stdout.colours } else { self.stderr.colours }
    }

    /// Reports for stdout and stderr whether they support colours.
    pub(super) fn colours_of_each(&self) -> [bool; 2] {
        [self.stdout.colours, self.stderr.colours]
    }

    /// Returns the columns and rows of the terminal, if there is one on which rows can be redrawn.
    pub(super) fn terminal_size(&self) -> Option<(usize, usize)> {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if is_dumb || !(self.stdout.terminal || self.stderr.terminal) {
            return None;
        }
        let size = if self.stdout.terminal {
            rustix::termios::tcgetwinsize(io::stdout())
        } else {
            rustix::termios::tcgetwinsize(io::stderr())
        };
        let (columns, rows) = size.map_or((0, 0), |size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        // A terminal that does not know its size.
        Some((if columns == 0 { 80 } else { columns }, if rows == 0 { 24 } else { rows }))
    }

    /// Adapts a drawing to the terminal's current size.
    ///
    /// # Errors
    /// The stream is closed.
    pub(super) fn refresh(&mut self, painter: Option<&mut Painter>) -> io::Result<()> {
        let (Some(painter), Some(size)) = (painter, self.terminal_size()) else { return Ok(()) };
        self.collect(|out| painter.resize(size, out))
    }

    /// Returns the text as it is printed: unchanged to a pipe, sanitized to a terminal.
    pub(super) fn safe<'a>(&self, channel: Channel, text: &'a str) -> Cow<'a, str> {
        let stream = self.of(channel);
        if stream.terminal { text::for_terminal(text, stream.colours) } else { Cow::Borrowed(text) }
    }

    /// Queues text. Both streams may share one terminal, which must show the lines in their order, so the other
    /// one is written first.
    ///
    /// # Errors
    /// The other stream is closed.
    pub(super) fn push(&mut self, channel: Channel, bytes: &[u8]) -> io::Result<()> {
        if channel == Channel::Stdout {
            write_out(&mut self.stderr.buffer, &mut io::stderr().lock())?;
            self.stdout.buffer.extend_from_slice(bytes);
        } else {
            write_out(&mut self.stdout.buffer, &mut io::stdout().lock())?;
            self.stderr.buffer.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Queues what `draw` appends for the terminal.
    ///
    /// # Errors
    /// The other stream is closed.
    pub(super) fn collect(&mut self, draw: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let channel = if self.stdout.terminal { Channel::Stdout } else { Channel::Stderr };
        self.push(channel, b"")?;
        draw(if channel == Channel::Stdout { &mut self.stdout.buffer } else { &mut self.stderr.buffer });
        Ok(())
    }

    /// Writes what `draw` appends for the terminal.
    ///
    /// # Errors
    /// A stream is closed.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        self.collect(draw)?;
        self.write()
    }

    /// Writes a buffer that has reached its size.
    ///
    /// # Errors
    /// A stream is closed.
    pub(super) fn write_if_full(&mut self) -> io::Result<()> {
        let is_full = self.stdout.buffer.len() > BUFFER_BYTES || self.stderr.buffer.len() > BUFFER_BYTES;
        if is_full { self.write() } else { Ok(()) }
    }

    /// Writes both buffers.
    ///
    /// # Errors
    /// A stream is closed.
    pub(super) fn write(&mut self) -> io::Result<()> {
        write_out(&mut self.stdout.buffer, &mut io::stdout().lock())?;
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
