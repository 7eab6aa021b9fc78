//! The events of a file as it grows.

use std::path::Path;

use bytes::Bytes;

use super::read::{LINE_BYTES_MAX, LogPosition, ParsedLine};
use super::{LogError, StreamItem};
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
}

impl EventStream {
    pub(super) fn new(path: &Path, from_start: bool) -> Result<Self, LogError> {
        let options = FollowFileOptions { from_start, ..FollowFileOptions::default() };
        let follower = FileFollower::new(path, options).map_err(failed)?;
        // Lines can be counted only from the start of a file.
        let line = (from_start || follower.offset() == 0).then_some(0);
        Ok(Self { follower, lines: Bytes::new(), offset: 0, line, is_late: false, in_parts: false })
    }

    /// Waits for the next item. Cancel-safe.
    ///
    /// # Errors The file exists and cannot be read. A later call tries again.
    pub async fn next(&mut self) -> Result<StreamItem, LogError> {
        loop {
            while let Some((position, line)) = self.next_line() {
                self.is_late &= !self.lines.is_empty();
                match self.parse(position, &line) {
                    ParsedLine::Event(event) => return Ok(StreamItem::Event(event)),
                    ParsedLine::Fault(fault) => return Ok(StreamItem::Fault(fault)),
                    ParsedLine::Blank => {}
                }
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

    fn parse(&mut self, position: LogPosition, line: &[u8]) -> ParsedLine {
        let continues = !line.ends_with(b"\n");
        if std::mem::replace(&mut self.in_parts, continues) {
            return ParsedLine::Blank;
        }
        if continues {
            return position.fault(line, Some(EventError::TooLong(LINE_HELD_BYTES_MAX)));
        }
        if line.len() > LINE_BYTES_MAX {
            return position.fault(line, Some(EventError::TooLong(line.len())));
        }
        position.parse(line, 0)
    }
}

fn failed(error: FollowFileError) -> LogError {
    LogError { what: "cannot follow", path: error.path, source: error.source }
}
