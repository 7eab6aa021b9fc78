//! Prints lines of logs to stdout or stderr according to their stream, like `docker logs`.
//!
//! A single task is printed as it comes: to a pipe unchanged, on a terminal as its own terminal would have shown
//! it (`painter`), with the current unterminated line at the bottom. Lines of several tasks, and filtered lines, are
//! joined first and printed as a whole.

use std::io;
use std::rc::Rc;

use super::super::screen::{ScreenRow, rows_of_line};
use super::super::text;
use super::assemble::WrittenLine;
use super::grep::{GrepFilter, SelectedLine};
use super::lead::LeadStyle;
use super::output_stream::OutputStreams;
use super::painter::Painter;
use super::stamp::TimeMode;
use super::view::TaskView;
use crate::model::{Channel, ChannelSet, Line, PartialLine};

/// A printer of the lines of tasks.
pub(super) struct LinePrinter {
    streams: ChannelSet,
    json: bool,
    lead: LeadStyle,
    /// Whether the pieces of a line are printed together.
    joins: bool,
    grep: Option<GrepFilter>,
    out: OutputStreams,
    /// Drawing of a single task on a terminal.
    painter: Option<Painter>,
    /// Whether the last piece of each channel was partial, so that its line continues.
    inside_line: [bool; 3],
    /// The prefix of the current line of each channel.
    leads: [Rc<str>; 3],
    /// Task and number of the last line that was printed of a filtered log.
    last_printed: Option<(usize, u64)>,
}

impl LinePrinter {
    /// Creates a printer of the lines of these streams.
    pub(super) fn new(
        streams: ChannelSet,
        json: bool,
        time: Option<TimeMode>,
        prefix: bool,
        several: bool,
        grep: Option<GrepFilter>,
    ) -> Self {
        let out = OutputStreams::new();
        let lead = LeadStyle { time, prefix, colours: out.colours_of_each(), name_width: 0 };
        let joins = grep.is_some() || (several && !json);
        let painter = out.terminal_size().filter(|_| !joins && !json).map(|size| Painter::new(out.colours(), size));
        Self {
            streams,
            json,
            lead,
            joins,
            grep,
            out,
            painter,
            inside_line: [false; 3],
            leads: Default::default(),
            last_printed: None,
        }
    }

    /// Makes room for the name of a task.
    pub(super) fn fit(&mut self, name: &str) {
        self.lead.fit(name);
    }

    /// Returns the filter of lines.
    pub(super) fn grep(&self) -> Option<&GrepFilter> {
        self.grep.as_ref()
    }

    /// Reports whether lines that are still being written are shown.
    pub(super) fn shows_partials(&self) -> bool {
        self.painter.is_some()
    }

    /// Reports whether lines of the worker and the server are printed.
    pub(super) fn shows_internal(&self) -> bool {
        self.streams.contains(Channel::Internal)
    }

    /// Draws the line of a channel that is still being written, in place of the one before.
    ///
    /// # Errors
    /// Stdout or stderr is closed.
    pub(super) fn print_partial(&mut self, view: &mut TaskView, line: &PartialLine) -> io::Result<()> {
        if !self.streams.contains(line.channel) || !self.out.is_terminal(line.channel) {
            return Ok(());
        }
        // The clock is not advanced: the line is printed again when it is complete.
        let name = (view.id.as_str(), view.place);
        let lead = self.lead.of(view.clock, name, line.timestamp, line.channel);
        let Some(painter) = &mut self.painter else { return Ok(()) };
        // A piece of a line without its newline already stands on the last row.
        let inside = self.inside_line.contains(&true);
        self.out.draw(|out| {
            if line.line.is_empty() || inside {
                painter.paint(out)
            } else {
                painter.paint_provisional(&line.line, &lead, out)
            }
        })
    }

