//! A fast scanner for one JSON object, for input with millions of events.
//!
//! It accepts a subset of JSON and returns `None` for the rest: for unusual texts (a name that is
//! escaped or duplicate, half a character, values nested deeply, an object longer than an event may be) and for invalid
//! ones. Those are left to `serde_json`, which reports the error, and to [`lenient`]. Accepted texts mean the
//! same in all three.

use std::borrow::Cow;
use std::ops::Range;

pub(crate) mod lenient;
mod read;

use self::read::ObjectReader;
use super::limits;

/// A JSON object without white space between its tokens, and the positions of its fields. Names are
/// unique and contain no escapes.
#[derive(Debug)]
pub(crate) struct JsonObject<'a> {
    text: Cow<'a, str>,
    fields: Vec<Field>,
}

/// A field, as positions in the compact text.
#[derive(Clone, Copy, Debug)]
struct Field {
    /// Name, without the quotes.
    name: (u32, u32),
    /// End of the value, which starts after the name's closing quote and the colon.
    end: u32,
    kind: ValueKind,
}

impl Field {
    fn name(&self) -> Range<usize> {
        self.name.0 as usize..self.name.1 as usize
    }
}

/// The type of a JSON value, as detailed as its readers need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueKind {
    Null,
    Bool,
    /// A non-negative integer that fits in 64 bits.
    Count,
    /// Another number that an `f64` can hold.
    Number,
    /// A number that may be out of range.
    Wide,
    /// A string with these escapes.
    String(Escapes),
    Array,
    Object,
}

/// The escapes in a string; each class includes the previous ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Escapes {
    None,
    /// Escapes without an alternative spelling: `\" \\ \b \f \n \r \t`.
    Canonical,
    /// Other escapes.
    Any,
}

impl<'a> JsonObject<'a> {
    /// Parses a text that is exactly one object.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        Self::read_first(text).and_then(|(object, length)| (length == text.len()).then_some(object))
    }

    /// Parses the object at the start of a text; returns it and its length.
    pub(crate) fn read_first(text: &'a str) -> Option<(Self, usize)> {
        // A longer object is not accepted, and all positions fit in 32 bits.
        let text = &text[..text.floor_char_boundary(limits::EVENT_BYTES_MAX)];
        let mut reader = ObjectReader { text, at: 0, copied: 0, skipped: 0, compact: String::new() };
        let fields = reader.fields()?;
        let text = if reader.skipped == 0 {
            Cow::Borrowed(&text[..reader.at])
        } else {
            reader.compact.push_str(&text[reader.copied..reader.at]);
            Cow::Owned(reader.compact)
        };
        Some((Self { text, fields }, reader.at))
    }

    /// Returns the object as compact text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the fields in their order: the name, the raw value and its type.
    pub(crate) fn fields(&self) -> impl ExactSizeIterator<Item = (&str, &str, ValueKind)> {
        let text: &str = &self.text;
        self.fields
            .iter()
            .map(move |field| (&text[field.name()], &text[field.name.1 as usize + 2..field.end as usize], field.kind))
    }

    /// Returns the raw text of a field, name and value, by its index.
    pub(crate) fn field_text(&self, number: usize) -> &str {
        self.fields.get(number).map_or("", |field| &self.text[field.name.0 as usize - 1..field.end as usize])
    }

    /// Returns the type of a field's value.
    pub(crate) fn kind_of(&self, name: &str) -> Option<ValueKind> {
        self.fields.iter().find(|field| &self.text[field.name()] == name).map(|field| field.kind)
    }

    /// Returns the object without its `null` fields and with those of `added` appended that it lacks; their
    /// values are JSON.
    pub(crate) fn stored_form(&self, added: &[(&str, &str)]) -> String {
        let added_bytes: usize = added.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let mut out = String::with_capacity(self.text.len() + added_bytes);
        if self.fields.iter().any(|field| field.kind == ValueKind::Null) {
            out.push('{');
            for (number, _) in self.fields.iter().enumerate().filter(|(_, field)| field.kind != ValueKind::Null) {
                join(&mut out);
                out.push_str(self.field_text(number));
            }
        } else {
            out.push_str(&self.text[..self.text.len() - 1]);
        }
        for (name, value) in added {
            if self.kind_of(name).is_none_or(|kind| kind == ValueKind::Null) {
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
