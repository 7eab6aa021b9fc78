//! Events: one JSON object per line, one model for two schemas.
//!
//! ```text
//! pipeline   {"event_id","event_type","run_id","timestamp_utc","actor","attempt", "step_id"?, "error_class"?, "reason"?, ...}
//! benchmark  {"run_id"?,"host","workload","repetition","total_repetitions"?,"status","type"?,"level"?,"message"?, ...}
//! ```
//!
//! An event keeps its original text, so unknown fields and the order of fields survive. The known
//! fields are parsed on demand into an [`EventView`], which borrows from the text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::check::{check, compact, is_event};
use super::event_line::is_separator;
use super::json::{JsonObject, lenient};
use super::limits;
use super::view::{EventText, EventView};

/// One event: a JSON object on one line, validated against the two schemas.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Event(Box<str>);

/// One of the two schemas of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventSchema {
    /// A step of a pipeline: it has an `event_type`.
    Pipeline,
    /// A repetition of a workload on a host: it has `host`, `workload`, `repetition`, `status`.
    Benchmark,
}

/// The reason why a text is not an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// It does not parse as JSON.
    #[error("it is not JSON: {0}")]
    NotJson(String),
    /// It is JSON, but not an object.
    #[error("it is not a JSON object")]
    NotObject,
    /// It is neither a pipeline event nor a benchmark event.
    #[error("field `{0}` is missing: an event has `event_type`, or `host`, `workload`, `repetition` and `status`")]
    MissingField(&'static str),
    /// A numeric or time field has another type.
    #[error("field `{field}` must be {wants}, it is {got}")]
    WrongType {
        /// Name of the field.
        field: &'static str,
        /// Expected type.
        wants: &'static str,
        /// Actual value, shortened.
        got: String,
    },
    /// It is longer than [`limits::EVENT_BYTES_MAX`].
    #[error("it has {0} bytes, more than the maximum of {max}", max = limits::EVENT_BYTES_MAX)]
    TooLong(usize),
}

impl EventError {
    /// Returns a stable code for counters and replies.
    pub fn reason(&self) -> &'static str {
        match self {
            EventError::NotJson(_) => "not_json",
            EventError::NotObject => "not_an_object",
            EventError::MissingField(_) => "missing_field",
            EventError::WrongType { .. } => "wrong_type",
            EventError::TooLong(_) => "too_long",
        }
    }
}

impl Event {
    /// Parses one event. White space between tokens is removed. JSON as programs really write it (a byte order
    /// mark, `NaN`, a name twice, ...) is accepted and becomes strict JSON, as listed in the module `json`.
    ///
    /// # Errors
    /// The reason why the text is not an event.
    pub fn parse(text: &str) -> Result<Self, EventError> {
        let text = text.trim_matches(is_separator);
        if text.len() > limits::EVENT_BYTES_MAX {
            return Err(EventError::TooLong(text.len()));
        }
        if let Some(event) = JsonObject::read(text).as_ref().and_then(Self::of) {
            return Ok(event);
        }
        let error = match check(text) {
            // A half of a character is not an error, but few programs can read it.
            Ok(()) if !text.contains("\\ud") && !text.contains("\\uD") => return Ok(Self(compact(text).into())),
            Ok(()) => EventError::NotJson("it is nested too deeply".to_owned()),
            Err(error @ EventError::NotJson(_)) => error,
            Err(error) => return Err(error),
        };
        match lenient::read_first(text) {
            Some((strict, length)) if length == text.len() => Self::of_strict(strict),
            _ => Err(error),
        }
    }

    /// Returns the event of an object in strict JSON without white space.
    pub(super) fn of_strict(object: String) -> Result<Self, EventError> {
        if object.len() > limits::EVENT_BYTES_MAX {
            return Err(EventError::TooLong(object.len()));
        }
        check(&object)?;
        Ok(Self(object.into()))
    }

    /// Returns the object as an event, or `None` if it is invalid or unusual; [`Event::parse`] decides
    /// those cases.
    pub(crate) fn of(object: &JsonObject<'_>) -> Option<Self> {
        is_event(object).then(|| Self(object.text().into()))
    }

    /// Wraps a text without validating it, for tests.
    #[cfg(test)]
    pub(super) fn unchecked(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the event with the fields of `added` that the object lacks, and without `null` fields.
    /// The values are JSON.
    pub(crate) fn from_object(object: &JsonObject<'_>, added: &[(&str, &str)]) -> Self {
        Self(object.stored_form(added).into())
    }

    /// Returns the JSON object, on one line.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns its known fields.
    pub fn view(&self) -> EventView<'_> {
        // The text was validated when the event was created, so parsing cannot fail.
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// Returns all fields in their order, values as raw text. The last of duplicate names wins.
    pub fn fields(&self) -> Vec<(Cow<'_, str>, &RawValue)> {
        serde_json::from_str::<ObjectFields<'_>>(&self.0).map_or_else(|_| Vec::new(), |fields| fields.0)
    }

    /// Returns the event in its stored form: without `null` fields, and with those of `added` that it
    /// lacks appended.
    #[must_use]
    pub fn with(&self, added: &[(&str, serde_json::Value)]) -> Self {
        let is_plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if let Some(object) = JsonObject::read(&self.0).filter(|_| added.iter().all(|(name, _)| is_plain(name))) {
            let values: Vec<_> = added.iter().map(|(_, value)| value.to_string()).collect();
            let added: Vec<_> = added.iter().zip(&values).map(|((name, _), value)| (*name, value.as_str())).collect();
            return Self::from_object(&object, &added);
        }
        self.with_any(added)
    }

    /// Implements [`Event::with`] for unusual events.
    pub(super) fn with_any(&self, added: &[(&str, serde_json::Value)]) -> Self {
        let mut fields = self.fields();
        fields.retain(|(_, value)| value.get() != "null");
        let mut out = String::with_capacity(self.0.len() + 96);
        let mut separator = '{';
        for (name, value) in &fields {
            push_field(&mut out, &mut separator, name, value.get());
        }
        for (name, value) in added {
            if !fields.iter().any(|(known, _)| known == name) {
                push_field(&mut out, &mut separator, name, &value.to_string());
            }
        }
        out.push_str(if separator == '{' { "{}" } else { "}" });
        Self(out.into())
    }
}

fn push_field(out: &mut String, separator: &mut char, name: &str, value: &str) {
    out.push(*separator);
    *separator = ',';
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
    type Err = EventError;

    fn from_str(text: &str) -> Result<Self, EventError> {
        Self::parse(text)
    }
}

impl Serialize for Event {
    /// Serializes the object itself; JSON only.
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

struct ObjectFields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for ObjectFields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectFieldsVisitor).map(ObjectFields)
    }
}

