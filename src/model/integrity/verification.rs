//! The result of comparing the stored lines with the worker's report.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::totals::lines_in;
use super::{GAPS_MAX, LogTotals, MissingLines, ReportedTotals};
use crate::model::GapReason;
use crate::model::units::grouped;

/// The result of the verification in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IntegrityState {
    /// Every line that the worker reported is present and unchanged.
    Complete,
    /// Lines are missing, for known reasons.
    Incomplete,
    /// The stored lines differ from what the worker reported.
    Mismatch,
    /// No worker has reported its totals.
    #[default]
    Unknown,
}

/// The verification of a finished log against its worker's report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Integrity {
    /// Result in one word.
    pub state: IntegrityState,
    /// Stored lines of the worker.
    pub lines: u64,
    /// Their checksum, as computed by the server; `None` if it is unknown.
    pub hash: Option<String>,
    /// Number of lines that the worker reported.
    #[serde(rename = "said_lines")]
    pub reported_lines: Option<u64>,
    /// Checksum that the worker reported.
    #[serde(rename = "said_hash")]
    pub reported_hash: Option<String>,
    /// Number of missing lines.
    pub missing_lines: u64,
    /// Gaps with their reasons; only the first ones if there are many.
    pub missing: Vec<MissingLines>,
}

impl Integrity {
    /// Compares the stored lines with the worker's report. `alone` means that no other worker wrote to
    /// the task, whose lines the report would not include.
    pub fn compare(totals: &LogTotals, session: Option<&str>, reported: ReportedTotals, alone: bool) -> Self {
        let known = session.and_then(|session| totals.session(session)).cloned().unwrap_or_default();
        let comparable = session.is_some() && totals.unknown_lines == 0;
        let unverified = Self {
            lines: known.lines,
            hash: comparable.then(|| known.sum.to_string()),
            reported_lines: reported.lines,
            reported_hash: reported.sum.map(|sum| sum.to_string()),
            missing_lines: totals.missing_lines,
            missing: totals.missing.clone(),
            state: IntegrityState::Unknown,
        };
        // Missing lines can be of any session, so this is an upper bound for this one.
        let missing = totals.unstored_lines.saturating_add(totals.deleted_lines);
        let most = known.lines.saturating_add(missing);
        let counted = reported.lines.is_none_or(|lines| (known.lines..=most).contains(&lines));
        let summed = missing > 0 || reported.sum.is_none_or(|sum| sum == known.sum);
        let state = if comparable && !(counted && summed) {
            IntegrityState::Mismatch
        } else if totals.missing_lines > 0 {
            IntegrityState::Incomplete
        } else if comparable && alone && reported.lines.is_some() {
            IntegrityState::Complete
        } else {
            IntegrityState::Unknown
        };
        Self { state, ..unverified }
    }

    /// Records that the lines with these numbers were deleted after the comparison.
    pub fn add_hole(&mut self, from: u64, to: u64, reason: GapReason) {
        if self.missing.iter().any(|known| known.from == from && known.to == to) {
            return;
        }
        // An earlier part of the same gap, which has grown.
        let is_part =
            |hole: &MissingLines| hole.is_hole() && hole.reason == reason && hole.from <= to && from <= hole.to;
        let before = lines_in(self.missing.iter().filter(|hole| is_part(hole)));
        self.missing.retain(|hole| !is_part(hole));
        self.missing_lines = self.missing_lines.saturating_sub(before);
        if self.state != IntegrityState::Mismatch {
            self.state = IntegrityState::Incomplete;
        }
        let count = to.saturating_add(1).saturating_sub(from);
        self.missing_lines = self.missing_lines.saturating_add(count);
        self.missing.insert(0, MissingLines { from, to, reason, count });
        self.missing.truncate(GAPS_MAX);
    }

    /// Returns the lines deleted from the middle of the log, as far as they are listed.
    pub fn dropped_lines(&self) -> u64 {
        // A range of one line is a gap marker.
        let dropped = |hole: &&MissingLines| hole.is_hole() && hole.reason == GapReason::Quota && hole.from < hole.to;
        lines_in(self.missing.iter().filter(dropped))
    }

    /// Returns the reason of a mismatch, or `None` without one.
    pub fn mismatch(&self) -> Option<String> {
        if self.state != IntegrityState::Mismatch {
            return None;
        }
        Some(match self.reported_lines {
            Some(reported) if reported != self.lines => {
                format!("the worker sent {}, but the log has {}", lines_of(reported), lines_of(self.lines))
            }
            _ => format!(
                "the {} stored differ from what the worker sent: their checksum is {}, the worker reported {}",
                lines_of(self.lines),
                self.hash.as_deref().unwrap_or("nothing"),
                self.reported_hash.as_deref().unwrap_or("nothing"),
            ),
        })
    }
}

/// Writes `complete: 12,034 lines`, or the gaps and their reasons.
impl fmt::Display for Integrity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            IntegrityState::Complete => write!(f, "complete: {}", lines_of(self.lines)),
            IntegrityState::Unknown => match self.reported_lines {
                None => f.write_str("unknown: no worker reported its number of lines"),
                Some(lines) => {
                    write!(f, "unknown: the worker reported {}, but their origin is not known", lines_of(lines))
                }
            },
            IntegrityState::Mismatch => {
                write!(f, "not what the worker sent: {}", self.mismatch().unwrap_or_default())
            }
            IntegrityState::Incomplete => {
                write!(f, "incomplete: {} missing: ", lines_of(self.missing_lines))?;
                let listed = lines_in(self.missing.iter());
                for (at, gap) in self.missing.iter().enumerate() {
                    let separator = if at == 0 { "" } else { "; " };
                    write!(f, "{separator}{}", describe_gap(gap))?;
                }
                match self.missing_lines.saturating_sub(listed) {
                    0 => Ok(()),
                    more => write!(f, "; {} in further places", lines_of(more)),
                }
            }
        }
    }
}

fn describe_gap(missing: &MissingLines) -> String {
    let why = match missing.reason {
        GapReason::Skipped => "skipped by the worker",
        GapReason::LostInTransit => "lost in transit",
        GapReason::Trimmed => "trimmed",
        GapReason::Quota => "over quota",
    };
    if missing.from == missing.to {
        format!("{} {why} at line {}", lines_of(missing.count), grouped(missing.from))
    } else {
        format!("lines {} to {} {why}", grouped(missing.from), grouped(missing.to))
    }
}

/// Returns `1 line`, `12,034 lines`.
fn lines_of(count: u64) -> String {
    format!("{} line{}", grouped(count), if count == 1 { "" } else { "s" })
}
