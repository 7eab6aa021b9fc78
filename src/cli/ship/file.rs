//! Sends the lines of one file to a task.
//!
//! Lines are numbered by their position in the file. If a file is sent from its start, its session is
//! named after the file and its first line, so another `ship` of the file repeats the numbers and the
//! server drops duplicates. A file with other content is sent in another session (`sessions`).

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::mask::MaskedBytes;
use super::super::output::Output;
use super::super::sender::LineSender;
use super::sessions::ShipSessions;
use crate::events::{FileFollower, FollowItem, FollowNotice, clean};
use crate::model::limits::LINE_BYTES_MAX;
use crate::worker::{LineSplitter, Masks, SplitLine};

/// Maximum time to read remaining lines after a request to stop.
const LAST_READ: Duration = Duration::from_secs(5);
/// Interval at which the sent position is recorded.
const SAVE_EVERY: Duration = Duration::from_secs(1);
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
    /// Sessions of the lines, if they are numbered from the file's start.
    sessions: Option<ShipSessions>,
    /// A notice that depends on the bytes after it.
    held_notice: Option<FollowNotice>,
    /// Held while lines are sent, so that no line of another file comes between the pieces of a long line.
    turn: Arc<Mutex<()>>,
    output: Output,
}

impl<'a> FileShipper<'a> {
    /// Creates a sender. `sessions` is set if lines are numbered from the file's start.
    pub(super) fn new(
        follower: FileFollower,
        name: String,
        mut prefix: String,
        [lines, late, notes]: [LineSender<'a>; 3],
        sessions: Option<ShipSessions>,
        masks: Masks,
        output: Output,
    ) -> Self {
        prefix.truncate(prefix.floor_char_boundary(PREFIX_BYTES_MAX));
        let splitter = LineSplitter::new(LINE_BYTES_MAX - prefix.len());
        let masked = MaskedBytes::new(&masks);
        Self {
            follower,
            name,
            prefix,
            masks,
            masked,
            splitter,
            in_line: false,
            lines,
            late,
            is_late: false,
            notes,
            sessions,
            held_notice: None,
            turn: Arc::default(),
            output,
        }
    }

    /// Sends in turns with the other files that have the same lock.
    pub(super) fn with_turn(self, turn: &Arc<Mutex<()>>) -> Self {
        Self { turn: Arc::clone(turn), ..self }
    }

    /// Sends lines as they arrive, until all existing lines are sent (`once`), or until all lines are
    /// sent after `stop`.
    pub(super) async fn run(mut self, once: bool, stop: CancellationToken) -> anyhow::Result<ShippedFile> {
        if let Some(lost) = self.sessions.as_mut().and_then(ShipSessions::take_lost) {
            self.note(&lost).await?;
        }
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
                // A hole of NUL bytes is not a part of a long line.
                if let Some(notice) = self.held_notice.take()
                    && bytes.iter().any(|byte| *byte != 0)
                {
                    self.report(&notice).await?;
                }
                if std::mem::take(&mut self.is_late) {
                    return self.send_late(&bytes).await;
                }
                let bytes = self.masked.push(&bytes);
                self.send_lines(&bytes).await?;
                self.save(SAVE_EVERY);
                Ok(())
            }
            FollowItem::Notice(FollowNotice::TooLong) => {
                self.held_notice = Some(FollowNotice::TooLong);
                Ok(())
            }
            FollowItem::Notice(notice) => {
                self.held_notice = None;
                if is_other_file(&notice) {
                    self.finish_content().await?;
                }
                self.report(&notice).await
            }
            FollowItem::CaughtUp => {
                self.save(Duration::ZERO);
                Ok(())
            }
        }
    }

    /// Remembers what was sent, unless that was done within `pause`.
    fn save(&mut self, pause: Duration) {
        let Some(sessions) = &mut self.sessions else { return };
        if let Err(error) = sessions.save(pause, &self.follower, self.lines.session()) {
            let name = &self.name;
            self.output.note(format_args!(
                "cannot remember how far {name} was sent: {error}; if it is rewritten while it is not followed, lines may be missing"
            ));
        }
    }

    /// Sends what is held back of content that has ended.
    async fn finish_content(&mut self) -> anyhow::Result<()> {
        let held = self.masked.finish();
        self.send_lines(&held).await?;
        while let Some(line) = self.splitter.finish() {
            self.push(line)?;
        }
        self.lines.flush().await?;
        self.splitter = LineSplitter::new(LINE_BYTES_MAX - self.prefix.len());
        self.in_line = false;
        Ok(())
    }

    async fn send_lines(&mut self, mut bytes: &[u8]) -> anyhow::Result<()> {
        let turn = Arc::clone(&self.turn);
        let _turn = turn.lock().await;
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
        let turn = Arc::clone(&self.turn);
        let _turn = turn.lock().await;
        while let Some(mut line) = splitter.next_line(&mut bytes) {
            line.text.insert_str(0, &self.prefix);
            self.late.push(&line)?;
            self.late.flush_if_full().await?;
        }
        self.late.flush().await
    }

    fn push(&mut self, mut line: SplitLine) -> anyhow::Result<()> {
        if let Some(sessions) = &mut self.sessions
            && let Some(session) = sessions.start(self.follower.identity(), &line.text)
        {
            self.lines.start_session(session);
        }
        if let Some(note) = line.nul_note() {
            // In the same session, so that it is not stored again with the lines.
            self.lines.push_internal(&format!("{}: {note}", self.name))?;
        }
        if !std::mem::replace(&mut self.in_line, line.partial) {
            line.text.insert_str(0, &self.prefix);
        }
        self.lines.push(&line)
    }

    async fn report(&mut self, notice: &FollowNotice) -> anyhow::Result<()> {
        if let (true, Some(sessions)) = (is_other_file(notice), &mut self.sessions) {
            sessions.end();
        }
        self.is_late = *notice == FollowNotice::Late;
        self.note(&notice.to_string()).await
    }

    async fn note(&mut self, text: &str) -> anyhow::Result<()> {
        let text = format!("{}: {}", self.name, clean(text));
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
                self.lines.start_session(sessions.name_half(identity, &String::from_utf8_lossy(half)));
            }
            let turn = Arc::clone(&self.turn);
            let _turn = turn.lock().await;
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
