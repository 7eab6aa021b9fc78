//! `tasktail run` and events in a command's output.

use serde_json::Value;

use crate::support::{Home, until};

/// The events of a run, by their messages.
fn messages(url: &str, run: &str) -> Vec<String> {
    let (head, body) = ask(url, &format!("/api/v1/runs/{run}/events"));
    if head.contains(" 404 ") {
        return Vec::new();
    }
    let page: Value = serde_json::from_str(&body).unwrap();
    let events = page["events"].as_array().unwrap();
    events.iter().map(|event| event["message"].as_str().unwrap_or_default().to_owned()).collect()
}

/// One request; the head and the body of the answer.
fn ask(url: &str, path: &str) -> (String, String) {
    use std::io::{Read as _, Write as _};
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

const SAY: &str = r#"echo 'LB_EVENT {"host":"h","workload":"w","repetition":1,"status":"running","message":"one"}'"#;

#[test]
fn events_of_a_command_are_in_its_run_when_it_has_ended() {
    let home = Home::new();
    let server = home.serve();
    for (task, more) in [("a", &[][..]), ("b", &["--run", "nightly"]), ("c", &["--no-events"])] {
        let mut args = vec!["run", "--task", task];
        args.extend(more);
        args.extend(["--", "sh", "-c", SAY]);
        home.ok(&args);
    }
    let mut off = home.command(&["run", "--task", "d", "--", "sh", "-c", SAY]);
    assert!(off.env("LB_ENABLE_EVENT_LOGGING", "False").status().unwrap().success());
    for (run, wanted) in [("a", 1), ("b", 0), ("nightly", 1), ("c", 0), ("d", 0)] {
        assert_eq!(messages(&server.url, run).len(), wanted, "{run}");
    }
}

/// What `git log -p` shows of a repository that mentions the token.
#[test]
fn text_that_resembles_events_stays_unchanged_and_is_reported_once() {
    let home = Home::new();
    let script = r#"for i in $(seq 150); do echo "+    LB_EVENT {$i"; echo " LB_EVENT {'host': 'h'}"; done"#;
    let done = home.run(&["run", "--task", "log", "--", "sh", "-c", script]);
    let notes: Vec<&str> = done.stderr.lines().filter(|line| line.contains("look like events")).collect();
    assert!(notes.len() == 1 && notes[0].contains("300 texts") && notes[0].contains("line"), "{}", done.stderr);
    assert!(notes[0].contains("doctor --explain"), "{}", done.stderr);
    let log = home.run(&["follow", "log", "--no-follow"]);
    assert_eq!(log.stdout.lines().count(), 300, "every line");
    assert!(!log.stderr.contains("event"), "nothing between them: {}", log.stderr);
    let explained = home.run_with(&["doctor", "--explain", "-"], log.stdout.as_bytes());
    assert!(explained.stdout.contains("300 rejected"), "{}", explained.stdout);
    let plain = home.run(&["run", "--task", "plain", "--", "echo", "hello"]);
    assert!(!plain.stderr.contains("look like events"), "{}", plain.stderr);
}

#[test]
fn events_are_there_after_a_server_that_lived_as_long_as_its_command_and_after_a_kill() {
    let home = Home::new();
    home.ok(&["run", "--task", "alone", "--", "sh", "-c", SAY]);
    let mut server = home.serve();
    assert_eq!(messages(&server.url, "alone"), ["one"]);
    let lines: String =
        (0..500).map(|n| format!("LB_EVENT {{\"event_type\":\"x\",\"message\":\"{}\"}}\n", n / 2)).collect();
    home.run_with(&["append", "--task", "t"], lines.as_bytes());
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let server = home.serve();
    let (_, tip) = ask(&server.url, "/api/v1/tasks/t");
    let kept = serde_json::from_str::<Value>(&tip).unwrap()["lines"].as_u64().unwrap();
    until("every event of the lines that are there", || messages(&server.url, "t").len() as u64 >= kept);
    let wanted: Vec<String> = (0..kept).map(|n| (n / 2).to_string()).collect();
    assert_eq!(messages(&server.url, "t"), wanted);
}

#[test]
fn each_line_of_a_tool_becomes_an_event() {
    let home = Home::new();
    let server = home.serve();
    let k6 = home.path("k6");
    std::fs::write(&k6, "#!/bin/sh\necho 'running (0m05.0s), 10/10 VUs'\necho 'level=error msg=x' >&2\nexit 99\n")
        .unwrap();
    std::fs::set_permissions(&k6, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let args =
        ["run", "--emit-events", "--run", "r", "--workload", "dfaas", "--repetition", "1/3", "--config-name", "c1"];
    let done = home.run(&[&args[..], &["--", k6.to_str().unwrap()]].concat());
    assert_eq!(done.code, Some(99), "{}", done.stderr);
    let mut found = Vec::new();
    until("its events", || {
        found = messages(&server.url, "r");
        found.len() >= 6
    });
    // Two pipes have no common order.
    found[2..4].sort();
    assert_eq!(
        found[1..5],
        [
            "k6[c1] log stream started",
            "k6[c1] stderr: level=error msg=x",
            "k6[c1] stdout: running (0m05.0s), 10/10 VUs",
            "k6[c1] log stream stopped",
        ]
    );
    assert!(found[5].starts_with("exit code 99 duration="), "{found:?}");
    let run: Value = serde_json::from_str(&ask(&server.url, "/api/v1/runs/r").1).unwrap();
    let row = &run["journal"][0];
    assert_eq!(
        (&row["status"], &row["repetition"], &row["total_repetitions"]),
        (&"failed".into(), &1.into(), &3.into())
    );
}

#[test]
fn a_wrong_repetition_names_the_flag() {
    let home = Home::new();
    for bad in ["0", "0/3", "4/3", "x/3", "1/"] {
        let done = home.run(&["run", "--emit-events", "--workload", "w", "--repetition", bad, "--", "true"]);
        assert_eq!(done.code, Some(2), "{bad}");
        assert!(done.stderr.contains("--repetition") && done.stderr.contains("1/3"), "{bad}: {}", done.stderr);
    }
    assert_eq!(home.run(&["run", "--repetition", "1/3", "--", "true"]).code, Some(2), "it belongs to --emit-events");
}

#[test]
fn a_folder_of_runs_is_served() {
    let home = Home::new();
    std::fs::create_dir_all(home.path("runs/r1")).unwrap();
    let event = "{\"event_type\":\"run.created\",\"run_id\":\"r1\",\"message\":\"hello\"}\n";
    std::fs::write(home.path("runs/r1/events.jsonl"), event).unwrap();
    let mut command = home.command(&["serve"]);
    command.env("TASKTAIL_RUNS", home.path("runs"));
    let server = crate::support::Serve::start(command);
    until("its event", || messages(&server.url, "r1") == ["hello"]);
}
