//! The forms and faults that formats.md lists, by its sections.

use tasktail::events::EventNotation;

use crate::extract::support::{Item, all, escaped, event, events, in_pieces, messages, reasons, texts};

/// The literal lines of 1.1.
const LINES: [&str; 4] = [
    r#"LB_EVENT {"run_id": "run-1", "host": "h1", "workload": "fio", "repetition": 1, "total_repetitions": 3, "status": "running"}"#,
    r#"LB_EVENT {"host": "h1", "workload": "fio", "repetition": 1, "total_repetitions": 3, "status": "running", "type": "log", "level": "ERROR", "message": "boom"}"#,
    r#"LB_EVENT {"run_id": "run-1", "host": "host-1", "workload": "dfaas", "repetition": 1, "total_repetitions": 1, "status": "done", "message": "duration=1.0s"}"#,
    r#"LB_EVENT {"run_id": "run-20260103-101500", "host": "dfaas-target", "workload": "dfaas", "repetition": 1, "total_repetitions": 3, "status": "running", "message": "k6[cfg-01] stdout: running (0m05.0s), 10/10 VUs", "timestamp": 1767435305.1, "type": "log", "level": "INFO", "error_type": null, "error_context": null}"#,
];

#[test]
fn formats_1_1_the_literal_lines() {
    for line in LINES {
        let events = events(&format!("before {line} behind\n"));
        let [event] = &events[..] else { panic!("{events:?}") };
        assert_eq!(event.event.as_str(), line["LB_EVENT ".len()..].replace("\": ", "\":").replace(", \"", ",\""));
        assert_eq!((event.form, event.line, event.offset), (EventNotation::Plain, 1, 7));
        assert!(!event.identified.as_str().contains("null") && event.identified.view().event_id.is_some());
    }
}

#[test]
fn formats_1_1_tasks_and_their_names() {
    let line =
        r#"LB_TASK {"host": "h1", "task": "Poll LB_EVENT stream LB_EVENT {\"x\"", "duration_s": 2.5, "status": "ok"}"#;
    let [Item::Task(1, json)] = &all(line)[..] else { panic!("{:?}", all(line)) };
    assert_eq!(json, &line["LB_TASK ".len()..].replace("\": ", "\":").replace(", \"", ",\""));
    assert_eq!(reasons(&all("LB_TASK {\"host\": \n")), ["not_json"]);
}

#[test]
fn formats_1_1_writer_5_names_no_host() {
    let line = r#"LB_EVENT {"workload": "w", "repetition": 1, "status": "failed", "message": "Polling timeout"}"#;
    let hosts = |text: &str, host: Option<&str>| -> Vec<String> {
        let host_of = |item: &Item| match item {
            Item::Event(event) => event.event.view().host.unwrap().to_string(),
            Item::Rejected(rejected) => rejected.fault.to_string(),
            other => format!("{other:?}"),
        };
        in_pieces([text.as_bytes()], host).iter().map(host_of).collect()
    };
    let escaped = escaped(line, 1);
    for head in ["ok: [h2] =>", "fatal: [h2 -> other]: FAILED! =>", "failed: [h2] (item=x) =>"] {
        assert_eq!(hosts(&format!("{head} {{\"msg\": \"{escaped}\"}}\n"), Some("h1")), ["h2"], "{head}");
    }
    assert_eq!(hosts(line, Some("h1")), ["h1"]);
    assert_eq!(hosts(&line.replace("{", "{\"host\": null, "), Some("h1")), ["h1"]);
    assert!(hosts(line, None)[0].contains("field `host` is missing"));
}

#[test]
fn formats_1_5_the_old_single_line_form_and_three_levels() {
    let single = r#"ok: [lb-worker] => {"msg": "LB_EVENT {\"host\": \"lb-worker\", \"workload\": \"fio\", \"repetition\": 2, \"total_repetitions\": 3, \"status\": \"running\"}"}"#;
    assert_eq!(events(single)[0].form, EventNotation::Escaped(1));
    let k6 = r#"    "msg": "LB_EVENT {\"host\": \"h\", \"workload\": \"w\", \"repetition\": 1, \"status\": \"running\", \"message\": \"k6[cfg1] stdout: time=\\\"2026-01-03T11:55:41Z\\\" error=\\\"Get \\\\\\\"http://HOST\\\\\\\": EOF\\\"\"}""#;
    let said = "k6[cfg1] stdout: time=\"2026-01-03T11:55:41Z\" error=\"Get \\\"http://HOST\\\": EOF\"";
    assert_eq!(messages(k6), [(said.to_owned(), EventNotation::Escaped(1))]);
    for levels in 1..=5 {
        let text = format!("x \"y\": \"{}\" z", escaped(&format!("LB_EVENT {}", event("a \"b\\c\" {\n é 😀")), levels));
        let level = u8::try_from(levels).unwrap();
        assert_eq!(messages(&text), [("a \"b\\c\" {\n é 😀".to_owned(), EventNotation::Escaped(level))]);
    }
}

