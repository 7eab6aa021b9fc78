//! One JSON object in one pass, for texts that are read by the million.
//!
//! It takes less than JSON has: what is unusual (a name with an escape or that comes twice, values
//! in each other more than a few levels deep, an object that is longer than an event may be) and
//! what is wrong gives `None`, and is left to `serde_json`, which says why. What it takes means the
//! same there.

use std::borrow::Cow;
use std::ops::Range;

mod read;

use self::read::Reader;
use super::limits;

/// An object without white space between its tokens, and where its fields stand in it. No name comes
/// twice, none has an escape.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    text: Cow<'a, str>,
    fields: Vec<Field>,
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
