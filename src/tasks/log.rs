//! The log as one: archive, then journal, joined by line number.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::Stream;

use super::task::TaskHandle;
use super::{PageLimits, TasksError};
use crate::journal::JournalError;
use crate::model::{Channel, Cursor, EntryId, Gap, GapMarker, GapReason, Line, Timestamp};

/// Lines of one page of the whole log when it is exported from the journal.
const EXPORT_PAGE: PageLimits = PageLimits { lines: 5_000, bytes: 1024 * 1024 };

/// Which limit a log was over whose middle is not there.
const LOG_LIMIT: &str = "a task's log";

/// Some lines of a task's log, in order.
#[derive(Debug)]
pub struct LogPage {
    /// Consecutive lines; none if there was nothing to read.
    pub lines: Vec<Line<'static>>,
    /// Lines before these that were asked for and are not there.
    pub gap: Option<Gap>,
    /// Behind the last line, or behind the gap.
    pub cursor: Cursor,
    /// The line to read next.
    pub next: u64,
    /// The first line that could be read at the time; 0 if none.
    pub first_line: u64,
    /// The last line that could be read at the time; 0 if none.
    pub last_line: u64,
    /// The page as the first who sent it wrote it.
    encoded: OnceLock<Bytes>,
}

impl LogPage {
    /// A form of this page that all its readers share; made once, by the first who asks.
    pub fn encoded(&self, encode: impl FnOnce(&LogPage) -> Bytes) -> Bytes {
        self.encoded.get_or_init(|| encode(self)).clone()
    }

    /// Bytes of the lines' text.
    pub(super) fn text_bytes(&self) -> usize {
        self.lines.iter().map(|line| line.line.len()).sum()
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.gap.is_none()
    }
}

impl TaskHandle {
    /// One page of the log from line `from` on.
    pub async fn read(&self, from: u64, limits: PageLimits) -> Result<Arc<LogPage>, TasksError> {
        if from <= self.archived_through() {
            let task = self.clone();
            let read = tokio::task::spawn_blocking(move || task.read_now(from, limits)).await;
            return read.map_err(|_| TasksError::Closed)?.map(Arc::new);
        }
        self.read_now(from, limits).map(Arc::new)
    }

