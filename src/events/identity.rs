//! Event identity: when two events are the same.
//!
//! A generated id is `c-<fingerprint>-<n>`: 128 bits of SHA-256 over the event's content, and the
//! number of this event among equal ones of its source. The content does not depend on formatting:
//! fields are sorted by name, strings are unescaped, `null` equals absent; numbers count as
//! written. Fields that tasktail adds (`source`, `source_seq`, `received_utc`) are excluded.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use smallvec::SmallVec;

use crate::model::Event;
use crate::model::json::{Escapes, JsonObject, ValueKind};

/// Fields that tasktail adds.
const ADDED_FIELDS: [&str; 3] = ["source", "source_seq", "received_utc"];
/// Nesting depth to which fields are sorted; deeper objects count as written.
const DEPTH_MAX: usize = 32;

/// Maximum size of an id with its quotes, in bytes.
const ID_BYTES: usize = 48;

/// 128 bits of SHA-256 over an event's content.
pub(super) type Fingerprint = [u8; 16];

/// Assigns ids to the events of one source (a task's output, or a file from its start) that have
/// none: their fingerprint, and their number among equal events.
///
/// It never forgets, so a repetition is recognized at any distance: each distinct event without an
/// id costs 25 to 50 bytes, a million of them about 40 MiB.
#[derive(Debug, Default)]
pub struct Identities {
    seen: HashMap<Fingerprint, u32>,
}

impl Identities {
    /// Returns the event with an `event_id`: its own, or one that is the same for the same event in
    /// every source.
    pub fn identify(&mut self, event: &Event) -> Event {
        let object = JsonObject::read(event.as_str());
        if has_id(event, object.as_ref()) { event.with(&[]) } else { self.number(event, object.as_ref(), None) }
    }

    /// Returns the number of distinct events that had no id.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Reports whether no event without an id was seen.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Same as [`Identities::identify`] for an event whose fingerprint is known; `object` is its
    /// parsed form, if it could be parsed in one pass.
    pub(super) fn identify_known(
        &mut self,
        event: &Event,
        object: Option<&JsonObject<'_>>,
        content: Fingerprint,
    ) -> Event {
        if has_id(event, object) { event.with(&[]) } else { self.number(event, object, Some(content)) }
    }

    fn number(&mut self, event: &Event, object: Option<&JsonObject<'_>>, content: Option<Fingerprint>) -> Event {
        let content = content.unwrap_or_else(|| fingerprint(event, object));
        let count = self.seen.entry(content).or_default();
        *count = count.saturating_add(1);
        let mut id = String::with_capacity(ID_BYTES);
        id.push_str("\"c-");
        let digit = |digit: u8| char::from(b"0123456789abcdef"[usize::from(digit & 15)]);
        id.extend(content.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]));
        id.push('-');
        id.push_str(itoa::Buffer::new().format(*count));
        id.push('"');
        match object {
            Some(object) => Event::from_object(object, &[("event_id", &id)]),
            None => event.with(&[("event_id", id.trim_matches('"').into())]),
        }
    }
}

fn has_id(event: &Event, object: Option<&JsonObject<'_>>) -> bool {
    match object {
        Some(object) => object.kind_of("event_id").is_some_and(|kind| kind != ValueKind::Null),
        None => event.as_str().contains("event_id") && event.view().event_id.is_some(),
    }
}

/// Returns the hash of the event's content, including its own id; `object` is its parsed form, if
/// it could be parsed in one pass.
pub(super) fn fingerprint(event: &Event, object: Option<&JsonObject<'_>>) -> Fingerprint {
    let mut canonical = Vec::with_capacity(event.as_str().len() + 1);
    match object {
        Some(object) => known_object(object, &mut canonical),
        None => {
            let mut fields = event.fields();
            fields.retain(|(name, _)| !ADDED_FIELDS.contains(&&**name));
            self::object(fields, &mut canonical, 0);
        }
    }
    let hash = Sha256::digest(&canonical);
    let mut content = Fingerprint::default();
    content.copy_from_slice(&hash[..16]);
    content
}

/// Writes the same bytes as [`object`], for an object whose fields are known: most can be copied.
fn known_object(object: &JsonObject<'_>, out: &mut Vec<u8>) {
    let mut fields = SmallVec::<[_; 16]>::new();
    let mut order = SmallVec::<[_; 16]>::new();
    for (number, (name, text, kind)) in object.fields().enumerate() {
        fields.push((name, text, kind));
        if kind != ValueKind::Null && !ADDED_FIELDS.contains(&name) {
            order.push((name_prefix(name), number));
        }
    }
    order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| fields[a.1].0.cmp(fields[b.1].0)));
    out.push(b'{');
    for (_, number) in order {
        let (name, text, kind) = fields[number];
        match kind {
            ValueKind::Array | ValueKind::Object | ValueKind::String(Escapes::Any) => {
                string(name, out);
                out.push(b':');
                value(text, out, 1);
            }
            _ => out.extend_from_slice(object.field_text(number).as_bytes()),
        }
        out.push(b',');
    }
    out.push(b'}');
}

/// Returns the first bytes of a name as a number with the same order.
fn name_prefix(name: &str) -> u64 {
    let mut begin = [0; 8];
    let known = name.len().min(begin.len());
    begin[..known].copy_from_slice(&name.as_bytes()[..known]);
    u64::from_be_bytes(begin)
}

