//! Validates the text of an event and removes its insignificant white space.
//!
//! Nearly all events are ordinary and are recognized in one pass over their text ([`is_event`]). The
//! rest is parsed by `serde_json`, which also reports the error in an invalid text ([`check`]).

use std::borrow::Cow;

use super::json::{JsonObject, ValueKind};
use super::{EventError, EventView, WholeNumber};

/// The type of a field of [`EventView`].
#[derive(Clone, Copy)]
enum FieldType {
    Text,
    Count,
    Moment,
    Any,
}

/// Reports whether an object is certainly an event. Unusual events return `false` here although
/// [`check`] accepts them.
pub(super) fn is_event(object: &JsonObject<'_>) -> bool {
    // The fields required of a benchmark event that are present.
    let (mut is_pipeline, mut present) = (false, 0u8);
    for (name, _, kind) in object.fields() {
        let (expected, bit) = match name {
            "event_type" => (FieldType::Text, 1 << 4),
            "host" => (FieldType::Text, 1),
            "workload" => (FieldType::Text, 1 << 1),
            "status" => (FieldType::Text, 1 << 2),
            "repetition" => (FieldType::Count, 1 << 3),
            "total_repetitions" | "total" | "attempt" | "source_seq" => (FieldType::Count, 0),
            "timestamp" | "timestamp_utc" | "received_utc" => (FieldType::Moment, 0),
            "event_id" | "run_id" | "source" | "actor" | "step_id" | "error_class" | "reason" | "previous_state"
            | "new_state" | "artifact_path" | "type" | "level" | "message" | "logger" | "error_type" => {
                (FieldType::Text, 0)
            }
            _ => (FieldType::Any, 0),
        };
        let matches = match (expected, kind) {
            (_, ValueKind::Null) => continue,
            (FieldType::Any, _) | (FieldType::Text, ValueKind::Bool) => true,
            (FieldType::Count, kind) => kind == ValueKind::Count,
            (FieldType::Text | FieldType::Moment, ValueKind::String(_)) => true,
            (FieldType::Text | FieldType::Moment, kind) => matches!(kind, ValueKind::Count | ValueKind::Number),
        };
        if !matches {
            return false;
        }
        is_pipeline |= bit == 1 << 4;
        present |= bit;
    }
    is_pipeline || present == 0b1111
}

/// Checks that the text is an event, without copying it.
pub(super) fn check(text: &str) -> Result<(), EventError> {
    let view = match serde_json::from_str::<EventView<'_>>(text) {
        Ok(view) if text.starts_with('{') => view,
        Ok(_) => return Err(EventError::NotObject),
        Err(error) => return Err(diagnose(text, &error)),
    };
    view.missing().map_or(Ok(()), |field| Err(EventError::MissingField(field)))
}

/// Returns the reason why a text could not be parsed as an event.
fn diagnose(text: &str, error: &serde_json::Error) -> EventError {
    let Ok(value) = serde_json::from_str::<serde_json::Value>(text) else {
        return EventError::NotJson(error.to_string());
    };
    let serde_json::Value::Object(fields) = value else { return EventError::NotObject };
    let repetition = fields.get("repetition").filter(|value| !value.is_null());
    if let Some(value) = repetition.filter(|value| !matches!(WholeNumber::required(*value), Ok(Some(_)))) {
        let wants = "a non-negative integer";
        return EventError::WrongType { field: "repetition", wants, got: shorten(value) };
    }
    EventError::NotJson(error.to_string())
}

fn shorten(value: &serde_json::Value) -> String {
    value.to_string().chars().take(60).collect()
}

