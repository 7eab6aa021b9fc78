//! `tasktail events` on files and on runs at a server.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc;

use crate::support::{Done, Home, LIMIT, finish, lines_of, signal, until, wait};

/// A run that fails at a hard gate, as the runner writes it (formats 2.3).
const RUN: &str = r#"{"event_id":"a4f691b9-fdd3-401c-8608-2f6dadaf5b93","event_type":"run.created","run_id":"run_abc","timestamp_utc":"2026-11-21T03:03:10.943301+00:00","actor":"runner","attempt":0,"reason":"Manual trigger","new_state":"created"}
{"event_id":"ecd68255-0","event_type":"run.state_changed","run_id":"run_abc","timestamp_utc":"2026-11-21T03:03:11.000000+00:00","actor":"runner","attempt":0,"reason":"Pre-execution validation passed","previous_state":"created","new_state":"preflight_validated"}
{"event_id":"fc2dc3a6-0","event_type":"step.started","run_id":"run_abc","timestamp_utc":"2026-11-21T03:03:11.500000+00:00","actor":"runner","attempt":0,"step_id":"phase_benchmark","new_state":"running"}
{"event_id":"6d9f435e-0","event_type":"step.failed","run_id":"run_abc","timestamp_utc":"2026-11-21T03:03:13.750000+00:00","actor":"runner","attempt":0,"step_id":"phase_benchmark","error_class":"hard_gate_failed","reason":"Accuracy 95.2% below threshold 97%","new_state":"failed"}
{"event_id":"d3b4a4dd-0","event_type":"gate.failed","run_id":"run_abc","timestamp_utc":"2026-11-21T03:03:13.800000+00:00","actor":"runner","attempt":0,"step_id":"phase_benchmark","error_class":"hard_gate_failed","reason":"Accuracy 95.2% below threshold 97%"}
{"event_id":"d8878b78-0","event_type":"run.completed","run_id":"run_abc","timestamp_utc":"2026-11-21T03:03:14.000000+00:00","actor":"runner","attempt":0,"reason":"Hard gate failed: phase_benchmark","new_state":"failed"}
"#;

