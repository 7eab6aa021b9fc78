//! `tasktail doctor --explain`: what is in captured output, and what is likely behind it.

use crate::support::{Done, Home};

fn explain(text: &str) -> Done {
    Home::new().run_with(&["doctor", "--explain", "-"], text.as_bytes())
}

/// What Ansible prints for a loop of one event: it stands there twice.
const LOOP: &str = concat!(
    "TASK [Emit captured events] ****\n",
    "ok: [h1] => (item=LB_EVENT {\"host\": \"h1\", \"workload\": \"fio\", \"repetition\": 1, \"status\": \"running\"}) => {\n",
    "    \"msg\": \"LB_EVENT {\\\"host\\\": \\\"h1\\\", \\\"workload\\\": \\\"fio\\\", \\\"repetition\\\": 1, \\\"status\\\": \\\"running\\\"}\"\n",
    "}\n",
);

#[test]
fn recognized_and_duplicate_events_are_reported_with_their_lines() {
    let done = explain(LOOP);
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert!(
        lines[0].contains("line 2") && lines[0].contains("event") && lines[0].contains("(in (item=...))"),
        "{}",
        done.stdout
    );
    assert!(
        lines[1].contains("line 3") && lines[1].contains("duplicate") && lines[1].contains("of line 2"),
        "{}",
        done.stdout
    );
    assert!(done.stdout.contains("1 events, 1 duplicates, 0 rejected"), "{}", done.stdout);
    assert!(done.stdout.contains("nothing ended"), "{}", done.stdout);
}

#[test]
fn the_same_event_id_is_one_event() {
    let event = r#"LB_EVENT {"event_id":"e1","host":"h1","workload":"fio","repetition":1,"status":"done"}"#;
    let done = explain(&format!("{event}\nnoise\n{event}\n"));
    assert_eq!(done.code, Some(0), "{}", done.stdout);
    assert!(done.stdout.contains("line 3") && done.stdout.contains("of line 1"), "{}", done.stdout);
}

#[test]
fn a_task_that_was_printed_without_its_output_is_named() {
    let done = explain(&"TASK [Poll LB_EVENT stream] ****\nok: [h1]\n".repeat(12));
    assert_eq!(done.code, Some(1));
    let cause =
        "the text contains LB_EVENT 12 times but no event: the task was printed (TASK [...]) but not its output";
    assert!(done.stdout.contains(cause), "{}", done.stdout);
    assert!(done.stdout.contains("a task name: TASK [Poll LB_EVENT stream]"), "{}", done.stdout);
}

#[test]
fn rejected_events_are_reported_with_reason_position_and_cause() {
    let done = explain(concat!(
        "LB_EVENT {\"workload\": \"w\", \"repetition\": 1, \"status\": \"failed\", \"message\": \"Polling timeout\"}\n",
        "LB_EVENT {'host': 'h1', 'workload': 'w', 'repetition': 1, 'status': 'running'}\n",
        "LB_EVENT {\"host\": \"h1\", \"workload\": \"w\", \"repetition\": \"one\", \"status\": \"\u{1b}[31m\"}\n",
        "LB_EVENT {\"host\": \"h1\", \"worklo",
    ));
    assert_eq!(done.code, Some(1));
    for words in [
        "field `host` is missing",
        "1 event lacks `host`: older polling scripts",
        "printed by Python",
        "`repetition` must be a non-negative integer",
        "the last line is truncated",
        "0 events, 0 duplicates, 4 rejected",
    ] {
        assert!(done.stdout.contains(words), "{words}: {}", done.stdout);
    }
    assert!(!done.stdout.contains('\u{1b}'), "{}", done.stdout);
}

#[test]
fn events_that_all_lack_a_host_are_reported() {
    let line = "LB_EVENT {\"workload\": \"w\", \"repetition\": 1, \"status\": \"failed\"}\n";
    let done = explain(&line.repeat(3));
    assert!(done.stdout.contains("all events lack `host`"), "{}", done.stdout);
}

#[test]
fn explain_distinguishes_no_input_from_a_file_of_events() {
    let done = explain("hello\n");
    assert_eq!(done.code, Some(1));
    assert!(done.stdout.contains("no line contains LB_EVENT"), "{}", done.stdout);
    let done = explain("");
    assert!(done.stdout.contains("the text is empty"), "{}", done.stdout);
    let done = explain("{\"event_type\":\"run.created\"}\n");
    assert!(done.stdout.contains("events status FILE"), "{}", done.stdout);
}

#[test]
fn json_prints_one_object_per_finding_and_names_a_missing_file() {
    let home = Home::new();
    let done = home.run_with(&["doctor", "--explain", "-", "--json"], LOOP.as_bytes());
    let lines: Vec<serde_json::Value> = done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["finding"], "event");
    assert_eq!((&lines[1]["finding"], &lines[1]["of"]), (&"deduplicated".into(), &2.into()));
    assert_eq!(lines[2]["summary"]["events"], 1);
    let done = home.run(&["doctor", "--explain", "missing.log"]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("cannot read missing.log"), "{}", done.stderr);
}