/// Returns the text without white space between its tokens; borrowed if there is none.
pub(super) fn compact(text: &str) -> Cow<'_, str> {
    let (mut in_string, mut escaped, mut found) = (false, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b' ' | b'\n' | b'\r' | b'\t' if !in_string => {
                found = true;
                break;
            }
            _ => {}
        }
    }
    if !found {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    (in_string, escaped) = (false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            ' ' | '\n' | '\r' | '\t' if !in_string => continue,
            _ => {}
        }
        out.push(c);
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Event;

    /// Fragments of JSON objects, valid and invalid.
    const PIECES: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        " ",
        "\n",
        "null",
        "true",
        "false",
        "0",
        "1",
        "-0",
        "-1",
        "01",
        "1.5",
        "1.",
        "-",
        "1e5",
        "1e999",
        "12345678901234567890",
        "123456789012345678",
        "\"\"",
        "\"host\":",
        "\"host\"",
        "\"repetition\":",
        "\"timestamp\":",
        "\"error_context\":",
        "\"x\":",
        "\"\\u0068ost\":",
        "\"a\\u00e8\"",
        "\"a\\ud83d\"",
        "\"\\ud83d\\ude00\"",
        "\"a\\/b\"",
        "\"a\\qb\"",
        "\"\\u00\"",
        "\"a\\\"b\\\\\\n\"",
        "\"caff\u{e8}\"",
        "\"\u{1}\"",
        "\"\t\"",
        "\"\u{7f}\"",
        "{\"a\":[1, {\"b\" : null}]}",
        "{\"a\":1,\"a\":2}",
        "[]",
        "{ }",
    ];
    const EVENTS: [&str; 3] = [
        r#"{"run_id": "r1", "host": "h", "workload": "dfaas", "repetition": 1, "total_repetitions": 3, "status": "running", "message": "a \"b\" {", "timestamp": 1767435305.1, "type": "log", "level": "INFO", "error_type": null, "error_context": {"x": [1, 2]}, "x": 7}"#,
        r#"{"event_id":"a4f691b9","event_type":"run.created","run_id":"run_abc","timestamp_utc":"2026-11-21T03:03:10.943301+00:00","actor":"runner","attempt":0,"reason":"Manual trigger","new_state":null}"#,
        r#"{"host":"h","workload":"w","repetition":1,"status":"x"}"#,
    ];

    /// Generates events in which text was inserted or replaced.
    fn texts() -> impl Strategy<Value = String> {
        let change = (any::<prop::sample::Index>(), 0..12usize, prop::sample::select(PIECES));
        (prop::sample::select(&EVENTS), prop::collection::vec(change, 0..4)).prop_map(|(event, changes)| {
            let mut chars: Vec<char> = event.chars().collect();
            for (place, length, piece) in changes {
                let at = place.index(chars.len());
                chars.splice(at..(at + length).min(chars.len()), piece.chars());
            }
            chars.into_iter().collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn fast_scanner_agrees_with_serde_json(text in texts()) {
            let text = text.trim();
            let Some(object) = JsonObject::read(text) else { return Ok(()) };
            prop_assert_eq!(object.text(), &*compact(text));
            let event = Event::unchecked(object.text());
            let fields = event.fields();
            let known: Vec<_> = fields.iter().map(|(name, value)| (&**name, value.get())).collect();
            let read: Vec<_> = object.fields().map(|(name, value, _)| (name, value)).collect();
            prop_assert_eq!(known, read);
            prop_assert!(!is_event(&object) || check(text).is_ok(), "{}", text);
            let added = [("event_id", "1".into()), ("host", "y".into())];
            prop_assert_eq!(event.with(&added), event.with_any(&added));
        }
    }

    #[test]
    fn ordinary_events_are_recognized_in_one_pass() {
        for event in EVENTS {
            assert!(JsonObject::read(event).is_some_and(|object| is_event(&object)), "{event}");
        }
        assert!(JsonObject::read(r#"{"a":1,"b":2,"a":3}"#).is_none(), "the last of duplicate names wins");
        assert!(JsonObject::read(r#"{ "a" : 1, "bc" : 2 , "bc" : 3 }"#).is_none());
    }
}
