//! The fields of a NDJSON row that a text needs, found without decoding the others.

use std::borrow::Cow;

use crate::model::{Channel, Line};

/// Length of a time as lines have it, `2026-05-09T14:23:01.000Z`.
const TIME_LEN: usize = 24;

/// The fields of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RowFields<'a> {
    pub(super) n: u64,
    pub(super) timestamp: Cow<'a, str>,
    pub(super) channel: Channel,
    pub(super) line: Cow<'a, str>,
    pub(super) partial: bool,
    /// Set if the row stands for missing lines.
    pub(super) is_gap: bool,
}

impl<'a> RowFields<'a> {
    /// Returns the fields of a row.
    pub(super) fn parse(row: &'a [u8]) -> serde_json::Result<Self> {
        Self::scan(row).map_or_else(|| Self::decode(row), Ok)
    }

    /// Returns the fields of a row as archives and journals have it: a line of the command, with its fields in this
    /// order. `None` for any other row.
    fn scan(row: &'a [u8]) -> Option<Self> {
        let row = std::str::from_utf8(row).ok()?;
        let (n, rest) = row.strip_prefix("{\"n\":")?.split_once(",\"id\":\"")?;
        let rest = rest.split_once("\",\"timestamp\":\"")?.1;
        let (timestamp, rest) = (rest.get(..TIME_LEN)?, rest.get(TIME_LEN..)?);
        let rest = rest.strip_prefix("\",\"stream\":\"std")?;
        let (channel, rest) = match rest.strip_prefix("out") {
            Some(rest) => (Channel::Stdout, rest),
            None => (Channel::Stderr, rest.strip_prefix("err")?),
        };
        let rest = rest.strip_prefix("\",\"line\":\"")?;
        let end = end_of_string(rest)?;
        let (line, rest) = (rest.get(..end)?, rest.get(end + 1..)?);
        let partial = match rest {
            "}" | ",\"lossy\":true}" => false,
            ",\"partial\":true}" | ",\"partial\":true,\"lossy\":true}" => true,
            _ => return None,
        };
        let is_time = timestamp.ends_with('Z') && !timestamp.contains(['"', '\\']);
        let n = n.parse().ok().filter(|_| is_time)?;
        Some(Self { n, timestamp: timestamp.into(), channel, line: unescape(line)?, partial, is_gap: false })
    }

    fn decode(row: &'a [u8]) -> serde_json::Result<Self> {
        let line: Line<'a> = serde_json::from_slice(row)?;
        let is_gap = line.gap().is_some();
        let Line { n, timestamp, channel, line, partial, .. } = line;
        Ok(Self { n, timestamp: timestamp.to_string().into(), channel, line, partial, is_gap })
    }
}

/// Returns the position of the quotation mark that ends a JSON string.
fn end_of_string(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', text.as_bytes().get(from..)?)?;
        if text.as_bytes().get(at) == Some(&b'"') {
            return Some(at);
        }
        from = at + 2;
    }
}

/// Returns the text of a JSON string without its quotation marks. `None` for surrogates, which need more than one
/// escape, and for invalid escapes.
fn unescape(string: &str) -> Option<Cow<'_, str>> {
    let Some(mut at) = memchr::memchr(b'\\', string.as_bytes()) else { return Some(string.into()) };
    let (mut text, mut rest) = (String::with_capacity(string.len()), string);
    loop {
        text.push_str(rest.get(..at)?);
        let escape = *rest.as_bytes().get(at + 1)?;
        let mut len = 2;
        text.push(match escape {
            b'"' | b'\\' | b'/' => char::from(escape),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                len = 6;
                let digits = rest.get(at + 2..at + 6).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
                char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
            }
            _ => return None,
        });
        rest = rest.get(at + len..)?;
        match memchr::memchr(b'\\', rest.as_bytes()) {
            Some(next) => at = next,
            None => break,
        }
    }
    text.push_str(rest);
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EntryId, Timestamp};

    fn row(line: &Line<'_>) -> Vec<u8> {
        serde_json::to_vec(line).unwrap()
    }

    fn line(text: &str) -> Line<'_> {
        let (id, timestamp) = (EntryId::new(1_778_336_581_000, 7), Timestamp::from_millis(1_778_336_581_123));
        Line { n: 12, id, timestamp, channel: Channel::Stdout, line: text.into(), partial: false, lossy: false }
    }

    #[test]
    fn every_row_of_a_command_is_scanned_as_it_would_be_decoded() {
        let all: String = (0..=u32::from(u16::MAX) + 300).filter_map(char::from_u32).collect();
        let texts = [
            "",
            "plain",
            "\"",
            "\\",
            "\\\\\"",
            "a\tb\r",
            "\u{1b}[1mbold\u{1b}[0m",
            "{\"n\":1,\"line\":\"x\"}",
            "grün",
            &all,
        ];
        for text in texts {
            for (channel, partial, lossy) in [
                (Channel::Stdout, false, false),
                (Channel::Stderr, true, false),
                (Channel::Stdout, false, true),
                (Channel::Stderr, true, true),
            ] {
                let row = row(&Line { channel, partial, lossy, ..line(text) });
                let scanned = RowFields::scan(&row).unwrap_or_else(|| panic!("{text:?} needs no decoding"));
                assert_eq!(scanned, RowFields::decode(&row).unwrap());
                assert_eq!((&*scanned.line, scanned.partial), (text, partial));
            }
        }
    }

    #[test]
    fn other_rows_are_decoded() {
        let gap = Line { channel: Channel::Internal, ..line("[3 messages skipped]") };
        assert!(RowFields::parse(&row(&gap)).unwrap().is_gap);
        let stored = String::from_utf8(row(&line("x"))).unwrap();
        let escaped = stored.replace("\"x\"", r#""\ud83d\ude00 \u0041""#);
        assert_eq!(RowFields::parse(escaped.as_bytes()).unwrap().line, "😀 A");
        let spaced = stored.replace("\"n\":", "\"n\": ");
        assert_eq!(RowFields::parse(spaced.as_bytes()).unwrap().n, 12);
        for cut in 0..stored.len() {
            assert!(RowFields::parse(&stored.as_bytes()[..cut]).is_err(), "{cut}");
        }
        for bad in [r#""\x""#, r#""\u+041""#, r#""\u12""#, r#""\ud83d""#, "\"\"\""] {
            assert!(RowFields::parse(stored.replace("\"x\"", bad).as_bytes()).is_err(), "{bad}");
        }
    }
}
