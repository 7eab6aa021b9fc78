//! What is stored of a log, added up by session, and what is missing between its lines.

use serde::{Deserialize, Serialize};

use super::{GAPS_MAX, LineSum};
use crate::model::{GapReason, Line, LineText, Origin};

/// Sessions that are summed; the journal remembers no more either.
const SESSIONS_MAX: usize = 48;

/// What the lines of one session add up to, as they are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTally {
    /// The session.
    pub session: String,
    /// Its lines; one that was cut counts once.
    pub lines: u64,
    /// Their sum.
    pub sum: LineSum,
}

/// Lines that are missing: those of these numbers, or as many as the `internal` line of this number
/// stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// First line number concerned.
    pub from: u64,
    /// Last line number concerned.
    pub to: u64,
    /// Why.
    pub reason: GapReason,
    /// How many lines are missing.
    pub count: u64,
}

impl Missing {
    /// Whether it names lines that had numbers, and not an `internal` line that stands for others.
    pub(super) fn is_hole(&self) -> bool {
        matches!(self.reason, GapReason::Quota | GapReason::Trimmed)
            && self.to.saturating_add(1).saturating_sub(self.from) == self.count
    }
}

/// What some lines of a log add up to, by session, and what is missing between them. Tallies of parts
/// are merged to that of the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    sessions: Vec<SessionTally>,
    /// Lines whose origin was not written down: nothing can be said of the sums then.
    pub(super) unknown_lines: u64,
    pub(super) missing: Vec<Missing>,
    /// Lines that are missing, those that are not listed too.
    pub(super) missing_lines: u64,
    /// Lines that the worker numbered and nobody stored.
    pub(super) unstored_lines: u64,
    /// Lines that were stored and are not here any more.
    pub(super) gone_lines: u64,
}

impl Tally {
    /// Adds a line.
    pub fn add(&mut self, origin: Origin<'_>, line: &Line<'_>, buffer: &mut Vec<u8>) {
        match origin {
            Origin::Foreign => {}
            Origin::Unknown => self.unknown_lines += 1,
            Origin::Numbered { session, seq, piece } => {
                let Line { timestamp, channel, partial, lossy, .. } = *line;
                let text = LineText { timestamp, channel, partial, lossy, text: line.line.as_ref().into() };
                if let Some(tally) = self.session_mut(session) {
                    tally.lines += u64::from(piece == 0);
                    tally.sum.add(seq, piece, &text, buffer);
                }
            }
        }
        if let Some(gap) = line.gap() {
            // What the worker dropped it has never numbered.
            let unstored = if gap.reason == GapReason::Skipped { 0 } else { gap.count };
            self.unstored_lines = self.unstored_lines.saturating_add(unstored);
            self.miss(Missing { from: line.n, to: line.n, reason: gap.reason, count: gap.count });
        }
    }

    /// Lines whose origin was not written down.
    pub fn add_unknown(&mut self, lines: u64) {
        self.unknown_lines = self.unknown_lines.saturating_add(lines);
    }

    /// The lines of these numbers were there and are not any more.
    pub fn add_hole(&mut self, from: u64, to: u64, reason: GapReason) {
        let count = to.saturating_add(1).saturating_sub(from);
        self.gone_lines = self.gone_lines.saturating_add(count);
        self.miss(Missing { from, to, reason, count });
    }

    /// The same where such a hole may have been told of before, and has grown.
    pub fn set_hole(&mut self, from: u64, to: u64, reason: GapReason) {
        let is_part = |hole: &Missing| hole.is_hole() && hole.reason == reason && hole.from <= to && from <= hole.to;
        let before = lines_in(self.missing.iter().filter(|hole| is_part(hole)));
        self.missing.retain(|hole| !is_part(hole));
        self.gone_lines = self.gone_lines.saturating_sub(before);
        self.missing_lines = self.missing_lines.saturating_sub(before);
        self.add_hole(from, to, reason);
    }

    /// Whether lines that were there are not any more.
    pub fn has_holes(&self) -> bool {
        self.gone_lines > 0
    }

    fn miss(&mut self, missing: Missing) {
        self.missing_lines = self.missing_lines.saturating_add(missing.count);
        if self.missing.len() < GAPS_MAX {
            self.missing.push(missing);
        }
    }

    /// Adds what the lines behind these add up to.
    pub fn merge(&mut self, other: &Tally) {
        for more in &other.sessions {
            if let Some(tally) = self.session_mut(&more.session) {
                tally.lines = tally.lines.saturating_add(more.lines);
                tally.sum.merge(more.sum);
            }
        }
        self.unknown_lines = self.unknown_lines.saturating_add(other.unknown_lines);
        self.unstored_lines = self.unstored_lines.saturating_add(other.unstored_lines);
        self.gone_lines = self.gone_lines.saturating_add(other.gone_lines);
        self.missing_lines = self.missing_lines.saturating_add(other.missing_lines);
        let room = GAPS_MAX.saturating_sub(self.missing.len());
        self.missing.extend(other.missing.iter().take(room));
    }

    /// Whether it tells that the lines of these numbers are not there any more.
    pub fn has_hole(&self, from: u64, to: u64) -> bool {
        self.missing.iter().any(|hole| (hole.from, hole.to) == (from, to)) || self.missing.len() >= GAPS_MAX
    }

    /// The sessions.
    pub fn sessions(&self) -> impl Iterator<Item = &SessionTally> {
        self.sessions.iter()
    }

    /// What the lines of a session add up to.
    pub fn of(&self, session: &str) -> Option<&SessionTally> {
        self.sessions.iter().find(|tally| tally.session == session)
    }

    /// The session's tally; `None` if there are too many already, whose lines are unknown then.
    fn session_mut(&mut self, session: &str) -> Option<&mut SessionTally> {
        let at = match self.sessions.iter().position(|tally| tally.session == session) {
            Some(at) => at,
            None if self.sessions.len() >= SESSIONS_MAX => {
                self.unknown_lines += 1;
                return None;
            }
            None => {
                self.sessions.push(SessionTally { session: session.to_owned(), ..SessionTally::default() });
                self.sessions.len() - 1
            }
        };
        self.sessions.get_mut(at)
    }
}

/// Lines of several places. What a log says of itself can be any number.
pub(super) fn lines_in<'a>(missing: impl Iterator<Item = &'a Missing>) -> u64 {
    missing.fold(0, |lines, missing| lines.saturating_add(missing.count))
}
