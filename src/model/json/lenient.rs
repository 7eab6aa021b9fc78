//! Reads JSON as programs really write it, and returns it as strict JSON.
//!
//! | written | by | read as |
//! |---|---|---|
//! | `NaN`, `Infinity`, `-inf`, `1e999` | Python, Java, `printf` | the same text, as a string |
//! | `True`, `False`, `None` | templates | `true`, `false`, `null` |
//! | `01`, `+1`, `.5`, `5.` | shell scripts | `1`, `1`, `0.5`, `5.0` |
//! | `{"a":1,}` | templates | `{"a":1}` |
//! | a name twice | Python | the last value |
//! | `\ud83d` alone | Python, JavaScript | U+FFFD |
//! | `\q`, a raw tab | shell scripts | `\\q`, `\t` |

use super::super::limits;

/// Deepest nesting that is accepted; the same as in `serde_json`.
const DEPTH_MAX: usize = 127;

/// Parses the object at the start of a text. Returns it as strict JSON without white space, and its length in
/// the text; `None` if there is no complete object.
pub(crate) fn read_first(text: &str) -> Option<(String, usize)> {
    let text = &text[..text.floor_char_boundary(2 * limits::EVENT_BYTES_MAX)];
    let mut reader = LenientReader { text, at: 0, out: String::with_capacity(text.len().min(4096)) };
    reader.top_object()?;
    Some((reader.out, reader.at))
}

/// The state of the pass: the position in the text, and the strict JSON up to there.
struct LenientReader<'a> {
    text: &'a str,
    at: usize,
    out: String,
}

impl<'a> LenientReader<'a> {
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    /// Skips white space and returns the first byte of the next token.
    fn token(&mut self) -> u8 {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
        self.peek()
    }

    /// Reads the outermost object, in which the last of several fields with one name replaces the others.
    fn top_object(&mut self) -> Option<()> {
        let mut fields: Vec<(String, String)> = Vec::new();
        self.members(b'}', &mut |reader| {
            let start = reader.out.len();
            reader.name()?;
            let name = reader.out.split_off(start);
            reader.value(1)?;
            let value = reader.out.split_off(start);
            let name_text = unescaped(&name);
            match fields.iter_mut().find(|(known, _)| unescaped(known) == name_text) {
                Some((_, known)) => *known = value,
                None => fields.push((name, value)),
            }
            Some(())
        })?;
        self.out.clear();
        self.out.push('{');
        for (number, (name, value)) in fields.iter().enumerate() {
            if number > 0 {
                self.out.push(',');
            }
            self.out.push_str(name);
            self.out.push(':');
            self.out.push_str(value);
        }
        self.out.push('}');
        Some(())
    }

    /// Reads the members of an object or array up to `end`, separated by commas; one may also follow the last.
    fn members(&mut self, end: u8, member: &mut dyn FnMut(&mut Self) -> Option<()>) -> Option<()> {
        let begin = if end == b'}' { b'{' } else { b'[' };
        if self.token() != begin {
            return None;
        }
        self.at += 1;
        loop {
            if self.token() == end {
                break;
            }
            member(self)?;
            match self.token() {
                b',' => self.at += 1,
                byte if byte == end => break,
                _ => return None,
            }
        }
        self.at += 1;
        Some(())
    }

    /// Reads a name and the colon after it, and writes the name.
    fn name(&mut self) -> Option<()> {
        if self.token() != b'"' {
            return None;
        }
        self.string()?;
        if self.token() != b':' {
            return None;
        }
        self.at += 1;
        Some(())
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        match self.token() {
            b'"' => self.string(),
            b'{' | b'[' if depth >= DEPTH_MAX => None,
            b'{' => self.nested('{', '}', &mut |reader| {
                reader.name()?;
                reader.out.push(':');
                reader.value(depth + 1)
            }),
            b'[' => self.nested('[', ']', &mut |reader| reader.value(depth + 1)),
            _ => self.word(),
        }
    }

    fn nested(&mut self, begin: char, end: char, member: &mut dyn FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.out.push(begin);
        let mut first = true;
        self.members(if end == '}' { b'}' } else { b']' }, &mut |reader| {
            if !std::mem::replace(&mut first, false) {
                reader.out.push(',');
            }
            member(reader)
        })?;
        self.out.push(end);
        Some(())
    }

    /// Reads a number or a word.
    fn word(&mut self) -> Option<()> {
        let rest = &self.text[self.at..];
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let length = rest.bytes().take_while(|byte| is_part(byte)).count();
        let word = &rest[..length];
        self.at += length;
        match word {
            "null" | "None" => self.out.push_str("null"),
            "true" | "True" => self.out.push_str("true"),
            "false" | "False" => self.out.push_str("false"),
            _ => self.number(word)?,
        }
        Some(())
    }