    /// Prepares the terminal for messages of others: what was drawn stays as it is.
    ///
    /// # Errors
    /// Stdout or stderr is closed.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        let Some(painter) = &mut self.painter else { return Ok(()) };
        self.out.draw(|out| painter.end_row(out))
    }

    /// Prints lines in order and flushes them.
    ///
    /// # Errors
    /// Stdout or stderr is closed.
    pub(super) fn print(&mut self, view: &mut TaskView, lines: Vec<Line<'static>>) -> io::Result<()> {
        self.out.refresh(self.painter.as_mut())?;
        for line in lines {
            if line.gap().is_some() {
                self.end_lines(view)?;
            }
            if !self.streams.contains(line.channel) {
                continue;
            }
            if self.joins {
                if let Some(line) = view.assembler.push(line) {
                    self.print_written(view, line)?;
                }
            } else if self.json {
                self.put_json(view, &line)?;
            } else {
                self.put(view, &line)?;
            }
            self.out.write_if_full()?;
        }
        self.flush()
    }

    /// Ends partial lines before a gap, since the rest of a line may be missing.
    fn end_lines(&mut self, view: &mut TaskView) -> io::Result<()> {
        self.print_rest(view)?;
        for channel in Channel::ALL {
            if self.inside_line.get_mut(channel as usize).is_some_and(std::mem::take) && !self.paints(channel) {
                self.out.push(channel, b"\n")?;
            }
        }
        if let Some(painter) = &mut self.painter {
            self.out.draw(|out| painter.end_row(out))?;
        }
        self.out.write()
    }

    /// Completes the output of a task: ends a line that was left unfinished on a terminal.
    ///
    /// # Errors
    /// Stdout or stderr is closed.
    pub(super) fn finish(&mut self, view: &mut TaskView) -> io::Result<()> {
        self.print_rest(view)?;
        self.settle()?;
        self.out.write()
    }

    /// Prints the lines whose rest is missing.
    fn print_rest(&mut self, view: &mut TaskView) -> io::Result<()> {
        let rest: Vec<WrittenLine> = view.assembler.take_rest().collect();
        rest.into_iter().try_for_each(|line| self.print_written(view, line))
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(painter) = &mut self.painter {
            self.out.draw(|out| painter.paint(out))?;
        }
        self.out.write()
    }

    /// Reports whether lines of a channel are drawn.
    fn paints(&self, channel: Channel) -> bool {
        self.painter.is_some() && self.out.is_terminal(channel)
    }

    /// Prints a piece of a line without a newline, so that joined pieces form the line that the task wrote.
    fn put(&mut self, view: &mut TaskView, line: &Line<'_>) -> io::Result<()> {
        let inside = self.inside_line.get_mut(line.channel as usize);
        let begins = !inside.is_some_and(|inside| std::mem::replace(inside, line.partial));
        if begins && let Some(lead) = self.leads.get_mut(line.channel as usize) {
            *lead = self.lead.of_line(view, line.timestamp, line.channel);
        }
        let lead = self.leads.get(line.channel as usize).cloned().unwrap_or_default();
        if !self.paints(line.channel) {
            let lead = if begins { &*lead } else { "" };
            let end = if line.partial { "" } else { "\n" };
            let text = self.out.safe(line.channel, &line.line);
            return self.out.push(line.channel, format!("{lead}{text}{end}").as_bytes());
        }
        let Some(painter) = &mut self.painter else { return Ok(()) };
        if line.channel != Channel::Internal {
            return self.out.collect(|out| painter.feed(&line.line, &lead, line.partial, out));
        }
        // It is no part of what the task's terminal showed.
        let colours = self.out.colours();
        self.out.collect(|out| {
            painter.end_row(out);
            let (dim, plain) = if colours { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
            let text = text::for_terminal(&line.line, false);
            out.extend_from_slice(format!("{dim}{lead}{text}{plain}\n").as_bytes());
        })
    }

    fn put_json(&mut self, view: &TaskView, line: &Line<'_>) -> io::Result<()> {
        let object = serde_json::to_string(line)?;
        // The id of a task needs no escapes.
        let object = format!("{{\"task\":\"{}\",{}\n", view.id, object.get(1..).unwrap_or_default());
        let safe = text::json(object.trim_end(), self.out.is_terminal(Channel::Stdout)).into_owned();
        self.out.push(Channel::Stdout, safe.as_bytes())?;
        self.out.push(Channel::Stdout, b"\n")
    }

    /// Prints a whole line, if it is selected, and its context.
    fn print_written(&mut self, view: &mut TaskView, line: WrittenLine) -> io::Result<()> {
        let Some(grep) = &self.grep else {
            return self.put_written(view, &line, false);
        };
        let has_context = grep.has_context();
        for SelectedLine { line, index, is_match } in view.grep.filter(grep, line) {
            let follows = index.checked_sub(1).is_some_and(|before| self.last_printed == Some((view.place, before)));
            if has_context && self.last_printed.is_some() && !follows && !self.json {
                self.out.push(line.channel(), b"--\n")?;
            }
            self.last_printed = Some((view.place, index));
            self.put_written(view, &line, is_match)?;
        }
        Ok(())
    }

    fn put_written(&mut self, view: &mut TaskView, line: &WrittenLine, is_match: bool) -> io::Result<()> {
        if self.json {
            return line.pieces.iter().try_for_each(|piece| self.put_json(view, piece));
        }
        let channel = line.channel();
        let lead: Rc<str> = self.lead.of_line(view, line.timestamp(), channel);
        if !self.out.is_terminal(channel) {
            for row in line.text().split('\n') {
                self.out.push(channel, format!("{lead}{row}\n").as_bytes())?;
            }
            return Ok(());
        }
        let colours = self.out.colours();
        let mut marks = Vec::new();
        if let (Some(grep), true) = (&self.grep, is_match && colours) {
            marks = grep.marks(&line.displayed());
        }
        let mut from = 0;
        for row in rows_of_line(&line.text()) {
            let length = row.text().len();
            let inside: Vec<_> = marks.iter().filter_map(|mark| within(mark, from, length)).collect();
            from += length + 1;
            self.put_row(channel, &lead, &row, &inside)?;
        }
        Ok(())
    }

    fn put_row(
        &mut self,
        channel: Channel,
        lead: &str,
        row: &ScreenRow,
        marks: &[std::ops::Range<usize>],
    ) -> io::Result<()> {
        let text = row.draw(self.out.colours(), marks, usize::MAX);
        self.out.push(channel, format!("{lead}{text}\n").as_bytes())
    }
}

/// Returns the part of a range that is in a row of a text.
fn within(mark: &std::ops::Range<usize>, from: usize, length: usize) -> Option<std::ops::Range<usize>> {
    let start = mark.start.max(from) - from;
    let end = mark.end.min(from + length).checked_sub(from)?;
    (start < end).then_some(start..end)
}

impl Drop for LinePrinter {
    fn drop(&mut self) {
        // An interrupted command leaves a clean row for the shell's prompt; an error has no reader.
        self.settle().ok();
    }
}
