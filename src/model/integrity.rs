//! Whether a log is what its worker sent: what lines add up to, and what came of comparing it.
//!
//! # The sum of lines
//!
//! ```text
//! sum  =  SUM over lines  XXH3-128( seq (u64) piece (u32) time (u64) channel (u8) flags (u8) text )   mod 2^128
//! ```
//!
//! Numbers are little-endian. `seq` is the line's number in its session, from 1; `piece` is 0 (see
//! below); `time` is in milliseconds since 1970, what is finer cut off; `channel` is 0 for stdout, 1
//! for stderr, 2 for internal; `flags` is 1 for `partial` plus 2 for `lossy`; `text` is UTF-8 without
//! its newline, as sent. It is written `xxh3-128-sum:` and 32 hexadecimal digits, the most
//! significant first. A line that the server cuts, being over `line_bytes_max`, counts as its pieces:
//! `piece` 0, 1, 2 and so on under one `seq`, all but the last with `partial`. A line that is sent
//! without a time cannot be summed.
//!
//! A sum, and not a chain: each line is bound to its place by its number, so the sum tells as much,
//! and it can be taken up after a restart, by parts, in any order, beside lines of others. It finds
//! what was lost, doubled, swapped or altered by accident between two programs that trust each other.
//! It is no signature: whoever may write a log can make another with the same sum. What was sealed is
//! held by the SHA-256 of the file.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Channel, GapReason, Line, LineText, Origin};

/// The name of the algorithm, before the digits.
const ALGORITHM: &str = "xxh3-128-sum:";
/// Gaps that are listed; the lines of the others are counted.
const GAPS_MAX: usize = 16;
/// Sessions that are summed; the journal remembers no more either.
const SESSIONS_MAX: usize = 48;

/// What lines of one session add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineSum(u128);

/// A text that is no sum, or one of another algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not `xxh3-128-sum:` and 32 hexadecimal digits")]
pub struct BadLineSum;

impl LineSum {
    /// Adds a line. `buffer` is overwritten; it saves an allocation for each.
    pub fn add(&mut self, seq: u64, piece: u32, line: &LineText<'_>, buffer: &mut Vec<u8>) {
        buffer.clear();
        buffer.extend_from_slice(&seq.to_le_bytes());
        buffer.extend_from_slice(&piece.to_le_bytes());
        buffer.extend_from_slice(&line.timestamp.as_millis().to_le_bytes());
        let channel = match line.channel {
            Channel::Stdout => 0,
            Channel::Stderr => 1,
            Channel::Internal => 2,
        };
        buffer.extend_from_slice(&[channel, u8::from(line.partial) + 2 * u8::from(line.lossy)]);
        buffer.extend_from_slice(line.text.as_bytes());
        self.0 = self.0.wrapping_add(xxhash_rust::xxh3::xxh3_128(buffer));
    }

    fn merge(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

impl fmt::Display for LineSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}{:032x}", self.0)
    }
}

impl FromStr for LineSum {
    type Err = BadLineSum;

    fn from_str(text: &str) -> Result<Self, BadLineSum> {
        let digits = text.strip_prefix(ALGORITHM).ok_or(BadLineSum)?;
        if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(BadLineSum);
        }
        u128::from_str_radix(digits, 16).map(Self).map_err(|_| BadLineSum)
    }
}

