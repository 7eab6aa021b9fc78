//! Parses IDs, numbers and option words exactly as Redis does.
//!
//! IDs are parsed like C's `strtoull` parses a number: leading blanks and a sign are accepted, and a
//! NUL ends the text. Integers are parsed strictly: only their canonical form is accepted.

use super::{CommandError, CommandResult};
use crate::model::EntryId;

/// Maximum length of an ID.
const ID_BYTES_MAX: usize = 127;

/// Parses a complete ID: `ms-seq`, or `ms` alone with `missing_seq` as its sequence number.
pub(super) fn strict_id(text: &[u8], missing_seq: u64) -> CommandResult<EntryId> {
    let (ms, seq) = split_id(text)?;
    let seq = seq.map_or(Ok(missing_seq), parse_number)?;
    Ok(EntryId::new(parse_number(ms)?, seq))
}

/// Parses an ID like [`strict_id`], or `-` and `+` for the smallest and the greatest ID.
pub(super) fn any_id(text: &[u8], missing_seq: u64) -> CommandResult<EntryId> {
    match until_nul(text) {
        b"-" => Ok(EntryId::MIN),
        b"+" => Ok(EntryId::MAX),
        _ => strict_id(text, missing_seq),
    }
}

/// Returns the milliseconds of `ms-*`, or `None` if there is no `*`.
pub(super) fn id_of_any_seq(text: &[u8]) -> CommandResult<Option<u64>> {
    match split_id(text)? {
        (ms, Some(b"*")) => parse_number(ms).map(Some),
        _ => Ok(None),
    }
}

/// Parses the start of a range: an ID, `-`, `+`, or `(id` to exclude the ID itself.
pub(super) fn range_start(text: &[u8]) -> CommandResult<EntryId> {
    match text {
        [b'(', id @ ..] if !id.is_empty() => {
            strict_id(id, 0)?.next().ok_or(CommandError::Static("ERR invalid start ID for the interval"))
        }
        _ => any_id(text, 0),
    }
}

/// Parses the end of a range; see [`range_start`].
pub(super) fn range_end(text: &[u8]) -> CommandResult<EntryId> {
    match text {
        [b'(', id @ ..] if !id.is_empty() => {
            strict_id(id, u64::MAX)?.previous().ok_or(CommandError::Static("ERR invalid end ID for the interval"))
        }
        _ => any_id(text, u64::MAX),
    }
}

/// Parses an integer in canonical form.
pub(in super::super) fn integer(text: &[u8]) -> CommandResult<i64> {
    plain_integer(text).ok_or(CommandError::NOT_AN_INTEGER)
}