struct ObjectFieldsVisitor;

impl<'de> Visitor<'de> for ObjectFieldsVisitor {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields: Self::Value = Vec::with_capacity(12);
        while let Some((EventText(name), value)) = map.next_entry::<EventText<'de>, &RawValue>()? {
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
    fn benchmark_event_is_parsed() {
        let event = Event::parse(FULL).unwrap();
        let view = event.view();
        assert_eq!(view.schema(), EventSchema::Benchmark);
        assert_eq!((view.message.as_deref(), view.repetitions()), (Some("a \"b\" {"), Some(3)));
        assert!(view.is_log() && !view.is_failure() && view.error_type.is_none());
        assert_eq!(view.origin().unwrap().to_string(), "2026-01-03T10:15:05.100Z");
        assert!(event.as_str().contains(r#""extra":{"x":[1,2]}"#), "{event}");
    }

    #[test]
    fn stored_form_drops_nulls_and_keeps_order_and_unknown_fields() {
        let kept = Event::parse(FULL).unwrap().with(&[("event_id", "e1".into()), ("host", "other".into())]);
        assert!(!kept.as_str().contains("null"), "{kept}");
        assert!(kept.as_str().starts_with(r#"{"run_id":"r1","host":"h","#), "{kept}");
        assert!(kept.as_str().ends_with(r#""extra":{"x":[1,2]},"event_id":"e1"}"#), "{kept}");
    }

    #[test]
    fn errors_name_field_and_reason() {
        for (text, reason, names) in [
            ("{\"a\":", "not_json", "line 1"),
            ("[1]", "not_an_object", "object"),
            ("{}", "missing_field", "event_type"),
            (r#"{"workload":"w","repetition":1,"status":"failed"}"#, "missing_field", "`host`"),
            (r#"{"host":"h","workload":"w","repetition":null,"status":"failed"}"#, "missing_field", "`repetition`"),
            (r#"{"host":"h","workload":"w","repetition":"one","status":"x"}"#, "wrong_type", "`repetition`"),
            (r#"{"host":"h","workload":"w","repetition":NaN,"status":"x"}"#, "wrong_type", "`repetition`"),
            (r#"{"host":"h","workload":"w","repetition":1.5,"status":"x"}"#, "wrong_type", "1.5"),
            (r#"{"host":"h","workload":"w","repetition":-1,"status":"x"}"#, "wrong_type", "-1"),
            ("{'host': 'h'}", "not_json", "key"),
        ] {
            let fault = Event::parse(text).unwrap_err();
            assert_eq!(fault.reason(), reason, "{text}: {fault}");
            assert!(fault.to_string().contains(names), "{text}: {fault}");
        }
    }

    #[test]
    fn numbers_of_any_spelling_are_read_and_a_bad_optional_field_rejects_nothing() {
        let view = |fields: &str| {
            let text = format!(r#"{{"host":"h","workload":"w","status":"x",{fields}}}"#);
            let event = Event::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let view = event.view();
            (view.repetition.unwrap().0, view.repetitions(), view.origin().is_some())
        };
        assert_eq!(view(r#""repetition":"2","total_repetitions":" 3 ""#), (2, Some(3), false));
        assert_eq!(view(r#""repetition":2.0,"total":3e0"#), (2, Some(3), false));
        assert_eq!(view(r#""repetition":true,"total":"3.0","timestamp":"1767435305.1""#), (1, Some(3), true));
        assert_eq!(view(r#""repetition":02,"total_repetitions":NaN,"timestamp":-Infinity"#), (2, None, false));
        assert_eq!(
            view(r#""repetition":1,"total":-1,"timestamp":[1],"attempt":{},"source_seq":"x""#),
            (1, None, false)
        );
        assert_eq!(view(r#""repetition":7,"repetition":2,"message":"\udce9","x":1e999"#), (2, None, false));
        let failed =
            Event::parse("\u{feff}{\"event_type\":\"step.failed\",\"attempt\":\"?\",\"p99\":NaN}\0\0").unwrap();
        assert!(failed.view().is_failure() && failed.as_str().ends_with(r#""p99":"NaN"}"#), "{failed}");
    }

    #[test]
    fn failures_are_detected_in_both_schemas() {
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