    /// Reads the archive as far as it goes, else the journal. What leaves the journal while we look
    /// is in the archive by then, so a look that comes too late is repeated.
    pub(super) fn read_now(&self, from: u64, limits: PageLimits) -> Result<LogPage, TasksError> {
        let from = from.max(1);
        loop {
            if self.is_removed() {
                return Err(TasksError::Removed(self.id().clone()));
            }
            let archived = self.archived_through();
            if from <= archived {
                let lines = self.archive().read(from, limits.lines, limits.bytes)?;
                return Ok(self.page(from, lines));
            }
            let Some(stream) = self.stream() else {
                // The journal went between the two looks: then the archive has grown to the end.
                if self.archived_through() >= from {
                    continue;
                }
                return Ok(self.page(from, Vec::new()));
            };
            match self.journal().read(&stream, from, limits) {
                Ok(page) => {
                    let late = page.lines.first().is_some_and(|line| line.n > from) && self.archived_through() >= from;
                    if page.lines.is_empty() && page.last_line >= from && self.archived_through() < from {
                        return Ok(self.all_trimmed(from, page.last_line));
                    }
                    if !late {
                        return Ok(self.page(from, page.lines));
                    }
                }
                Err(JournalError::Removed) if self.is_removed() => return Err(TasksError::Removed(self.id().clone())),
                Err(JournalError::Removed) => {
                    if self.stream().is_some_and(|now| Arc::ptr_eq(&now, &stream)) {
                        return Ok(self.page(from, Vec::new()));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn page(&self, from: u64, lines: Vec<Line<'static>>) -> LogPage {
        let (first_line, last_line) = self.readable();
        let found = lines.first().map(|line| line.n);
        let gap = found.filter(|n| *n > from).map(|n| self.gap(from, n - 1));
        let next = lines.last().map_or(from, |line| line.n + 1);
        let id = lines.last().map_or(EntryId::MIN, |line| line.id);
        let cursor = Cursor { epoch: self.epoch(), n: next - 1, id };
        LogPage { lines, gap, cursor, next, first_line, last_line, encoded: OnceLock::new() }
    }

    /// These lines cannot be read: what is not between frames of the archive was never in one.
    fn gap(&self, from: u64, to: u64) -> Gap {
        let quota = self.archive().hole_at(from).is_some();
        let reason = if quota { GapReason::Quota } else { GapReason::Trimmed };
        Gap { from, to, reason, count: to - from + 1, marked: false }
    }

    /// The gap that this line is in, from its first line to its last, if it is in one.
    pub fn gap_at(&self, line: u64) -> Option<Gap> {
        self.archive().hole_at(line).map(|hole| self.gap(hole.from, hole.to))
    }

    /// Everything from here to the end is gone, and no archive has it.
    fn all_trimmed(&self, from: u64, to: u64) -> LogPage {
        let gap = Some(self.gap(from, to));
        let cursor = Cursor { epoch: self.epoch(), n: to, id: EntryId::MIN };
        LogPage { gap, cursor, next: to + 1, ..self.page(to + 1, Vec::new()) }
    }

    /// The whole log as NDJSON, chunk by chunk, up to where it ends now. Where lines are missing
    /// between others there is one row of the channel `internal` that says so, with a field `gap`.
    pub fn export(&self) -> impl Stream<Item = Result<Bytes, TasksError>> + Send + 'static {
        let to = self.readable().1;
        futures::stream::try_unfold((self.clone(), 1), move |(task, from)| async move {
            if from > to {
                return Ok(None);
            }
            let chunk = tokio::task::spawn_blocking(move || {
                let chunk = task.export_chunk(from, to)?;
                Ok::<_, TasksError>(chunk.map(|(bytes, next)| (bytes, (task, next))))
            });
            chunk.await.map_err(|_| TasksError::Closed)?
        })
    }

    fn export_chunk(&self, from: u64, to: u64) -> Result<Option<(Bytes, u64)>, TasksError> {
        if let Some(hole) = self.archive().hole_at(from) {
            return Ok(Some((gap_row(self.gap(from, hole.to.min(to)), hole.before), hole.to + 1)));
        }
        if from <= self.archived_through()
            && let Some((mut raw, next)) = self.archive().frame_from(from)?
        {
            if next > to + 1 {
                // The frame goes on behind the end that was promised.
                let lines = usize::try_from(next - 1 - to).unwrap_or(usize::MAX);
                let end = memchr::memrchr_iter(b'\n', &raw).nth(lines).map_or(0, |at| at + 1);
                raw.truncate(end);
            }
            return Ok(Some((raw.into(), next)));
        }
        let page = self.read_now(from, EXPORT_PAGE)?;
        if page.lines.is_empty() {
            return Ok(None);
        }
        let mut raw = Vec::with_capacity(page.lines.len() * 160);
        for line in page.lines.iter().take_while(|line| line.n <= to) {
            if let Err(error) = serde_json::to_writer(&mut raw, line) {
                tracing::error!(task = %self.id(), line = line.n, %error, "a line cannot be written as JSON");
            }
            raw.push(b'\n');
        }
        Ok(Some((raw.into(), page.next)))
    }
}

/// What stands in an export for lines that are not there.
fn gap_row(gap: Gap, before: EntryId) -> Bytes {
    #[derive(serde::Serialize)]
    struct Row<'a> {
        #[serde(flatten)]
        line: Line<'a>,
        gap: Gap,
    }
    let line = Line {
        n: gap.from,
        id: before,
        timestamp: Timestamp::from_millis(before.ms),
        channel: Channel::Internal,
        line: GapMarker::over(gap.count, LOG_LIMIT).into(),
        partial: false,
        lossy: false,
    };
    let mut raw = serde_json::to_vec(&Row { line, gap }).unwrap_or_default();
    raw.push(b'\n');
    raw.into()
}
