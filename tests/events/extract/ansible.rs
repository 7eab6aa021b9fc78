//! What real Ansible printed, kept in `data/samples`. `tests/events/ansible` prints it again.

use tasktail::events::{EventNotation, ExtractedItem, Extractor, ExtractorOptions};
use tasktail::model::Event;

use crate::ansible::expected;
use crate::extract::support::{Item, all, in_pieces, texts};

const SAMPLES: [(&str, &str); 6] = [
    ("ansible-json", include_str!("../../../data/samples/ansible-json.txt")),
    ("ansible-json-v", include_str!("../../../data/samples/ansible-json-v.txt")),
    ("ansible-json-v-colour", include_str!("../../../data/samples/ansible-json-v-colour.txt")),
    ("ansible-yaml", include_str!("../../../data/samples/ansible-yaml.txt")),
    ("ansible-yaml-v", include_str!("../../../data/samples/ansible-yaml-v.txt")),
    ("ansible-yaml-v-colour", include_str!("../../../data/samples/ansible-yaml-v-colour.txt")),
];

/// formats 1.5: single, in a loop (twice in the text), folded by the YAML format.
///
/// The line of the playbook that Ansible shows cut off under an error is text, not half an event.
#[test]
fn every_event_arrives_once_in_every_format_of_real_ansible() {
    for (name, text) in SAMPLES {
        let items = all(text);
        let rejected: Vec<_> = items.iter().filter(|item| matches!(item, Item::Rejected(_))).collect();
        assert!(rejected.is_empty(), "{name}: {rejected:#?}");
        let found = items.iter().filter_map(|item| if let Item::Event(event) = item { Some(event) } else { None });
        let found: Vec<_> = found.map(|event| event.event.to_string()).collect();
        let expected = expected::events(name.contains("-v"));
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found, Event::parse(expected).unwrap().as_str(), "{name}: event {at}");
        }
        assert_eq!(found.len(), expected.len(), "{name}: {found:#?}");
    }
}

#[test]
fn reported_event_positions_are_those_of_the_token() {
    for (name, text) in SAMPLES {
        for item in all(text) {
            let (Item::Event(event) | Item::Echo(event, _)) = item else { continue };
            let (before, there) = text.split_at(usize::try_from(event.offset).unwrap());
            assert!(there.starts_with("LB_EVENT"), "{name}: {event:?}");
            assert_eq!(before.matches('\n').count() as u64 + 1, event.line, "{name}: {event:?}");
        }
    }
}

#[test]
fn no_cutting_and_no_line_end_makes_a_difference() {
    for (name, text) in SAMPLES {
        let whole = all(text);
        for size in [1, 2, 3, 7, 61, 4096] {
            assert!(in_pieces(text.as_bytes().chunks(size), None) == whole, "{name} in pieces of {size}");
        }
        let events = |items: &[Item]| -> Vec<String> {
            let event =
                |item: &Item| if let Item::Event(event) = item { Some(event.identified.to_string()) } else { None };
            items.iter().filter_map(event).collect()
        };
        let crlf = all(&text.replace('\n', "\r\n"));
        assert_eq!(events(&crlf), events(&whole), "{name}");
        assert_eq!(texts(&crlf), texts(&whole), "{name}");
    }
}

#[test]
fn numbered_lines_equal_the_text() {
    for (name, text) in SAMPLES {
        let mut extractor = Extractor::new(ExtractorOptions { host: None, texts: true });
        let mut items = Vec::new();
        for (at, line) in text.lines().enumerate() {
            extractor.feed_line(at as u64 + 1, line, &mut |found| items.push(crate::extract::support::item(found)));
        }
        extractor.finish(&mut |found| items.push(crate::extract::support::item(found)));
        assert!(items == all(text), "{name}");
    }
}

#[test]
fn each_line_is_an_event_or_text_in_order() {
    for (name, text) in SAMPLES {
        let items = all(text);
        let line = |item: &Item| match item {
            Item::Event(event) | Item::Echo(event, _) => event.line,
            Item::Task(line, _) | Item::Text(line, _) => *line,
            Item::Rejected(rejected) => rejected.line,
        };
        assert!(items.is_sorted_by_key(line), "{name}");
        for (number, line) in (1..).zip(text.lines()) {
            let given = items.iter().any(|item| matches!(item, Item::Text(at, text) if *at == number && text == line));
            let is_event = ["LB_EVENT {", "\"status\"", "\"timestamp", "\"running\"", "stdout: time"].iter();
            let may_be = is_event.clone().any(|part| line.contains(part)) || line.contains("        ");
            assert!(given || may_be, "{name}: line {number} is lost: {line}");
        }
    }
}

#[test]
fn formats_1_7_all_places_of_one_event_are_one_event() {
    let (_, text) = SAMPLES[1];
    let items = all(text);
    let of = |workload: &str, echo: bool| {
        let count = |item: &&Item| match item {
            Item::Event(event) => !echo && event.event.as_str().contains(workload),
            Item::Echo(event, _) => echo && event.event.as_str().contains(workload),
            _ => false,
        };
        items.iter().filter(count).count()
    };
    // formats 1.6, a poll's events: with -v a command's item is in the item, `item`, `stdout` and `stdout_lines`; `cmd` is no output.
    assert_eq!((of("\"looped\"", false), of("\"looped\"", true)), (2, 6));
    assert_eq!((of("\"polled\"", false), of("\"polled\"", true)), (9, 6));
    let same = |item: &Item| matches!(item, Item::Event(event) if event.event.as_str().contains("the same again"));
    let ids: Vec<_> = items
        .iter()
        .filter(|item| same(item))
        .map(|item| {
            if let Item::Event(event) = item {
                event.identified.view().event_id.unwrap().to_string()
            } else {
                String::new()
            }
        })
        .collect();
    assert_eq!((ids.len(), ids[0].ends_with("-1"), ids[1].ends_with("-2")), (2, true, true), "{ids:?}");
}

#[test]
fn a_fold_is_waited_for_and_a_silence_ends_the_waiting() {
    let text =
        "ok: [h1] => \n    msg: 'LB_EVENT {\"workload\": \"w\", \"repetition\":\n        1, \"status\": \"done\"}'\n";
    let (head, tail) = text.split_at(text.find("        1").unwrap());
    let mut extractor = Extractor::new(ExtractorOptions::default());
    let mut found = Vec::new();
    extractor.feed(head.as_bytes(), &mut |item| found.push(crate::extract::support::item(item)));
    assert!(extractor.is_waiting() && found.is_empty());
    extractor.feed(tail.as_bytes(), &mut |item| found.push(crate::extract::support::item(item)));
    assert!(!extractor.is_waiting(), "the closing quote is its end");
    let [Item::Event(event)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((event.form, event.event.view().host.as_deref()), (EventNotation::Yaml, Some("h1")));

    let mut halves = 0;
    extractor.feed(head.as_bytes(), &mut |_| {});
    extractor.flush(&mut |item| halves += u32::from(matches!(item, ExtractedItem::Rejected(_))));
    assert!(halves == 1 && !extractor.is_waiting(), "what was held is given, as the half it is");
}
