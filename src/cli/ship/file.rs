//! Sends the lines of one file to a task.
//!
//! Lines are numbered by their position in the file. If a file is sent from its start, its session is
//! named after the file and its first line, so another `ship` of the file repeats the numbers and the
//! server drops duplicates. A truncated file starts with another line and therefore in another
//! session. (A file that starts again with the same line is distinguished only within this process.)

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use futures::FutureExt as _;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use super::super::mask::MaskedBytes;
use super::super::output::Output;
use super::super::sender::LineSender;
use crate::events::{FileFollower, FileIdentity, FollowItem, FollowNotice, clean};
use crate::model::TaskId;
use crate::model::limits::LINE_BYTES_MAX;
use crate::worker::{LineSplitter, Masks, SplitLine};

/// Maximum time to read remaining lines after a request to stop.
const LAST_READ: Duration = Duration::from_secs(5);
/// Maximum bytes of a first line that are part of a session's name.
const FIRST_BYTES_MAX: usize = 1024;
/// Maximum number of session names remembered for one file.
const NAMES_MAX: usize = 1024;
/// Maximum bytes of a prefix, which leaves space for the line.
const PREFIX_BYTES_MAX: usize = 1024;

/// The outcome of sending a file.
#[derive(Debug, Serialize)]
pub(super) struct ShippedFile {
    file: String,
    sent: u64,
    last_line: Option<u64>,
}

/// A sender of one file.
pub(super) struct FileShipper<'a> {
    follower: FileFollower,
    name: String,
    prefix: String,
    masks: Masks,
    masked: MaskedBytes,
    splitter: LineSplitter,
    /// Whether the next piece continues a line.
    in_line: bool,
    lines: LineSender<'a>,
    /// Sender of lines written to a file after it was rotated, which are numbered in their own session.
    late: LineSender<'a>,
    is_late: bool,
    notes: LineSender<'a>,
    /// Session names, if lines are numbered from the file's start.
    sessions: Option<SessionNames>,
    output: Output,
}

/// A generator of session names.
struct SessionNames {
    task: TaskId,
    /// Whether the next line is the first of its file.
    at_start: bool,
    used: HashSet<String>,
}

impl<'a> FileShipper<'a> {
    /// Creates a sender. `from_start` is the task if lines are numbered from the file's start.
    pub(super) fn new(
        follower: FileFollower,
        name: String,
        mut prefix: String,
        [lines, late, notes]: [LineSender<'a>; 3],
        from_start: Option<TaskId>,
        masks: Masks,
        output: Output,
    ) -> Self {
        prefix.truncate(prefix.floor_char_boundary(PREFIX_BYTES_MAX));
        let splitter = LineSplitter::new(LINE_BYTES_MAX - prefix.len());
        let sessions = from_start.map(|task| SessionNames { task, at_start: true, used: HashSet::new() });
        let (masked, in_line, is_late) = (MaskedBytes::new(&masks), false, false);
        Self { follower, name, prefix, masks, masked, splitter, in_line, lines, late, is_late, notes, sessions, output }
    }

    /// Sends lines as they arrive, until all existing lines are sent (`once`), or until all lines are
    /// sent after `stop`.
    pub(super) async fn run(mut self, once: bool, stop: CancellationToken) -> anyhow::Result<ShippedFile> {
        loop {
            let found = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                found = self.follower.next() => found?,
            };
            let caught_up = found == FollowItem::CaughtUp;
            self.send(found).await?;
            if caught_up && once {
                break;
            }
        }
        let begun = Instant::now();
        while begun.elapsed() < LAST_READ {
            match self.follower.next().now_or_never() {
                Some(Ok(FollowItem::CaughtUp)) | None => break,
                Some(found) => self.send(found?).await?,
            }
        }
        self.finish(once).await
    }

    async fn send(&mut self, found: FollowItem) -> anyhow::Result<()> {
        match found {
            FollowItem::Lines { bytes, .. } => {
                if std::mem::take(&mut self.is_late) {
                    return self.send_late(&bytes).await;
                }
                let bytes = self.masked.push(&bytes);
                self.send_lines(&bytes).await
            }
            FollowItem::Notice(notice) => {
                if is_other_file(&notice) {
                    let held = self.masked.finish();
                    self.send_lines(&held).await?;
                }
                self.note(&notice).await
            }
            FollowItem::CaughtUp => Ok(()),
        }
    }

