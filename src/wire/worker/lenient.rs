//! A second, slower pass over a message that failed to parse, field by field. A line that cannot be kept as
//! sent is kept with U+FFFD and marked `lossy`; what cannot be kept at all is an error that names the field.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::parse::{LineFields, LinePosition, RawMessage, missing};
use super::{BadMessage, ReceivedLine, TaskRef, WorkerMessage};
use crate::model::Timestamp;

/// A field, its expected type in words, and a check for it.
type Expected = (&'static str, &'static str, fn(&Value) -> bool);

/// The expected type of each field of a message that is not a line.
const EXPECTED: [Expected; 15] = [
    ("type", "a string", Value::is_string),
    ("timestamp", "a string", Value::is_string),
    ("seq", "a whole number, 0 or more", Value::is_u64),
    ("first_seq", "a whole number, 0 or more", Value::is_u64),
    ("lines", "an array of objects", Value::is_array),
    ("exit_code", "a whole number of 32 bits", |v| v.as_i64().is_some_and(|n| i32::try_from(n).is_ok())),
    ("count", "a whole number, 0 or more", Value::is_u64),
    ("hash", "a string", Value::is_string),
    ("signal", "a number or a name", |v| v.is_i64() || v.is_string()),
    ("status", "a string", Value::is_string),
    ("worker", "a string", Value::is_string),
    ("protocol", "a whole number", |v| v.as_u64().is_some_and(|n| u32::try_from(n).is_ok())),
    ("session", "a string", Value::is_string),
    ("command", "an array of strings", |v| v.as_array().is_some_and(|words| words.iter().all(Value::is_string))),
    ("labels", "an object of strings", |v| v.as_object().is_some_and(|o| o.values().all(Value::is_string))),
];

