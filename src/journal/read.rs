//! Reading: pages by line number, ranges by entry id.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::range::{IdRange, RangeScan};
use super::stream::BlockRef;
use super::{Journal, JournalError, Stream, Tip};
use crate::model::limits::{TAIL_PAGE_BYTES, TAIL_PAGE_LINES};
use crate::model::{Entry, EntryBody, EntryId, Line, LineOrigins, LineText, Origin};
use crate::store::block;

/// The maximum size of a page. A page has at least one entry, if there is any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimits {
    /// Number of entries.
    pub lines: usize,
    /// Bytes of text.
    pub bytes: usize,
}

impl Default for PageLimits {
    fn default() -> Self {
        Self { lines: TAIL_PAGE_LINES, bytes: TAIL_PAGE_BYTES }
    }
}

/// Consecutive lines of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinePage {
    /// Lines, the first at or after the requested one.
    pub lines: Vec<Line<'static>>,
    /// First line of the stream at the time of the read.
    pub first_line: u64,
    /// Last line of the stream at the time of the read.
    pub last_line: u64,
}

/// Consecutive entries of a stream with any contents, including deleted ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryPage {
    /// Entries, the first at or after the requested one.
    pub entries: Vec<Entry<'static>>,
    /// Last line of the stream at the time of the read.
    pub last_line: u64,
}

impl Journal {
    /// Returns lines from number `from`. The page is empty if `from` is after the tip.
    pub fn read(&self, stream: &Stream, from: u64, limits: PageLimits) -> Result<LinePage, JournalError> {
        let size = |line: &Line<'_>| line.line.len();
        let (lines, tip) = self.read_page(stream, from, limits, size, into_line)?;
        Ok(LinePage { lines, first_line: tip.first_line, last_line: tip.last_line })
    }

    /// Returns entries from line number `from`, as they were added.
    pub fn read_entries(&self, stream: &Stream, from: u64, limits: PageLimits) -> Result<EntryPage, JournalError> {
        let size = |entry: &Entry<'_>| usize::try_from(entry.body.text_bytes()).unwrap_or(usize::MAX);
        let into = |entry: Entry<'_>| Entry { id: entry.id, n: entry.n, body: entry.body.into_owned() };
        let (entries, tip) = self.read_page(stream, from, limits, size, into)?;
        Ok(EntryPage { entries, last_line: tip.last_line })
    }

    fn read_page<T: Numbered>(
        &self,
        stream: &Stream,
        from: u64,
        limits: PageLimits,
        size: impl Fn(&T) -> usize,
        into: impl Fn(Entry<'_>) -> T,
    ) -> Result<(Vec<T>, Tip), JournalError> {
        'retry: loop {
            let tip = stream.tip();
            if stream.is_unavailable(self.inner.options.clock.now()) {
                return Err(JournalError::Removed);
            }
            let from = from.max(tip.first_line);
            let mut found: Vec<T> = Vec::new();
            let mut bytes = 0;
            for row in blocks_from(stream, from, limits) {
                let Some(value) = self.inner.store.block(stream.number, row.first, row.bytes as usize)? else {
                    // Trimmed or compacted meanwhile: list the blocks again.
                    std::thread::yield_now();
                    continue 'retry;
                };
                let mut full = false;
                block::decode(row.first, &value, |entry| {
                    // A block that was compacted meanwhile contains the entries of the following ones.
                    if entry.n < from || found.last().is_some_and(|last| last.n() >= entry.n) {
                        return true;
                    }
                    if entry.n > tip.last_line {
                        return false;
                    }
                    let item = into(entry);
                    full = !found.is_empty() && (found.len() >= limits.lines || bytes + size(&item) > limits.bytes);
                    bytes += size(&item);
                    if !full {
                        found.push(item);
                    }
                    !full
                })?;
                if full || found.len() >= limits.lines {
                    break;
                }
            }
            return Ok((found, tip));
        }
    }

