//! An entry of a journal: a log line, or any fields for a plain Redis stream.

use serde::{Deserialize, Serialize};

use super::{Channel, EntryId, LineText, Timestamp};

/// Field names and values of a Redis stream entry, in the order they were given.
pub type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryBody<'a> {
    /// A line of a task's log: on the Redis port the fields `line`, `timestamp`, `stream`.
    Line(#[serde(borrow)] LineText<'a>),
    /// Any other fields.
    Fields(Fields),
}

/// One item of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its id, greater than that of every earlier entry.
    pub id: EntryId,
    /// Its line number: one more than that of the entry before.
    pub n: u64,
    /// What it holds.
    pub body: EntryBody<'a>,
}

impl EntryBody<'_> {
    /// The body as Redis shows it.
    pub fn to_fields(&self) -> Fields {
        match self {
            EntryBody::Fields(fields) => fields.clone(),
            EntryBody::Line(line) => vec![
                (b"line".to_vec(), line.text.as_bytes().to_vec()),
                (b"timestamp".to_vec(), line.timestamp.to_string().into_bytes()),
                (b"stream".to_vec(), line.channel.as_str().as_bytes().to_vec()),
            ],
        }
    }

    /// Any entry seen as a line of a log: fields that are no line are shown as `name=value` words.
    pub fn to_line(&self, id: EntryId) -> LineText<'_> {
        match self {
            EntryBody::Line(line) => LineText { text: line.text.as_ref().into(), ..*line },
            EntryBody::Fields(fields) => {
                let words = fields.iter().map(|(name, value)| {
                    format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
                });
                let text = words.collect::<Vec<_>>().join(" ").into();
                let timestamp = Timestamp::from_millis(id.ms);
                LineText { timestamp, channel: Channel::Stdout, partial: false, lossy: false, text }
            }
        }
    }
}
