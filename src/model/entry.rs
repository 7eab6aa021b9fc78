//! Journal entries: a log line, or arbitrary fields for a plain Redis stream.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Channel, EntryId, LineText, Timestamp};

/// The name or value of a field: arbitrary bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByteStr<'a>(pub Cow<'a, [u8]>);

/// Field names and values of a Redis stream entry, in insertion order. An empty list is a tombstone:
/// the entry was deleted (Redis: XDEL).
pub type EntryFields<'a> = Vec<(ByteStr<'a>, ByteStr<'a>)>;

/// The contents of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryBody<'a> {
    /// A line of a task's log: on the Redis port the fields `line`, `timestamp`, `stream`.
    Line(#[serde(borrow)] LineText<'a>),
    /// Arbitrary fields, including those of XADD.
    Fields(#[serde(borrow)] EntryFields<'a>),
}

/// One entry of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its id, greater than that of every earlier entry.
    pub id: EntryId,
    /// Its line number: one more than that of the previous entry.
    pub n: u64,
    /// Its contents.
    pub body: EntryBody<'a>,
}

/// Text shown in place of a deleted line.
const DELETED: &str = "[line deleted]";
/// Characters that would end a line or a C string early.
const LINE_ENDS: [char; 2] = ['\n', '\0'];

impl EntryBody<'_> {
    /// The tombstone of a deleted entry.
    pub const DELETED: EntryBody<'static> = EntryBody::Fields(Vec::new());

    /// Reports whether the entry was deleted and is only a tombstone.
    pub fn is_deleted(&self) -> bool {
        matches!(self, EntryBody::Fields(fields) if fields.is_empty())
    }

    /// Reports whether it is a line of tasktail itself: of the channel `internal`.
    pub fn is_own(&self) -> bool {
        match self {
            EntryBody::Line(line) => line.channel == Channel::Internal,
            EntryBody::Fields(fields) => {
                let channel = fields.iter().find(|(name, _)| **name == *b"stream");
                channel.is_some_and(|(_, value)| **value == *Channel::Internal.as_str().as_bytes())
            }
        }
    }

    /// Returns the bytes it adds to a log: its text, and a newline if the line ends with it.
    pub fn text_bytes(&self) -> u64 {
        let bytes = match self {
            EntryBody::Line(line) => line.text.len() + usize::from(!line.partial),
            EntryBody::Fields(fields) => match fields.iter().find(|(name, _)| **name == *b"line") {
                Some((_, text)) => text.strip_suffix(b"\n").unwrap_or(text).len() + 1,
                None => fields.iter().map(|(name, value)| name.len() + value.len()).sum(),
            },
        };
        bytes as u64
    }

    /// Returns the fields shown on the Redis port.
    pub fn to_fields(&self) -> EntryFields<'_> {
        match self {
            EntryBody::Fields(fields) => {
                fields.iter().map(|(name, value)| (name.borrowed(), value.borrowed())).collect()
            }
            EntryBody::Line(line) => vec![
                (ByteStr::from(b"line"), ByteStr::from(line.text.as_bytes())),
                (ByteStr::from(b"timestamp"), ByteStr(line.timestamp.to_string().into_bytes().into())),
                (ByteStr::from(b"stream"), ByteStr::from(line.channel.as_str().as_bytes())),
            ],
        }
    }

    /// Returns any entry as a log line, from its fields `line`, `timestamp` and `stream` (blueprint,
    /// "Storing Logs"). Without a field `line` all fields are shown as `name=value` words.
    pub fn to_line(&self, id: EntryId) -> LineText<'_> {
        let fields = match self {
            EntryBody::Line(line) => return LineText { text: line.text.as_ref().into(), ..*line },
            EntryBody::Fields(fields) => fields,
        };
        let at_id = Timestamp::from_millis(id.ms);
        let mut line = LineText { timestamp: at_id, ..LineText::default() };
        if fields.is_empty() {
            return LineText { channel: Channel::Internal, text: DELETED.into(), ..line };
        }
        let find = |name: &[u8]| fields.iter().find(|(found, _)| **found == *name).map(|(_, value)| &**value);
        let text_of = |name: &[u8]| find(name).and_then(|value| std::str::from_utf8(value).ok());
        let text = match find(b"line") {
            Some(text) => {
                line.timestamp = text_of(b"timestamp").and_then(|time| time.parse().ok()).unwrap_or(at_id);
                line.channel = text_of(b"stream").and_then(|channel| channel.parse().ok()).unwrap_or_default();
                String::from_utf8_lossy(text.strip_suffix(b"\n").unwrap_or(text))
            }
            None => fields.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ").into(),
        };
        line.lossy = text.contains(['\u{fffd}', '\n', '\0']);
        line.text = if text.contains(LINE_ENDS) { text.replace(LINE_ENDS, "\u{fffd}").into() } else { text };
        line
    }

    /// Returns the body with all borrowed data copied.
    pub fn into_owned(self) -> EntryBody<'static> {
        match self {
            EntryBody::Line(line) => EntryBody::Line(LineText { text: line.text.into_owned().into(), ..line }),
            EntryBody::Fields(fields) => EntryBody::Fields(
                fields.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
            ),
        }
    }
}

impl ByteStr<'_> {
    fn borrowed(&self) -> ByteStr<'_> {
        ByteStr(Cow::Borrowed(&self.0))
    }

    fn into_owned(self) -> ByteStr<'static> {
        ByteStr(self.0.into_owned().into())
    }
}

impl<'a, T: AsRef<[u8]> + ?Sized> From<&'a T> for ByteStr<'a> {
    fn from(bytes: &'a T) -> Self {
        Self(Cow::Borrowed(bytes.as_ref()))
    }
}

impl Deref for ByteStr<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ByteStr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl Serialize for ByteStr<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for ByteStr<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(ByteStrVisitor)
    }
}

struct ByteStrVisitor;

impl<'de> Visitor<'de> for ByteStrVisitor {
    type Value = ByteStr<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<ByteStr<'de>, E> {
        Ok(ByteStr(Cow::Borrowed(bytes)))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<ByteStr<'de>, E> {
        Ok(ByteStr(Cow::Owned(bytes.to_vec())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&'static str, &'static str)]) -> EntryBody<'static> {
        EntryBody::Fields(pairs.iter().map(|(name, value)| (ByteStr::from(*name), ByteStr::from(*value))).collect())
    }

    #[test]
    fn blueprint_fields_become_a_line() {
        let id = EntryId::new(5, 0);
        let body =
            fields(&[("line", "Building...\n"), ("timestamp", "2026-05-09T16:23:01+02:00"), ("stream", "stderr")]);
        let line = body.to_line(id);
        assert_eq!((line.text.as_ref(), line.channel, line.lossy), ("Building...", Channel::Stderr, false));
        assert_eq!(line.timestamp.to_string(), "2026-05-09T14:23:01.000Z");
        let bare = fields(&[("line", "two\nlines"), ("timestamp", "soon")]);
        let line = bare.to_line(id);
        assert_eq!(
            (line.text.as_ref(), line.lossy, line.timestamp),
            ("two\u{fffd}lines", true, Timestamp::from_millis(5))
        );
        assert_eq!(fields(&[("a", "1"), ("b", "")]).to_line(id).text, "a=1 b=");
        assert_eq!(EntryBody::DELETED.to_line(id).channel, Channel::Internal);
    }
}
