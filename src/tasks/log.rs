//! A task's log as a whole: archive, then journal, joined by line number.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::Stream;

use super::task::TaskHandle;
use super::{PageLimits, TasksError};
use crate::journal::JournalError;
use crate::model::{Channel, Cursor, EntryId, Gap, GapMarker, GapReason, Line, Timestamp};

/// Page size for exporting from the journal.
const EXPORT_PAGE: PageLimits = PageLimits { lines: 5_000, bytes: 1024 * 1024 };

/// Reads one chunk of an export: its bytes, and the first line after it.
type ReadChunk = fn(&TaskHandle, u64, u64) -> Result<Option<(Bytes, u64)>, TasksError>;

/// Name of the limit in the marker of a truncated middle.
const LOG_LIMIT: &str = "a task's log";

/// A page of a task's log.
#[derive(Debug)]
pub struct LogPage {
    /// Consecutive lines; empty if there was nothing to read.
    pub lines: Vec<Line<'static>>,
    /// Requested lines before these that are missing.
    pub gap: Option<Gap>,
    /// Position after the last line, or after the gap.
    pub cursor: Cursor,
    /// Next line to read.
    pub next: u64,
    /// First readable line at the time; 0 if none.
    pub first_line: u64,
    /// Last readable line at the time; 0 if none.
    pub last_line: u64,
    /// The page as encoded by its first reader.
    encoded: OnceLock<Bytes>,
}

impl LogPage {
    /// Returns the encoded page, which all its readers share. The first caller encodes it.
    pub fn encoded(&self, encode: impl FnOnce(&LogPage) -> Bytes) -> Bytes {
        self.encoded.get_or_init(|| encode(self)).clone()
    }

    /// Returns the size of the lines' text, in bytes.
    pub(super) fn text_bytes(&self) -> usize {
        self.lines.iter().map(|line| line.line.len()).sum()
    }

    /// Reports whether the page has neither lines nor a gap.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.gap.is_none()
    }
}

impl TaskHandle {
    /// Returns one page of the log, starting at line `from`.
    pub async fn read(&self, from: u64, limits: PageLimits) -> Result<Arc<LogPage>, TasksError> {
        if from <= self.archived_through() {
            let task = self.clone();
            let read = tokio::task::spawn_blocking(move || task.read_now(from, limits)).await;
            return read.map_err(|_| TasksError::Closed)?.map(Arc::new);
        }
        self.read_now(from, limits).map(Arc::new)
    }

