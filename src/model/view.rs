//! What is known of an event's fields, read out of its text without a copy where that can be.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{EventKind, Timestamp};

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
