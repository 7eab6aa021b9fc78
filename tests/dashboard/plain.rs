//! Without a terminal the log is printed line by line, from a pipe, a file or a server.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use crate::support::{log, status};

fn dashboard(args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tasktail"));
    command.arg("dashboard").args(args).env_remove("TASKTAIL_URL").env("TASKTAIL_LOG", "off");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    child.wait_with_output().unwrap()
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_pipe_is_printed_and_kept_and_the_exit_code_shows_failure() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("raw.log");
    let mut input = String::from("TASK [x] ****\n\u{1b}[32mok: [h1]\u{1b}[0m\nLB_EVENT {\"host\": \n");
    for line in [log("h1", "fio", 3, "ERROR", "boom"), status("h1", "fio", 3, "failed", "error=x")] {
        input.push_str(&format!("LB_EVENT {line}\n"));
    }
    for number in 1..3 {
        input.push_str(&format!("LB_EVENT {}\n", status("h1", "fio", number, "done", "duration=1.0s")));
    }
    let output = dashboard(&["--exit-status", "--log", kept.to_str().unwrap()], &input);
    let (stdout, stderr) = (words(&output.stdout), words(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    assert!(stdout.starts_with("TASK [x] ****\nok: [h1]\n"), "{stdout}");
    assert!(
        stdout.contains(" ERROR fio@h1 3/3 boom [K6ExecutionError]\n") && stdout.contains("failed error=x"),
        "{stdout}"
    );
    assert!(
        stderr.contains("not an event") && stderr.contains("run run-1: failed, 4 events, 2 of a failure"),
        "{stderr}"
    );
    assert_eq!(std::fs::read_to_string(kept).unwrap(), input);

    let output = dashboard(&[], &input);
    assert_eq!(output.status.code(), Some(0), "only with --exit-status");
}

#[test]
fn a_file_of_events_is_read_and_its_bad_lines_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let lines = [
        r#"{"event_id":"1","event_type":"run.created","run_id":"run_abc","new_state":"created"}"#,
        "{\"b\":",
        r#"{"event_id":"2","event_type":"step.failed","run_id":"run_abc","step_id":"bench","error_class":"validation_failed","reason":"no","new_state":"failed"}"#,
        r#"{"event_id":"1","event_type":"run.created","run_id":"run_abc","new_state":"created"}"#,
        r#"{"event_id":"3","event_type":"run.completed","run_id":"run_abc","new_state":"failed","reason":"bench"}"#,
    ];
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    let output = dashboard(&["--file", path.to_str().unwrap(), "--exit", "--exit-status"], "");
    let (stdout, stderr) = (words(&output.stdout), words(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    let expected = " ERROR [bench] step.failed: no [validation_failed]\n";
    assert_eq!(stdout.lines().count(), 3, "{stdout}");
    assert!(stdout.contains(expected), "{stdout}");
    assert!(stderr.contains("line 2: it is not JSON"), "{stderr}");
}

#[test]
fn a_run_at_a_server_is_followed_through_a_break() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || serve(&listener));
    let output = dashboard(&["--url", &url, "--run", "run_abc", "--exit", "--exit-status"], "");
    let (stdout, stderr) = (words(&output.stdout), words(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    assert_eq!(stdout.lines().count(), 2, "{stdout}");
    assert!(stdout.contains("run.created") && stdout.contains("run.completed"), "{stdout}");
    assert!(stderr.contains("run run_abc: done, 2 events"), "{stderr}");
}

/// Gives one event and breaks; asked again behind it, gives the other and stays.
fn serve(listener: &TcpListener) {
    let mut open = Vec::new();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut request = [0; 4096];
        let count = stream.read(&mut request).unwrap();
        let request = String::from_utf8_lossy(&request[..count]).into_owned();
        let head = "HTTP/1.1 200 OK\r\nserver: tasktail\r\ncontent-type: text/event-stream\r\n\r\n";
        let event = |at: u64, kind: &str, state: &str| {
            let cursor = format!("c1.1.1.{at}.{at}-0");
            format!(
                "{head}id: {cursor}\ndata: {{\"event_id\":\"{at}\",\"event_type\":\"{kind}\",\"new_state\":\"{state}\"}}\n\n"
            )
        };
        let answer = match request.split(' ').nth(1).unwrap_or_default() {
            path if path.contains("/pipeline") => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
            path if path.contains("after=") => event(2, "run.completed", "succeeded"),
            path if path.contains("/api/v1/runs/run_abc/events/stream") => event(1, "run.created", "created"),
            _ => "HTTP/1.1 200 OK\r\nserver: tasktail\r\ncontent-length: 2\r\n\r\n{}".to_owned(),
        };
        stream.write_all(answer.as_bytes()).unwrap();
        if answer.contains("run.completed") {
            open.push(stream);
        }
    }
}

/// What an ordinary playbook prints, without any event.
fn playbook(failed: u32, unreachable: u32) -> String {
    format!(
        "\nPLAY [all] ****\n\nTASK [copy] ****\nchanged: [web1]\n\nPLAY RECAP ****\n\
         web1                       : ok=2    changed=1    unreachable=0    failed=0    skipped=0    rescued=0    ignored=0   \n\
         db1                        : ok=1    changed=0    unreachable={unreachable}    failed={failed}    skipped=0    rescued=0    ignored=0   \n"
    )
}

#[test]
fn the_recap_of_an_ordinary_playbook_is_the_result() {
    for (failed, unreachable, code) in [(0, 0, 0), (1, 0, 1), (0, 1, 1)] {
        let output = dashboard(&["--exit", "--exit-status"], &playbook(failed, unreachable));
        let stderr = words(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(!stderr.contains("no events"), "a playbook need not have events: {stderr}");
        let summary = if code == 0 { "without a failed host" } else { "the playbook failed on 1 host: db1" };
        assert!(stderr.contains(summary), "{stderr}");
    }
    let output = dashboard(&["--exit"], &playbook(1, 0));
    assert_eq!(output.status.code(), Some(0), "only with --exit-status");
}

#[test]
fn a_run_that_does_not_exist_is_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let count = stream.read(&mut request).unwrap();
            let is_run = String::from_utf8_lossy(&request[..count]).contains("/api/v1/runs/nosuch");
            let is_stream = String::from_utf8_lossy(&request[..count]).contains("/stream");
            let problem = r#"{"type":"about:blank","title":"Not Found","status":404,"detail":"no","code":"not_found"}"#;
            let answer = match (is_run, is_stream) {
                (true, true) => {
                    "HTTP/1.1 200 OK\r\nserver: tasktail\r\ncontent-type: text/event-stream\r\n\r\n".to_owned()
                }
                (true, false) => format!(
                    "HTTP/1.1 404 Not Found\r\nserver: tasktail\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\r\n{problem}",
                    problem.len()
                ),
                _ => "HTTP/1.1 200 OK\r\nserver: tasktail\r\ncontent-length: 2\r\n\r\n{}".to_owned(),
            };
            stream.write_all(answer.as_bytes()).unwrap();
            if is_stream {
                open.push(stream);
            }
        }
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_tasktail"));
    command.args(["--url", &url, "dashboard", "--run", "nosuch"]).env_remove("TASKTAIL_URL").env("TASKTAIL_LOG", "off");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let reported =
        std::io::BufRead::lines(stderr).map_while(Result::ok).any(|line| line.contains("there is no run `nosuch`"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(reported);
}