/// The fields of an object, not yet parsed. Of a repeated field the last value counts, as in Python.
type RawFields<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// Parses a message again, leniently. A batch with some bad lines still returns the other lines.
pub(super) fn parse_leniently<'a>(
    text: &str,
    now: Timestamp,
    error: &serde_json::Error,
) -> Result<WorkerMessage<'a>, BadMessage> {
    let repaired = repair_strings(text, Surrogates::Keep);
    let fields = match serde_json::from_str::<RawFields<'_>>(&repaired) {
        Ok(fields) => fields,
        Err(_) if serde_json::from_str::<&RawValue>(&repaired).is_ok() => {
            return Err(BadMessage::new("bad_message", "the message must be a JSON object"));
        }
        Err(error) => return Err(BadMessage::new("bad_json", format!("the message is not JSON: {error}"))),
    };
    let present = |name: &str| fields.get(name).copied().filter(|raw| raw.get() != "null");
    let task = match present("work_request_id") {
        None => None,
        Some(id) => Some(
            serde_json::from_str::<TaskRef>(id.get())
                .map_err(|error| BadMessage::new("bad_message", format!("field `work_request_id`: {error}")))?,
        ),
    };
    let number = |name: &str| present(name).and_then(|raw| whole_number(raw.get()));
    match (present("type").map(|kind| kind.get()), task) {
        (Some(r#""log_line""#), Some(task)) => {
            let mut line = line_of_fields(&fields, LinePosition::Whole, now);
            let (seq, sent) = (number("seq"), present("seq").is_some());
            if let (None, true, Ok(line)) = (seq, sent, &mut line) {
                line.add_fault("field `seq` must be a whole number: the line is stored without it".to_owned());
            }
            Ok(WorkerMessage::lines(task, seq, [line]))
        }
        (Some(r#""partial""#), Some(task)) => match line_of_fields(&fields, LinePosition::Whole, now) {
            Ok(line) => Ok(WorkerMessage::Partial { task, line }),
            Err(error) => Err(BadMessage { task: Some(task), ..error }),
        },
        (Some(r#""log_lines""#), Some(task)) => {
            let rows = present("lines").map(|rows| serde_json::from_str::<Vec<&RawValue>>(rows.get()));
            let Some(Ok(rows)) = rows else {
                let wrong = BadMessage::new("bad_message", "field `lines` must be an array of objects");
                return Ok(WorkerMessage::lines(task, number("first_seq"), [Err(wrong)]));
            };
            let line = |(index, row): (usize, &&RawValue)| line_of_row(row, LinePosition::Index(index), now);
            Ok(WorkerMessage::lines(task, number("first_seq"), rows.iter().enumerate().map(line)))
        }
        (Some(r#""log_line""# | r#""log_lines""# | r#""partial""#), None) => {
            Err(missing("work_request_id", "the task's id", None))
        }
        (_, task) => parse_repaired(text, now, task, error),
    }
}

/// Parses a message without lines again, with U+FFFD for what is not Unicode.
fn parse_repaired<'a>(
    text: &str,
    now: Timestamp,
    task: Option<TaskRef>,
    error: &serde_json::Error,
) -> Result<WorkerMessage<'a>, BadMessage> {
    let repaired = repair_strings(text, Surrogates::Replace);
    let parsed = serde_json::from_str::<RawMessage<'_>>(&repaired).map(|raw| raw.into_message(now));
    match parsed {
        Ok(Err(error)) => return Err(error),
        Ok(Ok(WorkerMessage::Hello { worker })) => return Ok(WorkerMessage::Hello { worker }),
        Ok(Ok(WorkerMessage::TaskStart(start))) => return Ok(WorkerMessage::TaskStart(start)),
        Ok(Ok(WorkerMessage::End(end))) => return Ok(WorkerMessage::End(end)),
        // Messages with lines have a task and a type: they do not get here.
        Ok(Ok(WorkerMessage::Lines { .. } | WorkerMessage::Partial { .. })) | Err(_) => {}
    }
    let value: Value = serde_json::from_str(&repaired)
        .map_err(|error| BadMessage::new("bad_json", format!("the message is not JSON: {error}")))?;
    let wrong =
        EXPECTED.iter().find(|(name, _, is_valid)| value.get(name).is_some_and(|v| !v.is_null() && !is_valid(v)));
    let message = match wrong {
        Some((name, expected, _)) => format!("field `{name}` must be {expected}"),
        None => format!("cannot parse the message: {error}"),
    };
    Err(BadMessage { code: "bad_message", message, task })
}

/// Parses one line again, leniently.
pub(super) fn parse_line_leniently<'a>(
    json: &str,
    now: Timestamp,
    error: &serde_json::Error,
) -> Result<ReceivedLine<'a>, BadMessage> {
    let repaired = repair_strings(json, Surrogates::Keep);
    match serde_json::from_str::<&RawValue>(&repaired) {
        Err(_) => Err(BadMessage::new("bad_json", format!("the line is not JSON: {error}"))),
        Ok(row) if !row.get().starts_with('{') => {
            Err(BadMessage::new("bad_line", "the line must be a JSON object with a field `line`"))
        }
        Ok(row) => line_of_row(row, LinePosition::Whole, now),
    }
}

/// Parses a row of `log_lines`: an object, or a bare string.
fn line_of_row<'a>(row: &RawValue, prefix: LinePosition, now: Timestamp) -> Result<ReceivedLine<'a>, BadMessage> {
    if row.get().starts_with('"') {
        let fields = RawFields::from([("line".into(), row)]);
        return line_of_fields(&fields, prefix, now);
    }
    match serde_json::from_str::<RawFields<'_>>(row.get()) {
        Ok(fields) => line_of_fields(&fields, prefix, now),
        Err(_) => Err(BadMessage::new("bad_line", format!("element `{prefix}line` is not an object"))),
    }
}

