//! An event as it is kept: with an identity, and where and when it came from.

use std::sync::Arc;

use serde_json::json;
use sha2::{Digest, Sha256};
use ulid::Ulid;

use crate::model::{ByteStr, Entry, EntryBody, EntryFields, Event, EventError, EventView, Timestamp, limits};

/// The field of an entry that holds the event.
const FIELD: &[u8] = b"event";

/// Where an event came from, and its place there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `task:42`, `file:...`, or the name that a sender gave itself.
    pub name: Arc<str>,
    /// From 1; unknown: an event of it without an id is given one that no other has.
    pub seq: Option<u64>,
}

/// An event at a door.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// What came.
    pub event: Event,
    /// Where from, if that is known: an event without an id has one by its place then.
    pub source: Option<Source>,
}

/// The print of an id: two ids with the same are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Print(u64, u64);

impl Print {
    pub(super) fn of(id: &str) -> Self {
        let hash = Sha256::digest(id.as_bytes());
        let word = |half: &[u8]| half.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        Self(word(&hash[..8]), word(&hash[8..16]))
    }
}

impl Incoming {
    /// An event whose source is not known.
    pub fn new(event: Event) -> Self {
        Self { event, source: None }
    }

    /// The event as it is kept, and the print of its id.
    pub(super) fn keep(&self, received: Timestamp) -> Result<(Event, Print), EventError> {
        let view = self.event.view();
        check_id(&view)?;
        let mut added = Vec::with_capacity(4);
        let print = match (&view.event_id, &self.source) {
            (Some(id), _) => Print::of(id),
            (None, source) => {
                let id = match source {
                    Some(Source { name, seq: Some(seq) }) => format!("{name}:{seq}"),
                    _ => Ulid::generate().to_string(),
                };
                let print = Print::of(&id);
                added.push(("event_id", json!(id)));
                print
            }
        };
        if let Some(Source { name, seq }) = &self.source {
            added.push(("source", json!(&**name)));
            if let Some(seq) = seq.filter(|_| view.source.is_none()) {
                added.push(("source_seq", json!(seq)));
            }
        }
        added.push(("received_utc", json!(received)));
        Ok((check_length(self.event.with(&added))?, print))
    }
}

/// What is longer than an event could not be read again, here or by a follower.
fn check_length(event: Event) -> Result<Event, EventError> {
    let bytes = event.as_str().len();
    if bytes > limits::EVENT_BYTES_MAX { Err(EventError::TooLong(bytes)) } else { Ok(event) }
}

/// An id that tells nothing apart is no id.
fn check_id(view: &EventView<'_>) -> Result<(), EventError> {
    match view.event_id.as_deref() {
        Some(id @ ("" | "{..}" | "[..]")) => {
            let wants = "a text that is not empty, or left out";
            Err(EventError::WrongType { field: "event_id", wants, got: format!("`{id}`") })
        }
        _ => Ok(()),
    }
}

/// The entry of a kept event.
pub(super) fn fields(event: &Event) -> EntryFields<'_> {
    vec![(ByteStr::from(FIELD), ByteStr::from(event.as_str()))]
}

/// The event of an entry, whoever wrote it: `None` for one that was deleted. What a Redis client
/// left out is filled in from the entry's id, which stays.
pub(super) fn read(entry: &Entry<'_>) -> Option<Result<(Event, Print), EventError>> {
    let fields = match &entry.body {
        body if body.is_deleted() => return None,
        EntryBody::Fields(fields) => fields,
        EntryBody::Line(_) => return Some(Err(EventError::NotObject)),
    };
    Some(parse(fields).and_then(|event| complete(event, entry)))
}

fn parse(fields: &EntryFields<'_>) -> Result<Event, EventError> {
    let text = |octets: &ByteStr<'_>| {
        std::str::from_utf8(octets).map(str::to_owned).map_err(|error| EventError::NotJson(error.to_string()))
    };
    if let Some((_, value)) = fields.iter().find(|(name, _)| **name == *FIELD) {
        return Event::parse(&text(value)?);
    }
    let mut object = serde_json::Map::new();
    for (name, value) in fields {
        let value = text(value)?;
        // Redis knows only texts: a number is one where a number is wanted.
        let number = matches!(&**name, b"repetition" | b"total_repetitions" | b"total" | b"attempt" | b"source_seq");
        let value = match value.parse::<u64>() {
            Ok(count) if number => json!(count),
            _ => json!(value),
        };
        object.insert(text(name)?, value);
    }
    Event::parse(&serde_json::Value::Object(object).to_string())
}

fn complete(event: Event, entry: &Entry<'_>) -> Result<(Event, Print), EventError> {
    let view = event.view();
    check_id(&view)?;
    let mut added = Vec::new();
    let print = match &view.event_id {
        Some(id) => Print::of(id),
        None => {
            let id = format!("redis:{}", entry.id);
            let print = Print::of(&id);
            added.push(("event_id", json!(id)));
            print
        }
    };
    if view.source.is_none() && view.received_utc.is_none() {
        added.push(("source", json!("redis")));
    }
    if view.received_utc.is_none() {
        added.push(("received_utc", json!(Timestamp::from_millis(entry.id.ms))));
    }
    let event = if added.is_empty() { event } else { check_length(event.with(&added))? };
    Ok((event, print))
}