#[test]
fn formats_1_5_lines_that_name_the_token_and_hold_no_event_are_text() {
    let lines = [
        "TASK [Poll LB_EVENT stream] ****",
        "export LB_EVENT_STREAM_PATH=/x LB_TASKS={}",
        "grep LB_EVENT file | sed 's/LB_EVENT //'",
        "ok: [h1] => {\"cmd\": \"echo LB_EVENT {\\\"a\\\": 1}; tail -f x | grep 'LB_EVENT {'\", \"rc\": 0}",
        "LB_EVENT",
    ];
    let items = all(&lines.join("\n"));
    assert_eq!(texts(&items), [1, 2, 3, 4, 5], "{items:?}");
    // What looks like an event and is not one is never silent, unless it is a command that prints it.
    let items = all("grep 'LB_EVENT {' file\necho \"LB_EVENT {$x}\"\n");
    assert_eq!((reasons(&items), texts(&items)), (vec!["not_json"], vec![2]));
}

/// Each row of the table, plain, as an item and in `msg`: all three the same.
#[test]
fn formats_1_5_a_looped_result_and_a_folded_one_are_one_event_each() {
    let looped = r#"ok: [localhost] => (item=LB_EVENT {"host": "h1", "workload": "dfaas", "repetition": 1, "status": "running", "message": "k6[cfg1] log stream started", "timestamp": 1767437741.25}) => {
    "msg": "LB_EVENT {\"host\": \"h1\", \"workload\": \"dfaas\", \"repetition\": 1, \"status\": \"running\", \"message\": \"k6[cfg1] log stream started\", \"timestamp\": 1767437741.25}"
}
"#;
    let folded = r#"ok: [localhost] =>
    msg: 'LB_EVENT {"run_id": "run-20260103-115541", "host": "dfaas-target", "workload":
        "dfaas", "repetition": 1, "total_repetitions": 3, "status": "running", "type":
        "log", "level": "INFO", "message": "k6[cfg1] log stream started", "timestamp":
        1767437741.25}'
"#;
    for text in [looped, folded] {
        let items = all(text);
        assert_eq!(events(text).len(), 1, "{items:?}");
        assert!(!items.iter().any(|item| matches!(item, Item::Rejected(_))), "{items:?}");
        assert!(messages(text)[0].0 == "k6[cfg1] log stream started", "{items:?}");
    }
}

#[test]
fn formats_1_6_every_message_is_the_same_in_every_form() {
    let rows = [
        ("plain line", "words"),
        ("message with a lone brace", "func main() {"),
        ("message with the other brace", "} end"),
        ("message with quotes", "he said \"no\""),
        ("message with newline", "a\nb"),
        ("message with backslash", "C:\\tmp"),
        ("message with \u{e8}", "caffè"),
    ];
    for (row, message) in rows {
        let line = format!("LB_EVENT {}", event(message));
        let ascii = line.replace('è', "\\u00e8");
        for line in [line, ascii] {
            assert_eq!(messages(&line), [(message.to_owned(), EventNotation::Plain)], "{row}");
            let msg = format!("    \"msg\": \"{}\"", escaped(&line, 1));
            assert_eq!(messages(&msg), [(message.to_owned(), EventNotation::Escaped(1))], "{row}, inside msg");
            let looped = format!("ok: [h1] => (item={line}) => {{\n{msg}\n}}\n");
            assert_eq!(messages(&looped), [(message.to_owned(), EventNotation::Item)], "{row}, as an item");
            let ids: Vec<_> = all(&looped)
                .iter()
                .filter_map(|item| match item {
                    Item::Event(event) => Some((event.identified.clone(), event.line)),
                    Item::Echo(again, of) => Some((again.identified.clone(), *of)),
                    _ => None,
                })
                .collect();
            assert!(ids.len() == 2 && ids[0] == ids[1] && ids[0].1 == 1, "{row}: {ids:?}");
        }
    }
}

#[test]
fn formats_1_6_two_events_on_one_line_and_1_8_glued_ones() {
    let (one, two) = (event("one"), event("two }"));
    let said = |text: &str| messages(text).into_iter().map(|(message, _)| message).collect::<Vec<_>>();
    for joint in [" ", "", " and ", "\r"] {
        assert_eq!(said(&format!("LB_EVENT {one}{joint}LB_EVENT {two}\n\n")), ["one", "two }"], "{joint:?}");
    }
    assert_eq!(
        said(&format!("{{\"stdout\": \"{}\"}}", escaped(&format!("LB_EVENT {one}\nLB_EVENT {two}\n"), 1))),
        ["one", "two }"]
    );
    // The first writer was cut short by the second.
    let items = all(&format!("LB_EVENT {}LB_EVENT {two}\n", &one[..20]));
    assert!(
        matches!(&items[..], [Item::Rejected(_), Item::Event(event)] if event.event.as_str().contains("two }")),
        "{items:?}"
    );
}

