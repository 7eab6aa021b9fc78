use proptest::prelude::*;

use super::*;
use crate::events::RunFold;
use crate::model::Timestamp;

fn run_of(events: &[Event]) -> RunState {
    let mut fold = RunFold::new("run-20260103-115541".parse().unwrap());
    for event in events {
        fold.apply(&event.view(), Timestamp::from_millis(1));
    }
    fold.run().clone()
}

fn plain(events: &[Event], scope: EventScope, bytes: usize) -> Vec<String> {
    let form = EventLineFormat {
        summary: &|summary| serde_json::json!({ "summary": summary }).to_string(),
        event: &|json| json.to_owned(),
        fields: None,
    };
    let events_by_ref: Vec<&Event> = events.iter().collect();
    within(&events_by_ref, &run_of(events), scope, bytes, &form).unwrap()
}

fn log(n: u64, level: &str, message: &str) -> Event {
    let text = serde_json::json!({
        "event_id": format!("e{n}"), "host": "h1", "workload": "dfaas", "repetition": 1, "status": "running",
        "type": "log", "level": level, "message": message, "timestamp": 1_767_435_305 + n,
    });
    Event::parse(&text.to_string()).unwrap()
}

fn size(lines: &[String]) -> usize {
    lines.iter().map(|line| line.len() + 1).sum()
}

#[test]
fn one_failure_in_twenty_thousand_is_told_with_the_line_before_it() {
    let mut events: Vec<Event> = (0..20_000).map(|n| log(n, "INFO", &format!("running {n} VUs"))).collect();
    events[9_999] = log(9_999, "INFO", "opening the target's port 8080");
    events[10_000] = log(10_000, "ERROR", "connect: connection refused by target");
    let lines = plain(&events, EventScope::Failures, 2_000);
    assert!(size(&lines) <= 2_000);
    assert!(lines[0].contains(r#""events":20000,"failures":1,"#), "{}", lines[0]);
    let at = lines.iter().position(|line| line.contains("connection refused by target")).unwrap();
    assert!(lines[at - 1].contains("opening the target's port 8080"), "{lines:?}");
}

#[test]
fn look_alikes_are_one_line_and_rare_failures_come_before_frequent_ones() {
    let mut events: Vec<Event> =
        (0..3_000).map(|n| log(n, "ERROR", &format!("request {n} failed after {}ms", n * 7 % 31))).collect();
    events.insert(2_000, log(9_000, "ERROR", "disk is full"));
    events.extend((0..100).map(|n| log(10_000 + n, "ERROR", &format!("gave up on {n}"))));
    let lines = plain(&events, EventScope::Failures, 900);
    assert!(lines.iter().any(|line| line.contains("disk is full")), "{lines:?}");
    let folded: Vec<_> = lines.iter().filter(|line| line.contains(r#""repeated":3000}"#)).collect();
    assert_eq!(folded.len(), 1, "{lines:?}");
}

#[test]
fn the_smallest_budget_tells_why_and_less_is_an_error() {
    let event = |n: u64| {
        let reason = format!("Accuracy {n}% below threshold 97% {}", "and more words ".repeat(40));
        let text = format!(
            r#"{{"event_id":"d3b4a4dd-{n}","event_type":"gate.failed","run_id":"run_abc","timestamp_utc":"2026-02-16T23:05:12Z","actor":"runner","attempt":0,"step_id":"phase_benchmark","error_class":"hard_gate_failed","reason":"{reason}"}}"#
        );
        Event::parse(&text).unwrap()
    };
    let events: Vec<Event> = (0..3).map(event).collect();
    let lines = plain(&events, EventScope::All, BUDGET_BYTES_MIN);
    assert!(size(&lines) <= BUDGET_BYTES_MIN && lines.len() >= 2, "{lines:?}");
    assert!(lines[1].contains("Accuracy"), "{lines:?}");
    let form = EventLineFormat { summary: &|_| String::new(), event: &str::to_owned, fields: None };
    let error = within(&[], &run_of(&[]), EventScope::All, BUDGET_BYTES_MIN - 1, &form).unwrap_err();
    assert!(error.to_string().contains("at least 200"), "{error}");
}

#[test]
fn a_failure_that_was_made_good_comes_after_one_that_was_not() {
    let step = |n: u64, kind: &str, step: &str, reason: &str| {
        let text = format!(
            r#"{{"event_id":"e{n}","event_type":"{kind}","step_id":"{step}","reason":"{reason}","pad":"{}"}}"#,
            "x".repeat(120)
        );
        Event::parse(&text).unwrap()
    };
    let mut events = vec![step(0, "step.failed", "warm", "no such file yet")];
    for n in 0..20 {
        let name = format!("flaky{}", char::from(b'a' + n));
        events.push(step(u64::from(n), "step.failed", &name, "reset by peer"));
        events.push(step(u64::from(n), "step.succeeded", &name, "in the end"));
    }
    events.push(step(90, "step.failed", "verify", "checksum differs"));
    events.push(step(91, "step.started", "other", ""));
    events.push(step(92, "step.failed", "other", "skipped for verify"));
    let lines = plain(&events, EventScope::Failures, 1_200);
    assert!(lines.iter().any(|line| line.contains("checksum differs")), "{lines:?}");
}

fn any_event() -> impl Strategy<Value = String> {
    let text = prop_oneof![Just(String::new()), "[a-c0-9 \"\\\\é\u{1b}\n]{0,40}", "[xy ]{300,900}"];
    let pipeline = (
        prop_oneof![Just("step.failed"), Just("step.started"), Just("gate.failed"), Just("run.completed")],
        "[a-d]",
        text.clone(),
        any::<bool>(),
    )
        .prop_map(|(kind, step, reason, has_reason)| {
            let mut event = serde_json::json!({ "event_type": kind, "step_id": step });
            if has_reason {
                event["reason"] = reason.into();
            }
            event.to_string()
        });
    let benchmark = ("[hi]", 1..4u64, prop_oneof![Just("INFO"), Just("ERROR"), Just("WARNING")], text).prop_map(
        |(host, repetition, level, message)| {
            serde_json::json!({ "host": host, "workload": "w", "repetition": repetition, "status": "running",
                "type": "log", "level": level, "message": message, "error_context": { "a": [1, 2, 3] } })
            .to_string()
        },
    );
    prop_oneof![pipeline, benchmark]
}

proptest! {
    #[test]
    fn never_over_the_budget_in_order_and_the_first_failure_is_in(
        texts in proptest::collection::vec(any_event(), 0..60),
        bytes in BUDGET_BYTES_MIN..4_000,
        all in any::<bool>(),
    ) {
        let number = |(n, text): (usize, &String)| {
            Event::parse(text).unwrap().with(&[("n", n.into())])
        };
        let events: Vec<Event> = texts.iter().enumerate().map(number).collect();
        let scope = if all { EventScope::All } else { EventScope::Failures };
        let lines = plain(&events, scope, bytes);
        prop_assert!(size(&lines) <= bytes, "{} of {bytes}", size(&lines));
        let shown: Vec<serde_json::Value> = lines[1..].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let numbers: Vec<u64> = shown.iter().filter_map(|event| event["n"].as_u64()).collect();
        prop_assert!(numbers.is_sorted(), "{numbers:?}");
        let summary: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        prop_assert_eq!(summary["summary"]["shown"].as_u64(), Some(shown.len() as u64));
        let first = events.iter().position(|event| event.view().is_failure());
        if let Some(first) = first.filter(|first| events[*first].as_str().len() + 150 < bytes) {
            prop_assert!(numbers.contains(&(first as u64)), "the first failure is not in: {lines:?}");
        }
    }
}
