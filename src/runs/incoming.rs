//! Incoming events, and the form in which they are stored: with an identity, a source and a time.

use std::sync::Arc;

use serde_json::json;
use sha2::{Digest, Sha256};
use ulid::Ulid;

use crate::model::{ByteStr, Entry, EntryBody, EntryFields, Event, EventError, EventView, Timestamp, limits};

/// Field of an entry that holds the event.
const FIELD: &[u8] = b"event";

/// The source of an event, and its position there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSource {
    /// `task:42`, `file:...`, or a name chosen by the sender.
    pub name: Arc<str>,
    /// Position from 1. If unknown, an event without an id receives a unique one.
    pub seq: Option<u64>,
}

/// An event that has not been stored.
#[derive(Clone, Debug)]
pub struct IncomingEvent {
    /// The event as received.
    pub event: Event,
    /// Source, if known: an event without an id receives one from its position.
    pub source: Option<EventSource>,
}

/// Hash of an event id. Ids with the same hash are treated as equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct IdHash(u64, u64);

impl IdHash {
    /// Returns its bytes.
    pub(super) fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.0) << 64 | u128::from(self.1)).to_be_bytes()
    }

    /// Returns the hash of `id`: the first 16 bytes of its SHA-256.
    pub(super) fn new(id: &str) -> Self {
        let digest = Sha256::digest(id.as_bytes());
        let word = |half: &[u8]| half.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        Self(word(&digest[..8]), word(&digest[8..16]))
    }
}

impl IncomingEvent {
    /// Returns an event with an unknown source.
    pub fn new(event: Event) -> Self {
        Self { event, source: None }
    }

    /// Returns the event in its stored form, and the hash of its id.
    pub(super) fn prepare(&self, received: Timestamp) -> Result<(Event, IdHash), EventError> {
        let view = self.event.view();
        check_id(&view)?;
        let mut added = Vec::with_capacity(4);
        let hash = match (&view.event_id, &self.source) {
            (Some(id), _) => IdHash::new(id),
            (None, source) => {
                let id = match source {
                    Some(EventSource { name, seq: Some(seq) }) => format!("{name}:{seq}"),
                    _ => Ulid::generate().to_string(),
                };
                let hash = IdHash::new(&id);
                added.push(("event_id", json!(id)));
                hash
            }
        };
        if let Some(EventSource { name, seq }) = &self.source {
            added.push(("source", json!(&**name)));
            if let Some(seq) = seq.filter(|_| view.source.is_none()) {
                added.push(("source_seq", json!(seq)));
            }
        }
        added.push(("received_utc", json!(received)));
        Ok((check_length(self.event.with(&added))?, hash))
    }
}

/// Rejects an event that is too long: it could not be read back.
fn check_length(event: Event) -> Result<Event, EventError> {
    let bytes = event.as_str().len();
    if bytes > limits::EVENT_BYTES_MAX { Err(EventError::TooLong(bytes)) } else { Ok(event) }
}

/// Rejects an id that cannot identify an event.
fn check_id(view: &EventView<'_>) -> Result<(), EventError> {
    match view.event_id.as_deref() {
        Some(id @ ("" | "{..}" | "[..]")) => {
            let wants = "a non-empty string, or no field";
            Err(EventError::WrongType { field: "event_id", wants, got: format!("`{id}`") })
        }
        _ => Ok(()),
    }
}

/// Returns the entry fields of a stored event.
pub(super) fn fields(event: &Event) -> EntryFields<'_> {
    vec![(ByteStr::from(FIELD), ByteStr::from(event.as_str()))]
}

/// Returns the event of an entry, or `None` if the entry was deleted. EntryFields that a Redis client left out are
/// derived from the entry's id, which does not change.
pub(super) fn read(entry: &Entry<'_>) -> Option<Result<(Event, IdHash), EventError>> {
    let fields = match &entry.body {
        body if body.is_deleted() => return None,
        EntryBody::Fields(fields) => fields,
        EntryBody::Line(_) => return Some(Err(EventError::NotObject)),
    };
    Some(parse(fields).and_then(|event| complete(event, entry)))
}

fn parse(fields: &EntryFields<'_>) -> Result<Event, EventError> {
    let text = |octets: &ByteStr<'_>| String::from_utf8_lossy(octets).into_owned();
    if let Some((_, value)) = fields.iter().find(|(name, _)| **name == *FIELD) {
        return Event::parse(&text(value));
    }
    let mut object = serde_json::Map::new();
    for (name, value) in fields {
        let value = text(value);
        // Redis has only strings: these fields are parsed as numbers.
        let number = matches!(&**name, b"repetition" | b"total_repetitions" | b"total" | b"attempt" | b"source_seq");
        let value = match value.parse::<u64>() {
            Ok(count) if number => json!(count),
            _ => json!(value),
        };
        object.insert(text(name), value);
    }
    Event::parse(&serde_json::Value::Object(object).to_string())
}

fn complete(event: Event, entry: &Entry<'_>) -> Result<(Event, IdHash), EventError> {
    let view = event.view();
    check_id(&view)?;
    let mut added = Vec::new();
    let hash = match &view.event_id {
        Some(id) => IdHash::new(id),
        None => {
            let id = format!("redis:{}", entry.id);
            let hash = IdHash::new(&id);
            added.push(("event_id", json!(id)));
            hash
        }
    };
    if view.source.is_none() && view.received_utc.is_none() {
        added.push(("source", json!("redis")));
    }
    if view.received_utc.is_none() {
        added.push(("received_utc", json!(Timestamp::from_millis(entry.id.ms))));
    }
    let event = if added.is_empty() { event } else { check_length(event.with(&added))? };
    Ok((event, hash))
}
