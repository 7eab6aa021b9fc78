//! Numbers as Redis reads them in arguments: strictly.

use super::Refusal;

/// A signed number: no blanks, no `+`, no leading zeros, no `-0`.
///
/// # Errors
/// `ERR value is not an integer or out of range`.
pub(in crate::server::redis) fn integer(text: &[u8]) -> Result<i64, Refusal> {
    strict(text).ok_or(Refusal::NOT_AN_INTEGER)
}

/// The same, without a text for what is none.
pub(in crate::server::redis) fn strict(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let plain = match digits {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !plain {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_strictly() {
        for (text, number) in [("0", 0), ("7", 7), ("-1", -1), ("9223372036854775807", i64::MAX)] {
            assert_eq!(strict(text.as_bytes()), Some(number));
        }
        for text in ["", "-", "+1", " 1", "1 ", "01", "-0", "1.5", "9223372036854775808", "0x1", "\u{661}"] {
            assert_eq!(strict(text.as_bytes()), None, "{text}");
        }
    }
}
