//! The commands against a server of their own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use crate::support::{Home, finish, signal, until, wait};

/// A home with a server and a finished task `t`: three lines of stdout, one of stderr, exit code 3.
fn with_task() -> (Home, crate::support::Serve) {
    let home = Home::new();
    let serve = home.serve();
    let done = home.run_with(&["append", "--task", "t"], b"one\ntwo \x1b[2J\nthree");
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    home.ok(&["append", "--task", "t", "--stream", "stderr", "oops"]);
    home.ok(&["end", "--task", "t", "--exit-code", "3"]);
    (home, serve)
}

#[test]
fn follow_returns_appended_events() {
    let (home, _serve) = with_task();
    let done = home.run(&["follow", "t"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "one\ntwo \x1b[2J\nthree\n"), "{}", done.stderr);
    assert!(done.stderr.contains("oops\n"), "{}", done.stderr);
    assert_eq!(home.run(&["follow", "t", "--exit-status"]).code, Some(3));
    assert_eq!(home.ok(&["follow", "t", "-n", "2", "--stream", "stdout"]), "two \x1b[2J\nthree\n");
    assert_eq!(home.ok(&["follow", "t", "--since", "1h", "--no-follow"]), "one\ntwo \x1b[2J\nthree\n");
    assert_eq!(home.ok(&["follow", "t", "--since", "2099-01-01T00:00:00Z", "--no-follow"]), "");
    let timed = home.ok(&["follow", "t", "-t", "-n", "4"]);
    assert!(timed.starts_with("20") && timed.contains("Z one\n"), "{timed}");
    let json = home.ok(&["follow", "t", "--json"]);
    let lines: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[1]["line"], "two \x1b[2J");
    assert_eq!((&lines[3]["stream"], &lines[3]["n"]), (&"stderr".into(), &4.into()));
}

#[test]
fn list_and_show_know_the_task() {
    let (home, _serve) = with_task();
    let table = home.ok(&["list"]);
    assert!(table.starts_with("TASK") && table.contains("completed"), "{table}");
    assert!(!table.contains('\u{1b}'), "plain when piped");
    let listed: serde_json::Value = serde_json::from_str(home.ok(&["list", "--json"]).trim_end()).unwrap();
    assert_eq!((&listed["id"], &listed["exit_code"]), (&"t".into(), &3.into()));
    assert_eq!(home.ok(&["list", "--status", "running", "--json"]), "");
    let facts = home.ok(&["show", "t"]);
    assert!(facts.contains("status:        completed\n") && facts.contains("exit:          3\n"), "{facts}");
    let shown: serde_json::Value = serde_json::from_str(&home.ok(&["show", "t", "--json"])).unwrap();
    assert_eq!(shown["lines"].as_u64(), Some(4));
}

#[test]
fn export_writes_whole_files_and_overwrites_none() {
    let (home, _serve) = with_task();
    home.ok(&["export", "t", "-o", "t.log"]);
    let text = std::fs::read_to_string(home.path("t.log")).unwrap();
    assert_eq!(text, "one\ntwo \x1b[2J\nthree\noops\n");
    assert_eq!(home.ok(&["export", "t", "-o", "-"]), text);
    let done = home.run(&["export", "t", "-o", "t.log"]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("--force"), "{}", done.stderr);
    home.ok(&["export", "t", "-o", "t.log", "--force", "--format", "ndjson"]);
    assert_eq!(std::fs::read_to_string(home.path("t.log")).unwrap().lines().count(), 4);
    let left: Vec<_> = std::fs::read_dir(home.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".part")), "{left:?}");
}

/// Appends lines of a channel.
fn append(home: &Home, task: &str, stream: &str, text: &str) {
    home.ok(&["append", "--task", task, "--stream", stream, text]);
}

#[test]
fn missing_lines_are_marked_everywhere_and_own_lines_are_not_the_commands() {
    let home = Home::new();
    let _serve = home.serve();
    for (stream, text) in
        [("internal", "starting"), ("stdout", "one"), ("internal", "[13768 messages skipped]"), ("stderr", "two")]
    {
        append(&home, "burst", stream, text);
    }
    append(&home, "whole", "stdout", "one");
    let table = home.ok(&["list"]);
    let row = |id: &str| table.lines().find(|row| row.starts_with(id)).unwrap().to_owned();
    assert!(row("burst").contains(" ! 2 of 13770 ") && !row("whole").contains('!'), "{table}");
    let task: serde_json::Value = serde_json::from_str(&home.ok(&["show", "burst", "--json"])).unwrap();
    assert_eq!((&task["lines"], &task["own_lines"]), (&4.into(), &2.into()));
    assert_eq!((&task["complete"], &task["skipped_lines"]), (&false.into(), &13768.into()));
    let shown = home.ok(&["show", "burst"]);
    assert!(shown.contains("2, and 2 of tasktail itself (numbers 1 to 4 can be read)"), "{shown}");
    assert!(shown.contains("incomplete: 13768 lines missing"), "{shown}");
    home.ok(&["end", "--task", "burst", "--exit-code", "0"]);
    let exported = home.run(&["export", "burst", "--quiet"]);
    assert_eq!(exported.stdout, "# starting\none\n# [13768 messages skipped]\ntwo\n");
    assert!(exported.stderr.contains("incomplete: 13,768 lines missing"), "{}", exported.stderr);
    assert_eq!(home.run(&["export", "burst", "--stream", "stdout,stderr"]).stdout, "one\ntwo\n");
    assert!(home.ok(&["list"]).contains("! 2 of 13770"));
    let rows = home.run(&["export", "burst", "--format", "ndjson", "--stream", "stderr"]).stdout;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&rows).unwrap()["n"], 4);
    assert_eq!(home.run(&["export", "whole"]).stderr, "");
}

