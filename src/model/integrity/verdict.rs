//! What came of comparing what is stored with what the worker said, in words too.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::tally::lines_in;
use super::{GAPS_MAX, Missing, Said, Tally};
use crate::model::GapReason;

/// What is known of a log's completeness, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IntegrityState {
    /// Every line that the worker counted is here, and they are the ones it sent.
    Complete,
    /// Lines are missing; which and why is known.
    Incomplete,
    /// What is here is not what the worker says it sent.
    Mismatch,
    /// Nobody said how many lines there are.
    #[default]
    Unknown,
}

/// Whether a finished log is what its worker sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Integrity {
    /// In one word.
    pub state: IntegrityState,
    /// Lines of the worker that are here.
    pub lines: u64,
    /// What they add up to, as the server sees it; `None` if it could not be told.
    pub hash: Option<String>,
    /// The lines that the worker counted.
    pub said_lines: Option<u64>,
    /// What they add up to, as the worker says.
    pub said_hash: Option<String>,
    /// Lines that are missing.
    pub missing_lines: u64,
    /// Where, and why; the first of them, if there are many.
    pub missing: Vec<Missing>,
}

impl Integrity {
    /// Compares what is stored with what the worker said. `alone`: no other worker wrote to the task,
    /// whose lines nobody would have counted.
    pub fn compare(tally: &Tally, session: Option<&str>, said: Said, alone: bool) -> Self {
        let known = session.and_then(|session| tally.of(session)).cloned().unwrap_or_default();
        let told = tally.unknown_lines == 0;
        let missing = Self {
            lines: known.lines,
            hash: (told && session.is_some()).then(|| known.sum.to_string()),
            said_lines: said.lines,
            said_hash: said.sum.map(|sum| sum.to_string()),
            missing_lines: tally.missing_lines,
            missing: tally.missing.clone(),
            state: IntegrityState::Unknown,
        };
        // What is not here can have been of any session, so it is at most so much of this one.
        let absent = tally.unstored_lines.saturating_add(tally.gone_lines);
        let most = known.lines.saturating_add(absent);
        let counted = said.lines.is_none_or(|lines| (known.lines..=most).contains(&lines));
        let summed = absent > 0 || said.sum.is_none_or(|sum| sum == known.sum);
        let state = if told && session.is_some() && !(counted && summed) {
            IntegrityState::Mismatch
        } else if tally.missing_lines > 0 {
            IntegrityState::Incomplete
        } else if told && alone && said.lines.is_some() {
            IntegrityState::Complete
        } else {
            IntegrityState::Unknown
        };
        Self { state, ..missing }
    }

    /// The lines of these numbers have gone since it was compared.
    pub fn add_hole(&mut self, from: u64, to: u64, reason: GapReason) {
        if self.missing.iter().any(|known| known.from == from && known.to == to) {
            return;
        }
        // One that was there before and has grown.
        let is_part = |hole: &Missing| hole.is_hole() && hole.reason == reason && hole.from <= to && from <= hole.to;
        let before = lines_in(self.missing.iter().filter(|hole| is_part(hole)));
        self.missing.retain(|hole| !is_part(hole));
        self.missing_lines = self.missing_lines.saturating_sub(before);
        if self.state != IntegrityState::Mismatch {
            self.state = IntegrityState::Incomplete;
        }
        let count = to.saturating_add(1).saturating_sub(from);
        self.missing_lines = self.missing_lines.saturating_add(count);
        self.missing.insert(0, Missing { from, to, reason, count });
        self.missing.truncate(GAPS_MAX);
    }

    /// Lines that went with the middle of the log, as far as they are listed.
    pub fn dropped_lines(&self) -> u64 {
        // Never one alone: that is what a mark stands for.
        let dropped = |hole: &&Missing| hole.is_hole() && hole.reason == GapReason::Quota && hole.from < hole.to;
        lines_in(self.missing.iter().filter(dropped))
    }

    /// What is not right, in words; `None` if nothing is.
    pub fn fault(&self) -> Option<String> {
        if self.state != IntegrityState::Mismatch {
            return None;
        }
        Some(match self.said_lines {
            Some(said) if said != self.lines => {
                format!("the worker counted {} and {} are here", lines_of(said), lines_of(self.lines))
            }
            _ => format!(
                "the {} here are not what the worker sent: they add up to {}, the worker says {}",
                lines_of(self.lines),
                self.hash.as_deref().unwrap_or("nothing"),
                self.said_hash.as_deref().unwrap_or("nothing"),
            ),
        })
    }
}

/// `complete: 12,034 lines`, or what is missing and why.
impl fmt::Display for Integrity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            IntegrityState::Complete => write!(f, "complete: {}", lines_of(self.lines)),
            IntegrityState::Unknown => f.write_str("not known: no worker has said how many lines there are"),
            IntegrityState::Mismatch => {
                write!(f, "not what the worker sent: {}", self.fault().unwrap_or_default())
            }
            IntegrityState::Incomplete => {
                write!(f, "incomplete: {} missing: ", lines_of(self.missing_lines))?;
                let listed = lines_in(self.missing.iter());
                for (at, gap) in self.missing.iter().enumerate() {
                    let before = if at == 0 { "" } else { "; " };
                    write!(f, "{before}{}", missing_words(gap))?;
                }
                match self.missing_lines.saturating_sub(listed) {
                    0 => Ok(()),
                    more => write!(f, "; {} in further places", lines_of(more)),
                }
            }
        }
    }
}

fn missing_words(missing: &Missing) -> String {
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

/// `1 line`, `12,034 lines`.
fn lines_of(count: u64) -> String {
    format!("{} line{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// A number with commas between its thousands.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
