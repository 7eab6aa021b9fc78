//! An event: one JSON object on one line, in one model for two schemas.
//!
//! ```text
//! pipeline   {"event_id","event_type","run_id","timestamp_utc","actor","attempt", "step_id"?, "error_class"?, "reason"?, ...}
//! benchmark  {"run_id"?,"host","workload","repetition","total_repetitions"?,"status","type"?,"level"?,"message"?, ...}
//! ```
//!
//! An event keeps the text it came as: fields nobody here knows stay in it, in their order. What is
//! known is read out of the text as an [`EventView`], which borrows from it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::check::{check, compact, is_event};
use super::json::Object;
use super::limits;
use super::view::{EventView, Text};

/// One event: a JSON object on one line, checked to be readable as one of the two schemas.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Event(Box<str>);

/// Which of the two schemas an event follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Steps of a pipeline: it has an `event_type`.
    Pipeline,
    /// A repetition of a workload on a host: it has `host`, `workload`, `repetition`, `status`.
    Benchmark,
}

/// Why a text is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventFault {
    /// It does not parse as JSON.
    #[error("it is not JSON: {0}")]
    NotJson(String),
    /// It is JSON, but no object.
    #[error("it is not a JSON object")]
    NotObject,
    /// It is neither a pipeline's event nor a benchmark's.
    #[error("field `{0}` is missing: an event has `event_type`, or `host`, `workload`, `repetition` and `status`")]
    MissingField(&'static str),
    /// A field that is counted with holds something else.
    #[error("field `{field}` must be {wants}, it is {got}")]
    WrongType {
        /// The field.
        field: &'static str,
        /// What it should hold.
        wants: &'static str,
        /// What it holds.
        got: String,
    },
    /// More than [`limits::EVENT_BYTES_MAX`].
    #[error("it has {0} bytes, at most {max} are taken", max = limits::EVENT_BYTES_MAX)]
    TooLong(usize),
}

impl EventFault {
    /// A stable word for counters and answers.
    pub fn reason(&self) -> &'static str {
        match self {
            EventFault::NotJson(_) => "not_json",
            EventFault::NotObject => "not_an_object",
            EventFault::MissingField(_) => "missing_field",
            EventFault::WrongType { .. } => "wrong_type",
            EventFault::TooLong(_) => "too_long",
        }
    }
}

impl Event {
    /// Reads one event. The text may have white space between its tokens; what is kept has none.
    ///
    /// # Errors
    /// Why it is no event.
    pub fn parse(text: &str) -> Result<Self, EventFault> {
        let text = text.trim();
        if text.len() > limits::EVENT_BYTES_MAX {
            return Err(EventFault::TooLong(text.len()));
        }
        if let Some(event) = Object::read(text).as_ref().and_then(Self::of) {
            return Ok(event);
        }
        check(text)?;
        Ok(Self(compact(text).into()))
    }

    /// The event that an object is. `None` says that it is none, or an unusual one: [`Event::parse`]
    /// knows.
    pub(crate) fn of(object: &Object<'_>) -> Option<Self> {
        is_event(object).then(|| Self(object.text().into()))
    }

    /// A text that is taken for an event, for tests.
    #[cfg(test)]
    pub(super) fn unchecked(text: &str) -> Self {
        Self(text.into())
    }

    /// The same with those of `added` that the object has not, and without `null`; the values are JSON.
    pub(crate) fn kept(object: &Object<'_>, added: &[(&str, &str)]) -> Self {
        Self(object.kept(added).into())
    }

    /// The JSON object, on one line.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is known of its fields.
    pub fn view(&self) -> EventView<'_> {
        // It was read when the event was made; there is nothing else an event can be.
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// All its fields, in their order, as they stand in it. Of a name that comes twice the last counts.
    pub fn fields(&self) -> Vec<(Cow<'_, str>, &RawValue)> {
        serde_json::from_str::<Fields<'_>>(&self.0).map_or_else(|_| Vec::new(), |fields| fields.0)
    }

    /// The same event as it is kept: no field is `null`, and those of `added` that it has not stand
    /// behind its own.
    #[must_use]
    pub fn with(&self, added: &[(&str, serde_json::Value)]) -> Self {
        let is_plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if let Some(object) = Object::read(&self.0).filter(|_| added.iter().all(|(name, _)| is_plain(name))) {
            let values: Vec<_> = added.iter().map(|(_, value)| value.to_string()).collect();
            let added: Vec<_> = added.iter().zip(&values).map(|((name, _), value)| (*name, value.as_str())).collect();
            return Self::kept(&object, &added);
        }
        self.with_the_long_way(added)
    }