/// What a worker says of its lines with its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// How many lines it has numbered.
    pub lines: Option<u64>,
    /// What they add up to.
    pub sum: Option<LineSum>,
}

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
    fn is_hole(&self) -> bool {
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
    unknown_lines: u64,
    missing: Vec<Missing>,
    /// Lines that are missing, those that are not listed too.
    missing_lines: u64,
    /// Lines that the worker numbered and nobody stored.
    unstored_lines: u64,
    /// Lines that were stored and are not here any more.
    gone_lines: u64,
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

/// Lines of several places. What a log says of itself can be any number.
fn lines_in<'a>(missing: impl Iterator<Item = &'a Missing>) -> u64 {
    missing.fold(0, |lines, missing| lines.saturating_add(missing.count))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EntryId, Timestamp};

    fn line(n: u64, channel: Channel, text: &str) -> Line<'static> {
        let (id, timestamp) = (EntryId::MIN, Timestamp::from_millis(1_778_336_581_000 + n));
        Line { n, id, timestamp, channel, line: text.to_owned().into(), partial: false, lossy: false }
    }

    fn numbered(seq: u64) -> Origin<'static> {
        Origin::Numbered { session: "s", seq, piece: 0 }
    }

    /// What other programs must find too: made once with Python's `xxhash`.
    #[test]
    fn the_sum_is_the_one_that_is_documented() {
        let mut sum = LineSum::default();
        let mut buffer = Vec::new();
        let text = |ms, channel, partial, lossy, text: &'static str| LineText {
            timestamp: Timestamp::from_millis(ms),
            channel,
            partial,
            lossy,
            text: text.into(),
        };
        sum.add(1, 0, &text(1_778_336_581_000, Channel::Stdout, false, false, "Building..."), &mut buffer);
        sum.add(2, 0, &text(1_778_336_581_001, Channel::Stderr, true, true, "é\r"), &mut buffer);
        sum.add(3, 1, &text(0, Channel::Internal, false, true, ""), &mut buffer);
        assert_eq!(sum.to_string(), "xxh3-128-sum:29f6b4a43e0fec848bec1ce32a0d3668");
        assert_eq!(sum.to_string().parse(), Ok(sum));
        for bad in ["", "sha256:00", "xxh3-128-sum:12", "xxh3-128-sum:+2345678901234567890123456789012"] {
            assert_eq!(bad.parse::<LineSum>(), Err(BadLineSum), "{bad}");
        }
    }

    #[test]
    fn the_result_is_named() {
        let mut tally = Tally::default();
        let mut buffer = Vec::new();
        for n in 1..=12_034 {
            tally.add(numbered(n), &line(n, Channel::Stdout, "x"), &mut buffer);
        }
        tally.add(Origin::Foreign, &line(12_035, Channel::Internal, "by another"), &mut buffer);
        let sum = tally.of("s").map(|tally| tally.sum);
        let said = Said { lines: Some(12_034), sum };
        let compare = |tally: &Tally, said, alone| Integrity::compare(tally, Some("s"), said, alone).to_string();
        assert_eq!(compare(&tally, said, true), "complete: 12,034 lines");
        assert!(compare(&tally, said, false).starts_with("not known"), "another worker's lines were not counted");
        assert!(compare(&tally, Said::default(), true).starts_with("not known"));
        assert!(Integrity::compare(&tally, None, Said::default(), true).to_string().starts_with("not known"));
        let fewer = Said { lines: Some(12_035), ..said };
        let wrong = "not what the worker sent: the worker counted 12,035 lines and 12,034 lines are here";
        assert_eq!(compare(&tally, fewer, true), wrong);
        let other = Said { sum: Some(LineSum(7)), ..said };
        assert!(compare(&tally, other, true).starts_with("not what the worker sent: the 12,034 lines here"));

        let mut skipped = tally.clone();
        skipped.add(numbered(12_035), &line(12_036, Channel::Internal, "[1500 messages skipped]"), &mut buffer);
        let said = Said { lines: Some(12_035), sum: skipped.of("s").map(|tally| tally.sum) };
        let words = "incomplete: 1,500 lines missing: 1,500 lines skipped by the worker at line 12,036";
        assert_eq!(compare(&skipped, said, true), words);
        let altered = Said { sum, ..said };
        assert!(compare(&skipped, altered, true).starts_with("not what"), "the sum holds beside skipped lines");

        let mut lost = tally.clone();
        lost.add(Origin::Foreign, &line(12_036, Channel::Internal, "[3 messages lost in transit]"), &mut buffer);
        let said = Said { lines: Some(12_037), sum: Some(LineSum(9)) };
        let words = "incomplete: 3 lines missing: 3 lines lost in transit at line 12,036";
        assert_eq!(compare(&lost, said, true), words);
        assert!(compare(&lost, Said { lines: Some(12_038), ..said }, true).starts_with("not what"));

        let mut old = tally;
        old.add_unknown(1);
        assert!(compare(&old, said, true).starts_with("not known"), "of lines of an earlier version nothing is said");
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let mut buffer = Vec::new();
        let (mut whole, mut first, mut second) = (Tally::default(), Tally::default(), Tally::default());
        for n in 1..=50 {
            let text = if n % 7 == 0 { "[2 messages skipped]" } else { "x" };
            let line = line(n, Channel::Internal, text);
            whole.add(numbered(n), &line, &mut buffer);
            if n < 20 { &mut first } else { &mut second }.add(numbered(n), &line, &mut buffer);
        }
        first.merge(&second);
        assert_eq!(first, whole);
    }
}
