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

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::check::{check, compact, is_event};
use super::json::Object;
use super::{Timestamp, limits};

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

/// A text in an event, borrowed where it has no escapes. A number or a truth value counts as its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<'a>(pub Cow<'a, str>);

/// When the origin says that something happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Moment<'a> {
    /// Seconds since 1970, as Python's `time.time()` gives them.
    Seconds(f64),
    /// A time in RFC 3339.
    Text(Cow<'a, str>),
}

/// What is known of an event's fields. `null` is the same as absent.
#[derive(Clone, Debug, Default, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the two schemas, above")]
pub struct EventView<'a> {
    #[serde(borrow)]
    pub event_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub event_type: Option<Text<'a>>,
    #[serde(borrow)]
    pub run_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub timestamp_utc: Option<Moment<'a>>,
    #[serde(borrow)]
    pub timestamp: Option<Moment<'a>>,
    /// When the first server of ours took it; given there.
    #[serde(borrow)]
    pub received_utc: Option<Moment<'a>>,
    /// Where the first hop of ours took it from (`task:42`, `file:...`, `http`), and its place there.
    #[serde(borrow)]
    pub source: Option<Text<'a>>,
    pub source_seq: Option<Count>,
    #[serde(borrow)]
    pub actor: Option<Text<'a>>,
    pub attempt: Option<Count>,
    #[serde(borrow)]
    pub step_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub error_class: Option<Text<'a>>,
    #[serde(borrow)]
    pub reason: Option<Text<'a>>,
    #[serde(borrow)]
    pub previous_state: Option<Text<'a>>,
    #[serde(borrow)]
    pub new_state: Option<Text<'a>>,
    #[serde(borrow)]
    pub artifact_path: Option<Text<'a>>,
    #[serde(borrow)]
    pub host: Option<Text<'a>>,
    #[serde(borrow)]
    pub workload: Option<Text<'a>>,
    pub repetition: Option<Count>,
    pub total_repetitions: Option<Count>,
    /// An older name of `total_repetitions`.
    pub total: Option<Count>,
    #[serde(borrow)]
    pub status: Option<Text<'a>>,
    #[serde(borrow, rename = "type")]
    pub kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub level: Option<Text<'a>>,
    #[serde(borrow)]
    pub message: Option<Text<'a>>,
    #[serde(borrow)]
    pub logger: Option<Text<'a>>,
    #[serde(borrow)]
    pub error_type: Option<Text<'a>>,
    #[serde(borrow)]
    pub error_context: Option<&'a RawValue>,
}

/// A whole number, not negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count(pub u64);

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

impl EventView<'_> {
    /// Which schema it follows; `event_type` decides.
    pub fn schema(&self) -> EventKind {
        if self.event_type.is_some() { EventKind::Pipeline } else { EventKind::Benchmark }
    }

    /// The first required field that is not there.
    pub(super) fn missing(&self) -> Option<&'static str> {
        if self.event_type.is_some() {
            return None;
        }
        let there = [
            ("host", self.host.is_some()),
            ("workload", self.workload.is_some()),
            ("repetition", self.repetition.is_some()),
            ("status", self.status.is_some()),
        ];
        if there.iter().all(|(_, there)| !there) {
            return Some("event_type");
        }
        there.iter().find(|(_, there)| !there).map(|(name, _)| *name)
    }

    /// The word that says what kind of event it is: `event_type`, or a benchmark's `type`, which is
    /// `status` where it is not said.
    pub fn type_word(&self) -> &str {
        self.event_type.as_deref().or(self.kind.as_deref()).unwrap_or("status")
    }

    /// Whether it is a line of a log: it tells what happened and changes no state.
    pub fn is_log(&self) -> bool {
        self.event_type.is_none() && self.kind.as_deref() == Some("log")
    }

    /// When it happened, by its origin's clock. Zero stands for unknown there.
    pub fn origin(&self) -> Option<Timestamp> {
        self.timestamp_utc.as_ref().or(self.timestamp.as_ref()).and_then(Moment::to_timestamp)
    }

    /// When a server of ours took it.
    pub fn received(&self) -> Option<Timestamp> {
        self.received_utc.as_ref().and_then(Moment::to_timestamp)
    }

    /// Whether it tells of a failure.
    pub fn is_failure(&self) -> bool {
        match self.schema() {
            EventKind::Pipeline => {
                let kind = self.event_type.as_deref().unwrap_or_default();
                kind.ends_with(".failed") || self.new_state.as_deref() == Some("failed")
            }
            EventKind::Benchmark => {
                let status = !self.is_log() && matches!(self.status.as_deref(), Some("failed" | "unreachable"));
                status || self.error_type.is_some() || self.is_error_level()
            }
        }
    }

    /// Whether its level is one of an error.
    pub fn is_error_level(&self) -> bool {
        self.level
            .as_deref()
            .is_some_and(|level| ["ERROR", "CRITICAL", "FATAL"].iter().any(|error| level.eq_ignore_ascii_case(error)))
    }

    /// Repetitions that there are to be.
    pub fn repetitions(&self) -> Option<u64> {
        self.total_repetitions.or(self.total).map(|count| count.0)
    }
}

impl Moment<'_> {
    fn to_timestamp(&self) -> Option<Timestamp> {
        match self {
            Moment::Text(text) => text.parse().ok(),
            Moment::Seconds(seconds) if *seconds > 0.0 && *seconds < 1e12 => {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just above")]
                let millis = (seconds * 1000.0) as u64;
                Some(Timestamp::from_millis(millis))
            }
            Moment::Seconds(_) => None,
        }
    }
}

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
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

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor).map(Text)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(if value { "true" } else { "false" }))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_string()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Cow::Borrowed("{..}"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Cow::Borrowed("[..]"))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Moment<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MomentVisitor)
    }
}

struct MomentVisitor;

impl<'de> Visitor<'de> for MomentVisitor {
    type Value = Moment<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seconds or a time in RFC 3339")
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Moment::Seconds(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "a time in seconds is far below 2^52")]
    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Moment::Seconds(value as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "a time in seconds is far below 2^52")]
    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Moment::Seconds(value as f64))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Moment::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Moment::Text(Cow::Owned(text.to_owned())))
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Count)
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
