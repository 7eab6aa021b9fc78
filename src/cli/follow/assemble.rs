//! Joins the pieces of a long line, which arrive one by one, to the line that the task wrote.

use std::borrow::Cow;

use super::super::screen::{ScreenRow, rows_of_line};
use crate::model::{Channel, Line, Timestamp};

/// Maximum bytes of a joined line; a longer one is continued in the next.
const JOINED_BYTES_MAX: usize = 1024 * 1024;

/// A line as it was written: at least one piece.
#[derive(Debug)]
pub(super) struct WrittenLine {
    pub(super) pieces: Vec<Line<'static>>,
}

impl WrittenLine {
    /// Returns the time of the first piece.
    pub(super) fn timestamp(&self) -> Timestamp {
        self.pieces.first().map_or(Timestamp::from_millis(0), |line| line.timestamp)
    }

    /// Returns the channel.
    pub(super) fn channel(&self) -> Channel {
        self.pieces.first().map_or(Channel::Stdout, |line| line.channel)
    }

    /// Returns the text as it was written.
    pub(super) fn text(&self) -> Cow<'_, str> {
        match self.pieces.as_slice() {
            [one] => Cow::Borrowed(&*one.line),
            pieces => Cow::Owned(pieces.iter().map(|piece| &*piece.line).collect()),
        }
    }

    /// Returns the text that a terminal shows: without control sequences and what was overwritten in place.
    pub(super) fn displayed(&self) -> String {
        let text = self.text();
        if !text.chars().any(|c| c.is_control() || c >= '\u{200e}') {
            return text.into_owned();
        }
        rows_of_line(&text).iter().map(ScreenRow::text).collect::<Vec<_>>().join("\n")
    }

    /// Returns the number of bytes of text.
    pub(super) fn bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.line.len()).sum()
    }
}

/// The unfinished lines of a task, one for each channel.
#[derive(Debug, Default)]
pub(super) struct LineAssembler {
    pending: [Vec<Line<'static>>; 3],
}

impl LineAssembler {
    /// Adds a piece and returns the line if it is complete.
    pub(super) fn push(&mut self, piece: Line<'static>) -> Option<WrittenLine> {
        let partial = piece.partial;
        let pending = self.pending.get_mut(piece.channel as usize)?;
        pending.push(piece);
        let bytes: usize = pending.iter().map(|piece| piece.line.len()).sum();
        (!partial || bytes >= JOINED_BYTES_MAX).then(|| WrittenLine { pieces: std::mem::take(pending) })
    }

    /// Returns the unfinished lines: before a gap, since the rest of a line may be missing, and at the end.
    pub(super) fn take_rest(&mut self) -> impl Iterator<Item = WrittenLine> {
        let rest = std::mem::take(&mut self.pending);
        rest.into_iter().filter(|pieces| !pieces.is_empty()).map(|pieces| WrittenLine { pieces })
    }
}