    async fn send_lines(&mut self, mut bytes: &[u8]) -> anyhow::Result<()> {
        while let Some(line) = self.splitter.next_line(&mut bytes) {
            self.push(line)?;
            self.lines.flush_if_full().await?;
        }
        self.lines.flush().await
    }

    async fn send_late(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut masked = MaskedBytes::new(&self.masks);
        let bytes = [&*masked.push(bytes), &masked.finish()].concat();
        let mut bytes = bytes.as_slice();
        let mut splitter = LineSplitter::new(LINE_BYTES_MAX - self.prefix.len());
        while let Some(mut line) = splitter.next_line(&mut bytes) {
            line.text.insert_str(0, &self.prefix);
            self.late.push(&line)?;
            self.late.flush_if_full().await?;
        }
        self.late.flush().await
    }

    fn push(&mut self, mut line: SplitLine) -> anyhow::Result<()> {
        if let Some(sessions) = &mut self.sessions
            && std::mem::take(&mut sessions.at_start)
        {
            self.lines.start_session(sessions.name("lines", self.follower.identity(), &line.text));
        }
        if !std::mem::replace(&mut self.in_line, line.partial) {
            line.text.insert_str(0, &self.prefix);
        }
        self.lines.push(&line)
    }

    async fn note(&mut self, notice: &FollowNotice) -> anyhow::Result<()> {
        if let (true, Some(sessions)) = (is_other_file(notice), &mut self.sessions) {
            sessions.at_start = true;
        }
        self.is_late = *notice == FollowNotice::Late;
        let text = format!("{}: {}", self.name, clean(&notice.to_string()));
        self.output.note(&text);
        self.notes.push(&SplitLine { text, ..SplitLine::default() })?;
        self.notes.flush().await
    }

    /// Sends a last line without a newline, unless a later `ship` can send it complete.
    async fn finish(mut self, once: bool) -> anyhow::Result<ShippedFile> {
        let identity = self.follower.identity();
        let half = self.follower.drain_partial_line();
        let rest = [&*self.masked.push(&half), &self.masked.finish()].concat();
        // Complete lines that were held back as the possible start of a secret precede it.
        let (lines, half) = rest.split_at(memchr::memrchr(b'\n', &rest).map_or(0, |end| end + 1));
        self.send_lines(lines).await?;
        if !half.is_empty() && (once || self.sessions.is_none()) {
            let mut pieces = Vec::new();
            let mut rest = half;
            while let Some(piece) = self.splitter.next_line(&mut rest) {
                pieces.push(piece);
            }
            while let Some(piece) = self.splitter.finish() {
                pieces.push(piece);
            }
            if let Some(sessions) = &mut self.sessions {
                // Not numbered in the file's session: the line may still be completed and sent again.
                self.lines.start_session(sessions.name("half", identity, &String::from_utf8_lossy(half)));
            }
            for mut piece in pieces {
                if !std::mem::replace(&mut self.in_line, piece.partial) {
                    piece.text.insert_str(0, &self.prefix);
                }
                self.lines.push(&piece)?;
                self.lines.flush_if_full().await?;
            }
            self.lines.flush().await?;
        }
        Ok(ShippedFile {
            file: self.name,
            sent: self.lines.sent() + self.late.sent(),
            last_line: self.lines.last_line(),
        })
    }
}

/// Reports whether the following lines do not continue the previous ones.
fn is_other_file(notice: &FollowNotice) -> bool {
    use FollowNotice::{Appeared, Rewritten, Rotated, Truncated};
    matches!(notice, Appeared | Rewritten | Rotated | Truncated { .. })
}

impl SessionNames {
    /// Returns the session of a file that starts with this line.
    fn name(&mut self, what: &str, identity: Option<FileIdentity>, first: &str) -> String {
        let mut hash = Sha256::new();
        let file = format!("{what}\0{}\0{identity:?}\0", self.task);
        hash.update(file.as_bytes());
        hash.update(first.as_bytes().get(..first.len().min(FIRST_BYTES_MAX)).unwrap_or_default());
        let mut name = "ship-".to_owned();
        for byte in hash.finalize().iter().take(16) {
            // Writing to a string cannot fail.
            write!(name, "{byte:02x}").ok();
        }
        if self.used.len() >= NAMES_MAX {
            self.used.clear();
        }
        if self.used.insert(name.clone()) { name } else { Ulid::generate().to_string() }
    }
}
