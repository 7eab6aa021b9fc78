//! The events of a file as it grows.

use std::collections::VecDeque;
use std::path::Path;

use bytes::Bytes;

use super::read::{LINE_BYTES_MAX, LogPosition};
use super::{LogError, ReadEvents, StreamItem};
use crate::events::follow::{
    FileFollower, FollowFileError, FollowFileOptions, FollowItem, FollowNotice, LINE_HELD_BYTES_MAX,
};
use crate::model::EventError;

/// A stream of the events of a growing file.
#[derive(Debug)]
pub struct EventStream {
    follower: FileFollower,
    /// Lines that were read and not yet returned, and their offset.
    lines: Bytes,
    offset: u64,
    /// The number of the line before them, if lines are counted.
    line: Option<u64>,
    /// The current or next lines are from the previous file; they are not counted.
    is_late: bool,
    /// The next bytes belong to a long line that was already reported.
    in_parts: bool,
    /// Items of the last line that were not returned yet.
    items: VecDeque<StreamItem>,
}

impl EventStream {
    pub(super) fn new(path: &Path, from_start: bool) -> Result<Self, LogError> {
        let options = FollowFileOptions { from_start, ..FollowFileOptions::default() };
        let follower = FileFollower::new(path, options).map_err(failed)?;
        // Lines can be counted only from the start of a file.
        let line = (from_start || follower.offset() == 0).then_some(0);
        Ok(Self {
            follower,
            lines: Bytes::new(),
            offset: 0,
            line,
            is_late: false,
            in_parts: false,
            items: VecDeque::new(),
        })
    }

    /// Waits for the next item. Cancel-safe.
    ///
    /// # Errors The file exists and cannot be read. A later call tries again.
    pub async fn next(&mut self) -> Result<StreamItem, LogError> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Ok(item);
            }
            while self.items.is_empty()
                && let Some((position, line)) = self.next_line()
            {
                self.is_late &= !self.lines.is_empty();
                let found = self.parse(position, &line);
                self.items.extend(found.in_order());
            }
            if !self.items.is_empty() {
                continue;
            }
            match self.follower.next().await.map_err(failed)? {
                FollowItem::Lines { bytes, offset } => (self.lines, self.offset) = (bytes, offset),
                FollowItem::CaughtUp => return Ok(StreamItem::CaughtUp),
                FollowItem::Notice(notice) => {
                    use FollowNotice::{Appeared, Rewritten, Rotated, TooLong, Truncated};
                    match &notice {
                        Appeared | Rewritten | Rotated | Truncated { .. } => self.line = Some(0),
                        // Reported by the fault.
                        TooLong => continue,
                        FollowNotice::Late => self.is_late = true,
                        FollowNotice::Waiting | FollowNotice::Torn | FollowNotice::Missed { .. } => {}
                    }
                    return Ok(StreamItem::Notice(notice));
                }
            }
        }
    }

    fn next_line(&mut self) -> Option<(LogPosition, Bytes)> {
        if self.lines.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', &self.lines).map_or(self.lines.len(), |newline| newline + 1);
        let line = self.lines.split_to(end);
        if !self.in_parts && !self.is_late {
            self.line = self.line.map(|number| number + 1);
        }
        let number = self.line.filter(|_| !self.is_late).unwrap_or(0);
        let position = LogPosition { line: number, offset: self.offset };
        self.offset += line.len() as u64;
        Some((position, line))
    }

    fn parse(&mut self, position: LogPosition, line: &[u8]) -> ReadEvents {
        let fault = |bytes| {
            let fault = position.fault(line, Some(EventError::TooLong(bytes)));
            ReadEvents { events: Vec::new(), faults: vec![fault] }
        };
        let continues = !line.ends_with(b"\n");
        if std::mem::replace(&mut self.in_parts, continues) {
            return ReadEvents::default();
        }
        if continues {
            return fault(LINE_HELD_BYTES_MAX);
        }
        if line.len() > LINE_BYTES_MAX {
            return fault(line.len());
        }
        position.parse(line, 0)
    }
}

impl ReadEvents {
    /// Returns the events and faults of a line in their order.
    fn in_order(self) -> impl Iterator<Item = StreamItem> {
        let mut faults = self.faults.into_iter().peekable();
        let mut events = self.events.into_iter().peekable();
        std::iter::from_fn(move || {
            let fault_first = match (faults.peek(), events.peek()) {
                (Some(fault), Some(event)) => fault.offset < event.offset,
                (fault, _) => fault.is_some(),
            };
            if fault_first { faults.next().map(StreamItem::Fault) } else { events.next().map(StreamItem::Event) }
        })
    }
}

fn failed(error: FollowFileError) -> LogError {
    LogError { what: "cannot follow", path: error.path, source: error.source }
}
