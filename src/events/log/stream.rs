//! The events of a file as it grows.

use std::path::Path;

use bytes::Bytes;

use super::read::{Judged, LINE_BYTES_MAX, Place};
use super::{LogError, StreamItem};
use crate::events::follow::{
    FileFollower, FollowFileError, FollowFileOptions, FollowNotice, Followed, LINE_HELD_BYTES_MAX,
};
use crate::model::EventError;

/// A reader that really follows.
#[derive(Debug)]
pub struct EventStream {
    follower: FileFollower,
    /// Lines that were read and not given yet, and where they stand.
    lines: Bytes,
    offset: u64,
    /// The number of the line before them, if they are counted.
    line: Option<u64>,
    /// Whether the lines at hand, or the next, are of the file before this one; they are not counted.
    is_late: bool,
    /// Whether the next bytes belong to a line that is too long and was reported.
    in_parts: bool,
}

impl EventStream {
    pub(super) fn new(path: &Path, from_start: bool) -> Result<Self, LogError> {
        let options = FollowFileOptions { from_start, ..FollowFileOptions::default() };
        let follower = FileFollower::new(path, options).map_err(failed)?;
        // Lines are counted from a file's begin only.
        let line = (from_start || follower.offset() == 0).then_some(0);
        Ok(Self { follower, lines: Bytes::new(), offset: 0, line, is_late: false, in_parts: false })
    }

    /// What comes next; waits for it. Cancel-safe.
    ///
    /// # Errors
    /// The file is there and cannot be read. A later call tries again.
    pub async fn next(&mut self) -> Result<StreamItem, LogError> {
        loop {
            while let Some((place, line)) = self.next_line() {
                self.is_late &= !self.lines.is_empty();
                match self.judge(place, &line) {
                    Judged::Event(event) => return Ok(StreamItem::Event(event)),
                    Judged::Fault(fault) => return Ok(StreamItem::Fault(fault)),
                    Judged::Blank => {}
                }
            }
            match self.follower.next().await.map_err(failed)? {
                Followed::Lines { bytes, offset } => (self.lines, self.offset) = (bytes, offset),
                Followed::CaughtUp => return Ok(StreamItem::CaughtUp),
                Followed::Notice(notice) => {
                    use FollowNotice::{Appeared, Rewritten, Rotated, TooLong, Truncated};
                    match &notice {
                        Appeared | Rewritten | Rotated | Truncated { .. } => self.line = Some(0),
                        // The fault says it.
                        TooLong => continue,
                        FollowNotice::Late => self.is_late = true,
                        FollowNotice::Waiting | FollowNotice::Torn | FollowNotice::Missed { .. } => {}
                    }
                    return Ok(StreamItem::Notice(notice));
                }
            }
        }
    }

    fn next_line(&mut self) -> Option<(Place, Bytes)> {
        if self.lines.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', &self.lines).map_or(self.lines.len(), |newline| newline + 1);
        let line = self.lines.split_to(end);
        if !self.in_parts && !self.is_late {
            self.line = self.line.map(|number| number + 1);
        }
        let number = self.line.filter(|_| !self.is_late).unwrap_or(0);
        let place = Place { line: number, offset: self.offset };
        self.offset += line.len() as u64;
        Some((place, line))
    }

    fn judge(&mut self, place: Place, line: &[u8]) -> Judged {
        let goes_on = !line.ends_with(b"\n");
        if std::mem::replace(&mut self.in_parts, goes_on) {
            return Judged::Blank;
        }
        if goes_on {
            return place.fault(line, Some(EventError::TooLong(LINE_HELD_BYTES_MAX)));
        }
        if line.len() > LINE_BYTES_MAX {
            return place.fault(line, Some(EventError::TooLong(line.len())));
        }
        place.judge(line, 0)
    }
}

fn failed(error: FollowFileError) -> LogError {
    LogError { what: "cannot follow", path: error.path, source: error.source }
}
