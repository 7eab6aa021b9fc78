//! Finds the key of a JSON object that a token is in, at any level of quoting.

use memchr::memrchr;

/// Returns the last key in a text, and its level of quoting: in `{"a": "b \"c\": ` that is `c` at level 1.
pub(super) fn last_key(text: &str) -> Option<(&[u8], u8)> {
    let mut before = text.as_bytes();
    while let Some(colon) = memrchr(b':', before) {
        before = &before[..colon];
        let Some((head, escapes)) = before_quote(before) else { continue };
        let mut rest = head;
        while let Some(quote) = memrchr(b'"', rest) {
            if before_quote(&rest[..=quote]).is_some_and(|(_, level)| level == escapes) {
                return Some((&head[quote + 1..], levels(escapes)));
            }
            rest = &rest[..quote];
        }
    }
    None
}

/// Returns the text before the quote at its end, and the number of backslashes in between.
fn before_quote(text: &[u8]) -> Option<(&[u8], usize)> {
    let head = text.strip_suffix(b"\"")?;
    let escapes = head.iter().rev().take_while(|byte| **byte == b'\\').count();
    Some((&head[..head.len() - escapes], escapes))
}

/// Returns the level of quoting of a quote after this many backslashes: each level doubles them and adds one.
fn levels(backslashes: usize) -> u8 {
    u8::try_from((backslashes + 1).ilog2()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    pub(super) fn last_key_is_found_at_its_level() {
        let key = |text| last_key(text).map(|(key, level)| (str::from_utf8(key).unwrap(), level));
        assert_eq!(key(r#"{"a": 1, "stdout": ""#), Some(("stdout", 0)));
        assert_eq!(key(r#"{"stdout":"x => {\"cmd\": \"echo '"#), Some(("cmd", 1)));
        assert_eq!(key(r#""a": "{\"b\": \"{\\\"c d\\\": x"#), Some(("c d", 2)));
        assert_eq!(key("at 12:30: x"), None);
        assert_eq!(key(""), None);
    }
}
