//! Events made smaller: some of their fields, long texts cut in their middle.

use crate::model::Event;

/// What a reader must see of an event that has little room.
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
/// The same where there is room for a few words.
const BARE: [&str; 3] = ["step_id", "reason", "message"];

/// How much of an event is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    /// Characters of one text.
    chars: usize,
    /// The only fields; all if empty.
    keep: &'static [&'static str],
}

/// The ways to show an event, from whole to bare; only the first unless it `must` be shown.
pub(super) fn levels(text_max: usize, must: bool) -> impl Iterator<Item = Level> {
    let smaller = [
        Level { chars: 300, keep: &[] },
        Level { chars: 160, keep: &ESSENTIAL },
        Level { chars: 60, keep: &ESSENTIAL },
        Level { chars: 60, keep: &BARE },
        Level { chars: 24, keep: &BARE },
        Level { chars: 20, keep: &["reason", "message"] },
        Level { chars: 20, keep: &["event_type", "status"] },
    ];
    let smaller = smaller.into_iter().filter(move |_| must);
    let smaller = smaller.map(move |level| Level { chars: level.chars.min(text_max), ..level });
    std::iter::once(Level { chars: text_max, keep: &[] }).chain(smaller)
}

/// The event with only the fields that are wanted, in that order; absent ones are left out.
pub fn object(event: &Event, fields: &[String]) -> String {
    put_together(event, Some(fields), Level { chars: usize::MAX, keep: &[] }, 1)
}

/// The event as small as `level` says, with `"repeated":N` where it stands for several.
pub(super) fn brief(event: &Event, fields: Option<&[String]>, level: Level, repeated: usize) -> String {
    put_together(event, fields, level, repeated)
}

fn put_together(event: &Event, wanted: Option<&[String]>, level: Level, repeated: usize) -> String {
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
                put(name, &shorter(value.get(), level.chars));
            }
        }
    } else {
        for (name, value) in &all {
            if value.get() != "null" && (level.keep.is_empty() || level.keep.contains(&name.as_ref())) {
                put(name, &shorter(value.get(), level.chars));
            }
        }
    }
    if repeated > 1 {
        put("repeated", &repeated.to_string());
    }
    out.push('}');
    out
}

/// A JSON value no longer than `chars` or so: a text is cut, what is no text becomes one.
fn shorter(value: &str, chars: usize) -> String {
    if value.len() <= chars {
        return value.to_owned();
    }
    match serde_json::from_str::<String>(value) {
        Ok(text) => serde_json::Value::from(middle(&text, chars)).to_string(),
        Err(_) => serde_json::Value::from(middle(value, chars)).to_string(),
    }
}

/// The text with at most `chars` characters: its begin and its end with `…` between them.
pub(super) fn middle(text: &str, chars: usize) -> String {
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
        assert_eq!(middle("abcdefghij", 5), "ab…ij");
        assert_eq!(middle("abc", 5), "abc");
        assert_eq!(middle("äöüß", 3), "ä…ß");
    }

    #[test]
    fn fields_come_in_the_order_they_are_asked_for_and_absent_ones_are_left_out() {
        let event = Event::parse(r#"{"event_type":"a.b","x":null,"y":{"z":[1]},"reason":"r"}"#).unwrap();
        let fields = ["reason", "nothing", "y", "x"].map(str::to_owned);
        assert_eq!(object(&event, &fields), r#"{"reason":"r","y":{"z":[1]}}"#);
    }
}