fn object(mut fields: Vec<(Cow<'_, str>, &RawValue)>, out: &mut Vec<u8>, depth: usize) {
    fields.retain(|(_, value)| value.get() != "null");
    fields.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    out.push(b'{');
    for (name, field) in fields {
        string(&name, out);
        out.push(b':');
        value(field.get(), out, depth + 1);
        out.push(b',');
    }
    out.push(b'}');
}

fn value(text: &str, out: &mut Vec<u8>, depth: usize) {
    let plain = !text.contains('\\');
    match text.as_bytes().first() {
        Some(b'"') if !plain => {
            if let Ok(text) = serde_json::from_str::<Cow<'_, str>>(text) {
                return string(&text, out);
            }
        }
        Some(b'{') if depth < DEPTH_MAX => {
            if let Ok(AllFields(fields)) = serde_json::from_str(text) {
                return object(fields, out, depth);
            }
        }
        Some(b'[') if depth < DEPTH_MAX => {
            if let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(text) {
                out.push(b'[');
                for item in items {
                    value(item.get(), out, depth + 1);
                    out.push(b',');
                }
                out.push(b']');
                return;
            }
        }
        _ => {}
    }
    out.extend_from_slice(text.as_bytes());
}

fn string(text: &str, out: &mut Vec<u8>) {
    if text.bytes().any(|byte| byte < b' ' || matches!(byte, b'"' | b'\\')) {
        out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
    } else {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}

/// The fields of any object, in their order.
pub(super) struct AllFields<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for AllFields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AllFieldsVisitor).map(AllFields)
    }
}

struct AllFieldsVisitor;

impl<'de> Visitor<'de> for AllFieldsVisitor {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            fields.push((Cow::Owned(name), value));
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = r#"{"host":"h","workload":"w","repetition":1,"status":"running","message":"caff\u00e8 \"x\"","error_context":{"b":[1,{"d":2,"c":null}],"a":"y"}}"#;
    const OTHER: &str = r#"{"error_context": {"a": "y", "b": [1, {"d": 2}]}, "status": "running", "source": "task:1", "message": "caffè \u0022x\"", "level": null, "repetition": 1, "workload": "w", "host": "h"}"#;

    fn id(identities: &mut Identities, text: &str) -> String {
        let event = identities.identify(&Event::parse(text).unwrap());
        event.view().event_id.unwrap().to_string()
    }

    #[test]
    fn equal_events_share_an_id_across_sources_but_not_within_one() {
        let (mut stdout, mut file) = (Identities::default(), Identities::default());
        let ids = [id(&mut stdout, PLAIN), id(&mut stdout, PLAIN)];
        assert_eq!(ids, [id(&mut file, OTHER), id(&mut file, PLAIN)], "however it is written");
        assert_ne!(ids[0], ids[1]);
        assert!(ids[0].starts_with("c-") && ids[0].ends_with("-1") && ids[0].len() == 36, "{ids:?}");
        assert_eq!((stdout.len(), file.is_empty()), (1, false));
    }

    #[test]
    fn formats_1_7_level_and_time_are_part_of_the_id() {
        let mut way = Identities::default();
        let event =
            |extra: &str| format!(r#"{{"host":"h","workload":"w","repetition":1,"status":"x","message":"m"{extra}}}"#);
        let of = |way: &mut Identities, extra: &str| id(way, &event(extra)).rsplit_once('-').unwrap().0.to_owned();
        let contents = ["", r#","level":"INFO""#, r#","level":"ERROR""#, r#","timestamp":1.5"#, r#","logger":"k6""#];
        let contents = contents.map(|extra| of(&mut way, extra));
        let different: std::collections::HashSet<_> = contents.iter().collect();
        assert_eq!(different.len(), contents.len());
    }

    #[test]
    fn formats_1_7_repetition_is_detected_after_many_other_events() {
        let mut way = Identities::default();
        let event = |n: usize| format!(r#"{{"host":"h","workload":"w","repetition":{n},"status":"x"}}"#);
        let first = id(&mut way, &event(0));
        for n in 1..1_000 {
            id(&mut way, &event(n));
        }
        assert_eq!(id(&mut way, &event(0)), format!("{}2", &first[..first.len() - 1]));
    }

    #[test]
    fn own_id_is_preserved_and_not_remembered() {
        let mut way = Identities::default();
        assert_eq!(id(&mut way, r#"{"event_type":"gate.failed","event_id":"e1","reason":null}"#), "e1");
        assert!(way.is_empty());
        let deep = format!(r#"{{"event_type":"x","deep":{}1{}}}"#, "[".repeat(100), "]".repeat(100));
        assert!(id(&mut way, &deep).starts_with("c-"));
    }

    #[test]
    fn one_pass_fingerprint_equals_the_generic_one() {
        let more = r#"{"host":"h","source":"x","workload":"w\u0041\n\"","repetition":1.0,"status":"\/","received_utc":1,"a":{"z":1,"b":null},"ab":"a\\","aa":-0.5,"hosts":[],"repetition_of_it":null,"":"\ud83d\ude00","x":"\ud83d"}"#;
        for text in [PLAIN, OTHER, more] {
            let event = Event::parse(&text.replace("1.0", "1")).unwrap();
            let object = JsonObject::read(event.as_str()).unwrap();
            assert_eq!(fingerprint(&event, Some(&object)), fingerprint(&event, None), "{event}");
            let mut ways = [Identities::default(), Identities::default()];
            let long = ways[0].number(&event, None, None);
            assert_eq!(ways[1].number(&event, Some(&object), None), long);
        }
    }
}
