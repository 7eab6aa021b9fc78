//! Ids, numbers and option words out of arguments, as odd as Redis reads them.
//!
//! Ids are read the way C's `strtoull` reads a number: blanks and a sign before it are fine, and a
//! NUL ends the text. Integers are read strictly: what does not print as it was typed is none.

use super::Refusal;
use crate::model::EntryId;

/// Longer texts are no ids.
const ID_BYTES_MAX: usize = 127;

/// An id of which no part is left to the server: `ms-seq`, or `ms` alone for the sequence
/// `missing_seq`.
pub(super) fn strict_id(text: &[u8], missing_seq: u64) -> Result<EntryId, Refusal> {
    let (ms, seq) = parts(text)?;
    let seq = seq.map_or(Ok(missing_seq), number)?;
    Ok(EntryId::new(number(ms)?, seq))
}

/// As [`strict_id`], or `-` and `+` for the least and the greatest.
fn any_id(text: &[u8], missing_seq: u64) -> Result<EntryId, Refusal> {
    match until_nul(text) {
        b"-" => Ok(EntryId::MIN),
        b"+" => Ok(EntryId::MAX),
        _ => strict_id(text, missing_seq),
    }
}

/// The milliseconds of `ms-*`; `None` if the text has no `*` there.
pub(super) fn id_of_any_seq(text: &[u8]) -> Result<Option<u64>, Refusal> {
    match parts(text)? {
        (ms, Some(b"*")) => number(ms).map(Some),
        _ => Ok(None),
    }
}

/// Where a range begins: an id, `-`, `+`, or `(id` for what comes after it.
pub(super) fn range_start(text: &[u8]) -> Result<EntryId, Refusal> {
    match text {
        [b'(', id @ ..] if !id.is_empty() => {
            strict_id(id, 0)?.next().ok_or(Refusal::Static("ERR invalid start ID for the interval"))
        }
        _ => any_id(text, 0),
    }
}

/// Where a range ends; see [`range_start`].
pub(super) fn range_end(text: &[u8]) -> Result<EntryId, Refusal> {
    match text {
        [b'(', id @ ..] if !id.is_empty() => {
            strict_id(id, u64::MAX)?.previous().ok_or(Refusal::Static("ERR invalid end ID for the interval"))
        }
        _ => any_id(text, u64::MAX),
    }
}

/// An integer in its one plain form.
pub(super) fn integer(text: &[u8]) -> Result<i64, Refusal> {
    plain_integer(text).ok_or(Refusal::NOT_AN_INTEGER)
}

/// As [`integer`]; `None` instead of an error.
pub(super) fn plain_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let plain = match digits {
        [b'0'] => text.len() == 1,
        // A longer one does not fit, and is not looked through.
        [b'1'..=b'9', rest @ ..] => rest.len() < 19 && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if plain { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

/// How many at most: 0 for less than none.
pub(super) fn count(text: &[u8]) -> Result<usize, Refusal> {
    Ok(usize::try_from(integer(text)?.max(0)).unwrap_or(usize::MAX))
}

/// Whether an argument is this option word, which is given in capitals or not.
pub(super) fn is_word(argument: &[u8], word: &str) -> bool {
    until_nul(argument).eq_ignore_ascii_case(word.as_bytes())
}

/// The text of an argument as C sees it.
pub(super) fn until_nul(text: &[u8]) -> &[u8] {
    memchr::memchr(0, text).map_or(text, |end| &text[..end])
}

/// The texts before and behind the first `-`.
fn parts(text: &[u8]) -> Result<(&[u8], Option<&[u8]>), Refusal> {
    if text.len() > ID_BYTES_MAX {
        return Err(Refusal::INVALID_ID);
    }
    let text = until_nul(text);
    Ok(match memchr::memchr(b'-', text) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    })
}

fn number(text: &[u8]) -> Result<u64, Refusal> {
    match plain_integer(text) {
        Some(plain) => u64::try_from(plain).ok(),
        None => c_number(text),
    }
    .ok_or(Refusal::INVALID_ID)
}

/// What `strtoull` gives for a whole text: a negative number counts down from the greatest.
fn c_number(text: &[u8]) -> Option<u64> {
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