    /// Returns the entries of the key in a range.
    pub fn range(&self, stream: &Stream, range: IdRange) -> Result<Vec<Entry<'static>>, JournalError> {
        let mut found = Vec::new();
        self.visit_range(stream, range, &mut |entry| {
            found.push(Entry { id: entry.id, n: entry.n, body: entry.body.clone().into_owned() });
        })?;
        Ok(found)
    }

    /// Calls `each` with the entries of the key in a range. Returns their number.
    pub fn visit_range(
        &self,
        stream: &Stream,
        range: IdRange,
        each: &mut dyn FnMut(&Entry<'_>),
    ) -> Result<usize, JournalError> {
        let tip = stream.tip();
        let mut scan = RangeScan::new(range, tip.shown_line, tip.last_line);
        'retry: loop {
            if stream.is_unavailable(self.inner.options.clock.now()) {
                return Err(JournalError::Removed);
            }
            // After the blocks changed, continue with the last visited entry.
            let (start, end) = match scan.last {
                Some(last) if range.reverse => (range.start, last),
                Some(last) => (last, range.end),
                None => (range.start, range.end),
            };
            for row in rows_between(stream, start, end, range.reverse) {
                if scan.is_full() {
                    break;
                }
                let Some(value) = self.inner.store.block(stream.number, row.first, row.bytes as usize)? else {
                    if stream.tip().shown_line > row.last_line() {
                        continue;
                    }
                    std::thread::yield_now();
                    continue 'retry;
                };
                scan.visit_block(row.first, &value, each)?;
            }
            return Ok(scan.found);
        }
    }

    /// Calls `each` with the lines from `from` to `to` and their origins, in order, until it breaks. Used
    /// by the archive, which must not hold them all in memory.
    pub fn scan<B>(
        &self,
        stream: &Arc<Stream>,
        from: u64,
        to: u64,
        mut each: impl FnMut(Line<'_>, Origin<'_>) -> ControlFlow<B>,
    ) -> Result<Option<B>, JournalError> {
        let mut next = from;
        while next <= to {
            let page = self.read(stream, next, PageLimits::default())?;
            let (Some(first), Some(last)) = (page.lines.first(), page.lines.last()) else { break };
            next = last.n + 1;
            let origins = self.origins(stream, first.n, last.n.min(to))?;
            for (line, origin) in page.lines.into_iter().zip(origins.each()) {
                if let ControlFlow::Break(end) = each(line, origin) {
                    return Ok(Some(end));
                }
            }
        }
        Ok(None)
    }

    /// Returns the origins of the lines from `from` to `to`. The origin of a line removed meanwhile is
    /// unknown.
    fn origins(&self, stream: &Stream, from: u64, to: u64) -> Result<LineOrigins, JournalError> {
        'retry: loop {
            let rows: Vec<BlockRef> = {
                let blocks = stream.blocks.read();
                let start = blocks.partition_point(|row| row.last_line() < from);
                blocks.range(start..).take_while(|row| row.first_line <= to).copied().collect()
            };
            let (mut origins, mut next) = (LineOrigins::default(), from);
            for row in rows {
                let Some(value) = self.inner.store.block(stream.number, row.first, row.bytes as usize)? else {
                    // Trimmed or compacted meanwhile: list the blocks again.
                    std::thread::yield_now();
                    continue 'retry;
                };
                let header = block::decode_header(&value)?;
                for (n, origin) in (header.first_line..=to).zip(header.origins()).filter(|(n, _)| *n >= from) {
                    while next < n {
                        origins.push(Origin::Unknown);
                        next += 1;
                    }
                    if next == n {
                        origins.push(origin);
                        next += 1;
                    }
                }
            }
            while next <= to {
                origins.push(Origin::Unknown);
                next += 1;
            }
            return Ok(origins);
        }
    }
}

/// An item with a line number.
trait Numbered {
    fn n(&self) -> u64;
}

impl Numbered for Line<'_> {
    fn n(&self) -> u64 {
        self.n
    }
}

impl Numbered for Entry<'_> {
    fn n(&self) -> u64 {
        self.n
    }
}

/// Returns the blocks that may contain these IDs, in reading order.
fn rows_between(stream: &Stream, start: EntryId, end: EntryId, reverse: bool) -> Vec<BlockRef> {
    let blocks = stream.blocks.read();
    let from = blocks.partition_point(|row| row.last < start);
    let mut rows: Vec<BlockRef> = blocks.range(from..).take_while(|row| row.first <= end).copied().collect();
    if reverse {
        rows.reverse();
    }
    rows
}

/// Returns the blocks that a page from this line may need.
fn blocks_from(stream: &Stream, from: u64, limits: PageLimits) -> Vec<BlockRef> {
    let blocks = stream.blocks.read();
    let start = blocks.partition_point(|row| row.last_line() < from);
    let (mut lines, mut bytes) = (0usize, 0usize);
    let mut rows = Vec::new();
    for row in blocks.range(start..) {
        rows.push(*row);
        let lines_left = usize::try_from((row.last_line() + 1).saturating_sub(from)).unwrap_or(usize::MAX);
        lines = lines.saturating_add(lines_left.min(row.count as usize));
        // The first block may lie mostly before `from`; the others count in full.
        bytes += if rows.len() == 1 { 0 } else { row.bytes as usize };
        if lines >= limits.lines || bytes >= limits.bytes {
            break;
        }
    }
    rows
}

fn into_line(entry: Entry<'_>) -> Line<'static> {
    let of = |text: LineText<'_>| {
        let LineText { timestamp, channel, partial, lossy, text } = text;
        Line { n: entry.n, id: entry.id, timestamp, channel, line: text.into_owned().into(), partial, lossy }
    };
    match entry.body {
        EntryBody::Line(line) => of(line),
        body => of(body.to_line(entry.id)),
    }
}
