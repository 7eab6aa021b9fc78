//! Finding lines from the command line: grep, diff, explain and replay, with a server and without one.

use std::io::{BufRead as _, BufReader};

use crate::support::{Done, Home, finish, signal};

/// Runs a job whose output is this text.
fn job(home: &Home, task: &str, text: &str, code: i32) {
    std::fs::write(home.path("text"), text).unwrap();
    let script = format!("cat text; exit {code}");
    let done = home.run(&["run", "-q", "--task", task, "--label", "kind=test", "--", "sh", "-c", &script]);
    assert_eq!(done.code, Some(code), "{}", done.stderr);
}

/// A log of 2,000 lines with one more line in the middle.
fn log(run: usize, extra: &str) -> String {
    let line = |n: usize| format!("step {n} took {}ms\n{}", n * run % 97, if n == 1_000 { extra } else { "" });
    (1..=2_000).map(line).collect()
}

#[test]
fn grep_prints_matches_in_the_format_of_grep() {
    let home = Home::new();
    job(&home, "one", "a\nlogin \u{1b}[31mFAILED\u{1b}[0m\r\nb\n", 0);
    job(&home, "two", "x\nlogin failed\ny\n", 1);
    for serve in [None, Some(home.serve())] {
        let plain = |args: &[&str]| -> Done { home.run(&[&["grep"], args].concat()) };
        let done = plain(&["login FAILED$"]);
        assert_eq!((done.code, done.stdout.as_str()), (Some(0), "one:3:login FAILED\n"), "{}", done.stderr);
        let done = plain(&["-i", "login failed", "--stream", "stdout"]);
        let rows: Vec<&str> = done.stdout.lines().collect();
        assert_eq!((rows.len(), rows[0].starts_with("two:"), rows[1].starts_with("one:")), (2, true, true), "{rows:?}");
        let done = plain(&["login", "one", "-C", "1"]);
        assert_eq!(done.stdout, "one-2-a\none:3:login FAILED\none-4-b\n");
        let done = plain(&["login", "--label", "kind=test", "--since", "1h", "-m", "1", "--json"]);
        let row: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!((&row["task"], &row["line"]), (&"two".into(), &"login failed".into()));
        assert_eq!(plain(&["no such text"]).code, Some(1));
        assert_eq!(plain(&["login", "--label", "kind=other"]).code, Some(1));
        for bad in [&["("][..], &["x", "nope"], &["x", "--since", "soon"], &["x", "-A", "101"]] {
            let done = plain(bad);
            assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{bad:?}: {}", done.stderr);
            assert!(!done.stderr.is_empty());
        }
        drop(serve);
    }
}

/// As the page does: what is shown can be found.
#[test]
fn a_pattern_also_finds_lines_of_tasktail_itself_unless_the_streams_are_named() {
    let home = Home::new();
    job(&home, "one", "text\n", 0);
    for (args, found) in [
        (&["grep", "^starting on "][..], true),
        (&["grep", "^starting on ", "--stream", "stdout,stderr"], false),
        (&["follow", "one", "--grep", "^starting on "], true),
        (&["follow", "one", "--grep", "^starting on ", "--stream", "stdout,stderr"], false),
    ] {
        let done = home.run(args);
        assert_eq!((done.stdout + &done.stderr).contains("starting on "), found, "{args:?}");
    }
}

#[test]
fn diff_shows_the_one_new_line_first() {
    let home = Home::new();
    job(&home, "nightly", &log(1, ""), 0);
    job(&home, "nightly", &log(2, "note: new\nerror: disk full\n"), 1);
    let done = home.run(&["diff", "nightly"]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    let rows: Vec<&str> = done.stdout.lines().collect();
    assert!(rows[0].starts_with("+ ") && rows[0].ends_with(": error: disk full"), "{rows:?}");
    assert!(rows[1].ends_with(": note: new"), "{rows:?}");
    assert!(done.stderr.contains("nightly.2 has 2 lines that nightly.1 does not have"), "{}", done.stderr);
    let back = home.run(&["diff", "nightly.1", "nightly.2", "--json"]);
    let back: serde_json::Value = serde_json::from_str(&back.stdout).unwrap();
    assert_eq!((&back["new_count"], &back["missing_count"]), (&0.into(), &2.into()));
    let same = home.run(&["diff", "nightly.1", "nightly.1"]);
    assert_eq!((same.code, same.stdout.as_str()), (Some(0), ""));
    let done = home.run(&["diff", "nightly.1"]);
    assert_eq!(done.code, Some(2));
    assert!(done.stderr.contains("no earlier successful log"), "{}", done.stderr);
}

#[test]
fn explain_stays_within_its_budget() {
    let home = Home::new();
    job(&home, "t", &log(1, "src/a.c:3:5: error: expected ';' before '\u{1b}[1m}\u{1b}[0m'\n"), 2);
    for budget in ["500", "1000", "20k"] {
        for json in [&[][..], &["--json"]] {
            let text = home.ok(&[&["explain", "t", "--budget", budget], json].concat());
            let most =
                budget.trim_end_matches('k').parse::<usize>().unwrap() * if budget.ends_with('k') { 1024 } else { 1 };
            assert!(text.len() <= most, "{} of {most}", text.len());
            assert!(text.contains("expected ';' before '}'") && text.contains("step 2000 "), "{text}");
        }
    }
    let text = home.ok(&["explain", "t"]);
    assert!(text.starts_with("t: completed, exit code 2, ") && text.contains("\nE 1002: "), "{text}");
    assert_eq!(home.run(&["explain", "nope"]).code, Some(1));
    assert!(home.run(&["explain", "t", "--budget", "10"]).stderr.contains("500"));
}

#[test]
fn replay_keeps_the_pauses_and_the_streams() {
    let home = Home::new();
    let rows = [
        r#"{"line":"one","timestamp":"2026-05-09T14:23:01.000Z"}"#,
        r#"{"line":"two","timestamp":"2026-05-09T14:23:01.400Z","stream":"stderr"}"#,
        r#"{"line":"three","timestamp":"2026-05-09T15:23:01.000Z"}"#,
    ];
    let serve = home.serve();
    let request = format!("{}/api/v1/tasks/t/lines", serve.url);
    let sent = std::process::Command::new("curl")
        .args(["-sf", "-H", "content-type: application/x-ndjson", "--data-binary", &rows.join("\n"), &request])
        .output()
        .unwrap();
    assert!(sent.status.success());
    let begun = std::time::Instant::now();
    let done = home.run(&["replay", "t", "--max-pause", "300ms"]);
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (Some(0), "one\nthree\n", "two\n"));
    assert!(begun.elapsed() >= std::time::Duration::from_millis(600), "{:?}", begun.elapsed());
    assert_eq!(home.ok(&["replay", "t", "--speed", "1000", "--max-pause", "1ms", "--from", "3"]), "three\n");
    assert_eq!(home.run(&["replay", "t", "--speed", "0"]).code, Some(2));
    // The first line does not wait for the second, and Ctrl-C ends a replay.
    let mut child = home.command(&["replay", "t", "--max-pause", "1h", "--speed", "0.001"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "one\n");
    signal(&child, "INT");
    assert_eq!(finish(child).code, Some(130));
}
