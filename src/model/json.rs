//! One JSON object in one pass, for texts that are read by the million.
//!
//! It takes less than JSON has: what is unusual (a name with an escape or that comes twice, values
//! in each other more than a few levels deep, an object that is longer than an event may be) and
//! what is wrong gives `None`, and is left to `serde_json`, which says why. What it takes means the
//! same there.

use std::borrow::Cow;
use std::ops::Range;

use smallvec::SmallVec;

use super::limits;

/// Values in each other that are followed.
const DEPTH_MAX: usize = 16;
/// Digits of a whole number that surely fits, and bytes of any number that surely does.
const COUNT_DIGITS_MAX: usize = 18;
const NUMBER_BYTES_MAX: usize = 40;
/// Room that is made for the text of an object with white space, at first.
const COMPACT_BYTES: usize = 512;

const LOW: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

/// An object without white space between its tokens, and where its fields stand in it. No name comes
/// twice, none has an escape.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    text: Cow<'a, str>,
    fields: SmallVec<[Field; 16]>,
}

/// A field, by places in the compact text.
#[derive(Clone, Copy, Debug)]
struct Field {
    /// Its name, without the quotes.
    name: (u32, u32),
    /// Where its value ends; it begins behind the name's quote and the colon.
    end: u32,
    kind: Kind,
}

impl Field {
    fn name(&self) -> Range<usize> {
        self.name.0 as usize..self.name.1 as usize
    }
}

/// What a value is, as far as it matters to those who read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    /// A whole number, not negative, that fits.
    Count,
    /// Another number that fits.
    Number,
    /// A number that may not fit.
    Wide,
    /// A string with such escapes in it.
    String(Escapes),
    Array,
    Object,
}

/// The escapes in a string, each class with those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Escapes {
    None,
    /// Those that are written so and in no other way: `\" \\ \b \f \n \r \t`.
    Canonical,
    /// Others that stand for a character.
    Any,
    /// Halves of a pair, which may lack the other.
    Halves,
}

impl<'a> Object<'a> {
    /// Reads a text that is one object.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        Self::read_first(text).and_then(|(object, length)| (length == text.len()).then_some(object))
    }

    /// Reads the object that a text begins with; gives its length there, too.
    pub(crate) fn read_first(text: &'a str) -> Option<(Self, usize)> {
        // What is longer is none of those that are read here; and places fit.
        let text = &text[..text.floor_char_boundary(limits::EVENT_BYTES_MAX)];
        let mut reader = Reader { text, at: 0, copied: 0, left_out: 0, compact: String::new() };
        let fields = reader.fields()?;
        let text = if reader.left_out == 0 {
            Cow::Borrowed(&text[..reader.at])
        } else {
            reader.compact.push_str(&text[reader.copied..reader.at]);
            Cow::Owned(reader.compact)
        };
        Some((Self { text, fields }, reader.at))
    }

    /// The object, compact.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The fields in their order: the name, the value as it is written, and what that is.
    pub(crate) fn fields(&self) -> impl ExactSizeIterator<Item = (&str, &str, Kind)> {
        let text: &str = &self.text;
        self.fields
            .iter()
            .map(move |field| (&text[field.name()], &text[field.name.1 as usize + 2..field.end as usize], field.kind))
    }

    /// A field with its name, as it is written, by its number.
    pub(crate) fn field_text(&self, number: usize) -> &str {
        self.fields.get(number).map_or("", |field| &self.text[field.name.0 as usize - 1..field.end as usize])
    }

    /// What the value of a field is.
    pub(crate) fn kind_of(&self, name: &str) -> Option<Kind> {
        self.fields.iter().find(|field| &self.text[field.name()] == name).map(|field| field.kind)
    }

    /// The object without the fields that are `null`, and with those of `added` that it has not behind
    /// its own; their values are JSON.
    pub(crate) fn kept(&self, added: &[(&str, &str)]) -> String {
        let room: usize = added.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let mut out = String::with_capacity(self.text.len() + room);
        if self.fields.iter().any(|field| field.kind == Kind::Null) {
            out.push('{');
            for (number, _) in self.fields.iter().enumerate().filter(|(_, field)| field.kind != Kind::Null) {
                join(&mut out);
                out.push_str(self.field_text(number));
            }
        } else {
            out.push_str(&self.text[..self.text.len() - 1]);
        }
        for (name, value) in added {
            if self.kind_of(name).is_none_or(|kind| kind == Kind::Null) {
                join(&mut out);
                out.push('"');
                out.push_str(name);
                out.push_str("\":");
                out.push_str(value);
            }
        }
        out.push('}');
        out
    }
}