/// Parses an integer like [`integer`]; returns `None` instead of an error.
pub(in super::super) fn plain_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let plain = match digits {
        [b'0'] => text.len() == 1,
        // A longer number does not fit, and is not scanned.
        [b'1'..=b'9', rest @ ..] => rest.len() < 19 && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if plain { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

/// Parses a maximum count; negative numbers count as 0.
pub(super) fn count(text: &[u8]) -> CommandResult<usize> {
    Ok(usize::try_from(integer(text)?.max(0)).unwrap_or(usize::MAX))
}

/// Reports whether an argument is this option word, ignoring case.
pub(in super::super) fn is_word(argument: &[u8], word: &str) -> bool {
    until_nul(argument).eq_ignore_ascii_case(word.as_bytes())
}

/// Returns an argument up to its first NUL, as a C string.
pub(in super::super) fn until_nul(text: &[u8]) -> &[u8] {
    memchr::memchr(0, text).map_or(text, |end| &text[..end])
}

/// Splits an ID at the first `-`.
fn split_id(text: &[u8]) -> CommandResult<(&[u8], Option<&[u8]>)> {
    if text.len() > ID_BYTES_MAX {
        return Err(CommandError::INVALID_ID);
    }
    let text = until_nul(text);
    Ok(match memchr::memchr(b'-', text) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    })
}

fn parse_number(text: &[u8]) -> CommandResult<u64> {
    match plain_integer(text) {
        Some(plain) => u64::try_from(plain).ok(),
        None => parse_c_number(text),
    }
    .ok_or(CommandError::INVALID_ID)
}

/// Parses a whole text like `strtoull`: negative numbers wrap around.
fn parse_c_number(text: &[u8]) -> Option<u64> {
    let blanks = text.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == b'\x0b').count();
    let (negative, digits) = match &text[blanks..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let size = digits.iter().try_fold(0u64, |size, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        size.checked_mul(10)?.checked_add(digit)
    })?;
    Some(if negative { size.wrapping_neg() } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Option<(u64, u64)> {
        strict_id(text, 9).ok().map(|id| (id.ms, id.seq))
    }

    /// Verified with both reference servers, using each ID in an XADD.
    #[test]
    fn ids_are_parsed_like_c_numbers() {
        let odd: [(&[u8], (u64, u64)); 14] = [
            (b"5", (5, 9)),
            (b"01-1", (1, 1)),
            (b"+1-2", (1, 2)),
            (b" 1-3", (1, 3)),
            (b"1- 6", (1, 6)),
            (b"1-+7", (1, 7)),
            (b"1-08", (1, 8)),
            (b"\t6-1", (6, 1)),
            (b"\x0b\r\n 7-1", (7, 1)),
            (b"5-1\0junk", (5, 1)),
            (b"1--0", (1, 0)),
            (b"1--05", (1, u64::MAX - 4)),
            (b"1- -5", (1, u64::MAX - 4)),
            (b"18446744073709551615-18446744073709551615", (u64::MAX, u64::MAX)),
        ];
        for (text, id) in odd {
            assert_eq!(read(text), Some(id), "{}", text.escape_ascii());
        }
        assert_eq!(read(&[b'0'; 127]), Some((0, 9)));
    }

    #[test]
    fn invalid_ids_are_rejected() {
        let words = "- + $ > * (1-1 -1 1- 1-- 1--5 --1 +-1 1.5 abc 1-2-3 1-* 0x10-1 18446744073709551616-1 1-x";
        for text in words.split(' ').chain(["", "1-4 ", "1 -5", "\x005-1"]) {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
        assert_eq!(read(&[b'0'; 128]), None, "too long");
    }

    #[test]
    fn a_star_leaves_the_sequence_to_the_server() {
        assert_eq!(id_of_any_seq(b" 5-*").ok(), Some(Some(5)));
        assert_eq!(id_of_any_seq(b"5-*\0x").ok(), Some(Some(5)));
        assert_eq!(id_of_any_seq(b"5-1").ok(), Some(None));
        assert!(id_of_any_seq(b"x-*").is_err());
        assert!(id_of_any_seq(b"*-*").is_err());
    }

    #[test]
    fn range_ends_are_inclusive_or_exclusive() {
        let start = |text: &[u8]| range_start(text).ok().map(|id| (id.ms, id.seq));
        let end = |text: &[u8]| range_end(text).ok().map(|id| (id.ms, id.seq));
        assert_eq!((start(b"-"), end(b"+")), (Some((0, 0)), Some((u64::MAX, u64::MAX))));
        assert_eq!((start(b"5"), end(b"5")), (Some((5, 0)), Some((5, u64::MAX))));
        assert_eq!((start(b"(5"), end(b"(5")), (Some((5, 1)), Some((5, u64::MAX - 1))));
        assert_eq!((start(b"(5-18446744073709551615"), end(b"(5-0")), (Some((6, 0)), Some((4, u64::MAX))));
        assert_eq!((start(b"("), start(b"(-"), end(b"(+"), end(b"((5")), (None, None, None, None));
        assert_eq!((start(b"(18446744073709551615-18446744073709551615"), end(b"(0-0")), (None, None));
    }

    #[test]
    fn integers_must_be_canonical() {
        let good = [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)];
        for (text, value) in good {
            assert_eq!(plain_integer(text.as_bytes()), Some(value));
        }
        for text in
            ["", "-", "-0", "05", "+5", " 5", "5 ", "1.5", "0x10", "9223372036854775808", "-9223372036854775809"]
        {
            assert_eq!(plain_integer(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn option_words_are_case_insensitive() {
        assert!(is_word(b"MaxLen", "MAXLEN") && is_word(b"limit\0x", "LIMIT"));
        assert!(!is_word(b"MAXLEN ", "MAXLEN") && !is_word(b"", "LIMIT"));
    }
}
