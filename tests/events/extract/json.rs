//! JSON as real writers produce it (kind K24), after the token.

use std::process::Command;

use tasktail::events::EventLog;

use crate::extract::support::{all, events, reasons};

#[test]
fn json_of_real_writers_is_read() {
    let head = r#""host": "h1", "workload": "fio", "repetition": 1, "status": "failed""#;
    for (text, kept) in [
        (format!("LB_EVENT {{{head}, \"iops\": NaN}}"), r#""iops":"NaN""#),
        (format!("LB_EVENT {{{head}, \"iops\": -Infinity, \"x\": [inf]}}"), r#""iops":"-Infinity","x":["Infinity"]"#),
        (format!("LB_EVENT {{{head}, \"ok\": True, \"none\": None,}}"), r#""ok":true,"none":null"#),
        (format!("LB_EVENT \u{feff}{{{head}, \"n\": 1, \"n\": 2}}"), r#""n":2"#),
        (format!("LB_EVENT {{{head}, \"message\": \"caf\\udce9\"}}"), r#""message":"caf\ufffd""#),
        (format!("LB_EVENT {{{head}, \"message\": \"C:\\dir\tx\"}}"), r#""message":"C:\\dir\u0009x""#),
        (format!("\"msg\": \"LB_EVENT {{{}, \\\"iops\\\": NaN}}\"", head.replace('"', "\\\"")), r#""iops":"NaN""#),
    ] {
        let found = events(&format!("{text}\n"));
        let [found] = &found[..] else { panic!("{text}: {:?}", all(&text)) };
        assert!(found.event.as_str().contains(kept) && found.event.view().is_failure(), "{}", found.event);
    }
    let host = events(
        "ok: [h9] => {\"msg\": \"LB_EVENT {\\\"host\\\": null, \\\"workload\\\": \\\"w\\\", \\\"repetition\\\": 1, \\\"status\\\": \\\"x\\\", \\\"y\\\": NaN}\"}\n",
    );
    assert_eq!(host[0].event.view().host.as_deref(), Some("h9"));
}

#[test]
fn objects_after_one_token_are_events_if_they_are_complete_ones() {
    let one = |n: u32| format!(r#"{{"host": "h", "workload": "w", "repetition": {n}, "status": "x"}}"#);
    for joint in ["", " ", ", ", "\0"] {
        let text = format!("LB_EVENT {}{joint}{}{joint}{} tail\n", one(1), one(2), one(3));
        let found: Vec<u64> = events(&text).iter().map(|found| found.event.view().repetition.unwrap().0).collect();
        assert_eq!(found, [1, 2, 3], "{joint:?}");
    }
    let text = format!("LB_EVENT {} {{\"x\": 1}} {{\"half\n", one(1));
    assert_eq!((events(&text).len(), reasons(&all(&text)).len()), (1, 0));
}

/// A program that dumps events with values of all kinds by Python's own `json`.
const WRITER: &str = r#"
import json, random, sys
random.seed(7)
values = [None, True, False, 0, -1, 7, 2**70, 1e400, -1e400, float("nan"), 0.1, 1e-7, "", "caf\u00e9", "\ud800", "\udce9x",
          "\U0001f600", "tab\tnew\nline\x00\x1b[1m", "\\ \" ' { } [ LB_EVENT {", [], {}, [1, [2, {"a": float("inf")}]], {"k": {"l": None}}]
with open(sys.argv[1], "wb") as out:
    for n in range(600):
        event = {"event_type": "step.failed", "n": n}
        for name in random.sample(["host", "message", "attempt", "timestamp", "run_id", "reason", "x", "y", "duration"], 5):
            event[name] = random.choice(values)
        text = json.dumps(event, ensure_ascii=n % 2 == 0, separators=random.choice([(",", ":"), (", ", ": ")]))
        out.write(text.encode("utf-8", "surrogatepass") + random.choice([b"\n", b"\r\n", b",\n", b"\0\n", b" "]))
    out.write(b"\n")
"#;

#[test]
fn every_line_that_python_dumps_is_an_event() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let done = Command::new("python3").args(["-c", WRITER]).arg(&path).status().unwrap();
    assert!(done.success());
    let read = EventLog::new(&path).read_all().unwrap();
    assert_eq!(read.faults, [], "every line is an event");
    let numbers = read.events.iter().map(|logged| {
        let strict: serde_json::Value = serde_json::from_str(logged.event.as_str()).unwrap();
        assert!(logged.event.view().is_failure(), "{}", logged.event);
        strict["n"].as_u64().unwrap()
    });
    assert!(numbers.eq(0..600), "in their order");
    let tail = EventLog::new(&path).tail(250).unwrap();
    assert_eq!(tail.events.len(), 250);
    assert_eq!(tail.events.last().map(|logged| &logged.event), read.events.last().map(|logged| &logged.event));
}