fn join(out: &mut String) {
    if out.len() > 1 {
        out.push(',');
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// The compact text, once white space was found, up to the place `copied` of the text.
    compact: String,
    copied: usize,
    /// Bytes of white space before `at`.
    left_out: usize,
}

impl Reader<'_> {
    fn fields(&mut self) -> Option<SmallVec<[Field; 16]>> {
        let mut fields = SmallVec::<[Field; 16]>::new();
        let mut seen = 0u64;
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
            if seen & mark != 0 && self.is_known(&fields, start) {
                return None;
            }
            seen |= mark;
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

    /// Where a place of the text is in the compact one.
    fn place(&self, at: usize) -> Option<u32> {
        u32::try_from(at - self.left_out).ok()
    }

    /// Whether the name that begins at `start` came before.
    fn is_known(&self, fields: &[Field], start: usize) -> bool {
        let name = &self.text.as_bytes()[start..self.at - 1];
        // Those before it are in the compact text, but for its last bytes.
        let compact = self.compact.as_bytes();
        let known = |field: &Field| {
            let Range { start: from, end: to } = field.name();
            if to - from != name.len() {
                return false;
            }
            let there = if to <= compact.len() {
                &compact[from..to]
            } else {
                let shift = self.copied - compact.len();
                &self.text.as_bytes()[from + shift..to + shift]
            };
            there == name
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

    /// The first byte of the next token; leaves out what stands before it.
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
        if self.left_out == 0 {
            self.compact.reserve(self.text.len().min(COMPACT_BYTES));
        }
        self.compact.push_str(&self.text[self.copied..start]);
        self.copied = self.at;
        self.left_out += self.at - start;
        self.peek()
    }

    fn value(&mut self, depth: usize) -> Option<Kind> {
        match self.token() {
            b'"' => {
                self.at += 1;
                self.string().map(Kind::String)
            }
            b'n' => self.word(b"null", Kind::Null),
            b't' => self.word(b"true", Kind::Bool),
            b'f' => self.word(b"false", Kind::Bool),
            b'-' | b'0'..=b'9' => self.number(),
            b'[' if depth < DEPTH_MAX => self.array(depth + 1),
            b'{' if depth < DEPTH_MAX => self.object(depth + 1),
            _ => None,
        }
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Option<Kind> {
        let there = self.text.as_bytes()[self.at..].starts_with(word);
        self.at += word.len();
        there.then_some(kind)
    }

    fn array(&mut self, depth: usize) -> Option<Kind> {
        self.at += 1;
        if self.token() == b']' {
            self.at += 1;
            return Some(Kind::Array);
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
        Some(Kind::Array)
    }

    fn object(&mut self, depth: usize) -> Option<Kind> {
        self.at += 1;
        if self.token() == b'}' {
            self.at += 1;
            return Some(Kind::Object);
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
        Some(Kind::Object)
    }

    /// A string, from behind its first quote to behind its last.
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
                let digits = rest.get(1..5)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                self.at += 4;
                let is_half = matches!(digits, [b'd' | b'D', b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F', ..]);
                if is_half { Escapes::Halves } else { Escapes::Any }
            }
            _ => return None,
        };
        self.at += 2;
        Some(escapes)
    }

    fn number(&mut self) -> Option<Kind> {
        let start = self.at;
        let mut kind = Kind::Count;
        if self.peek() == b'-' {
            (self.at, kind) = (self.at + 1, Kind::Number);
        }
        if self.digits()? > 1 && self.text.as_bytes()[start + usize::from(kind == Kind::Number)] == b'0' {
            return None;
        }
        if self.at - start > COUNT_DIGITS_MAX {
            kind = Kind::Wide;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
            kind = if self.at - start > NUMBER_BYTES_MAX { Kind::Wide } else { kind.max_number() };
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
            kind = Kind::Wide;
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

impl Kind {
    fn max_number(self) -> Self {
        if self == Kind::Wide { self } else { Kind::Number }
    }
}

/// A bit that tells most names from each other.
fn mark_of(name: &[u8]) -> u64 {
    let (first, last) = (name.first().copied().unwrap_or(0), name.last().copied().unwrap_or(0));
    let hash = usize::from(first) * 7 + usize::from(last) * 31 + name.len() * 11;
    1 << (hash % 64)
}

/// How many bytes of a string come before a quote, a backslash or a control character.
#[inline]
fn plain(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*eight);
        let zero = |word: u64| word.wrapping_sub(LOW) & !word;
        let special = zero(word ^ (LOW * 0x22)) | zero(word ^ (LOW * 0x5c)) | word.wrapping_sub(LOW * 0x20) & !word;
        // The lowest bit is right: what is borrowed goes up.
        if special & HIGH != 0 {
            return at + (special & HIGH).trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + bytes[at..].iter().take_while(|byte| **byte >= b' ' && !matches!(byte, b'"' | b'\\')).count()
}