fn home_with(name: &str, text: &str) -> Home {
    let home = Home::new();
    let path = home.path(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    home
}

fn parsed(stdout: &str) -> Vec<serde_json::Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn log_event(n: usize, level: &str, message: &str) -> String {
    let event = serde_json::json!({
        "event_id": format!("e{n}"), "run_id": "r", "host": "h1", "workload": "dfaas", "repetition": 1,
        "total_repetitions": 3, "status": "running", "type": "log", "level": level, "message": message,
        "timestamp": 1_767_435_305 + n,
    });
    format!("{event}\n")
}

/// Lines of a command's stdout as they come.
struct Tap {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Tap {
    fn on(home: &Home, args: &[&str]) -> Self {
        let mut child = home.command(args).spawn().unwrap();
        let lines = lines(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn next(&self) -> String {
        self.lines.recv_timeout(LIMIT).unwrap()
    }
}

fn lines(stdout: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            if sender.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    receiver
}

fn append(home: &Home, name: &str, text: &str) {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(home.path(name)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn well(done: &Done) -> &str {
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    &done.stdout
}

#[test]
fn every_command_has_help_with_an_example() {
    let home = Home::new();
    for command in ["record", "tail", "follow", "failures", "status", "timeline", "ship", "extract"] {
        let help = home.ok(&["events", command, "--help"]);
        assert!(help.contains("Examples:") && help.contains(&format!("events {command}")), "{command}: {help}");
    }
}

#[test]
fn a_missing_file_is_named_with_the_way_to_make_it() {
    let home = Home::new();
    for command in ["tail", "failures", "status", "timeline"] {
        let done = home.run(&["events", command]);
        assert_eq!(done.code, Some(1), "{command}");
        assert!(done.stderr.contains("there is no events.jsonl"), "{command}: {}", done.stderr);
        assert!(done.stderr.contains("events record"), "{command}: {}", done.stderr);
        let done = home.run(&["events", command, "runs/x/events.jsonl"]);
        assert!(done.stderr.contains("runs/x/events.jsonl"), "{command}: {}", done.stderr);
    }
    assert_eq!(home.run(&["events", "tail", "a.jsonl", "--run", "x"]).code, Some(2));
    assert_eq!(home.run(&["events", "record"]).code, Some(2));
}

#[test]
fn record_makes_an_event_with_an_id_a_time_and_the_folders_run() {
    let home = home_with("nightly-7/events.jsonl", "");
    let file = home.path("nightly-7/events.jsonl");
    let file = file.to_str().unwrap();
    let id = home.ok(&[
        "events",
        "record",
        file,
        "--type",
        "step.failed",
        "--step",
        "verify",
        "--error-class",
        "hard_gate_failed",
        "--reason",
        "95 % < 97 %",
        "--state",
        "failed",
        "--previous",
        "running",
        "--attempt",
        "2",
        "--field",
        "cores=8",
        "--field",
        "name=x y",
        "--sync",
    ]);
    let lines = lines_of(&home.path("nightly-7/events.jsonl"));
    let event: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(event["event_id"], id.trim());
    assert_eq!(event["run_id"], "nightly-7");
    assert_eq!((&event["attempt"], &event["cores"], &event["name"]), (&2.into(), &8.into(), &"x y".into()));
    assert!(event["timestamp_utc"].as_str().unwrap().ends_with('Z'), "{event}");
    assert!(lines[0].starts_with(r#"{"event_id":""#) && lines[0].contains(r#","event_type":"step.failed","run_id""#));
    assert!(!lines[0].contains("null") && !lines[0].contains(": "), "{}", lines[0]);

    home.ok(&[
        "events",
        "record",
        file,
        "--host",
        "h1",
        "--workload",
        "fio",
        "--repetition",
        "1/3",
        "--level",
        "ERROR",
        "--message",
        "boom",
        "--run-id",
        "other",
    ]);
    let event: serde_json::Value = serde_json::from_str(&lines_of(&home.path("nightly-7/events.jsonl"))[1]).unwrap();
    assert_eq!(
        (&event["type"], &event["total_repetitions"], &event["run_id"]),
        (&"log".into(), &3.into(), &"other".into())
    );
    assert_eq!(
        home.run(&["events", "record", file, "--host", "h1", "--workload", "w", "--repetition", "x"]).code,
        Some(2)
    );
    let done = home.run(&["events", "record", file, "--type", "a", "--field", "event_type=b"]);
    assert!(done.code == Some(1) && done.stderr.contains("--field event_type"), "{}", done.stderr);
}

#[test]
fn record_accepts_good_lines_of_stdin_and_reports_bad_ones() {
    let home = Home::new();
    let done = home.run_with(
        &["events", "record", "--stdin", "--run-id", "r1"],
        b"{\"event_type\":\"a.b\"}\n{\"x\":1}\n\nnot json\n{\"event_id\":\"mine\",\"host\":\"h\",\"workload\":\"w\",\"repetition\":1,\"status\":\"done\",\"timestamp\":1767435305.5}",
    );
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("stdin:2: field `event_type` is missing"), "{}", done.stderr);
    assert!(done.stderr.contains("stdin:4: it is not JSON"), "{}", done.stderr);
    assert!(done.stderr.contains("2 of 5 lines were not recorded"), "{}", done.stderr);
    let lines = lines_of(&home.path("events.jsonl"));
    assert_eq!((lines.len(), done.stdout.lines().count()), (2, 2), "{lines:?}");
    assert!(lines[0].contains(r#""run_id":"r1""#) && lines[0].contains("timestamp_utc"), "{}", lines[0]);
    assert!(lines[1].contains(r#""event_id":"mine""#) && !lines[1].contains("timestamp_utc"), "{}", lines[1]);
}

#[test]
fn tail_prints_stored_events_and_selects_types_fields_and_text() {
    let home = home_with("events.jsonl", RUN);
    assert_eq!(home.ok(&["events", "tail"]), RUN, "byte for byte");
    assert_eq!(home.ok(&["events", "tail", "-n", "1"]).lines().next(), RUN.lines().last());
    assert_eq!(home.ok(&["events", "tail", "-n", "0"]), "");
    let text = home.ok(&["events", "tail", "--type", "gate.failed", "--pretty"]);
    assert_eq!(
        text,
        "2026-11-21T03:03:13.800Z gate.failed [phase_benchmark] error=hard_gate_failed reason=\"Accuracy 95.2% below threshold 97%\"\n"
    );
    let text = home.ok(&[
        "events",
        "tail",
        "--type",
        "step.*,run.completed",
        "-n",
        "2",
        "--fields",
        "step_id,event_type,nothing",
    ]);
    assert_eq!(
        text,
        "{\"step_id\":\"phase_benchmark\",\"event_type\":\"step.failed\"}\n{\"event_type\":\"run.completed\"}\n"
    );
}

#[test]
fn formats_2_1_a_half_last_line_stops_nothing() {
    let torn = RUN.trim_end().rsplit_once(":\"failed\"}").unwrap().0;
    let home = home_with("events.jsonl", torn);
    let at = torn.rfind('\n').unwrap() + 1;
    for command in ["tail", "status", "failures", "timeline"] {
        let done = home.run(&["events", command]);
        assert!(!well(&done).is_empty(), "{command}");
        assert!(done.stderr.contains(&format!("(byte {at}): ")), "{command}: {}", done.stderr);
    }
    assert_eq!(home.ok(&["events", "tail"]).lines().count(), 5);
    let status = home.ok(&["events", "status", "--json"]);
    assert_eq!(parsed(&status)[0]["faults"], 1);
}

/// formats 1.8 and 2.1: errors are not swallowed, and a bad line raises nothing.
#[test]
fn bad_lines_are_reported_with_position_and_skipped() {
    let mut lines: Vec<&str> = RUN.lines().collect();
    lines.insert(2, "\u{1b}[2Jgarbage");
    let home = home_with("events.jsonl", &(lines.join("\n") + "\n"));
    let at = lines[0].len() + lines[1].len() + 2;
    let done = home.run(&["events", "failures"]);
    assert_eq!(well(&done).lines().count(), 3, "{}", done.stdout);
    assert!(done.stderr.contains(&format!("events.jsonl:3 (byte {at}): it is not JSON")), "{}", done.stderr);
    assert!(!done.stderr.contains('\u{1b}'), "{}", done.stderr);
    assert!(home.ok(&["events", "status"]).contains("1 line is not an event"));
}

#[test]
fn status_shows_steps_gates_and_the_state_of_the_run() {
    let home = home_with("events.jsonl", RUN);
    let text = home.ok(&["events", "status"]);
    for words in
        ["run_abc", "failed (failed: Hard gate failed: phase_benchmark)", "GATE NOT PASSED", "2.2s", "hard_gate_failed"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    let run = &parsed(&home.ok(&["events", "status", "--json"]))[0];
    assert_eq!((&run["status"], &run["failures"], &run["events"]), (&"failed".into(), &3.into(), &6.into()));
    assert_eq!(run["steps"][0]["duration_s"], 2.25);
}

#[test]
fn status_of_a_benchmark_shows_rows_and_formats_1_11_a_late_log_event_reopens_nothing() {
    let mut text = String::new();
    for n in 1..=2 {
        for status in ["running", "done"] {
            text += &format!(
                "{{\"run_id\":\"r\",\"host\":\"h1\",\"workload\":\"fio\",\"repetition\":{n},\"total_repetitions\":3,\"status\":\"{status}\",\"message\":\"duration=1.5s\",\"evil\":1}}\n"
            );
        }
    }
    text += "{\"run_id\":\"r\",\"host\":\"h1\",\"workload\":\"fio\",\"repetition\":2,\"total_repetitions\":3,\"status\":\"running\",\"type\":\"log\",\"message\":\"\\u001b[2Jlate\"}\n";
    let home = home_with("events.jsonl", &text);
    let text = home.ok(&["events", "status"]);
    assert!(text.contains("fio") && text.contains("2/3") && text.contains("1.5s"), "{text}");
    let run = &parsed(&home.ok(&["events", "status", "--json"]))[0];
    assert_eq!(run["journal"][1]["status"], "done");
    assert!(!home.ok(&["events", "tail", "--pretty"]).contains('\u{1b}'));
}

#[test]
fn timeline_shows_the_time_between_events() {
    let home = home_with("events.jsonl", RUN);
    let text = home.ok(&["events", "timeline", "-r"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 6);
    assert!(lines[0].trim_start().starts_with("0.000") && lines[0].contains("run.created"), "{text}");
    assert!(lines[3].trim_start().starts_with("2.807") && lines[3].contains("+2.250s step.failed"), "{text}");
    assert!(home.ok(&["events", "timeline"]).starts_with("2026-11-21T03:03:10.943Z"));
    assert_eq!(parsed(&home.ok(&["events", "timeline", "--json"]))[3]["since_last_s"], 2.25);
}

#[test]
fn one_failure_in_twenty_thousand_events_is_reported_within_2000_bytes() {
    let mut text = String::new();
    for n in 0..20_000 {
        text += &match n {
            9_999 => log_event(n, "INFO", "opening a connection to target:8080"),
            10_000 => log_event(n, "ERROR", "connection refused by target:8080"),
            _ => log_event(n, "INFO", &format!("k6[cfg1] stdout: running ({n}s), 10/10 VUs, {} complete", n * 3)),
        };
    }
    let home = home_with("r/events.jsonl", &text);
    let file = home.path("r/events.jsonl");
    let out = home.ok(&["events", "failures", "--budget", "2000", file.to_str().unwrap()]);
    assert!(out.len() <= 2_000, "{} bytes", out.len());
    let lines = parsed(&out);
    let summary = &lines[0]["summary"];
    assert_eq!((&summary["events"], &summary["failures"], &summary["run"]), (&20_000.into(), &1.into(), &"r".into()));
    let at = lines.iter().position(|line| line["message"] == "connection refused by target:8080").unwrap();
    assert_eq!(lines[at - 1]["message"], "opening a connection to target:8080");

    let out = home.ok(&["events", "tail", "--budget", "4KiB", "--pretty", file.to_str().unwrap()]);
    assert!(out.len() <= 4_096 && out.starts_with("# r running: 20000 events, 1 failure;"), "{out}");
    let done = home.run(&["events", "failures", "--budget", "100", file.to_str().unwrap()]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("--budget") && done.stderr.contains("200"), "{}", done.stderr);
}

#[test]
fn formats_2_1_follow_really_follows() {
    let lines: Vec<&str> = RUN.lines().collect();
    let home = home_with("events.jsonl", &(lines[..3].join("\n") + "\n"));
    let tap = Tap::on(&home, &["events", "follow", "-n", "1"]);
    assert_eq!(tap.next(), lines[2], "the last one that was there");
    let (head, rest) = lines[3].split_at(20);
    append(&home, "events.jsonl", head);
    append(&home, "events.jsonl", &format!("{rest}\n"));
    assert_eq!(tap.next(), lines[3], "a half line is waited for");
    append(&home, "events.jsonl", &format!("nonsense\n{}\n", lines[4]));
    assert_eq!(tap.next(), lines[4]);
    signal(&tap.child, "INT");
    let done = finish(tap.child);
    assert_eq!(done.code, Some(130));
    assert!(done.stderr.contains("events.jsonl") && done.stderr.contains("it is not JSON"), "{}", done.stderr);
}

#[test]
fn follow_waits_for_a_file_and_ends_with_the_run() {
    let home = Home::new();
    let args = ["events", "follow", "later.jsonl", "--from-start", "--until-end", "--exit-status"];
    let tap = Tap::on(&home, &args);
    let lines: Vec<&str> = RUN.lines().collect();
    for line in &lines {
        append(&home, "later.jsonl", &format!("{line}\n"));
    }
    for line in &lines {
        assert_eq!(tap.next(), *line);
    }
    let Tap { mut child, .. } = tap;
    assert_eq!(wait(&mut child), Some(1), "the run failed");
    // One that has ended already: its last events, and the end.
    let done = home.run(&["events", "follow", "later.jsonl", "--until-end", "-n", "2"]);
    assert_eq!(well(&done).lines().collect::<Vec<_>>(), &lines[4..]);
}

#[test]
fn extract_prints_each_event_unchanged() {
    let home = Home::new();
    let text = concat!(
        "PLAY [all] ****\n",
        "TASK [Poll LB_EVENT stream] ****\n",
        "LB_EVENT {\"run_id\": \"run-1\", \"host\": \"h1\", \"workload\": \"fio\", \"repetition\": 1, \"total_repetitions\": 3, \"status\": \"running\", \"message\": \"func main() {\", \"error_type\": null}\n",
        "ok: [h2] => {\"msg\": \"LB_EVENT {\\\"host\\\": \\\"h2\\\", \\\"workload\\\": \\\"fio\\\", \\\"repetition\\\": 2, \\\"status\\\": \\\"running\\\"}\"}\n",
        "LB_TASK {\"host\": \"h1\", \"task\": \"x : y\", \"duration_s\": 2.5, \"status\": \"ok\"}\n",
        "LB_EVENT {\"host\": \"h3\", \"workload\"\n",
    );
    let done = home.run_with(&["events", "extract"], text.as_bytes());
    let events = parsed(well(&done));
    assert_eq!(events.len(), 2, "{}", done.stdout);
    assert_eq!(events[0]["message"], "func main() {");
    assert!(done.stdout.lines().next().unwrap().ends_with("\"error_type\":null}"), "as found: {}", done.stdout);
    assert_eq!(events[1]["host"], "h2");
    assert!(done.stderr.contains("line 6 (byte ") && done.stderr.contains("1 rejected"), "{}", done.stderr);

    assert_eq!(home.run_with(&["events", "extract", "--strict"], text.as_bytes()).code, Some(1));
    std::fs::write(home.path("run.log"), text).unwrap();
    let lines = parsed(&home.ok(&["events", "extract", "--tasks", "--ids", "run.log"]));
    assert_eq!((lines.len(), lines[2]["duration_s"].as_f64()), (3, Some(2.5)));
    assert!(lines[0]["event_id"].is_string() && lines[0].get("error_type").is_none(), "{}", lines[0]);
}

#[test]
fn extract_prints_events_at_once_in_a_live_pipe() {
    let home = Home::new();
    let mut child = home.command(&["events", "extract"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines = lines(child.stdout.take().unwrap());
    for n in 0..3 {
        let event = format!("{{\"host\":\"h\",\"workload\":\"w\",\"repetition\":{n},\"status\":\"running\"}}");
        stdin.write_all(format!("noise\nLB_EVENT {event}\n").as_bytes()).unwrap();
        assert_eq!(lines.recv_timeout(LIMIT).unwrap(), event);
    }
    drop(stdin);
    assert_eq!(wait(&mut child), Some(0));
}

#[test]
fn a_run_at_a_server_answers_like_a_file() {
    let home = Home::new();
    let server = home.serve();
    let url = server.url.as_str();
    let done = home.run_with(&["events", "record", "--stdin", "--run", "run_abc", "--url", url], RUN.as_bytes());
    assert_eq!(well(&done).lines().next(), Some("a4f691b9-fdd3-401c-8608-2f6dadaf5b93"));
    let on = |args: &[&str]| home.ok(&[&["events"], args, &["--run", "run_abc", "--url", url]].concat());
    let all = on(&["tail"]);
    assert_eq!(all.lines().count(), 6);
    for (stored, made) in parsed(&all).iter().zip(parsed(RUN)) {
        let made = made.as_object().unwrap();
        assert!(made.iter().all(|(name, value)| stored[name] == *value), "nothing is changed: {stored}");
    }
    assert_eq!(
        on(&["tail", "-n", "2", "--fields", "event_type"]),
        "{\"event_type\":\"gate.failed\"}\n{\"event_type\":\"run.completed\"}\n"
    );
    assert_eq!(on(&["tail", "--type", "step.*", "--fields", "event_type"]).lines().count(), 2);
    assert_eq!(on(&["failures"]).lines().count(), 3);
    assert!(on(&["failures", "--budget", "600"]).contains("Accuracy 95.2%"));
    assert_eq!(parsed(&on(&["status", "--json"]))[0]["status"], "failed");
    assert!(on(&["status"]).contains("GATE NOT PASSED"));
    assert_eq!(on(&["timeline"]).lines().count(), 6);
    let done =
        home.run(&["events", "follow", "--until-end", "--exit-status", "-n", "1", "--run", "run_abc", "--url", url]);
    assert_eq!((done.code, done.stdout.lines().count()), (Some(1), 1), "{}{}", done.stdout, done.stderr);

    let done = home.run(&["events", "status", "--run", "nobody", "--url", url]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("there is no run `nobody`"), "{}", done.stderr);
}

#[test]
fn follow_of_a_run_prints_events_as_they_are_recorded() {
    let home = Home::new();
    let server = home.serve();
    let tap = Tap::on(&home, &["events", "follow", "--run", "r1", "--url", &server.url, "--fields", "step_id"]);
    for n in 0..3 {
        let step = format!("s{n}");
        home.ok(&["events", "record", "--run", "r1", "--url", &server.url, "--type", "step.started", "--step", &step]);
        assert_eq!(tap.next(), format!("{{\"step_id\":\"{step}\"}}"));
    }
    signal(&tap.child, "INT");
    assert_eq!(finish(tap.child).code, Some(130));
}

/// formats 1.8: an event that whoever takes it fails on is not lost, it is given again.
#[test]
fn ship_brings_each_event_once_through_a_servers_restart() {
    let home = Home::new();
    let equal = "{\"host\":\"h\",\"workload\":\"w\",\"repetition\":1,\"status\":\"running\",\"type\":\"log\",\"message\":\"same\"}\n";
    std::fs::write(home.path("events.jsonl"), format!("{RUN}torn\n{equal}{equal}")).unwrap();
    let server = home.serve();
    let listen = server.url.trim_start_matches("http://").to_owned();
    let count = |url: &str| {
        let done = home.run(&["events", "status", "--run", "r", "--url", url, "--json"]);
        if done.code == Some(0) { parsed(&done.stdout)[0]["events"].as_u64().unwrap() } else { 0 }
    };
    let shipping =
        home.command(&["events", "ship", "events.jsonl", "--run", "r", "--url", &server.url]).spawn().unwrap();
    until("all are there", || count(&server.url) == 8);
    drop(server);
    append(&home, "events.jsonl", equal);
    append(&home, "events.jsonl", &log_event(1, "INFO", "while it was away"));
    let server = crate::support::Serve::start(home.command(&["serve", "--listen", &listen]));
    until("what came while it was away", || count(&server.url) == 10);
    signal(&shipping, "INT");
    let done = finish(shipping);
    assert_eq!(done.code, Some(130));
    assert!(done.stderr.contains("events.jsonl:7 (byte "), "{}", done.stderr);

    let done =
        home.run(&["events", "ship", "events.jsonl", "--run", "r", "--no-follow", "--json", "--url", &server.url]);
    let told = &parsed(well(&done))[0];
    assert_eq!((&told["appended"], &told["duplicates"]), (&0.into(), &10.into()), "{}", done.stderr);
    assert_eq!(count(&server.url), 10);
}

#[test]
fn a_server_that_is_not_there_is_one_clear_line() {
    let home = Home::new();
    for command in [&["tail"][..], &["status"], &["failures"], &["timeline"]] {
        let done = home.run(&[&["events"], command, &["--run", "r", "--url", "http://127.0.0.1:1"]].concat());
        assert_eq!(done.code, Some(1), "{command:?}");
        assert!(done.stderr.contains("cannot reach http://127.0.0.1:1"), "{command:?}: {}", done.stderr);
        assert_eq!(done.stderr.lines().count(), 1, "{command:?}: {}", done.stderr);
    }
}