#[test]
fn rm_deletes_tasks_and_reports_unknown_ones() {
    let (home, _serve) = with_task();
    let done = home.run(&["rm", "nope", "t"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(1), "t\n"), "the one that is there goes");
    assert!(done.stderr.contains("there is no task `nope`"), "{}", done.stderr);
    for args in [&["show", "t"][..], &["follow", "t"], &["export", "t", "-o", "x"], &["follow", "t", "-n", "1"]] {
        let done = home.run(args);
        assert_eq!(done.code, Some(1), "{args:?}");
        assert!(done.stderr.contains("there is no task `t`"), "{args:?}: {}", done.stderr);
    }
}

#[test]
fn a_line_typed_slowly_is_seen_at_once() {
    let home = Home::new();
    let _serve = home.serve();
    let mut typist = home.command(&["append", "--task", "slow"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut keys = typist.stdin.take().unwrap();
    let mut reader = home.command(&["follow", "slow", "--wait"]).spawn().unwrap();
    let mut screen = BufReader::new(reader.stdout.take().unwrap());
    for word in ["first\n", "second\n"] {
        keys.write_all(word.as_bytes()).unwrap();
        let mut seen = String::new();
        screen.read_line(&mut seen).unwrap();
        assert_eq!(seen, word);
    }
    drop(keys);
    assert_eq!(finish(typist).code, Some(0));
    home.ok(&["end", "--task", "slow", "--exit-code", "0"]);
    assert_eq!(wait(&mut reader), Some(0));
}

#[test]
fn many_lines_arrive_once_and_in_order() {
    let home = Home::new();
    let _serve = home.serve();
    let text: String = (1..=30_000).map(|n| format!("line {n}\n")).collect();
    let done = home.run_with(&["append", "--task", "many", "--json"], text.as_bytes());
    assert!(done.stdout.contains("\"appended\":30000"), "{} {}", done.stdout, done.stderr);
    assert!(home.ok(&["follow", "many", "--no-follow"]) == text, "follow agrees with the source");
    let last = home.ok(&["follow", "many", "--no-follow", "-n", "2"]);
    assert_eq!(last, "line 29999\nline 30000\n");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let home = Home::new();
    let _serve = home.serve();
    let text: String = (1..=100_000).map(|n| format!("line {n}\n")).collect();
    home.run_with(&["append", "--task", "many"], text.as_bytes());
    let mut child = home.command(&["follow", "many"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "line 1\n");
    let done = finish(child);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
}

#[test]
fn follow_continues_after_a_server_restart() {
    let home = Home::new();
    let serve = home.serve();
    let listen = serve.url.strip_prefix("http://").unwrap().to_owned();
    home.ok(&["append", "--task", "t", "before"]);
    let mut reader = home.command(&["follow", "t", "--url", &serve.url]).spawn().unwrap();
    let mut screen = BufReader::new(reader.stdout.take().unwrap()).lines();
    assert_eq!(screen.next().unwrap().unwrap(), "before");
    drop(serve);
    let _serve = crate::support::Serve::start(home.command(&["serve", "--listen", &listen]));
    home.ok(&["append", "--task", "t", "after"]);
    assert_eq!(screen.next().unwrap().unwrap(), "after", "nothing twice");
    home.ok(&["end", "--task", "t", "--exit-code", "0"]);
    assert_eq!(finish(reader).code, Some(0));
}

#[test]
fn serve_exits_cleanly_on_sigterm_and_names_a_conflict() {
    let home = Home::new();
    let mut serve = home.serve();
    let listen = serve.url.strip_prefix("http://").unwrap().to_owned();
    std::fs::write(home.path("file"), "").unwrap();
    let file = home.path("file").join("data");
    for (args, word) in [
        (&["serve", "--listen", &listen, "--data", "other"][..], listen.as_str()),
        (&["serve"], "in use"),
        (&["serve", "--data", file.to_str().unwrap()], "data"),
    ] {
        let done = home.run(args);
        assert_eq!(done.code, Some(1), "{args:?}: {}", done.stderr);
        let complaint: Vec<_> = done.stderr.lines().filter(|line| line.starts_with("tasktail: ")).collect();
        assert!(complaint.len() == 1 && complaint[0].contains(word), "{args:?}: {}", done.stderr);
        assert!(done.stdout.is_empty(), "{args:?}");
    }
    signal(&serve.child, "TERM");
    assert_eq!(wait(&mut serve.child), Some(0));
    until("the address file goes", || !home.path(".local/state/tasktail/server.json").exists());
}
