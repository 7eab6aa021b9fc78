//! Reading: pages by line number, ranges by entry id.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::stream::BlockRef;
use super::view::Pick;
use super::{Journal, JournalError, Stream, Tip};
use crate::model::limits::{TAIL_PAGE_BYTES, TAIL_PAGE_LINES};
use crate::model::{Entry, EntryBody, EntryId, Line, LineOrigins, LineText, Origin};
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
pub struct LinePage {
    /// Consecutive lines, the first at or behind the one asked for.
    pub lines: Vec<Line<'static>>,
    /// The first line that was here at the time.
    pub first_line: u64,
    /// The last line that was here at the time.
    pub last_line: u64,
}

/// Entries by id, both ends included (Redis: XRANGE, XREVRANGE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The least id wanted.
    pub start: EntryId,
    /// The greatest id wanted.
    pub end: EntryId,
    /// Entries at most.
    pub count: usize,
    /// Greatest id first.
    pub reverse: bool,
}

/// Entries in order, whatever they hold; deleted ones too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryPage {
    /// Consecutive entries, the first at or behind the one asked for.
    pub entries: Vec<Entry<'static>>,
    /// The last that was here at the time.
    pub last_line: u64,
}

impl Journal {
    /// Lines from number `from` on. Empty if `from` is behind the tip.
    pub fn read(&self, stream: &Stream, from: u64, limits: PageLimits) -> Result<LinePage, JournalError> {
        let size = |line: &Line<'_>| line.line.len();
        let (lines, tip) = self.read_as(stream, from, limits, size, into_line)?;
        Ok(LinePage { lines, first_line: tip.first_line, last_line: tip.last_line })
    }

    /// Entries from number `from` on, as they were added.
    pub fn read_entries(&self, stream: &Stream, from: u64, limits: PageLimits) -> Result<EntryPage, JournalError> {
        let size = |entry: &Entry<'_>| usize::try_from(entry.body.text_bytes()).unwrap_or(usize::MAX);
        let into = |entry: Entry<'_>| Entry { id: entry.id, n: entry.n, body: entry.body.into_owned() };
        let (entries, tip) = self.read_as(stream, from, limits, size, into)?;
        Ok(EntryPage { entries, last_line: tip.last_line })
    }

    fn read_as<T: Numbered>(
        &self,
        stream: &Stream,
        from: u64,
        limits: PageLimits,
        size: impl Fn(&T) -> usize,
        into: impl Fn(Entry<'_>) -> T,
    ) -> Result<(Vec<T>, Tip), JournalError> {
        'again: loop {
            let tip = stream.tip();
            if stream.is_gone(self.inner.options.clock.now()) {
                return Err(JournalError::Removed);
            }
            let from = from.max(tip.first_line);
            let mut found: Vec<T> = Vec::new();
            let mut bytes = 0;
            for row in blocks_from(stream, from, limits) {
                let Some(value) = self.inner.store.block(stream.number, row.first, row.bytes as usize)? else {
                    // Trimmed or packed in the meantime: the rows are another by now.
                    std::thread::yield_now();
                    continue 'again;
                };
                let mut full = false;
                block::decode(row.first, &value, |entry| {
                    // A block that was packed meanwhile holds what the next rows held.
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

    /// Entries of the key whose ids lie in a range.
    pub fn range(&self, stream: &Stream, range: IdRange) -> Result<Vec<Entry<'static>>, JournalError> {
        let mut found = Vec::new();
        self.visit_range(stream, range, &mut |entry| {
            found.push(Entry { id: entry.id, n: entry.n, body: entry.body.clone().into_owned() });
        })?;
        Ok(found)
    }

    /// Calls `each` with the entries of the key whose ids lie in a range; answers how many.
    pub fn visit_range(
        &self,
        stream: &Stream,
        range: IdRange,
        each: &mut dyn FnMut(&Entry<'_>),
    ) -> Result<usize, JournalError> {
        let tip = stream.tip();
        let mut pick = Pick::new(range, tip.shown_line, tip.last_line);
        'again: loop {
            if stream.is_gone(self.inner.options.clock.now()) {
                return Err(JournalError::Removed);
            }
            // What was given before the rows changed is not given again.
            let (start, end) = match pick.last {
                Some(last) if range.reverse => (range.start, last),
                Some(last) => (last, range.end),
                None => (range.start, range.end),
            };
            for row in rows_between(stream, start, end, range.reverse) {
                if pick.is_full() {
                    break;
                }
                let Some(value) = self.inner.store.block(stream.number, row.first, row.bytes as usize)? else {
                    if stream.tip().shown_line > row.last_line() {
                        continue;
                    }
                    std::thread::yield_now();
                    continue 'again;
                };
                pick.block(row.first, &value, each)?;
            }
            return Ok(pick.found);
        }
    }

    /// Calls `each` with every line from `from` to `to` and where it comes from, in order, until it
    /// breaks. For the archive, which must not hold them all.
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

    /// Where each of the lines from `from` to `to` comes from. Lines that have gone meanwhile are
    /// unknown.
    fn origins(&self, stream: &Stream, from: u64, to: u64) -> Result<LineOrigins, JournalError> {
        'again: loop {
            let rows: Vec<BlockRef> = {
                let blocks = stream.blocks.read();
                let start = blocks.partition_point(|row| row.last_line() < from);
                blocks.range(start..).take_while(|row| row.first_line <= to).copied().collect()
            };
            let (mut origins, mut next) = (LineOrigins::default(), from);
            for row in rows {
                let Some(value) = self.inner.store.block(stream.number, row.first, row.bytes as usize)? else {
                    // Trimmed or packed in the meantime: the rows are another by now.
                    std::thread::yield_now();
                    continue 'again;
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

/// What has a line number.
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

/// The blocks that may hold entries of these ids, in the order they are wanted.
fn rows_between(stream: &Stream, start: EntryId, end: EntryId, reverse: bool) -> Vec<BlockRef> {
    let blocks = stream.blocks.read();
    let from = blocks.partition_point(|row| row.last < start);
    let mut rows: Vec<BlockRef> = blocks.range(from..).take_while(|row| row.first <= end).copied().collect();
    if reverse {
        rows.reverse();
    }
    rows
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
    let of = |text: LineText<'_>| {
        let LineText { timestamp, channel, partial, lossy, text } = text;
        Line { n: entry.n, id: entry.id, timestamp, channel, line: text.into_owned().into(), partial, lossy }
    };
    match entry.body {
        EntryBody::Line(line) => of(line),
        body => of(body.to_line(entry.id)),
    }
}