    /// The same for any event.
    pub(super) fn with_the_long_way(&self, added: &[(&str, serde_json::Value)]) -> Self {
        let mut fields = self.fields();
        fields.retain(|(_, value)| value.get() != "null");
        let mut out = String::with_capacity(self.0.len() + 96);
        let mut joint = '{';
        for (name, value) in &fields {
            put(&mut out, &mut joint, name, value.get());
        }
        for (name, value) in added {
            if !fields.iter().any(|(known, _)| known == name) {
                put(&mut out, &mut joint, name, &value.to_string());
            }
        }
        out.push_str(if joint == '{' { "{}" } else { "}" });
        Self(out.into())
    }
}

fn put(out: &mut String, joint: &mut char, name: &str, value: &str) {
    out.push(*joint);
    *joint = ',';
    out.push_str(&serde_json::Value::from(name).to_string());
    out.push(':');
    out.push_str(value);
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Event {
    type Err = EventFault;

    fn from_str(text: &str) -> Result<Self, EventFault> {
        Self::parse(text)
    }
}

impl Serialize for Event {
    /// As the object it is; only of use with JSON.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::parse(raw.get()).map_err(serde::de::Error::custom)
    }
}

struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor).map(Fields)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields: Self::Value = Vec::with_capacity(12);
        while let Some((Text(name), value)) = map.next_entry::<Text<'de>, &RawValue>()? {
            match fields.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value,
                None => fields.push((name, value)),
            }
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"{"run_id": "r1", "host": "h", "workload": "dfaas", "repetition": 1, "total_repetitions": 3, "status": "running", "message": "a \"b\" {", "timestamp": 1767435305.1, "type": "log", "level": "INFO", "error_type": null, "error_context": null, "extra": {"x": [1, 2]}}"#;

    #[test]
    fn a_benchmarks_event_is_read_whole() {
        let event = Event::parse(FULL).unwrap();
        let view = event.view();
        assert_eq!(view.schema(), EventKind::Benchmark);
        assert_eq!((view.message.as_deref(), view.repetitions()), (Some("a \"b\" {"), Some(3)));
        assert!(view.is_log() && !view.is_failure() && view.error_type.is_none());
        assert_eq!(view.origin().unwrap().to_string(), "2026-01-03T10:15:05.100Z");
        assert!(event.as_str().contains(r#""extra":{"x":[1,2]}"#), "{event}");
    }

    #[test]
    fn what_is_kept_has_no_null_and_keeps_order_and_unknown_fields() {
        let kept = Event::parse(FULL).unwrap().with(&[("event_id", "e1".into()), ("host", "other".into())]);
        assert!(!kept.as_str().contains("null"), "{kept}");
        assert!(kept.as_str().starts_with(r#"{"run_id":"r1","host":"h","#), "{kept}");
        assert!(kept.as_str().ends_with(r#""extra":{"x":[1,2]},"event_id":"e1"}"#), "{kept}");
    }

    #[test]
    fn what_is_no_event_says_which_field_and_why() {
        for (text, reason, names) in [
            ("{\"a\":", "not_json", "line 1"),
            ("[1]", "not_an_object", "object"),
            ("{}", "missing_field", "event_type"),
            (r#"{"workload":"w","repetition":1,"status":"failed"}"#, "missing_field", "`host`"),
            (r#"{"host":"h","workload":"w","repetition":null,"status":"failed"}"#, "missing_field", "`repetition`"),
            (r#"{"host":"h","workload":"w","repetition":"one","status":"x"}"#, "wrong_type", "`repetition`"),
            (r#"{"host":"h","workload":"w","repetition":-1,"status":"x"}"#, "wrong_type", "-1"),
            ("{'host': 'h'}", "not_json", "key"),
        ] {
            let fault = Event::parse(text).unwrap_err();
            assert_eq!(fault.reason(), reason, "{text}: {fault}");
            assert!(fault.to_string().contains(names), "{text}: {fault}");
        }
    }

    #[test]
    fn failures_are_known_in_both_schemas() {
        let failed = |text: &str| Event::parse(text).unwrap().view().is_failure();
        assert!(
            failed(r#"{"event_type":"gate.failed"}"#)
                && failed(r#"{"event_type":"run.completed","new_state":"failed"}"#)
        );
        assert!(!failed(r#"{"event_type":"step.succeeded","new_state":"succeeded"}"#));
        assert!(failed(
            r#"{"host":"h","workload":"w","repetition":1,"status":"running","type":"log","level":"ERROR"}"#
        ));
        assert!(!failed(r#"{"host":"h","workload":"w","repetition":1,"status":"failed","type":"log","level":"INFO"}"#));
    }
}
