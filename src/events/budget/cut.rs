//! Shorter forms of an event: fewer fields, and long texts truncated in the middle.

use crate::model::Event;

/// Fields of an event shown with little space.
const ESSENTIAL: [&str; 12] = [
    "event_type",
    "step_id",
    "host",
    "workload",
    "repetition",
    "status",
    "level",
    "error_class",
    "error_type",
    "reason",
    "message",
    "new_state",
];
/// Fields of an event shown with space for a few words.
const BARE: [&str; 3] = ["step_id", "reason", "message"];

/// The amount of detail of a shown event.
#[derive(Clone, Copy, Debug)]
pub(super) struct DetailLevel {
    /// Maximum length of one text, in characters.
    chars: usize,
    /// The fields to include; all if empty.
    fields: &'static [&'static str],
}

/// Returns the levels of detail, from full to minimal; only the first unless the event is
/// `required`.
pub(super) fn detail_levels(text_max: usize, required: bool) -> impl Iterator<Item = DetailLevel> {
    let smaller = [
        DetailLevel { chars: 300, fields: &[] },
        DetailLevel { chars: 160, fields: &ESSENTIAL },
        DetailLevel { chars: 60, fields: &ESSENTIAL },
        DetailLevel { chars: 60, fields: &BARE },
        DetailLevel { chars: 24, fields: &BARE },
        DetailLevel { chars: 20, fields: &["reason", "message"] },
        DetailLevel { chars: 20, fields: &["event_type", "status"] },
    ];
    let smaller = smaller.into_iter().filter(move |_| required);
    let smaller = smaller.map(move |level| DetailLevel { chars: level.chars.min(text_max), ..level });
    std::iter::once(DetailLevel { chars: text_max, fields: &[] }).chain(smaller)
}

/// Returns the event with only the requested fields, in that order; absent ones are omitted.
pub fn object(event: &Event, fields: &[String]) -> String {
    render(event, Some(fields), DetailLevel { chars: usize::MAX, fields: &[] }, 1)
}

/// Returns the event at a level of detail, with `"repeated":N` where it represents several.
pub(super) fn brief(event: &Event, fields: Option<&[String]>, level: DetailLevel, repeated: usize) -> String {
    render(event, fields, level, repeated)
}

fn render(event: &Event, wanted: Option<&[String]>, level: DetailLevel, repeated: usize) -> String {
    let all = event.fields();
    let mut out = String::from("{");
    let mut put = |name: &str, value: &str| {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&serde_json::Value::from(name).to_string());
        out.push(':');
        out.push_str(value);
    };
    if let Some(wanted) = wanted {
        for name in wanted {
            if let Some((_, value)) = all.iter().find(|(known, value)| known == name && value.get() != "null") {
                put(name, &shorten(value.get(), level.chars));
            }
        }
    } else {
        for (name, value) in &all {
            if value.get() != "null" && (level.fields.is_empty() || level.fields.contains(&name.as_ref())) {
                put(name, &shorten(value.get(), level.chars));
            }
        }
    }
    if repeated > 1 {
        put("repeated", &repeated.to_string());
    }
    out.push('}');
    out
}

/// Returns a JSON value of about `chars` characters at most: a longer value becomes a truncated
/// string.
fn shorten(value: &str, chars: usize) -> String {
    if value.len() <= chars {
        return value.to_owned();
    }
    match serde_json::from_str::<String>(value) {
        Ok(text) => serde_json::Value::from(truncate_middle(&text, chars)).to_string(),
        Err(_) => serde_json::Value::from(truncate_middle(value, chars)).to_string(),
    }
}

/// Returns at most `chars` characters of a text: its start and its end with `…` between them.
pub(super) fn truncate_middle(text: &str, chars: usize) -> String {
    let count = text.chars().count();
    if count <= chars {
        return text.to_owned();
    }
    let (head, tail) = (chars / 2, chars.saturating_sub(chars / 2 + 1));
    text.chars().take(head).chain(['…']).chain(text.chars().skip(count - tail)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_keeps_both_ends() {
        assert_eq!(truncate_middle("abcdefghij", 5), "ab…ij");
        assert_eq!(truncate_middle("abc", 5), "abc");
        assert_eq!(truncate_middle("äöüß", 3), "ä…ß");
    }

    #[test]
    fn fields_come_in_the_order_they_are_asked_for_and_absent_ones_are_left_out() {
        let event = Event::parse(r#"{"event_type":"a.b","x":null,"y":{"z":[1]},"reason":"r"}"#).unwrap();
        let fields = ["reason", "nothing", "y", "x"].map(str::to_owned);
        assert_eq!(object(&event, &fields), r#"{"reason":"r","y":{"z":[1]}}"#);
    }
}