    /// Reads from the archive, or from the journal after its end. Lines trimmed from the journal during the
    /// read are in the archive by then, so the read is repeated.
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
                // The journal was removed between the two reads: the archive holds all lines now.
                if self.archived_through() >= from {
                    continue;
                }
                return Ok(self.page(from, Vec::new()));
            };
            match self.journal().read(&stream, from, limits) {
                Ok(page) => {
                    let is_outdated =
                        page.lines.first().is_some_and(|line| line.n > from) && self.archived_through() >= from;
                    if page.lines.is_empty() && page.last_line >= from && self.archived_through() < from {
                        return Ok(self.all_trimmed(from, page.last_line));
                    }
                    if !is_outdated {
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

    /// Returns the page for `lines`, which were read from line `from` on.
    fn page(&self, from: u64, lines: Vec<Line<'static>>) -> LogPage {
        let (first_line, last_line) = self.readable();
        let found = lines.first().map(|line| line.n);
        let gap = found.filter(|n| *n > from).map(|n| self.gap(from, n - 1));
        let next = lines.last().map_or(from, |line| line.n + 1);
        let id = lines.last().map_or(EntryId::MIN, |line| line.id);
        let cursor = Cursor { epoch: self.epoch(), n: next - 1, id };
        LogPage { lines, gap, cursor, next, first_line, last_line, encoded: OnceLock::new() }
    }

    /// Returns the gap of missing lines. Lines in no hole of the archive were trimmed before archiving.
    fn gap(&self, from: u64, to: u64) -> Gap {
        let quota = self.archive().hole_at(from).is_some();
        let reason = if quota { GapReason::Quota } else { GapReason::Trimmed };
        Gap { from, to, reason, count: to - from + 1, marked: false }
    }

    /// Returns the whole gap that contains this line, if any.
    pub fn gap_at(&self, line: u64) -> Option<Gap> {
        self.archive().hole_at(line).map(|hole| self.gap(hole.from, hole.to))
    }

    /// Returns the page for a range that was trimmed without being archived.
    fn all_trimmed(&self, from: u64, to: u64) -> LogPage {
        let gap = Some(self.gap(from, to));
        let cursor = Cursor { epoch: self.epoch(), n: to, id: EntryId::MIN };
        LogPage { gap, cursor, next: to + 1, ..self.page(to + 1, Vec::new()) }
    }

    /// Returns the whole log up to its current end as NDJSON, in chunks. A row on the channel `internal` with
    /// a field `gap` replaces missing lines between others.
    pub fn export(&self) -> impl Stream<Item = Result<Bytes, TasksError>> + Send + 'static {
        self.export_with(Self::export_chunk)
    }

    /// Returns the same as [`TaskHandle::export`] in zstd frames. Those of the archive are sent as they are.
    pub fn export_zstd(&self) -> impl Stream<Item = Result<Bytes, TasksError>> + Send + 'static {
        self.export_with(Self::export_zstd_chunk)
    }

    fn export_with(&self, read: ReadChunk) -> impl Stream<Item = Result<Bytes, TasksError>> + Send + 'static {
        let to = self.readable().1;
        futures::stream::try_unfold((self.clone(), 1), move |(task, from)| async move {
            if from > to {
                return Ok(None);
            }
            let chunk = tokio::task::spawn_blocking(move || {
                let chunk = read(&task, from, to)?;
                Ok::<_, TasksError>(chunk.map(|(bytes, next)| (bytes, (task, next))))
            });
            chunk.await.map_err(|_| TasksError::Closed)?
        })
    }

    fn export_zstd_chunk(&self, from: u64, to: u64) -> Result<Option<(Bytes, u64)>, TasksError> {
        if from <= self.archived_through()
            && let Some((frame, next)) = self.archive().compressed_frame_at(from)?
            && next <= to + 1
        {
            return Ok(Some((frame.into(), next)));
        }
        let Some((raw, next)) = self.export_chunk(from, to)? else { return Ok(None) };
        Ok(Some((self.archive().compress(&raw)?.into(), next)))
    }

    /// Returns lines `from..=to` as NDJSON, as far as they are stored together, and the first line after them; `None`
    /// if there is none. Missing lines between others are one row on the channel `internal`. It reads the disk, so
    /// it belongs on a blocking thread.
    pub fn ndjson(&self, from: u64, to: u64) -> Result<Option<(Bytes, u64)>, TasksError> {
        self.export_chunk(from, to)
    }

    fn export_chunk(&self, from: u64, to: u64) -> Result<Option<(Bytes, u64)>, TasksError> {
        if let Some(hole) = self.archive().hole_at(from) {
            return Ok(Some((gap_row(self.gap(from, hole.to.min(to)), hole.before), hole.to + 1)));
        }
        if from <= self.archived_through()
            && let Some((mut raw, next)) = self.archive().frame_from(from)?
        {
            if next > to + 1 {
                // The frame continues after the end of this export.
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
                tracing::error!(task = %self.id(), line = line.n, %error, "failed to write a line as JSON");
            }
            raw.push(b'\n');
        }
        Ok(Some((raw.into(), page.next)))
    }
}

/// Returns the row that replaces missing lines in an export.
fn gap_row(gap: Gap, before: EntryId) -> Bytes {
    #[derive(serde::Serialize)]
    struct GapRow<'a> {
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
    let mut raw = serde_json::to_vec(&GapRow { line, gap }).unwrap_or_default();
    raw.push(b'\n');
    raw.into()
}
