//! Inline requests: a line of words, as typed by a person; quotes and escapes as in `redis-cli`.

use super::error::ProtocolError;
use super::request::{Span, Spans};

/// Splits `line`, which has no line end, into words: returns their concatenated bytes and their spans.
///
/// Blanks separate words. Inside double quotes `\n \r \t \b \a`, `\xHH` and a backslash before any
/// other byte are escapes, inside single quotes only `\'`; a closing quote ends its word.
///
/// # Errors
/// [`ProtocolError::UnbalancedQuotes`] for a quote that is not closed or not followed by a blank.
pub(super) fn split(line: &[u8]) -> Result<(Vec<u8>, Spans), ProtocolError> {
    let mut text = Vec::with_capacity(line.len());
    let mut spans = Spans::new();
    let mut at = 0;
    loop {
        at += line[at..].iter().take_while(|byte| is_space(**byte)).count();
        if at == line.len() {
            return Ok((text, spans));
        }
        let start = text.len();
        at = word(line, at, &mut text)?;
        spans.push(Span::new(start, text.len()));
    }
}

/// Reports whether a byte separates words: those of [`u8::is_ascii_whitespace`] and vertical tab.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == b'\x0b'
}

/// Appends the word at `at` to `text`; returns the position after it.
fn word(line: &[u8], mut at: usize, text: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    loop {
        let after_quote = match line.get(at) {
            // Vertical tab and form feed separate words but do not end one, in both Redis and Valkey.
            None | Some(b' ' | b'\t' | b'\r' | b'\n') => return Ok(at),
            Some(b'"') => double_quoted(line, at + 1, text)?,
            Some(b'\'') => single_quoted(line, at + 1, text)?,
            Some(byte) => {
                text.push(*byte);
                at += 1;
                continue;
            }
        };
        return match line.get(after_quote) {
            Some(byte) if !is_space(*byte) => Err(ProtocolError::UnbalancedQuotes),
            _ => Ok(after_quote),
        };
    }
}

fn double_quoted(line: &[u8], mut at: usize, text: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    loop {
        let (byte, length) = match &line[at..] {
            [] => return Err(ProtocolError::UnbalancedQuotes),
            [b'"', ..] => return Ok(at + 1),
            [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex(*high) << 4 | hex(*low), 4)
            }
            [b'\\', escaped, ..] => (unescape(*escaped), 2),
            [byte, ..] => (*byte, 1),
        };
        text.push(byte);
        at += length;
    }
}

fn single_quoted(line: &[u8], mut at: usize, text: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    loop {
        let (byte, length) = match &line[at..] {
            [] => return Err(ProtocolError::UnbalancedQuotes),
            [b'\'', ..] => return Ok(at + 1),
            [b'\\', b'\'', ..] => (b'\'', 2),
            [byte, ..] => (*byte, 1),
        };
        text.push(byte);
        at += length;
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

/// Returns the value of a hexadecimal digit, which must be valid.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, ProtocolError> {
        split(line).map(|(text, spans)| spans.iter().map(|span| text[span.range()].to_vec()).collect())
    }

    /// Recorded from redis-server 7.0.15, each as the argument of an ECHO.
    #[test]
    fn words_are_split_like_redis() {
        let echoed: [(&[u8], &[u8]); 20] = [
            (br#""a\x41\n""#, b"aA\n"),
            (br"'it\'s'", b"it's"),
            (br#""a\q\t\b\a\r\\\"""#, b"aq\t\x08\x07\r\\\""),
            (br"'a\n\x41'", br"a\n\x41"),
            (br#""\xZZ""#, b"xZZ"),
            (br#""\x4""#, b"x4"),
            (br#""\XAA""#, b"XAA"),
            (br#""\xfF\x00""#, b"\xff\x00"),
            (br#"a"b c""#, b"ab c"),
            (br#"a"b c"  "#, b"ab c"),
            (br#""""#, b""),
            (b"''", b""),
            (br"a\nb", br"a\nb"),
            (b"\"a\"\x0b", b"a"),
            (b"\x0b a", b"a"),
            (b"a\x0bb", b"a\x0bb"),
            (b"a\r", b"a"),
            (b"'a\rb'", b"a\rb"),
            (b"\xff\xfe", b"\xff\xfe"),
            (b"\t a \x0c", b"a"),
        ];
        for (line, word) in echoed {
            assert_eq!(words(line), Ok(vec![word.to_vec()]), "{}", line.escape_ascii());
        }
        assert_eq!(words(b"a\r b"), Ok(vec![b"a".to_vec(), b"b".to_vec()]));
        assert_eq!(words(b" \t\x0b\x0c "), Ok(vec![]));
    }

    #[test]
    fn unbalanced_quotes_are_rejected() {
        for line in [&b"\"abc"[..], b"'abc", b"\"abc\"d", b"'abc'd", b"a'b c'd", b"abc\"", b"\"a\\", b"\"a\\\"", b"\""]
        {
            assert_eq!(words(line), Err(ProtocolError::UnbalancedQuotes), "{}", line.escape_ascii());
        }
    }
}
