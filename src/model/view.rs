//! The known fields of an event, parsed from its text, without a copy where possible.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{EventSchema, Timestamp};

/// The end of the integers that an `f64` holds exactly.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// A string in an event, borrowed if it has no escapes. Numbers and booleans are accepted as their text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventText<'a>(pub Cow<'a, str>);

/// A time set by the event's source.
#[derive(Clone, Debug, PartialEq)]
pub enum EventTime<'a> {
    /// Seconds since 1970, like Python's `time.time()`.
    Seconds(f64),
    /// A time in RFC 3339, or seconds in a string.
    Text(Cow<'a, str>),
    /// A value that is not a time.
    Unknown,
}

/// The known fields of an event. `null` is the same as absent.
#[derive(Clone, Debug, Default, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the two schemas, above")]
pub struct EventView<'a> {
    #[serde(borrow)]
    pub event_id: Option<EventText<'a>>,
    #[serde(borrow)]
    pub event_type: Option<EventText<'a>>,
    #[serde(borrow)]
    pub run_id: Option<EventText<'a>>,
    #[serde(borrow)]
    pub timestamp_utc: Option<EventTime<'a>>,
    #[serde(borrow)]
    pub timestamp: Option<EventTime<'a>>,
    /// Time when the first server received it; added there.
    #[serde(borrow)]
    pub received_utc: Option<EventTime<'a>>,
    /// Origin of the event, added by the stage that received it first (`task:42`, `file:...`, `http`), and
    /// its position there.
    #[serde(borrow)]
    pub source: Option<EventText<'a>>,
    #[serde(default, deserialize_with = "WholeNumber::any")]
    pub source_seq: Option<WholeNumber>,
    #[serde(borrow)]
    pub actor: Option<EventText<'a>>,
    #[serde(default, deserialize_with = "WholeNumber::any")]
    pub attempt: Option<WholeNumber>,
    #[serde(borrow)]
    pub step_id: Option<EventText<'a>>,
    #[serde(borrow)]
    pub error_class: Option<EventText<'a>>,
    #[serde(borrow)]
    pub reason: Option<EventText<'a>>,
    #[serde(borrow)]
    pub previous_state: Option<EventText<'a>>,
    #[serde(borrow)]
    pub new_state: Option<EventText<'a>>,
    #[serde(borrow)]
    pub artifact_path: Option<EventText<'a>>,
    #[serde(borrow)]
    pub host: Option<EventText<'a>>,
    #[serde(borrow)]
    pub workload: Option<EventText<'a>>,
    #[serde(default, deserialize_with = "WholeNumber::required")]
    pub repetition: Option<WholeNumber>,
    #[serde(default, deserialize_with = "WholeNumber::any")]
    pub total_repetitions: Option<WholeNumber>,
    /// An older name of `total_repetitions`.
    #[serde(default, deserialize_with = "WholeNumber::any")]
    pub total: Option<WholeNumber>,
    #[serde(borrow)]
    pub status: Option<EventText<'a>>,
    #[serde(borrow, rename = "type")]
    pub kind: Option<EventText<'a>>,
    #[serde(borrow)]
    pub level: Option<EventText<'a>>,
    #[serde(borrow)]
    pub message: Option<EventText<'a>>,
    #[serde(borrow)]
    pub logger: Option<EventText<'a>>,
    #[serde(borrow)]
    pub error_type: Option<EventText<'a>>,
    #[serde(borrow)]
    pub error_context: Option<&'a RawValue>,
}

/// A non-negative integer: a number, or a string that Python's `int` and `float` accept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WholeNumber(pub u64);

