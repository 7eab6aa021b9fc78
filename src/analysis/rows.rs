//! Rows of NDJSON as the store writes them: `{"n":1,"id":"..","timestamp":"..","stream":"..","line":".."}`.
//!
//! A search reads many rows that do not match. It finds a literal of its pattern in the bytes of many rows at once,
//! and decodes only the rows that contain it. A row that may display other text than it contains, because of a
//! control character, is decoded as well.

use std::borrow::Cow;

use memchr::{memchr, memchr2, memchr3, memrchr};
use serde::Deserialize;

use super::pattern::LogPattern;
use crate::model::{Channel, ChannelSet, Line, Timestamp};

/// The fields of a row that the analysis needs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct NdjsonRow<'a> {
    /// Line number.
    pub n: u64,
    /// Time of writing.
    pub timestamp: Timestamp,
    /// Output channel.
    #[serde(rename = "stream")]
    pub channel: Channel,
    /// Text as stored.
    #[serde(borrow)]
    pub line: Cow<'a, str>,
    /// The line was split and continues in the next one.
    #[serde(default)]
    pub partial: bool,
}

impl<'a> NdjsonRow<'a> {
    /// Parses a row; `None` if it is not one.
    pub fn parse(row: &'a [u8]) -> Option<Self> {
        Self::parse_plain(row).or_else(|| serde_json::from_slice(row).ok())
    }