#[test]
fn formats_1_6_unreadable_events_are_rejected_with_the_reason() {
    let whole = event("x");
    for (text, reason) in [
        ("LB_EVENT {'host': 'h1', 'workload': 'fio'}".to_owned(), "not_json"),
        (format!("LB_EVENT {}", &whole[..whole.len() - 3]), "not_json"),
        (format!("\"msg\": \"LB_EVENT {}", escaped(&whole[..whole.len() - 3], 1)), "not_json"),
        ("LB_EVENT {}".to_owned(), "missing_field"),
        (r#"LB_EVENT {"host": "h", "workload": "w", "status": "x"}"#.to_owned(), "missing_field"),
        (whole.replace("\"repetition\": 1", "\"repetition\": \"one\""), "wrong_type"),
    ] {
        let text = if text.contains("LB_EVENT") { text } else { format!("LB_EVENT {text}") };
        let items = all(&format!("a line\n  {text}\n"));
        assert_eq!((reasons(&items), texts(&items)), (vec![reason], vec![1]), "{text}");
        let Some(Item::Rejected(rejected)) = items.last() else { panic!("{items:?}") };
        assert_eq!(rejected.line, 2);
        assert!(
            text.contains(&rejected.excerpt) || rejected.excerpt.starts_with('{') || text.contains('\\'),
            "{rejected:?}"
        );
    }
}

#[test]
fn formats_1_7_equal_ones_in_no_result_and_in_two_results_are_different_events() {
    let line = format!("LB_EVENT {}", event("again"));
    assert_eq!(events(&format!("{line}\n{line}\n")).len(), 2);
    let result = format!("ok: [h1] => (item={line}) => {{\n    \"msg\": \"{}\"\n}}\n", escaped(&line, 1));
    let items = all(&result.repeat(3));
    let ids = items
        .iter()
        .filter_map(|item| if let Item::Event(event) = item { Some(event.identified.to_string()) } else { None });
    let ids: std::collections::HashSet<_> = ids.collect();
    assert_eq!(ids.len(), 3, "{items:?}");
    // Another level or another logger is another event, and the level is not lost.
    let info = line.replace("\"message\"", "\"level\": \"INFO\", \"message\"");
    let error = line.replace("\"message\"", "\"level\": \"ERROR\", \"message\"");
    let both = format!("ok: [h1] => (item={info}) => {{\n    \"msg\": \"{}\"\n}}\n", escaped(&error, 1));
    assert_eq!(events(&both).len(), 2);
}

#[test]
fn colours_stand_anywhere_and_are_not_part_of_it() {
    let line = format!("\u{1b}[0;32mnote: \u{1b}[1mLB_EVENT\u{1b}[0m {}\u{1b}[0m", event("m \u{1b}[31mred"));
    assert_eq!(messages(&line), [("m \u{1b}[31mred".to_owned(), EventNotation::Plain)]);
    assert_eq!(events(&line)[0].offset, 17);
    assert!(
        matches!(&all("\u{1b}[1mtext\u{1b}[0m\r\n")[..], [Item::Text(1, text)] if text == "\u{1b}[1mtext\u{1b}[0m")
    );
}

#[test]
fn events_around_a_scalar_are_found() {
    let (one, two) = (event("one"), event("two"));
    let found = |text: &str| {
        let items = all(text);
        assert!(reasons(&items).is_empty(), "{items:?}");
        events(text).into_iter().map(|event| (event.line, event.offset)).collect::<Vec<_>>()
    };
    let offsets = |text: &str| text.match_indices("LB_EVENT {").map(|(at, _)| at as u64).collect::<Vec<_>>();
    // A key that holds an event, and one that only holds its name.
    let key = format!("ok: [h] => \n    LB_EVENT {one} : 'LB_EVENT {two}'\n");
    assert_eq!(found(&key), [(2, offsets(&key)[0]), (2, offsets(&key)[1])]);
    let name = format!("ok: [h] => \n    LB_EVENT of it: 'said\n\n        LB_EVENT {two}'\n");
    assert_eq!(found(&name), [(4, offsets(&name)[0])]);
    // Behind the quote that ends a scalar, of one line and of two.
    let behind = format!("ok: [h] => \n    msg: 'LB_EVENT {one}' LB_EVENT {two}\n");
    assert_eq!(found(&behind), [(2, offsets(&behind)[0]), (2, offsets(&behind)[1])]);
    let folded = one.replace(", \"status\"", ",\n        \"status\"");
    let behind = format!("ok: [h] => \n    msg: 'LB_EVENT {folded}' LB_EVENT {two}\n");
    assert_eq!(found(&behind), [(2, offsets(&behind)[0]), (3, offsets(&behind)[1])]);
}

#[test]
fn an_escape_sequence_that_consumes_the_start_of_a_token_shifts_no_position() {
    let text = "ok: [h1] =>\n    msg: \"LB_EVENT {bad} \\LB_EVENT {\n        LB_EVENT {bad}\"\n";
    let rejected: Vec<_> = all(text)
        .into_iter()
        .filter_map(|item| match item {
            Item::Rejected(rejected) => Some((rejected.line, rejected.offset)),
            _ => None,
        })
        .collect();
    assert_eq!(rejected, [(2, 22), (3, text.rfind("LB_EVENT").unwrap() as u64)]);
}
