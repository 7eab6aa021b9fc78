//! The single pass over an object's text.

use std::ops::Range;

use super::{Escapes, Field, ValueKind};

/// Deepest nesting that is accepted.
const DEPTH_MAX: usize = 16;
/// Digits of an integer that fits in any case, and bytes of any number that does.
const COUNT_DIGITS_MAX: usize = 18;
const NUMBER_BYTES_MAX: usize = 40;
/// Initial capacity for fields.
const FIELDS: usize = 16;
/// Initial capacity for the compact text of an object with white space.
const COMPACT_BYTES: usize = 512;

const LOW: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

/// The state of the pass: its position and the text compacted up to now.
pub(super) struct ObjectReader<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    /// Compact text up to position `copied`, filled only once white space was found.
    pub(super) compact: String,
    pub(super) copied: usize,
    /// Bytes of white space before `at`.
    pub(super) skipped: usize,
}

impl ObjectReader<'_> {
    pub(super) fn fields(&mut self) -> Option<Vec<Field>> {
        let mut fields = Vec::with_capacity(FIELDS);
        let mut marks = 0u64;
        self.byte(b'{')?;
        if self.token() == b'}' {
            self.at += 1;
            return Some(fields);
        }
        loop {
            self.token();
            self.byte(b'"')?;
            let start = self.at;
            if self.string()? != Escapes::None {
                return None;
            }
            let mark = mark_of(&self.text.as_bytes()[start..self.at - 1]);
            let name = (self.place(start)?, self.place(self.at - 1)?);
            if marks & mark != 0 && self.is_duplicate(&fields, start) {
                return None;
            }
            marks |= mark;
            self.token();
            self.byte(b':')?;
            let kind = self.value(0)?;
            fields.push(Field { name, end: self.place(self.at)?, kind });
            match self.token() {
                b',' => self.at += 1,
                b'}' => break,
                _ => return None,
            }
        }
        self.at += 1;
        Some(fields)
    }

    /// Returns the position in the compact text of a position in the text.
    fn place(&self, at: usize) -> Option<u32> {
        u32::try_from(at - self.skipped).ok()
    }

    /// Reports whether the name that starts at `start` is a duplicate.
    fn is_duplicate(&self, fields: &[Field], start: usize) -> bool {
        let name = &self.text.as_bytes()[start..self.at - 1];
        // The earlier names are in the compact text, except for its last bytes.
        let compact = self.compact.as_bytes();
        let known = |field: &Field| {
            let Range { start: from, end: to } = field.name();
            if to - from != name.len() {
                return false;
            }
            let earlier = if to <= compact.len() {
                &compact[from..to]
            } else {
                let shift = self.copied - compact.len();
                &self.text.as_bytes()[from + shift..to + shift]
            };
            earlier == name
        };
        fields.iter().any(known)
    }

    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        if self.peek() != byte {
            return None;
        }
        self.at += 1;
        Some(())
    }

    /// Skips white space and returns the first byte of the next token.
    #[inline]
    fn token(&mut self) -> u8 {
        match self.peek() {
            b' ' | b'\n' | b'\r' | b'\t' => self.leave_out(),
            byte => byte,
        }
    }

    fn leave_out(&mut self) -> u8 {
        let start = self.at;
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
        if self.skipped == 0 {
            self.compact.reserve(self.text.len().min(COMPACT_BYTES));
        }
        self.compact.push_str(&self.text[self.copied..start]);
        self.copied = self.at;
        self.skipped += self.at - start;
        self.peek()
    }

    fn value(&mut self, depth: usize) -> Option<ValueKind> {
        match self.token() {
            b'"' => {
                self.at += 1;
                self.string().map(ValueKind::String)
            }
            b'n' => self.word(b"null", ValueKind::Null),
            b't' => self.word(b"true", ValueKind::Bool),
            b'f' => self.word(b"false", ValueKind::Bool),
            b'-' | b'0'..=b'9' => self.number(),
            b'[' if depth < DEPTH_MAX => self.array(depth + 1),
            b'{' if depth < DEPTH_MAX => self.object(depth + 1),
            _ => None,
        }
    }

    fn word(&mut self, word: &[u8], kind: ValueKind) -> Option<ValueKind> {
        let matches = self.text.as_bytes()[self.at..].starts_with(word);
        self.at += word.len();
        matches.then_some(kind)
    }

    fn array(&mut self, depth: usize) -> Option<ValueKind> {
        self.at += 1;
        if self.token() == b']' {
            self.at += 1;
            return Some(ValueKind::Array);
        }
        loop {
            self.value(depth)?;
            match self.token() {
                b',' => self.at += 1,
                b']' => break,
                _ => return None,
            }
        }
        self.at += 1;
        Some(ValueKind::Array)
    }

    fn object(&mut self, depth: usize) -> Option<ValueKind> {
        self.at += 1;
        if self.token() == b'}' {
            self.at += 1;
            return Some(ValueKind::Object);
        }
        loop {
            self.token();
            self.byte(b'"')?;
            self.string()?;
            self.token();
            self.byte(b':')?;
            self.value(depth)?;
            match self.token() {
                b',' => self.at += 1,
                b'}' => break,
                _ => return None,
            }
        }
        self.at += 1;
        Some(ValueKind::Object)
    }

    /// Skips a string, from after its first quote to after its last; returns its escapes.
    fn string(&mut self) -> Option<Escapes> {
        let bytes = self.text.as_bytes();
        let mut found = Escapes::None;
        loop {
            self.at += plain(bytes.get(self.at..)?);
            match *bytes.get(self.at)? {
                b'"' => {
                    self.at += 1;
                    return Some(found);
                }
                b'\\' => found = found.max(self.escape()?),
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<Escapes> {
        let rest = &self.text.as_bytes()[self.at + 1..];
        let escapes = match rest.first()? {
            b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't' => Escapes::Canonical,
            b'/' => Escapes::Any,
            b'u' => {
                match surrogate(rest)? {
                    None => self.at += 4,
                    // The other half of the character has to follow.
                    Some(Half::High) if surrogate(rest.get(5..)?.strip_prefix(b"\\")?) == Some(Some(Half::Low)) => {
                        self.at += 10;
                    }
                    Some(_) => return None,
                }
                Escapes::Any
            }
            _ => return None,
        };
        self.at += 2;
        Some(escapes)
    }

    fn number(&mut self) -> Option<ValueKind> {
        let start = self.at;
        let mut kind = ValueKind::Count;
        if self.peek() == b'-' {
            (self.at, kind) = (self.at + 1, ValueKind::Number);
        }
        if self.digits()? > 1 && self.text.as_bytes()[start + usize::from(kind == ValueKind::Number)] == b'0' {
            return None;
        }
        if self.at - start > COUNT_DIGITS_MAX {
            kind = ValueKind::Wide;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
            kind = if self.at - start > NUMBER_BYTES_MAX { ValueKind::Wide } else { kind.max_number() };
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
            kind = ValueKind::Wide;
        }
        Some(kind)
    }

    fn digits(&mut self) -> Option<usize> {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        (self.at > start).then_some(self.at - start)
    }
}

/// A half of a character in UTF-16.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    High,
    Low,
}

/// Returns the half of a character that `uXXXX` at the start of `bytes` is; `None` if it is not such an escape.
fn surrogate(bytes: &[u8]) -> Option<Option<Half>> {
    let digits = bytes.strip_prefix(b"u")?.get(..4)?;
    digits.iter().all(u8::is_ascii_hexdigit).then_some(match digits {
        [b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B', ..] => Some(Half::High),
        [b'd' | b'D', b'c'..=b'f' | b'C'..=b'F', ..] => Some(Half::Low),
        _ => None,
    })
}

impl ValueKind {
    fn max_number(self) -> Self {
        if self == ValueKind::Wide { self } else { ValueKind::Number }
    }
}

/// Returns a bit that distinguishes most names.
fn mark_of(name: &[u8]) -> u64 {
    let (first, last) = (name.first().copied().unwrap_or(0), name.last().copied().unwrap_or(0));
    let hash = usize::from(first) * 7 + usize::from(last) * 31 + name.len() * 11;
    1 << (hash % 64)
}

/// Returns the bytes of a string before a quote, a backslash or a control character.
#[inline]
fn plain(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*eight);
        let zero = |word: u64| word.wrapping_sub(LOW) & !word;
        let special = zero(word ^ (LOW * 0x22)) | zero(word ^ (LOW * 0x5c)) | word.wrapping_sub(LOW * 0x20) & !word;
        // The lowest bit set is exact: borrows only propagate upwards.
        if special & HIGH != 0 {
            return at + (special & HIGH).trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + bytes[at..].iter().take_while(|byte| **byte >= b' ' && !matches!(byte, b'"' | b'\\')).count()
}