fn line_of_fields<'a>(
    fields: &RawFields<'_>,
    prefix: LinePosition,
    now: Timestamp,
) -> Result<ReceivedLine<'a>, BadMessage> {
    let present = |name: &str| fields.get(name).map(|raw| raw.get()).filter(|raw| *raw != "null");
    let string = |name: &str| present(name).map(|raw| text_of(raw).0);
    let line = present("line").map(text_of);
    let kept = line.as_ref().and_then(|(_, change)| *change);
    let flag = |name: &str| present(name).map(|raw| raw == "true");
    let parsed = LineFields {
        line: line.map(|(text, _)| text.into()),
        timestamp: string("timestamp").map(Cow::Owned),
        stream: string("stream").map(Cow::Owned),
        partial: flag("partial"),
        lossy: flag("lossy"),
    };
    let mut line = parsed.into_line(prefix, now)?;
    if let Some(change) = kept {
        line.add_fault(format!("field `{prefix}line` {change}"));
    }
    for name in ["partial", "lossy"] {
        if present(name).is_some_and(|raw| !matches!(raw, "true" | "false")) {
            line.add_fault(format!("field `{prefix}{name}` must be true or false: it is ignored"));
        }
    }
    Ok(line)
}

/// Returns a JSON value as text, and in words what was changed in it.
fn text_of(raw: &str) -> (String, Option<&'static str>) {
    if let Ok(text) = serde_json::from_str(raw) {
        return (text, None);
    }
    match serde_json::from_str(&repair_strings(raw, Surrogates::Replace)) {
        Ok(text) => (text, Some("holds half a surrogate pair: it is stored as U+FFFD")),
        Err(_) => (raw.to_owned(), Some("must be a string: its JSON is stored as text")),
    }
}

