//! A second, slower pass over a message that failed to parse: it finds the field at fault.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::parse::{LineFields, LinePosition};
use super::{BadMessage, ReceivedLine, TaskRef, WorkerMessage};
use crate::model::Timestamp;

/// A field, its expected type in words, and a check for it.
type Expected = (&'static str, &'static str, fn(&Value) -> bool);

/// The expected type of each field.
const EXPECTED: [Expected; 20] = [
    ("type", "a string", Value::is_string),
    ("line", "a string", Value::is_string),
    ("timestamp", "a string", Value::is_string),
    ("stream", "a string", Value::is_string),
    ("partial", "true or false", Value::is_boolean),
    ("lossy", "true or false", Value::is_boolean),
    ("seq", "a whole number, 0 or more", Value::is_u64),
    ("first_seq", "a whole number, 0 or more", Value::is_u64),
    ("lines", "an array of objects", |v| v.as_array().is_some_and(|lines| lines.iter().all(Value::is_object))),
    ("exit_code", "a whole number of 32 bits", |v| v.as_i64().is_some_and(|n| i32::try_from(n).is_ok())),
    ("count", "a whole number, 0 or more", Value::is_u64),
    ("hash", "a string", Value::is_string),
    ("signal", "a number or a name", |v| v.is_i64() || v.is_string()),
    ("status", "a string", Value::is_string),
    ("worker", "a string", Value::is_string),
    ("protocol", "a whole number", |v| v.as_u64().is_some_and(|n| u32::try_from(n).is_ok())),
    ("session", "a string", Value::is_string),
    ("command", "an array of strings", |v| v.as_array().is_some_and(|words| words.iter().all(Value::is_string))),
    ("host", "a string", Value::is_string),
    ("labels", "an object of strings", |v| v.as_object().is_some_and(|o| o.values().all(Value::is_string))),
];

/// Parses a message again to name the field at fault. A batch with some bad lines still returns the
/// other lines.
pub(super) fn diagnose<'a>(
    text: &'a str,
    now: Timestamp,
    error: &serde_json::Error,
) -> Result<WorkerMessage<'a>, BadMessage> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| BadMessage::new("bad_json", format!("the message is not JSON: {error}")))?;
    let Value::Object(fields) = &value else {
        return Err(BadMessage::new("bad_message", "the message must be a JSON object"));
    };
    let task = match fields.get("work_request_id").filter(|id| !id.is_null()) {
        None => None,
        Some(id) => Some(
            TaskRef::deserialize(id)
                .map_err(|error| BadMessage::new("bad_message", format!("field `work_request_id`: {error}")))?,
        ),
    };
    let wrong =
        EXPECTED.iter().find(|(name, _, is_valid)| fields.get(*name).is_some_and(|v| !v.is_null() && !is_valid(v)));
    if let Some((name, expected, _)) = wrong {
        return Err(BadMessage { code: "bad_message", message: format!("field `{name}` must be {expected}"), task });
    }
    let batch = fields.get("type").and_then(Value::as_str) == Some("log_lines");
    let (Some(lines), Some(task), true) = (fields.get("lines").and_then(Value::as_array), &task, batch) else {
        return Err(BadMessage { code: "bad_message", message: format!("cannot parse the message: {error}"), task });
    };
    let lines = lines.iter().enumerate().map(|(index, line)| {
        line_of_value(line, LinePosition::Index(index), now)
            .map_err(|error| BadMessage { task: Some(task.clone()), ..error })
    });
    let first_seq = fields.get("first_seq").and_then(Value::as_u64);
    Ok(WorkerMessage::Lines { task: task.clone(), first_seq, lines: lines.collect() })
}

fn line_of_value(value: &Value, prefix: LinePosition, now: Timestamp) -> Result<ReceivedLine<'static>, BadMessage> {
    let wrong = EXPECTED[1..6]
        .iter()
        .find(|(name, _, is_valid)| value.get(*name).is_some_and(|v| !v.is_null() && !is_valid(v)));
    if let Some((name, expected, _)) = wrong {
        return Err(BadMessage::new("bad_line", format!("field `{prefix}{name}` must be {expected}")));
    }
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(|text| Cow::Owned(text.to_owned()));
    let flag = |name: &str| value.get(name).and_then(Value::as_bool);
    let (partial, lossy) = (flag("partial"), flag("lossy"));
    LineFields { line: text("line"), timestamp: text("timestamp"), stream: text("stream"), partial, lossy }
        .into_line(prefix, now)
}

pub(super) fn diagnose_line(json: &str, error: &serde_json::Error) -> BadMessage {
    match serde_json::from_str::<Value>(json) {
        Err(error) => BadMessage::new("bad_json", format!("the line is not JSON: {error}")),
        Ok(value) if !value.is_object() => {
            BadMessage::new("bad_line", "the line must be a JSON object with a field `line`")
        }
        Ok(value) => match line_of_value(&value, LinePosition::Whole, Timestamp::default()) {
            Err(named) => named,
            Ok(_) => BadMessage::new("bad_line", format!("cannot parse the line: {error}")),
        },
    }
}
