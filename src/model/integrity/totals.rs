//! Totals of the stored lines of a log, by session, and the gaps between them.

use serde::{Deserialize, Serialize};

use super::{GAPS_MAX, LineChecksum};
use crate::model::{Channel, GapReason, Line, LineText, Origin};

/// Sessions with totals; the journal remembers no more either.
const SESSIONS_MAX: usize = 48;

/// The totals of one session's stored lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTotals {
    /// Id of the session.
    pub session: String,
    /// Number of lines; a split line counts once.
    pub lines: u64,
    /// Their checksum.
    pub sum: LineChecksum,
}

/// A gap: the lines with these numbers, or as many lines as the gap marker with this number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingLines {
    /// First line number of the gap.
    pub from: u64,
    /// Last line number of the gap.
    pub to: u64,
    /// Reason of the gap.
    pub reason: GapReason,
    /// Number of missing lines.
    pub count: u64,
}

impl MissingLines {
    /// Reports whether the missing lines had numbers, as opposed to a gap marker.
    pub(super) fn is_hole(&self) -> bool {
        matches!(self.reason, GapReason::Quota | GapReason::Trimmed)
            && self.to.saturating_add(1).saturating_sub(self.from) == self.count
    }
}

/// The totals of a part of a log, by session, and its gaps. Totals of consecutive parts can be merged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTotals {
    sessions: Vec<SessionTotals>,
    /// Lines stored without an origin; with any of these the checksums cannot be compared.
    pub(super) unknown_lines: u64,
    pub(super) missing: Vec<MissingLines>,
    /// Missing lines, including those of unlisted gaps.
    pub(super) missing_lines: u64,
    /// Lines that the worker numbered but that were never stored.
    pub(super) unstored_lines: u64,
    /// Lines that were stored and deleted later.
    pub(super) deleted_lines: u64,
    /// Lines of tasktail itself; `None` in totals of earlier versions, which did not count them. Stored beside
    /// the other totals.
    #[serde(skip)]
    own_lines: Option<u64>,
}

impl LogTotals {
    /// Adds a line.
    pub fn add(&mut self, origin: Origin<'_>, line: &Line<'_>, buffer: &mut Vec<u8>) {
        match origin {
            Origin::Unnumbered => {}
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
        *self.own_lines.get_or_insert(0) += u64::from(line.channel == Channel::Internal);
        if let Some(gap) = line.gap() {
            // The worker does not number the lines it drops.
            let unstored = if gap.reason == GapReason::Skipped { 0 } else { gap.count };
            self.unstored_lines = self.unstored_lines.saturating_add(unstored);
            self.push_gap(MissingLines { from: line.n, to: line.n, reason: gap.reason, count: gap.count });
        }
    }

    /// Returns the number of lines of tasktail itself, if it was counted.
    pub fn own_lines(&self) -> Option<u64> {
        self.own_lines
    }

    /// Sets the number of lines of tasktail itself.
    pub fn set_own_lines(&mut self, lines: Option<u64>) {
        self.own_lines = lines;
    }

    /// Adds lines stored without an origin.
    pub fn add_unknown(&mut self, lines: u64) {
        self.unknown_lines = self.unknown_lines.saturating_add(lines);
    }

    /// Records that the lines with these numbers were stored and deleted later.
    pub fn add_hole(&mut self, from: u64, to: u64, reason: GapReason) {
        let count = to.saturating_add(1).saturating_sub(from);
        self.deleted_lines = self.deleted_lines.saturating_add(count);
        self.push_gap(MissingLines { from, to, reason, count });
    }

    /// Does the same where the gap may already be recorded in part and has grown.
    pub fn set_hole(&mut self, from: u64, to: u64, reason: GapReason) {
        let is_part =
            |hole: &MissingLines| hole.is_hole() && hole.reason == reason && hole.from <= to && from <= hole.to;
        let before = lines_in(self.missing.iter().filter(|hole| is_part(hole)));
        self.missing.retain(|hole| !is_part(hole));
        self.deleted_lines = self.deleted_lines.saturating_sub(before);
        self.missing_lines = self.missing_lines.saturating_sub(before);
        self.add_hole(from, to, reason);
    }

    /// Reports whether stored lines were deleted.
    pub fn has_holes(&self) -> bool {
        self.deleted_lines > 0
    }

    fn push_gap(&mut self, missing: MissingLines) {
        self.missing_lines = self.missing_lines.saturating_add(missing.count);
        if self.missing.len() < GAPS_MAX {
            self.missing.push(missing);
        }
    }

    /// Adds the totals of the lines that follow.
    pub fn merge(&mut self, other: &LogTotals) {
        for more in &other.sessions {
            if let Some(tally) = self.session_mut(&more.session) {
                tally.lines = tally.lines.saturating_add(more.lines);
                tally.sum.merge(more.sum);
            }
        }
        self.unknown_lines = self.unknown_lines.saturating_add(other.unknown_lines);
        self.unstored_lines = self.unstored_lines.saturating_add(other.unstored_lines);
        self.deleted_lines = self.deleted_lines.saturating_add(other.deleted_lines);
        self.missing_lines = self.missing_lines.saturating_add(other.missing_lines);
        if let Some(more) = other.own_lines {
            self.own_lines = Some(self.own_lines.unwrap_or(0).saturating_add(more));
        }
        let free = GAPS_MAX.saturating_sub(self.missing.len());
        self.missing.extend(other.missing.iter().take(free));
    }

    /// Reports whether a gap with exactly these numbers is recorded, or may be among the unlisted ones.
    pub fn has_hole(&self, from: u64, to: u64) -> bool {
        self.missing.iter().any(|hole| (hole.from, hole.to) == (from, to)) || self.missing.len() >= GAPS_MAX
    }

    /// Returns the totals of all sessions.
    pub fn sessions(&self) -> impl Iterator<Item = &SessionTotals> {
        self.sessions.iter()
    }

    /// Returns the totals of a session.
    pub fn session(&self, session: &str) -> Option<&SessionTotals> {
        self.sessions.iter().find(|tally| tally.session == session)
    }

    /// Returns the session's totals, creating them if necessary. With too many sessions it counts an
    /// unknown line and returns `None`.
    fn session_mut(&mut self, session: &str) -> Option<&mut SessionTotals> {
        let at = match self.sessions.iter().position(|tally| tally.session == session) {
            Some(at) => at,
            None if self.sessions.len() >= SESSIONS_MAX => {
                self.unknown_lines += 1;
                return None;
            }
            None => {
                self.sessions.push(SessionTotals { session: session.to_owned(), ..SessionTotals::default() });
                self.sessions.len() - 1
            }
        };
        self.sessions.get_mut(at)
    }
}

/// Returns the number of lines in several gaps. It saturates, since the counts come from a log's text.
pub(super) fn lines_in<'a>(missing: impl Iterator<Item = &'a MissingLines>) -> u64 {
    missing.fold(0, |lines, missing| lines.saturating_add(missing.count))
}
