//! The places at which a line that is too long may be cut: between the characters and the escape sequences that a terminal sees.

use memchr::memchr2;
use unicode_segmentation::UnicodeSegmentation as _;

/// Bytes before a cut in which the beginning of a composed character is searched.
const CLUSTER_BYTES_MAX: usize = 128;

const BEL: u8 = 0x07;
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;
const ESC: u8 = 0x1b;
/// The first byte of a C1 control character in UTF-8.
const C1: u8 = 0xc2;

/// Returns where to cut `bytes`, the first bytes of a longer line whose next byte is `next`. Never 0.
///
/// The cut is before a code point, a composed character (such as an emoji with its modifiers) or an escape
/// sequence that is not complete. An escape sequence that began more than half of `bytes` ago is cut: it may
/// never end.
pub(crate) fn position(bytes: &[u8], next: u8) -> usize {
    let whole = code_point_floor(bytes, next);
    let complete = bytes.get(..whole).unwrap_or_default();
    match open_escape(complete) {
        Some(start) if start > 0 && start >= bytes.len() / 2 => start,
        Some(_) => whole,
        // Only ASCII never belongs to the character before it.
        None if next.is_ascii() => whole,
        None => cluster_floor(complete),
    }
}

/// Returns where to cut `text` so that its first part has at most `bytes_max` bytes; its length if it is short enough.
pub(crate) fn text_position(text: &str, bytes_max: usize) -> usize {
    match text.as_bytes().split_at_checked(bytes_max) {
        Some((head, [next, ..])) => text.floor_char_boundary(position(head, *next)),
        _ => text.len(),
    }
}

/// As [`text_position`], but cuts composed characters: so a sender can predict the pieces of a line without escape
/// sequences, for the sum of its log.
pub(crate) fn predictable_position(text: &str, bytes_max: usize) -> usize {
    let whole = text.floor_char_boundary(bytes_max);
    let head = text.as_bytes().get(..whole).unwrap_or_default();
    if whole == text.len() {
        return whole;
    }
    open_escape(head).filter(|start| *start > 0 && *start >= bytes_max / 2).unwrap_or(whole)
}

/// Returns where the escape sequence starts that is not complete at the end of `bytes`.
pub(crate) fn open_escape(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = memchr2(ESC, C1, bytes.get(at..)?) {
        let start = at + found;
        let Some(length) = escape_length(bytes.get(start..)?) else { return Some(start) };
        at = start + length;
    }
    None
}

/// Returns the length of the escape sequence or the C1 character at the start of `bytes`; `None` if it is not
/// complete.
fn escape_length(bytes: &[u8]) -> Option<usize> {
    let (introducer, body) = bytes.split_first_chunk::<2>()?;
    let length = match introducer {
        [ESC, b'['] | [C1, 0x9b] => parameters_length(body)?,
        [ESC, b']'] | [C1, 0x9d] => string_length(body, true)?,
        [ESC, b'P' | b'X' | b'^' | b'_'] | [C1, 0x90 | 0x98 | 0x9e | 0x9f] => string_length(body, false)?,
        // Such as the choice of a character set, `ESC ( B`.
        [ESC, 0x20..=0x2f] => body.iter().position(|byte| !(0x20..=0x2f).contains(byte))? + 1,
        [ESC, ESC | C1 | ..=0x1f] => return Some(1),
        _ => 0,
    };
    Some(introducer.len() + length)
}

/// Returns the length of the parameters of a control sequence with its final byte.
fn parameters_length(body: &[u8]) -> Option<usize> {
    let end = body.iter().position(|byte| !(0..=0x3f).contains(byte) || [ESC, CAN, SUB].contains(byte))?;
    let is_final = body.get(end).is_some_and(|byte| (0x40..=0x7e).contains(byte));
    Some(if is_final { end + 1 } else { end })
}

/// Returns the length of a string with its terminator, which can be BEL for an operating system command.
fn string_length(body: &[u8], is_command: bool) -> Option<usize> {
    let is_stop = |byte: &u8| matches!(*byte, ESC | C1 | BEL | CAN | SUB);
    let mut at = 0;
    while let Some(found) = body.get(at..)?.iter().position(is_stop) {
        at += found;
        match (body.get(at)?, body.get(at + 1)) {
            (&BEL, _) if is_command => return Some(at + 1),
            (&ESC, Some(b'\\')) | (&C1, Some(0x9c)) => return Some(at + 2),
            (&ESC, None) => return None,
            // Anything else after ESC ends the string and begins another sequence.
            (&ESC | &CAN | &SUB, _) => return Some(at),
            _ => at += 1,
        }
    }
    None
}

/// Returns the number of bytes of `bytes` before a code point that is not complete.
fn code_point_floor(bytes: &[u8], next: u8) -> usize {
    let continues = |byte: u8| byte & 0xc0 == 0x80;
    if !continues(next) {
        return bytes.len();
    }
    // A code point has at most three continuation bytes; a longer run is invalid UTF-8 anyway.
    let head = bytes.iter().rev().take(3).position(|byte| !continues(*byte));
    match head {
        Some(back) if back + 1 < bytes.len() => bytes.len() - back - 1,
        _ => bytes.len(),
    }
}

/// Returns the number of bytes before a code point at the end of `bytes` that is not complete.
pub(crate) fn complete_code_points(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    let last = bytes.get(tail..).unwrap_or_default();
    let Some(lead) = last.iter().rposition(|byte| byte & 0xc0 != 0x80) else { return bytes.len() };
    // No length of an error means that it is at the end of the input: more bytes are needed.
    match last.get(lead..).map(std::str::from_utf8) {
        Some(Err(error)) if error.error_len().is_none() => tail + lead,
        _ => bytes.len(),
    }
}

/// Returns the number of bytes before the last composed character, which the next code point may belong to.
fn cluster_floor(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(CLUSTER_BYTES_MAX);
    // The first bytes of the tail may be the rest of a code point.
    let text = (tail..tail + 4).find_map(|start| std::str::from_utf8(bytes.get(start..)?).ok());
    match text.and_then(|text| text.grapheme_indices(true).next_back().map(|(_, last)| bytes.len() - last.len())) {
        Some(start) if start > 0 && start > tail => start,
        _ => bytes.len(),
    }
}
