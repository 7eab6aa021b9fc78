//! Finds the last N lines, counted as the task wrote them: a long line is stored in pieces.

use super::assemble::LineAssembler;
use super::grep::GrepFilter;
use super::pages::LogPages;
use crate::model::{Channel, ChannelSet, Line, limits};

/// Numbers before a window that are searched for the first pieces of its lines: lines of up to 32 MiB.
const LOOKBACK_PIECES: u64 = 512;

/// A line in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LinePlace {
    channel: Channel,
    /// Number of the first piece.
    first: u64,
    /// Number of the last piece.
    last: u64,
}

/// Returns the first number to print of each channel, so that the last `count` lines of the streams follow, which
/// also match the filter. Only numbers from `first` to `last` are read.
///
/// # Errors
/// There is no response.
pub(super) async fn tail_starts(
    log: &LogPages<'_>,
    count: u64,
    streams: ChannelSet,
    grep: Option<&GrepFilter>,
    first: u64,
    last: u64,
) -> anyhow::Result<[u64; 3]> {
    let wanted = usize::try_from(count).unwrap_or(usize::MAX);
    let page_max = limits::PAGE_LINES_MAX as u64;
    // A little more than needed at first, for pieces and lines of other streams.
    let mut size = count.saturating_add(count / 4).saturating_add(16).min(page_max);
    let (mut found, mut end): (Vec<LinePlace>, u64) = (Vec::new(), last);
    while found.len() < wanted && end >= first {
        let from = (end + 1).saturating_sub(size).max(first);
        let window = Window { look: from.saturating_sub(LOOKBACK_PIECES).max(first), from, end, is_last: end == last };
        let mut places = window.places(log, streams, grep).await?;
        places.append(&mut found);
        found = places;
        end = from - 1;
        size = page_max;
    }
    let mut starts = [last + 1; 3];
    for place in found.iter().rev().take(wanted) {
        if let Some(start) = starts.get_mut(place.channel as usize) {
            *start = place.first.min(*start);
        }
    }
    Ok(starts)
}

/// A range of numbers.
struct Window {
    /// First number that is read.
    look: u64,
    /// First number of the window.
    from: u64,
    end: u64,
    /// Whether the log ends with it, so that an unfinished line is part of it.
    is_last: bool,
}

impl Window {
    /// Returns the lines that end in the window, in order.
    async fn places(
        &self,
        log: &LogPages<'_>,
        streams: ChannelSet,
        grep: Option<&GrepFilter>,
    ) -> anyhow::Result<Vec<LinePlace>> {
        let (mut tracker, mut places, mut next) = (LineTracker::default(), Vec::new(), self.look);
        while next <= self.end {
            // A response also ends at a number of bytes.
            let limit = (self.end + 1 - next).min(limits::PAGE_LINES_MAX as u64);
            let lines = log.page(&[("from", next.to_string()), ("limit", limit.to_string())]).await?;
            let Some(last) = lines.last().map(|line| line.n) else { break };
            next = last + 1;
            let inside = lines.into_iter().filter(|line| line.n <= self.end && streams.contains(line.channel));
            places.extend(inside.filter_map(|line| tracker.push(line, grep)));
        }
        if self.is_last {
            places.extend(tracker.take_rest(grep));
            places.sort_by_key(|place| place.last);
        }
        places.retain(|place| place.last >= self.from);
        Ok(places)
    }
}

/// The unfinished lines of each channel.
#[derive(Default)]
struct LineTracker {
    open: [Option<LinePlace>; 3],
    /// Whether a part of the unfinished line matches.
    matches: [bool; 3],
    assembler: LineAssembler,
}

impl LineTracker {
    /// Adds a piece; returns the line if it is complete and selected.
    fn push(&mut self, piece: Line<'static>, grep: Option<&GrepFilter>) -> Option<LinePlace> {
        let (at, n, channel, partial) = (piece.channel as usize, piece.n, piece.channel, piece.partial);
        let place = self.open.get_mut(at)?.get_or_insert(LinePlace { channel, first: n, last: n });
        place.last = n;
        let matches = self.matches.get_mut(at)?;
        match grep {
            None => *matches = true,
            Some(grep) => *matches |= self.assembler.push(piece).is_some_and(|line| grep.selects(&line)),
        }
        if partial {
            return None;
        }
        let place = self.open.get_mut(at)?.take();
        place.filter(|_| std::mem::take(matches))
    }

    /// Returns the unfinished lines that are selected.
    fn take_rest(mut self, grep: Option<&GrepFilter>) -> Vec<LinePlace> {
        for line in self.assembler.take_rest() {
            if let Some(matches) = self.matches.get_mut(line.channel() as usize) {
                *matches |= grep.is_some_and(|grep| grep.selects(&line));
            }
        }
        let all = self.open.into_iter().zip(self.matches);
        all.filter_map(|(place, matches)| place.filter(|_| matches)).collect()
    }
}
