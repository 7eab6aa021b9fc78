//! One event is one event, whatever callback prints it (kind K26).
//!
//! The samples in `data/samples` are what `outcomes.yml` gave with the callbacks of the collections ansible.posix 2.1
//! and community.general 11 (package `ansible` 12.3.0, ansible-core 2.19.14) and with ansible-runner 2.4.3 `-j`.
//! `tests/events/ansible` runs the callbacks of ansible-core itself.

use tasktail::events::{Extractor, ExtractorOptions};

use crate::extract::support::{Item, all, escaped, event, events, in_pieces, item, reasons};

/// A sample, what it does not show, and how often it shows the task that is tried again.
const SAMPLES: [(&str, &str, usize); 11] = [
    (include_str!("../../../data/samples/callback-json-v.txt"), "", 1),
    (include_str!("../../../data/samples/callback-jsonl-v.txt"), "", 1),
    (include_str!("../../../data/samples/callback-yaml-v.txt"), "", 1),
    (include_str!("../../../data/samples/callback-unixy.txt"), "", 1),
    (include_str!("../../../data/samples/callback-unixy-v.txt"), "", 2),
    (include_str!("../../../data/samples/callback-unixy-vvv.txt"), "", 2),
    (include_str!("../../../data/samples/callback-debug-v.txt"), "", 1),
    (include_str!("../../../data/samples/callback-dense-vv.txt"), "", 1),
    (include_str!("../../../data/samples/callback-default-vvv.txt"), "", 2),
    (include_str!("../../../data/samples/callback-runner.txt"), "", 2),
    // It shows a loop of commands only if one of them fails.
    (include_str!("../../../data/samples/callback-oneline-v.txt"), "loop", 1),
];

/// Asserts that a text has each event of `outcomes.yml` once.
pub(crate) fn assert_outcomes(text: &str, not_shown: &str, attempts: usize) {
    let items = all(text);
    assert!(reasons(&items).is_empty(), "{items:#?}");
    let messages: Vec<String> =
        events(text).iter().map(|found| found.event.view().message.unwrap_or_default().to_string()).collect();
    let mut expected = vec!["loop", "loop", "twice", "twice", "item", "item", "bad", "badloop", "badloop", "err"];
    expected.extend(vec!["retry"; attempts]);
    expected.retain(|message| *message != not_shown);
    assert_eq!(messages, expected, "{text}");
    let ids: std::collections::HashSet<String> =
        events(text).iter().map(|found| found.identified.view().event_id.unwrap().to_string()).collect();
    assert_eq!(ids.len(), expected.len(), "each has an id of its own");
}

#[test]
fn every_event_is_one_event_with_every_callback() {
    for (text, not_shown, attempts) in SAMPLES {
        assert_outcomes(text, not_shown, attempts);
        assert_outcomes(&text.replace('\n', "\r\n"), not_shown, attempts);
    }
}

#[test]
fn chunks_and_numbered_lines_make_no_difference() {
    for (text, ..) in SAMPLES {
        let whole = all(text);
        for size in [1, 61, 4096] {
            assert!(in_pieces(text.as_bytes().chunks(size), None) == whole, "in pieces of {size}: {text}");
        }
        let mut extractor = Extractor::new(ExtractorOptions { host: None, texts: true });
        let mut items = Vec::new();
        for (at, line) in text.lines().enumerate() {
            extractor.feed_line(at as u64 + 1, line, &mut |found| items.push(item(found)));
        }
        extractor.finish(&mut |found| items.push(item(found)));
        assert!(items == whole, "{text}");
    }
}

#[test]
fn in_one_json_object_equal_events_under_two_keys_are_one() {
    let line = |message: &str| escaped(&format!("LB_EVENT {}", event(message)), 1);
    let (one, two) = (line("one"), line("two"));
    for (text, count) in [
        (format!(r#"{{"stdout":"{one}","stdout_lines":["{one}"]}}"#), 1),
        (format!(r#"{{"stdout":"{one}\n{one}","stdout_lines":["{one}","{one}"]}}"#), 2),
        (format!(r#"{{"stdout":"{one}\n{two}","stdout_lines":["{one}","{two}"]}}"#), 2),
        (format!(r#"{{"cmd":"emit '{one}'","argv":["emit","{one}"],"stdout":"{one}"}}"#), 1),
        (format!(r#"{{"log":"{one}\n"}}{}{{"log":"{one}\n"}}"#, "\n"), 2),
        (format!("{{\n  \"a\": \"{one}\",\n  \"b\": \"{one}\"\n}}\n{{\n  \"a\": \"{one}\"\n}}\n"), 2),
    ] {
        assert_eq!(events(&text).len(), count, "{text}");
    }
    // The host of a result that names none.
    let hostless = escaped(r#"LB_EVENT {"workload": "w", "repetition": 1, "status": "done"}"#, 1);
    let document = format!(
        "{{\n    \"hosts\": {{\n        \"web1\": {{\n            \"stdout\": \"{hostless}\",\n            \"stdout_lines\": [\n                \"{hostless}\"\n            ]\n        }},\n        \"web2\": {{\n            \"stdout\": \"{hostless}\"\n        }}\n    }}\n}}\n"
    );
    let hosts: Vec<String> = events(&document).iter().map(|e| e.event.view().host.unwrap().to_string()).collect();
    assert_eq!(hosts, ["web1", "web2"]);
    assert!(all(&document).iter().any(|item| matches!(item, Item::Echo(..))));
}