impl EventView<'_> {
    /// Returns the schema of the event; `event_type` decides.
    pub fn schema(&self) -> EventSchema {
        if self.event_type.is_some() { EventSchema::Pipeline } else { EventSchema::Benchmark }
    }

    /// Returns the first required field that is missing.
    pub(super) fn missing(&self) -> Option<&'static str> {
        if self.event_type.is_some() {
            return None;
        }
        let present = [
            ("host", self.host.is_some()),
            ("workload", self.workload.is_some()),
            ("repetition", self.repetition.is_some()),
            ("status", self.status.is_some()),
        ];
        if present.iter().all(|(_, present)| !present) {
            return Some("event_type");
        }
        present.iter().find(|(_, present)| !present).map(|(name, _)| *name)
    }

    /// Returns the type of the event: `event_type`, or a benchmark's `type`, which defaults to `status`.
    pub fn type_word(&self) -> &str {
        self.event_type.as_deref().or(self.kind.as_deref()).unwrap_or("status")
    }

    /// Reports whether it is a log message, which changes no state.
    pub fn is_log(&self) -> bool {
        self.event_type.is_none() && self.kind.as_deref() == Some("log")
    }

    /// Returns the time set by the event's source; zero means unknown there.
    pub fn origin(&self) -> Option<Timestamp> {
        self.timestamp_utc.as_ref().or(self.timestamp.as_ref()).and_then(EventTime::to_timestamp)
    }

    /// Returns the time when a server received it.
    pub fn received(&self) -> Option<Timestamp> {
        self.received_utc.as_ref().and_then(EventTime::to_timestamp)
    }

    /// Reports whether the event is a failure.
    pub fn is_failure(&self) -> bool {
        match self.schema() {
            EventSchema::Pipeline => {
                let kind = self.event_type.as_deref().unwrap_or_default();
                kind.ends_with(".failed") || self.new_state.as_deref() == Some("failed")
            }
            EventSchema::Benchmark => {
                let status = !self.is_log() && matches!(self.status.as_deref(), Some("failed" | "unreachable"));
                status || self.error_type.is_some() || self.is_error_level()
            }
        }
    }

    /// Reports whether its level is an error level.
    pub fn is_error_level(&self) -> bool {
        self.level
            .as_deref()
            .is_some_and(|level| ["ERROR", "CRITICAL", "FATAL"].iter().any(|error| level.eq_ignore_ascii_case(error)))
    }

    /// Returns the number of repetitions planned.
    pub fn repetitions(&self) -> Option<u64> {
        self.total_repetitions.or(self.total).map(|count| count.0)
    }
}

impl EventTime<'_> {
    fn to_timestamp(&self) -> Option<Timestamp> {
        match self {
            EventTime::Text(text) => text.parse().ok().or_else(|| time_of(text.trim().parse().ok()?)),
            EventTime::Seconds(seconds) => time_of(*seconds),
            EventTime::Unknown => None,
        }
    }
}

/// Returns a time in seconds since 1970; zero means unknown.
fn time_of(seconds: f64) -> Option<Timestamp> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "used only if it fits")]
    let millis = (seconds * 1000.0) as u64;
    (seconds > 0.0 && seconds < 1e12).then(|| Timestamp::from_millis(millis))
}

impl std::ops::Deref for EventText<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for EventText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EventTextVisitor).map(EventText)
    }
}

struct EventTextVisitor;

impl<'de> Visitor<'de> for EventTextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
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

impl<'de: 'a, 'a> Deserialize<'de> for EventTime<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EventTimeVisitor)
    }
}

struct EventTimeVisitor;

impl<'de> Visitor<'de> for EventTimeVisitor {
    type Value = EventTime<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seconds or an RFC 3339 time")
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(EventTime::Seconds(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "a time in seconds is far below 2^52")]
    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(EventTime::Seconds(value as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "a time in seconds is far below 2^52")]
    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(EventTime::Seconds(value as f64))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(EventTime::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(EventTime::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(EventTime::Unknown)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(EventTime::Unknown)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(EventTime::Unknown)
    }
}

/// Returns the integer that a number without a fraction is.
fn whole(value: f64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "used only if it fits")]
    let count = value as u64;
    (value.fract() == 0.0 && (0.0..WHOLE_MAX).contains(&value)).then_some(count)
}

/// The value of a field that should be a non-negative integer.
enum CountValue {
    Null,
    Count(u64),
    Other,
}

impl WholeNumber {
    /// Reads a field; a value that is not a count is the same as absent.
    fn any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        Ok(match deserializer.deserialize_any(CountVisitor)? {
            CountValue::Count(count) => Some(Self(count)),
            CountValue::Null | CountValue::Other => None,
        })
    }

    /// Reads a field whose value must be a count or `null`.
    pub(super) fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        match deserializer.deserialize_any(CountVisitor)? {
            CountValue::Count(count) => Ok(Some(Self(count))),
            CountValue::Null => Ok(None),
            CountValue::Other => Err(serde::de::Error::custom("not a non-negative integer")),
        }
    }
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = CountValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a non-negative integer")
    }

    fn visit_unit<E>(self) -> Result<CountValue, E> {
        Ok(CountValue::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<CountValue, E> {
        Ok(CountValue::Count(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<CountValue, E> {
        Ok(CountValue::Count(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<CountValue, E> {
        Ok(u64::try_from(value).map_or(CountValue::Other, CountValue::Count))
    }

    fn visit_f64<E>(self, value: f64) -> Result<CountValue, E> {
        Ok(whole(value).map_or(CountValue::Other, CountValue::Count))
    }

    fn visit_str<E>(self, text: &str) -> Result<CountValue, E> {
        let text = text.trim();
        let count = text.parse().ok().or_else(|| whole(text.parse().ok()?));
        Ok(count.map_or(CountValue::Other, CountValue::Count))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CountValue, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(CountValue::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<CountValue, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(CountValue::Other)
    }
}