    fn number(&mut self, word: &str) -> Option<()> {
        let (sign, digits) = match word.as_bytes().first()? {
            b'-' => ("-", &word[1..]),
            b'+' => ("", &word[1..]),
            _ => ("", word),
        };
        let is_word = |names: &[&str]| names.iter().any(|name| digits.eq_ignore_ascii_case(name));
        if is_word(&["nan"]) {
            self.out.push_str("\"NaN\"");
        } else if is_word(&["inf", "infinity"]) {
            self.out.push('"');
            self.out.push_str(sign);
            self.out.push_str("Infinity\"");
        } else {
            let (whole, rest) = digits.split_at(digits.bytes().take_while(u8::is_ascii_digit).count());
            let has_digits = !whole.is_empty() || rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
            let is_number = has_digits && rest.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
            let value = digits.parse::<f64>().ok().filter(|_| is_number)?;
            if !value.is_finite() {
                self.out.push('"');
                self.out.push_str(word);
                self.out.push('"');
                return Some(());
            }
            self.out.push_str(sign);
            let significant = whole.trim_start_matches('0');
            self.out.push_str(if significant.is_empty() { "0" } else { significant });
            match rest.strip_prefix('.') {
                Some(fraction) if !fraction.starts_with(|c: char| c.is_ascii_digit()) => {
                    self.out.push_str(".0");
                    self.out.push_str(fraction);
                }
                _ => self.out.push_str(rest),
            }
        }
        Some(())
    }

    /// Reads a string with its quotes.
    fn string(&mut self) -> Option<()> {
        self.at += 1;
        self.out.push('"');
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.bytes().take_while(|byte| *byte >= b' ' && !matches!(byte, b'"' | b'\\')).count();
            self.out.push_str(&rest[..plain]);
            self.at += plain;
            match rest.as_bytes().get(plain)? {
                b'"' => break,
                b'\\' => self.escape()?,
                control => {
                    self.out.push_str(&format!("\\u{control:04x}"));
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        self.out.push('"');
        Some(())
    }

    /// Reads an escape. One that JSON does not have is a backslash and a letter.
    fn escape(&mut self) -> Option<()> {
        let rest = &self.text[self.at..];
        match rest.as_bytes().get(1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {
                self.out.push_str(&rest[..2]);
                self.at += 2;
            }
            b'u' => {
                let Some(unit) = unit(rest) else {
                    self.out.push_str("\\\\");
                    self.at += 1;
                    return Some(());
                };
                let low = rest.get(6..).and_then(self::unit).filter(|low| (0xdc00..0xe000).contains(low));
                let length = match (unit, low) {
                    (0xd800..0xdc00, Some(_)) => 12,
                    (0xd800..0xe000, _) => {
                        self.out.push_str("\\ufffd");
                        self.at += 6;
                        return Some(());
                    }
                    _ => 6,
                };
                self.out.push_str(&rest[..length]);
                self.at += length;
            }
            _ => {
                self.out.push_str("\\\\");
                self.at += 1;
            }
        }
        Some(())
    }
}

/// Returns the value of the `\uXXXX` at the start of a text.
fn unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

/// Returns the text of a name in quotes.
fn unescaped(name: &str) -> std::borrow::Cow<'_, str> {
    if name.contains('\\') {
        return serde_json::from_str::<String>(name).map_or(name.into(), Into::into);
    }
    name.get(1..name.len() - 1).unwrap_or(name).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_of_real_writers_becomes_strict() {
        for (text, strict) in [
            (
                r#"{"a": NaN, "b": [Infinity, -Infinity, -inf, nan]}"#,
                r#"{"a":"NaN","b":["Infinity","-Infinity","-Infinity","NaN"]}"#,
            ),
            (
                r#"{"a": True, "b": False, "c": None, "d": {"e": None,},}"#,
                r#"{"a":true,"b":false,"c":null,"d":{"e":null}}"#,
            ),
            (
                r#"{"a": 01, "b": +1, "c": .5, "d": 5., "e": 007.50, "f": -00}"#,
                r#"{"a":1,"b":1,"c":0.5,"d":5.0,"e":7.50,"f":-0}"#,
            ),
            (r#"{"a": 1e999, "b": 1E+5, "c": -2.5e-3}"#, r#"{"a":"1e999","b":1E+5,"c":-2.5e-3}"#),
            (r#"{"a": 1, "b": 2, "\u0061": 3}"#, r#"{"a":3,"b":2}"#),
            (
                r#"{"a": "\ud83d\ude00 \ud83d x \udce9", "b": "\uD83D\u0041"}"#,
                r#"{"a":"\ud83d\ude00 \ufffd x \ufffd","b":"\ufffd\u0041"}"#,
            ),
            ("{\"a\": \"C:\\dir\\x \t \\u12\"}", r#"{"a":"C:\\dir\\x \u0009 \\u12"}"#),
            ("{ }", "{}"),
        ] {
            assert_eq!(read_first(text), Some((strict.to_owned(), text.len())), "{text}");
            serde_json::from_str::<serde_json::Value>(strict).unwrap();
        }
        assert_eq!(read_first("{\"a\":1}{\"b\":2}"), Some(("{\"a\":1}".to_owned(), 7)));
    }

    #[test]
    fn invalid_json_is_rejected() {
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        for text in [
            "",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{'a': 1}",
            "{a: 1}",
            "{\"a\":1,,}",
            "{\"a\":x}",
            "{\"a\":1 2}",
            "{\"a\":e5}",
            "{\"a\":.}",
            "{\"a\":\"",
            "{,}",
            "[1]",
            &deep,
        ] {
            assert_eq!(read_first(text), None, "{}", &text[..text.len().min(20)]);
        }
    }
}
