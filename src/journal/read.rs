//! Reading: pages by line number, ranges by entry id.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::stream::BlockRef;
use super::{Journal, JournalError, Stream};
use crate::model::limits::{TAIL_PAGE_BYTES, TAIL_PAGE_LINES};
use crate::model::{Entry, EntryBody, EntryId, Line, LineText, Timestamp};
use crate::store::block;

/// How much one read gives at most; one entry is always given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimits {
    /// Entries.
    pub lines: usize,
    /// Bytes of text.
    pub bytes: usize,
}

impl Default for PageLimits {
    fn default() -> Self {
        Self { lines: TAIL_PAGE_LINES, bytes: TAIL_PAGE_BYTES }
    }
}

/// Some lines in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Consecutive lines, the first at or behind the one asked for.
    pub lines: Vec<Line<'static>>,
    /// The first line that was here at the time.
    pub first_line: u64,
    /// The last line that was here at the time.
    pub last_line: u64,
}

/// Entries by id, both ends included (Redis: XRANGE, XREVRANGE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The least id wanted.
    pub start: EntryId,
    /// The greatest id wanted.
    pub end: EntryId,
    /// Entries at most.
    pub count: usize,
    /// Greatest id first.
    pub reverse: bool,
}

impl Journal {
    /// Lines from number `from` on. Empty if `from` is behind the tip.
    pub fn read(&self, stream: &Stream, from: u64, limits: PageLimits) -> Result<Page, JournalError> {
        'again: loop {
            let tip = stream.tip();
            if stream.is_gone(Timestamp::now()) {
                return Err(JournalError::Removed);
            }
            let from = from.max(tip.first_line);
            let mut page = Page { lines: Vec::new(), first_line: tip.first_line, last_line: tip.last_line };
            let mut bytes = 0;
            for found in blocks_from(stream, from, limits) {
                let Some(value) = self.inner.store.block(stream.number, found.first, found.bytes as usize)? else {
                    // Trimmed or packed in the meantime: the rows are another by now.
                    continue 'again;
                };
                let mut full = false;
                block::decode(found.first, &value, |entry| {
                    // A block that was packed meanwhile holds what the next rows held.
                    if entry.n < from || page.lines.last().is_some_and(|last| last.n >= entry.n) {
                        return true;
                    }
                    if entry.n > tip.last_line {
                        return false;
                    }
                    let line = into_line(entry);
                    full = !page.lines.is_empty()
                        && (page.lines.len() >= limits.lines || bytes + line.line.len() > limits.bytes);
                    bytes += line.line.len();
                    if !full {
                        page.lines.push(line);
                    }
                    !full
                })?;
                if full || page.lines.len() >= limits.lines {
                    break;
                }
            }
            return Ok(page);
        }
    }

    /// Entries whose ids lie in a range.
    pub fn range(&self, stream: &Stream, range: Range) -> Result<Vec<Entry<'static>>, JournalError> {
        'again: loop {
            let tip = stream.tip();
            if stream.is_gone(Timestamp::now()) {
                return Err(JournalError::Removed);
            }
            let mut rows: Vec<BlockRef> = {
                let blocks = stream.blocks.read();
                let start = blocks.partition_point(|row| row.last < range.start);
                blocks.range(start..).take_while(|row| row.first <= range.end).copied().collect()
            };
            if range.reverse {
                rows.reverse();
            }
            let mut found = Vec::new();
            for row in rows {
                let Some(value) = self.inner.store.block(stream.number, row.first, row.bytes as usize)? else {
                    continue 'again;
                };
                let mut inside = Vec::new();
                block::decode(row.first, &value, |entry| {
                    if entry.id >= range.start
                        && entry.id <= range.end
                        && entry.n >= tip.first_line
                        && entry.n <= tip.last_line
                    {
                        inside.push(into_owned(entry));
                    }
                    true
                })?;
                if range.reverse {
                    inside.reverse();
                }
                found.extend(inside);
                if found.len() >= range.count {
                    found.truncate(range.count);
                    break;
                }
            }
            return Ok(found);
        }
    }

    /// Calls `each` with every line from `from` to `to`, in order, until it breaks. For the archive,
    /// which must not hold them all.
    pub fn scan<B>(
        &self,
        stream: &Arc<Stream>,
        from: u64,
        to: u64,
        mut each: impl FnMut(Line<'_>) -> ControlFlow<B>,
    ) -> Result<Option<B>, JournalError> {
        let mut next = from;
        while next <= to {
            let page = self.read(stream, next, PageLimits::default())?;
            let Some(last) = page.lines.last() else { break };
            next = last.n + 1;
            for line in page.lines.into_iter().take_while(|line| line.n <= to) {
                if let ControlFlow::Break(end) = each(line) {
                    return Ok(Some(end));
                }
            }
        }
        Ok(None)
    }
}

/// The blocks that a page from this line may need.
fn blocks_from(stream: &Stream, from: u64, limits: PageLimits) -> Vec<BlockRef> {
    let blocks = stream.blocks.read();
    let start = blocks.partition_point(|row| row.last_line() < from);
    let (mut lines, mut bytes) = (0usize, 0usize);
    let mut wanted = Vec::new();
    for row in blocks.range(start..) {
        wanted.push(*row);
        let behind = usize::try_from((row.last_line() + 1).saturating_sub(from)).unwrap_or(usize::MAX);
        lines = lines.saturating_add(behind.min(row.count as usize));
        // The first block may lie mostly before `from`; the others count in full.
        bytes += if wanted.len() == 1 { 0 } else { row.bytes as usize };
        if lines >= limits.lines || bytes >= limits.bytes {
            break;
        }
    }
    wanted
}

fn into_line(entry: Entry<'_>) -> Line<'static> {
    let LineText { timestamp, channel, partial, lossy, text } = match entry.body {
        EntryBody::Line(line) => line,
        EntryBody::Fields(_) => entry.body.to_line(entry.id),
    };
    let line = text.into_owned().into();
    Line { n: entry.n, id: entry.id, timestamp, channel, line, partial, lossy }
}

fn into_owned(entry: Entry<'_>) -> Entry<'static> {
    let body = match entry.body {
        EntryBody::Fields(fields) => EntryBody::Fields(fields),
        EntryBody::Line(line) => EntryBody::Line(LineText { text: line.text.into_owned().into(), ..line }),
    };
    Entry { id: entry.id, n: entry.n, body }
}
