//! One file on its way to a task.
//!
//! Lines are numbered as they stand in their file. Where a file is sent from its begin, its session
//! is named after it and its first line, so that another `ship` of it repeats the numbers and the
//! server drops what it has. A file that was truncated begins with another line, and so in another
//! session. (One that begins again with the very same line is told apart only as long as this
//! process lives.)

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
use super::super::sending::Sender;
use crate::events::{FileFollower, FileIdentity, FollowItem, FollowNotice, clean};
use crate::model::TaskId;
use crate::model::limits::LINE_BYTES_MAX;
use crate::worker::{LineSplitter, Masks, SplitLine};

/// What is still written is read so long after the wish to end.
const LAST_READ: Duration = Duration::from_secs(5);
/// Bytes of a first line that name a session.
const FIRST_BYTES_MAX: usize = 1024;
/// Names of sessions that are remembered for one file.
const NAMES_MAX: usize = 1024;
/// Bytes of a prefix at most; the line after it needs room.
const PREFIX_BYTES_MAX: usize = 1024;

/// What was sent of a file.
#[derive(Debug, Serialize)]
pub(super) struct Shipped {
    file: String,
    sent: u64,
    last_line: Option<u64>,
}

/// One file, its follower and its senders.
pub(super) struct Shipment<'a> {
    follower: FileFollower,
    name: String,
    prefix: String,
    masks: Masks,
    masked: MaskedBytes,
    splitter: LineSplitter,
    /// Whether the next piece goes on with a line.
    in_line: bool,
    lines: Sender<'a>,
    /// What was written to a file after the next was begun: not among the numbers of either.
    late: Sender<'a>,
    is_late: bool,
    notes: Sender<'a>,
    /// Where lines are numbered from a file's begin.
    sessions: Option<Sessions>,
    output: Output,
}

/// Names for sessions.
struct Sessions {
    task: TaskId,
    /// Whether the next line is the first of its file.
    at_begin: bool,
    used: HashSet<String>,
}

impl<'a> Shipment<'a> {
    /// `from_start` is the task that knows a file's lines from their first on.
    pub(super) fn new(
        follower: FileFollower,
        name: String,
        mut prefix: String,
        [lines, late, notes]: [Sender<'a>; 3],
        from_start: Option<TaskId>,
        masks: Masks,
        output: Output,
    ) -> Self {
        prefix.truncate(prefix.floor_char_boundary(PREFIX_BYTES_MAX));
        let splitter = LineSplitter::new(LINE_BYTES_MAX - prefix.len());
        let sessions = from_start.map(|task| Sessions { task, at_begin: true, used: HashSet::new() });
        let (masked, in_line, is_late) = (MaskedBytes::new(&masks), false, false);
        Self { follower, name, prefix, masks, masked, splitter, in_line, lines, late, is_late, notes, sessions, output }
    }

    /// Sends lines as they come, until everything that is there is sent (`once`), or until it is to
    /// stop and everything is.
    pub(super) async fn run(mut self, once: bool, stop: CancellationToken) -> anyhow::Result<Shipped> {
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
            && std::mem::take(&mut sessions.at_begin)
        {
            self.lines.begin_session(sessions.name("lines", self.follower.identity(), &line.text));
        }
        if !std::mem::replace(&mut self.in_line, line.partial) {
            line.text.insert_str(0, &self.prefix);
        }
        self.lines.push(&line)
    }

    async fn note(&mut self, notice: &FollowNotice) -> anyhow::Result<()> {
        if let (true, Some(sessions)) = (is_other_file(notice), &mut self.sessions) {
            sessions.at_begin = true;
        }
        self.is_late = *notice == FollowNotice::Late;
        let text = format!("{}: {}", self.name, clean(&notice.to_string()));
        self.output.note(&text);
        self.notes.push(&SplitLine { text, ..SplitLine::default() })?;
        self.notes.flush().await
    }

    /// Sends a last line without its newline, unless the next `ship` finds the whole of it.
    async fn finish(mut self, once: bool) -> anyhow::Result<Shipped> {
        let identity = self.follower.identity();
        let half = self.follower.drain_partial_line();
        let rest = [&*self.masked.push(&half), &self.masked.finish()].concat();
        // Whole lines that might have been the begin of a secret come before it.
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
                // Not a number of the file's own: the line may still be finished, and sent as a whole.
                self.lines.begin_session(sessions.name("half", identity, &String::from_utf8_lossy(half)));
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
        Ok(Shipped { file: self.name, sent: self.lines.sent() + self.late.sent(), last_line: self.lines.last_line() })
    }
}

/// Whether what follows is not the continuation of what was read.
fn is_other_file(notice: &FollowNotice) -> bool {
    use FollowNotice::{Appeared, Rewritten, Rotated, Truncated};
    matches!(notice, Appeared | Rewritten | Rotated | Truncated { .. })
}

impl Sessions {
    /// The session of a file that begins with this line.
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
