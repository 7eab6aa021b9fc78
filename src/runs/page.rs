//! Paged and filtered reads of a run's events.

use std::str::FromStr;
use std::sync::Arc;

use super::incoming::{self, IdHash};
use super::{RunHandle, RunsError};
use crate::journal::{JournalError, PageLimits, Stream};
use crate::model::{Cursor, Entry, EntryId, Event, EventView, limits};

/// Maximum entries scanned by one filtered request.
const SCAN_MAX: u64 = 200_000;
/// Maximum bytes of events in one page. A page always has at least one event.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Entries scanned per step of a backward scan.
const BACKWARD_WINDOW: u64 = 1_000;

/// A stored event with its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Cursor after the event.
    pub cursor: Cursor,
    /// The event in its stored form.
    pub event: Event,
}

/// A page of events, in order.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// Events of this page.
    pub events: Vec<StoredEvent>,
    /// Cursor after the last scanned entry.
    pub cursor: Cursor,
    /// Set if entries follow the cursor.
    pub more: bool,
}

/// A filter for events. The default matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    types: Vec<String>,
    /// Match only events that report a failure.
    pub failures: bool,
}

impl FromStr for EventFilter {
    type Err = std::convert::Infallible;

    /// Parses types separated by commas, e.g. `gate.failed,step.*,log`. A trailing `*` matches any suffix.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let types = text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect();
        Ok(Self { types, failures: false })
    }
}

impl EventFilter {
    /// Reports whether the filter matches every event.
    pub fn matches_all(&self) -> bool {
        self.types.is_empty() && !self.failures
    }

    /// Reports whether the filter matches this event.
    pub fn matches(&self, event: &EventView<'_>) -> bool {
        let has_type = |wanted: &String| match wanted.strip_suffix('*') {
            Some(prefix) => event.type_word().starts_with(prefix),
            None => event.type_word() == wanted,
        };
        (self.types.is_empty() || self.types.iter().any(has_type)) && (!self.failures || event.is_failure())
    }
}

/// The result of scanning part of a journal.
pub(super) struct EventScan {
    /// Matching events.
    pub(super) events: Vec<StoredEvent>,
    /// Cursor after the last scanned entry; `None` if there was none.
    pub(super) end: Option<Cursor>,
}

impl RunHandle {
    /// Returns up to `limit` events from line `from` on, or `None` if the run does not exist. A filtered
    /// request scans at most 200,000 entries.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn page(&self, from: u64, limit: usize, filter: &EventFilter) -> Result<Option<EventPage>, RunsError> {
        let Some(stream) = self.stream()? else { return Ok(None) };
        let (mut next, mut bytes) = (from.max(1), 0);
        let mut page = EventPage {
            events: Vec::new(),
            cursor: self.cursor(&stream, next - 1, EntryId::MIN),
            more: next <= stream.tip().last_line,
        };
        while page.events.len() < limit && bytes < PAGE_BYTES_MAX && next < from.saturating_add(SCAN_MAX) {
            let rest = if filter.matches_all() { limit - page.events.len() } else { limits::TAIL_PAGE_LINES };
            let scan = match self.scan_from(&stream, next, rest, filter).await {
                Err(RunsError::Journal(JournalError::Removed)) => return Ok(None),
                scan => scan?,
            };
            let Some(end) = scan.end else { break };
            (page.cursor, next) = (end, end.n + 1);
            for stored in scan.events {
                bytes += stored.event.as_str().len();
                page.events.push(stored);
                if page.events.len() == limit {
                    // A filtered scan may have read further.
                    page.cursor = page.events.last().map_or(end, |last| last.cursor);
                    next = page.cursor.n + 1;
                    break;
                }
            }
        }
        page.more = next <= stream.tip().last_line;
        Ok(Some(page))
    }

    /// Scans up to `entries` entries from line `from` on. Returns the matching events.
    pub(super) async fn scan_from(
        &self,
        stream: &Arc<Stream>,
        from: u64,
        entries: usize,
        filter: &EventFilter,
    ) -> Result<EventScan, RunsError> {
        let limits = PageLimits { lines: entries.clamp(1, limits::TAIL_PAGE_LINES), ..PageLimits::default() };
        let read = self.runs.journal.read_entries(stream, from, limits)?;
        let Some(last) = read.entries.last() else {
            // A Redis client has trimmed everything up to the tip: the scan skips it.
            let end = (from <= read.last_line).then(|| self.cursor(stream, read.last_line, stream.tip().last_id));
            return Ok(EventScan { events: Vec::new(), end });
        };
        let end = Some(self.cursor(stream, last.n, last.id));
        let readable = |entry: &Entry<'_>| match incoming::read(entry) {
            Some(Ok((event, hash))) => Some((entry.n, entry.id, event, hash)),
            _ => None,
        };
        let found: Vec<(u64, EntryId, Event, IdHash)> = read.entries.iter().filter_map(readable).collect();
        let firsts = self.with_state(|state| {
            let same = Arc::ptr_eq(&state.stream, stream);
            same.then(|| found.iter().map(|(n, _, _, hash)| state.is_first(*hash, *n)).collect::<Vec<bool>>())
        });
        let Some(firsts) = firsts.await?.flatten() else { return Err(JournalError::Removed.into()) };
        let matching = found
            .into_iter()
            .zip(firsts)
            .filter(|((_, _, event, _), first)| *first && (filter.matches_all() || filter.matches(&event.view())));
        let stored = matching.map(|((n, id, event, _), _)| StoredEvent { cursor: self.cursor(stream, n, id), event });
        Ok(EventScan { events: stored.collect(), end })
    }

    /// Returns the line from which on there are `count` matching events, or fewer if there are not enough; 1 if the
    /// run does not exist. Scans at most 200,000 entries.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn line_before(&self, count: u64, filter: &EventFilter) -> Result<u64, RunsError> {
        let Some(stream) = self.stream()? else { return Ok(1) };
        let tip = stream.tip();
        let (mut start, mut left) = (tip.last_line + 1, count);
        let floor = tip.first_line.max(start.saturating_sub(SCAN_MAX)).max(1);
        while left > 0 && start > floor {
            let end = start;
            start = end
                .saturating_sub(if filter.matches_all() { left.min(BACKWARD_WINDOW) } else { BACKWARD_WINDOW })
                .max(floor);
            let mut lines: Vec<u64> = Vec::new();
            let mut next = start;
            while next < end {
                let entries = usize::try_from(end - next).unwrap_or(usize::MAX);
                let scan = self.scan_from(&stream, next, entries, filter).await?;
                lines.extend(scan.events.iter().map(|stored| stored.cursor.n).filter(|n| *n < end));
                next = scan.end.map_or(end, |cursor| cursor.n + 1);
            }
            let found = lines.len() as u64;
            if found >= left {
                let at = usize::try_from(found - left).unwrap_or(0);
                return Ok(lines.get(at).copied().unwrap_or(start));
            }
            left -= found;
        }
        Ok(start)
    }

    /// Returns the line after a cursor of this run.
    ///
    /// # Errors
    /// The cursor belongs to another log, or is ahead of the recovered log.
    pub fn line_after(&self, cursor: &Cursor) -> Result<u64, RunsError> {
        match self.stream()? {
            Some(stream) if cursor.epoch.incarnation == stream.incarnation() && cursor.n <= stream.tip().last_line => {
                Ok(cursor.n + 1)
            }
            _ => Err(RunsError::Reset(self.id().clone())),
        }
    }
}
