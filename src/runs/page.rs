//! Events of a run as they are shown: page by page, filtered if asked.

use std::str::FromStr;
use std::sync::Arc;

use super::keep::{self, Print};
use super::{RunHandle, RunsError};
use crate::journal::{JournalError, PageLimits, Stream};
use crate::model::{Cursor, Entry, EntryId, Event, EventView, limits};

/// Entries that one request looks at when it filters.
const SCAN_MAX: u64 = 200_000;
/// Bytes of events in one page; at least one event is always given.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Entries looked at in one go backward.
const WINDOW: u64 = 1_000;

/// An event with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Behind it.
    pub cursor: Cursor,
    /// As it is stored.
    pub event: Event,
}

/// Some events in order.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// The events.
    pub events: Vec<Stored>,
    /// Behind the last that was looked at.
    pub cursor: Cursor,
    /// Whether there is more behind it.
    pub more: bool,
}

/// Which events are wanted: all, unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    types: Vec<String>,
    /// Only events that tell of a failure.
    pub failures: bool,
}

impl FromStr for EventFilter {
    type Err = std::convert::Infallible;

    /// `gate.failed,step.*,log`: types with commas, a `*` at the end stands for any rest.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let types = text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect();
        Ok(Self { types, failures: false })
    }
}

impl EventFilter {
    /// Whether nothing is left out.
    pub fn takes_all(&self) -> bool {
        self.types.is_empty() && !self.failures
    }

    /// Whether this event is wanted.
    pub fn takes(&self, event: &EventView<'_>) -> bool {
        let named = |wanted: &String| match wanted.strip_suffix('*') {
            Some(begin) => event.type_word().starts_with(begin),
            None => event.type_word() == wanted,
        };
        (self.types.is_empty() || self.types.iter().any(named)) && (!self.failures || event.is_failure())
    }
}

/// One look into a journal.
pub(super) struct Looked {
    /// What was wanted of it.
    pub(super) events: Vec<Stored>,
    /// Behind the last entry; none if there was none.
    pub(super) behind: Option<Cursor>,
}

impl RunHandle {
    /// The events from line `from` on, at most `limit`; a filter looks at 200,000 entries at most.
    ///
    /// # Errors
    /// The journal cannot be read; `None` where there is no such run.
    pub async fn page(&self, from: u64, limit: usize, filter: &EventFilter) -> Result<Option<EventPage>, RunsError> {
        let Some(stream) = self.stream()? else { return Ok(None) };
        let (mut next, mut bytes) = (from.max(1), 0);
        let mut page = EventPage {
            events: Vec::new(),
            cursor: self.cursor(&stream, next - 1, EntryId::MIN),
            more: next <= stream.tip().last_line,
        };
        while page.events.len() < limit && bytes < PAGE_BYTES_MAX && next < from.saturating_add(SCAN_MAX) {
            let rest = if filter.takes_all() { limit - page.events.len() } else { limits::TAIL_PAGE_LINES };
            let looked = match self.look_from(&stream, next, rest, filter).await {
                Err(RunsError::Journal(JournalError::Removed)) => return Ok(None),
                looked => looked?,
            };
            let Some(behind) = looked.behind else { break };
            (page.cursor, next) = (behind, behind.n + 1);
            for stored in looked.events {
                bytes += stored.event.as_str().len();
                page.events.push(stored);
                if page.events.len() == limit {
                    // A filter may have looked further than it was asked to.
                    page.cursor = page.events.last().map_or(behind, |last| last.cursor);
                    next = page.cursor.n + 1;
                    break;
                }
            }
        }
        page.more = next <= stream.tip().last_line;
        Ok(Some(page))
    }

    /// One look: at most so many entries, of these what is wanted.
    pub(super) async fn look_from(
        &self,
        stream: &Arc<Stream>,
        from: u64,
        entries: usize,
        filter: &EventFilter,
    ) -> Result<Looked, RunsError> {
        let limits = PageLimits { lines: entries.clamp(1, limits::TAIL_PAGE_LINES), ..PageLimits::default() };
        let read = self.all.journal.read_entries(stream, from, limits)?;
        let Some(last) = read.entries.last() else {
            // Trimmed up to the tip by a Redis client: what was there is passed over.
            let behind = (from <= read.last_line).then(|| self.cursor(stream, read.last_line, stream.tip().last_id));
            return Ok(Looked { events: Vec::new(), behind });
        };
        let behind = Some(self.cursor(stream, last.n, last.id));
        let readable = |entry: &Entry<'_>| match keep::read(entry) {
            Some(Ok((event, print))) => Some((entry.n, entry.id, event, print)),
            _ => None,
        };
        let found: Vec<(u64, EntryId, Event, Print)> = read.entries.iter().filter_map(readable).collect();
        let firsts = self.look(|state| {
            let same = Arc::ptr_eq(&state.stream, stream);
            same.then(|| found.iter().map(|(n, _, _, print)| state.is_first(*print, *n)).collect::<Vec<bool>>())
        });
        let Some(firsts) = firsts.await?.flatten() else { return Err(JournalError::Removed.into()) };
        let wanted = found
            .into_iter()
            .zip(firsts)
            .filter(|((_, _, event, _), first)| *first && (filter.takes_all() || filter.takes(&event.view())));
        let stored = wanted.map(|((n, id, event, _), _)| Stored { cursor: self.cursor(stream, n, id), event });
        Ok(Looked { events: stored.collect(), behind })
    }

    /// The line from which on there are so many events that are wanted, or all there are; at most
    /// 200,000 entries are looked at. 1 where there is no such run.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn line_before(&self, count: u64, filter: &EventFilter) -> Result<u64, RunsError> {
        let Some(stream) = self.stream()? else { return Ok(1) };
        let tip = stream.tip();
        let (mut begin, mut left) = (tip.last_line + 1, count);
        let floor = tip.first_line.max(begin.saturating_sub(SCAN_MAX)).max(1);
        while left > 0 && begin > floor {
            let end = begin;
            begin = end.saturating_sub(if filter.takes_all() { left.min(WINDOW) } else { WINDOW }).max(floor);
            let mut lines: Vec<u64> = Vec::new();
            let mut next = begin;
            while next < end {
                let entries = usize::try_from(end - next).unwrap_or(usize::MAX);
                let looked = self.look_from(&stream, next, entries, filter).await?;
                lines.extend(looked.events.iter().map(|stored| stored.cursor.n).filter(|n| *n < end));
                next = looked.behind.map_or(end, |behind| behind.n + 1);
            }
            let found = lines.len() as u64;
            if found >= left {
                let at = usize::try_from(found - left).unwrap_or(0);
                return Ok(lines.get(at).copied().unwrap_or(begin));
            }
            left -= found;
        }
        Ok(begin)
    }

    /// The line behind a cursor of this run.
    ///
    /// # Errors
    /// The cursor is of another log, or ahead of what survived.
    pub fn line_after(&self, cursor: &Cursor) -> Result<u64, RunsError> {
        match self.stream()? {
            Some(stream) if cursor.epoch.incarnation == stream.incarnation() && cursor.n <= stream.tip().last_line => {
                Ok(cursor.n + 1)
            }
            _ => Err(RunsError::Reset(self.id().clone())),
        }
    }
}
