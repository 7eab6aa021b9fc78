//! One line of the buffer.

use crate::model::{Channel, LineText, Timestamp};
use crate::worker::lines::SplitLine;

/// A line that is waiting or in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::worker) struct BufferedLine {
    pub(in crate::worker) line: SplitLine,
    pub(in crate::worker) channel: Channel,
    pub(in crate::worker) at: Timestamp,
    pub(in crate::worker) kind: LineKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) enum LineKind {
    /// Task output; can be dropped until it has a number.
    Line,
    /// Message of the worker itself; never dropped.
    Internal,
    /// Marker that counts dropped lines.
    Gap(u64),
}

impl BufferedLine {
    /// Returns the cost of the line in memory.
    pub(super) fn bytes(&self) -> usize {
        self.line.text.len() + size_of::<Self>()
    }

    /// Returns the line as it is sent.
    pub(in crate::worker) fn text(&self) -> LineText<'_> {
        let SplitLine { text, partial, lossy, .. } = &self.line;
        LineText { timestamp: self.at, channel: self.channel, partial: *partial, lossy: *lossy, text: text.into() }
    }

    /// Returns the count of task lines that this line represents.
    pub(super) fn lines(&self) -> u64 {
        match self.kind {
            LineKind::Line => 1,
            LineKind::Internal => 0,
            LineKind::Gap(count) => count,
        }
    }
}