/// Returns the whole number of a JSON value: `17`, `17.0` or `"17"`.
fn whole_number(raw: &str) -> Option<u64> {
    let digits = raw.trim_matches('"');
    let digits = digits.strip_suffix(".0").unwrap_or(digits);
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The treatment of escapes of half a surrogate pair, such as `\ud800`.
#[derive(Clone, Copy, PartialEq)]
enum Surrogates {
    Keep,
    Replace,
}

/// Returns JSON whose strings can be parsed: control characters are escaped, the backslash of an unknown
/// escape is kept as a character, and half a surrogate pair becomes U+FFFD if wanted.
fn repair_strings(json: &str, surrogates: Surrogates) -> Cow<'_, str> {
    let mut out = String::new();
    let mut copied = 0;
    let bytes = json.as_bytes();
    let (mut at, mut in_string) = (0, false);
    while let Some(&byte) = bytes.get(at) {
        let (length, replacement) = match byte {
            b'"' => {
                in_string = !in_string;
                (1, None)
            }
            0..0x20 if in_string => (1, Some(format!("\\u{byte:04x}"))),
            b'\\' if in_string => escape_at(json, at, surrogates),
            _ => (1, None),
        };
        if let Some(replacement) = replacement {
            out.push_str(&json[copied..at]);
            out.push_str(&replacement);
            copied = at + length;
        }
        at += length;
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    out.push_str(&json[copied..]);
    Cow::Owned(out)
}

/// Returns the length of an escape, and its replacement if it cannot be parsed.
fn escape_at(json: &str, at: usize, surrogates: Surrogates) -> (usize, Option<String>) {
    let rest = &json[at..];
    let unit = |at: usize| rest.get(at..at + 6).and_then(code_unit);
    match rest.as_bytes().get(1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => (2, None),
        Some(b'u') => match unit(0) {
            None => (1, Some("\\\\".to_owned())),
            Some(0xd800..0xdc00) if unit(6).is_some_and(|low| (0xdc00..0xe000).contains(&low)) => (12, None),
            Some(0xd800..0xe000) if surrogates == Surrogates::Replace => (6, Some("\u{fffd}".to_owned())),
            Some(_) => (6, None),
        },
        _ => (1, Some("\\\\".to_owned())),
    }
}

/// Returns the code unit of an escape of the form `\u12ab`.
fn code_unit(escape: &str) -> Option<u16> {
    let digits = escape.strip_prefix("\\u")?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_778_336_581_000);

    /// Returns the lines of a message as text, with `~` before one that was altered, or the field at fault.
    fn lines(message: &str) -> Vec<String> {
        let WorkerMessage::Lines { lines, .. } = WorkerMessage::parse(message, NOW).unwrap() else { panic!() };
        let shown = lines.into_iter().map(|line| match line {
            Ok(line) => {
                assert_eq!(line.fault.is_some(), line.line.lossy, "{line:?}");
                assert!(line.fault.is_none_or(|fault| fault.task.is_some()));
                format!("{}{}", if line.line.lossy { "~" } else { "" }, line.line.text)
            }
            Err(error) => format!("{}: {}", error.code, error.message),
        });
        shown.collect()
    }

    fn one(line: &str) -> String {
        let message =
            format!(r#"{{"type":"log_line","work_request_id":42,"timestamp":"2026-05-09T14:23:01Z",{line}}}"#);
        lines(&message).remove(0)
    }

    #[test]
    fn line_is_kept_with_replacements() {
        for (line, wanted) in [
            (r#""line":"caf\udce9.c""#, "~caf\u{fffd}.c"),
            (r#""line":"\ud83d\ude00 \ud83d x \ude00\ud83d""#, "~\u{1f600} \u{fffd} x \u{fffd}\u{fffd}"),
            (r#""line":"a\u0000b""#, "~a\u{fffd}b"),
            ("\"line\":\"tab\there, \u{1b}[1mbold\"", "tab\there, \u{1b}[1mbold"),
            (r#""line":"C:\new \x41 \u12""#, "C:\new \\x41 \\u12"),
            (r#""line":7"#, "~7"),
            (r#""line":{"a": "\ud800"}"#, "~{\"a\": \"\\ud800\"}"),
            (r#""line":true"#, "~true"),
            (r#""line":"x","stream":"loud""#, "~x"),
            (r#""line":"x","stream":2"#, "~x"),
            (r#""line":"x","partial":"yes""#, "~x"),
            (r#""line":"x","line":"y""#, "y"),
            (r#""line":"x","seq":"7""#, "x"),
            (r#""line":"x","seq":-1"#, "~x"),
            (r#""line":"x","command":7"#, "x"),
        ] {
            assert_eq!(one(line), wanted, "{line}");
        }
        assert!(one(r#""line":null,"seq":"1""#).contains("`line` is missing"));
    }

    #[test]
    fn only_the_bad_lines_of_a_batch_are_altered() {
        let message = r#"{"type":"log_lines","work_request_id":"a","first_seq":"17","lines":[
            {"line":"good"},{"line":"\udce9"},{"line":5},"bare",{"stream":"stderr"},{"line":"\ufffd kept"},7]}"#;
        let wanted = [
            "good",
            "~\u{fffd}",
            "~5",
            "bare",
            "bad_line: field `lines[4].line` is missing: it holds the line's text",
            "\u{fffd} kept",
            "bad_line: element `lines[6].line` is not an object",
        ];
        assert_eq!(lines(message), wanted);
        let WorkerMessage::Lines { first_seq, .. } = WorkerMessage::parse(message, NOW).unwrap() else { panic!() };
        assert_eq!(first_seq, Some(17));
        let message = r#"{"type":"log_lines","work_request_id":"a","lines":{"line":"x"}}"#;
        assert_eq!(lines(message), ["bad_message: field `lines` must be an array of objects"]);
    }

    #[test]
    fn other_messages_survive_half_a_surrogate_pair() {
        let start = r#"{"type":"task_start","work_request_id":1,"session":"s","command":["cc","caf\udce9.c"]}"#;
        let WorkerMessage::TaskStart(start) = WorkerMessage::parse(start, NOW).unwrap() else { panic!() };
        assert_eq!(start.command, ["cc", "caf\u{fffd}.c"]);
        let end = r#"{"type":"log_line_end","work_request_id":1,"exit_code":0,"note":"\ud800"}"#;
        assert!(matches!(WorkerMessage::parse(end, NOW), Ok(WorkerMessage::End(_))));
    }

    #[test]
    fn rows_of_the_append_route_are_kept_too() {
        let line = LineFields::parse(r#"{"line":"\udce9","stream":"stderr"}"#, NOW).unwrap();
        assert_eq!((line.line.text.as_ref(), line.line.lossy), ("\u{fffd}", true));
        for (row, code) in [("[1]", "bad_line"), ("no", "bad_json"), ("{}", "bad_line"), ("{\"line\":\"x", "bad_json")]
        {
            assert_eq!(LineFields::parse(row, NOW).unwrap_err().code, code, "{row}");
        }
    }
}
