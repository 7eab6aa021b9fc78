//! What is bounded, and what hostile text costs.

use std::time::{Duration, Instant};

use tasktail::events::{ExtractedItem, Extractor, ExtractorOptions};
use tasktail::model::limits;

use crate::extract::support::{Item, all, event, in_pieces, reasons, texts};

const MIB: usize = 1024 * 1024;

#[test]
fn an_event_that_is_too_long_is_rejected_and_the_next_is_found() {
    let long = event(&"x".repeat(limits::EVENT_BYTES_MAX));
    let items = all(&format!("LB_EVENT {long}\nLB_EVENT {}\n", event("next")));
    assert_eq!(reasons(&items), ["too_long"]);
    assert!(matches!(&items[1], Item::Event(event) if event.line == 2));
}

#[test]
fn an_unterminated_line_is_read_in_pieces() {
    let text = format!("LB_EVENT {{\"message\": \"{}\"}}\nLB_EVENT {}\n", "x".repeat(9 * MIB), event("next"));
    let items = all(&text);
    assert_eq!(reasons(&items), ["too_long"]);
    assert_eq!(texts(&items), [1, 1], "the rest of the line");
    assert!(matches!(items.last(), Some(Item::Event(event)) if event.line == 2));
    assert!(in_pieces(text.as_bytes().chunks(1_000_003), None) == items);
}

#[test]
fn a_scalar_without_end_is_not_held_for_ever() {
    let fold = format!("        {}\n", "words ".repeat(1000));
    let text = format!(
        "ok: [h] => \n    msg: 'LB_EVENT {{\"message\": \"\n{}    rc: 0\nLB_EVENT {}\n",
        fold.repeat(1000),
        event("next")
    );
    let mut extractor = Extractor::new(ExtractorOptions::default());
    let mut found = Vec::new();
    for line in text.split_inclusive('\n') {
        extractor.feed(line.as_bytes(), &mut |item| found.push(crate::extract::support::item(item)));
    }
    assert_eq!(reasons(&found), ["too_long"]);
    assert!(matches!(found.last(), Some(Item::Event(_))), "{:?}", found.last());
}

/// Many half events on one line must not cost their number times its length.
#[test]
fn hostile_lines_cost_no_more_than_their_length() {
    let units = [
        "LB_EVENT {",
        "LB_EVENT {\"",
        "LB_EVENT {\"a\":[",
        "LB_EVENT {\\\"",
        "LB_EVENT {\\\\\\\"a",
        "LB_EVENT {\"a\":\"b\",\"",
        "LB_EVENT {}",
        "'LB_EVENT {''",
        "\u{1b}]LB_EVENT",
        "(item={LB_EVENT {",
        "LB_EVENT {\"a\":{}, \"",
        "\"LB_TASK {[",
    ];
    for unit in units {
        for head in ["", "ok: [h] => (item=", "ok: [h] => \n    msg: '", "ok: [h] => \n    msg: "] {
            let text = format!("{head}{}\n", unit.repeat(MIB / 4 / unit.len()));
            let begin = Instant::now();
            let mut extractor = Extractor::new(ExtractorOptions::default());
            extractor.feed(text.as_bytes(), &mut |found| assert!(!matches!(found, ExtractedItem::Event(_))));
            extractor.finish(&mut |_| {});
            let took = begin.elapsed();
            assert!(took < Duration::from_secs(20), "{head}{unit}: {took:?}");
        }
    }
}

#[test]
fn a_result_that_repeats_without_end_is_bounded() {
    let lines: String = (0..30_000).map(|n| format!("    LB_EVENT {}\n", event(&n.to_string()))).collect();
    let items = all(&format!("ok: [h] => {{\n{lines}"));
    assert_eq!(items.iter().filter(|item| matches!(item, Item::Event(_))).count(), 30_000);
}