    /// Parses a row whose text has no escapes, in the form in which the store writes it.
    fn parse_plain(row: &'a [u8]) -> Option<Self> {
        let (n, rest) = digits(row.strip_prefix(br#"{"n":"#)?)?;
        let rest = rest.strip_prefix(br#","id":""#)?;
        let rest = rest.get(memchr(b'"', rest)?..)?.strip_prefix(br#"","timestamp":""#)?;
        let timestamp = utc(rest.get(..24)?)?;
        let rest = rest.get(24..)?.strip_prefix(br#"","stream":""#)?;
        let (channel, rest) = match rest.get(3)? {
            b'o' => (Channel::Stdout, rest.strip_prefix(b"stdout")?),
            b'e' => (Channel::Stderr, rest.strip_prefix(b"stderr")?),
            _ => return None,
        };
        let rest = rest.strip_prefix(br#"","line":""#)?;
        let end = memchr2(b'"', b'\\', rest)?;
        // Anything but the end of the object after the text is left to the JSON parser.
        if rest.get(end..)? != br#""}"# {
            return None;
        }
        let line = Cow::Borrowed(std::str::from_utf8(rest.get(..end)?).ok()?);
        Some(NdjsonRow { n, timestamp, channel, line, partial: false })
    }
}

/// Parses the digits at the start.
fn digits(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = bytes.split_at(end);
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    Some((digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')), rest))
}

/// Parses `2026-05-09T14:23:01.000Z`; `None` for a time of another form, and before 1970.
fn utc(text: &[u8]) -> Option<Timestamp> {
    let number = |from: usize, to: usize| match digits(text.get(from..=to)?) {
        Some((number, rest)) if rest.len() == 1 => Some(number),
        _ => None,
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second, ms) = (number(11, 13)?, number(14, 16)?, number(17, 19)?, number(20, 23)?);
    let separators = [4, 7, 10, 13, 16, 19, 23].map(|at| text.get(at).copied());
    let is_valid = separators == b"--T::.Z".map(Some)
        && (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !is_valid {
        return None;
    }
    // Days since 1970 in the proleptic Gregorian calendar, with years that begin in March (H. Hinnant).
    let (shifted, of_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_era = shifted % 400;
    let of_year = (153 * of_march + 2) / 5 + day - 1;
    let days = (shifted / 400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(Timestamp::from_millis((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000 + ms))
}

impl<'a> From<&'a Line<'_>> for NdjsonRow<'a> {
    fn from(line: &'a Line<'_>) -> Self {
        let Line { n, timestamp, channel, partial, .. } = *line;
        NdjsonRow { n, timestamp, channel, line: Cow::Borrowed(line.line.as_ref()), partial }
    }
}

/// Returns the rows of a chunk of NDJSON.
pub fn rows(chunk: &[u8]) -> impl Iterator<Item = &[u8]> {
    chunk.split(|byte| *byte == b'\n').filter(|row| !row.is_empty())
}

/// A row that was decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExaminedRow<'a> {
    /// The row, without its newline.
    pub json: &'a [u8],
    /// Whether it matches.
    pub matches: bool,
}

/// A scan of a chunk of NDJSON for the rows that match a pattern.
pub struct RowScan<'a> {
    chunk: &'a [u8],
    pattern: &'a LogPattern,
    channels: ChannelSet,
    /// Offset of the first byte that has not been examined.
    at: usize,
    next_literal: Option<usize>,
    next_odd: Option<usize>,
}

impl<'a> RowScan<'a> {
    /// Creates a scan for rows of these channels that match.
    pub fn new(chunk: &'a [u8], pattern: &'a LogPattern, channels: ChannelSet) -> Self {
        Self { chunk, pattern, channels, at: 0, next_literal: Some(0), next_odd: Some(0) }
    }

    /// Returns the number of the line at the scan's position, or `None` at the end.
    pub fn position(&self) -> Option<u64> {
        let rest = self.chunk.get(self.at..).filter(|rest| !rest.is_empty())?;
        number(rest)
    }

    /// Returns the next row that was decoded, and whether it matches, or `None` at the end. The rows between were
    /// examined as well, and do not match.
    pub fn next_examined(&mut self) -> Option<ExaminedRow<'a>> {
        let json = self.next_candidate()?;
        let is_match = |row: NdjsonRow<'_>| self.channels.contains(row.channel) && self.pattern.is_match(&row.line);
        Some(ExaminedRow { json, matches: NdjsonRow::parse(json).is_some_and(is_match) })
    }

    /// Returns the next row that may match.
    fn next_candidate(&mut self) -> Option<&'a [u8]> {
        let Some(literals) = self.pattern.literals() else {
            return self.take_row(self.at);
        };
        let chunk = self.chunk;
        let rest = chunk.get(self.at..)?;
        if self.next_literal.is_some_and(|at| at <= self.at) {
            self.next_literal = literals.find(rest).map(|found| self.at + found.start());
        }
        if self.next_odd.is_some_and(|at| at <= self.at) {
            self.next_odd = next_odd(chunk, self.at);
        }
        let at = match (self.next_literal, self.next_odd) {
            (Some(literal), Some(odd)) => literal.min(odd),
            (Some(at), None) | (None, Some(at)) => at,
            (None, None) => {
                self.at = chunk.len();
                return None;
            }
        };
        self.take_row(at)
    }

    /// Returns the row around an offset, and moves after it.
    fn take_row(&mut self, at: usize) -> Option<&'a [u8]> {
        let rest = self.chunk.get(at..).filter(|rest| !rest.is_empty())?;
        let start = memrchr(b'\n', self.chunk.get(..at)?).map_or(0, |end| end + 1);
        let end = memchr(b'\n', rest).map_or(self.chunk.len(), |end| at + end);
        self.at = end + 1;
        self.chunk.get(start..end)
    }
}

/// Returns the number of the line whose row these bytes begin with.
fn number(row: &[u8]) -> Option<u64> {
    let digits = row.strip_prefix(br#"{"n":"#)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

/// Returns the offset of the next control character of a text, except for `\r` at its end, which changes nothing,
/// and for tabs and newlines.
fn next_odd(chunk: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr3(b'\\', 0x7f, 0xc2, chunk.get(at..)?)?;
        let next = chunk.get(at + 1).copied();
        match chunk.get(at) {
            Some(b'\\') => match next {
                Some(b'u' | b'b' | b'f') => return Some(at),
                Some(b'r') if chunk.get(at + 2) != Some(&b'"') => return Some(at),
                // An escaped backslash: the next one belongs to it.
                _ => at += 2,
            },
            Some(0xc2) if next.is_some_and(|next| (0x80..0xa0).contains(&next)) => return Some(at),
            Some(0x7f) => return Some(at),
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::analysis::PatternLimits;
    use crate::model::EntryId;

    fn chunk(lines: &[String]) -> Vec<u8> {
        let mut chunk = Vec::new();
        for (n, text) in (1..).zip(lines) {
            let line = Line {
                n,
                id: EntryId::MIN,
                timestamp: Timestamp::from_millis(1_778_336_581_000),
                channel: if n % 3 == 0 { Channel::Stderr } else { Channel::Stdout },
                line: text.into(),
                partial: false,
                lossy: false,
            };
            serde_json::to_writer(&mut chunk, &line).unwrap();
            chunk.push(b'\n');
        }
        chunk
    }

    fn found(lines: &[String], pattern: &LogPattern) -> Vec<u64> {
        let chunk = chunk(lines);
        let mut scan = RowScan::new(&chunk, pattern, ChannelSet::ALL);
        std::iter::from_fn(|| next_match(&mut scan)).collect()
    }

    fn next_match(scan: &mut RowScan<'_>) -> Option<u64> {
        let row = std::iter::from_fn(|| scan.next_examined()).find(|row| row.matches)?;
        NdjsonRow::parse(row.json).map(|row| row.n)
    }

    #[test]
    fn rows_that_display_the_text_are_found() {
        let lines = ["nothing", "need\u{1b}[1mle", "a needle", "needle\rhidden", "C:\\needle\\r", "old\rneedle\r"];
        let lines = lines.map(str::to_owned);
        let pattern = LogPattern::new("needle", false, PatternLimits::default()).unwrap();
        assert!(pattern.literals().is_some());
        assert_eq!(found(&lines, &pattern), [2, 3, 5, 6]);
        let chunk = chunk(&lines);
        let mut scan = RowScan::new(&chunk, &pattern, "stderr".parse().unwrap());
        assert_eq!(scan.position(), Some(1));
        assert_eq!(next_match(&mut scan), Some(3));
        assert_eq!(scan.position(), Some(4));
        assert_eq!(next_match(&mut scan), Some(6));
        assert_eq!((next_match(&mut scan), scan.position()), (None, None));
    }

    proptest! {
        #[test]
        fn rows_are_parsed_as_by_the_json_parser(text in "[ -~ä\u{0}\u{1b}]{0,20}", ms in 0u64..4_102_444_800_000, n in 1u64..u64::MAX, partial: bool) {
            let timestamp = Timestamp::from_millis(ms);
            let line = Line { n, id: EntryId::new(ms, 7), timestamp, channel: Channel::Stderr, line: text.into(), partial, lossy: false };
            let row = serde_json::to_vec(&line).unwrap();
            prop_assert_eq!(NdjsonRow::parse(&row), Some(NdjsonRow::from(&line)));
            prop_assert_eq!(NdjsonRow::parse(&row), serde_json::from_slice(&row).ok());
        }

        #[test]
        fn no_match_is_missed(
            lines in prop::collection::vec("[ -~]{0,4}(need|le|needle|NEEDLE|[\u{0}-\u{a0}]|\\\\|\"|完)*", 0..12),
            text in prop::sample::select(vec!["needle", "(?i)needle", "^needle", "needle$", "needle|lene", "n.*le", "", "\"", "^\\S+needle"]),
        ) {
            let pattern = LogPattern::new(text, false, PatternLimits::default()).unwrap();
            let wanted: Vec<u64> =
                (1..).zip(&lines).filter(|(_, text)| pattern.is_match(text)).map(|(n, _)| n).collect();
            prop_assert_eq!(found(&lines, &pattern), wanted);
        }
    }
}
