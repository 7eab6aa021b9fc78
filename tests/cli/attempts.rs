//! A task's name used again: every run of it has a log of its own.

use serde_json::Value;

use crate::support::{Home, finish, until};

fn ids(home: &Home) -> Vec<String> {
    let rows = home.ok(&["list", "--json"]);
    let id = |row: &str| serde_json::from_str::<Value>(row).unwrap()["id"].as_str().unwrap().to_owned();
    let mut ids: Vec<String> = rows.lines().map(id).collect();
    ids.sort();
    ids
}

fn show(home: &Home, task: &str) -> Value {
    serde_json::from_str(&home.ok(&["show", task, "--json"])).unwrap()
}

/// Runs `echo $TASKTAIL_TASK TEXT` as a task, and returns what it printed to stderr.
fn night(home: &Home, flags: &[&str], text: &str) -> String {
    let script = format!("echo $TASKTAIL_TASK {text}");
    let done = home.run(&[&["run", "--task", "nightly"], flags, &["--", "sh", "-c", &script]].concat());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.stderr
}

#[test]
fn every_night_has_a_log() {
    let home = Home::new();
    night(&home, &[], "one");
    assert!(show(&home, "nightly")["attempt"].is_null(), "a single log is no attempt");
    let second = night(&home, &[], "two");
    assert!(second.lines().next().unwrap().ends_with("/tasks/nightly.2"), "{second}");
    // Also when nothing may be said.
    assert_eq!(night(&home, &["-q"], "three"), "");
    assert_eq!(ids(&home), ["nightly", "nightly.2", "nightly.3"]);
    let follow = |task: &str| home.ok(&["follow", task, "--no-follow"]);
    for (task, text) in [
        ("nightly", "nightly.3 three\n"),
        ("nightly.3", "nightly.3 three\n"),
        ("nightly.2", "nightly.2 two\n"),
        ("nightly.1", "nightly one\n"),
    ] {
        assert_eq!(follow(task), text, "{task}");
    }
    assert!(home.ok(&["export", "nightly", "-o", "-"]).contains("nightly.3 three\n"));
    assert_eq!(show(&home, "nightly")["id"], "nightly.3");
    let first = show(&home, "nightly.1");
    assert_eq!(
        (&first["id"], &first["attempt"]["number"], &first["attempt"]["newest"]),
        (&"nightly".into(), &1.into(), &3.into())
    );
    assert!(home.ok(&["list"]).contains("nightly.1 "), "the list names what each id opens");
    assert!(home.run(&["follow", "nightly.4", "--no-follow"]).code != Some(0));
    // An id that only looks like an attempt is a task of its own.
    home.ok(&["append", "--task", "v1", "a"]);
    home.ok(&["append", "--task", "v1.2", "b"]);
    assert_eq!(follow("v1"), "a\n");
    assert!(home.run(&["follow", "v1.1", "--no-follow"]).code != Some(0));
}

#[test]
fn the_note_about_events_is_about_the_own_log() {
    let home = Home::new();
    let _server = home.serve();
    let start = |script: &str| home.command(&["run", "--task", "n", "--", "sh", "-c", script]).spawn().unwrap();
    let first = start("echo 'LB_EVENT {broken'; while ! [ -e go ]; do sleep 0.05; done");
    until("the first one runs", || home.run(&["follow", "n", "--no-follow"]).stdout.contains("broken"));
    // The newest log of the name now has two such texts.
    let second = finish(start("echo 'LB_EVENT {other'; echo 'LB_EVENT {another'"));
    assert!(second.stderr.contains("2 texts look like events and are not"), "{}", second.stderr);
    assert!(second.stderr.contains("tasktail follow n.2 |"), "{}", second.stderr);
    std::fs::write(home.path("go"), "").unwrap();
    let first = finish(first);
    assert!(first.stderr.contains("1 text looks like an event and is not"), "{}", first.stderr);
    assert!(first.stderr.contains("{broken") && first.stderr.contains("tasktail follow n.1 |"), "{}", first.stderr);
}

#[test]
fn a_run_starts_its_own_server_after_the_serving_run_ends() {
    let home = Home::new();
    let start = |name: &str| {
        let script = format!("echo {name} before; while ! [ -e {name} ]; do sleep 0.05; done; echo {name} after");
        home.command(&["run", "--task", name, "--", "sh", "-c", &script]).spawn().unwrap()
    };
    let seen = |name: &str| {
        let before = format!("{name} before\n");
        until("its first line is stored", || home.run(&["follow", name, "--no-follow"]).stdout == before);
    };
    let mut runs = vec![start("a")];
    seen("a");
    for (name, next) in [("a", "b"), ("b", "c")] {
        runs.push(start(next));
        seen(next);
        std::fs::write(home.path(name), "").unwrap();
        let done = finish(runs.remove(0));
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert!(done.stderr.contains("kept 2 lines"), "{}", done.stderr);
        until("the next one serves", || home.run(&["follow", next, "--no-follow"]).code == Some(0));
    }
    std::fs::write(home.path("c"), "").unwrap();
    let last = finish(runs.remove(0));
    assert!(last.code == Some(0) && last.stderr.contains("kept 2 lines"), "{}", last.stderr);
    assert!(!last.stderr.contains("connection lost"), "nothing went wrong: {}", last.stderr);
    for name in ["a", "b", "c"] {
        assert_eq!(home.ok(&["follow", name, "--no-follow"]), format!("{name} before\n{name} after\n"));
    }
}

#[test]
fn replace_deletes_the_finished_ones() {
    let home = Home::new();
    night(&home, &[], "one");
    night(&home, &[], "two");
    night(&home, &["--replace"], "three");
    assert_eq!(ids(&home), ["nightly"]);
    assert_eq!(home.ok(&["follow", "nightly"]), "nightly three\n");
}

#[test]
fn removal_names_one_log() {
    let home = Home::new();
    for text in ["one", "two", "three"] {
        night(&home, &[], text);
    }
    home.ok(&["rm", "nightly.3"]);
    assert_eq!(home.ok(&["follow", "nightly", "--no-follow"]), "nightly.2 two\n");
    home.ok(&["rm", "nightly.1"]);
    assert_eq!(ids(&home), ["nightly.2"]);
    night(&home, &[], "four");
    assert_eq!(ids(&home), ["nightly.2", "nightly.3"], "the number of a log that exists is not used again");
}

#[test]
fn two_runs_at_once_are_kept_apart() {
    let home = Home::new();
    // With a server of their own, and with a common one.
    for embedded in [true, false] {
        let home = if embedded { &home } else { &Home::new() };
        let server = (!embedded).then(|| home.serve());
        let all: Vec<_> = (0..4)
            .map(|n| {
                let script = format!("for i in 1 2 3 4 5; do echo {n} $i; done");
                home.command(&["run", "--task", "n", "--", "sh", "-c", &script]).spawn().unwrap()
            })
            .collect();
        for run in all {
            let done = finish(run);
            assert_eq!(done.code, Some(0), "{}", done.stderr);
        }
        assert_eq!(ids(home), ["n", "n.2", "n.3", "n.4"]);
        let mut seen = Vec::new();
        for task in ["n.1", "n.2", "n.3", "n.4"] {
            let text = home.ok(&["follow", task, "--no-follow"]);
            let first = text.split(' ').next().unwrap().to_owned();
            assert_eq!(text, (1..=5).map(|i| format!("{first} {i}\n")).collect::<String>(), "{task}");
            seen.push(first);
        }
        seen.sort();
        assert_eq!(seen, ["0", "1", "2", "3"]);
        drop(server);
    }
}

#[test]
fn an_ended_task_rejects_lines_with_the_remedy() {
    let home = Home::new();
    night(&home, &[], "one");
    let file = home.path("f.log");
    std::fs::write(&file, "x\n").unwrap();
    let file = file.to_str().unwrap();
    for args in [&["append", "--task", "nightly", "late"][..], &["ship", file, "--task", "nightly", "--no-follow"]] {
        let done = home.run(args);
        assert_ne!(done.code, Some(0), "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains("nightly has ended") && done.stderr.contains("--task"), "{}", done.stderr);
    }
    assert_eq!(home.ok(&["follow", "nightly"]), "nightly one\n");
    // A task that began without a worker is joined by the first one.
    home.ok(&["append", "--task", "both", "before"]);
    home.ok(&["run", "--task", "both", "--", "echo", "after"]);
    assert_eq!(home.ok(&["follow", "both"]), "before\nafter\n");
}

#[test]
fn a_reconnection_is_no_new_attempt() {
    let home = Home::new();
    night(&home, &[], "one");
    let mut server = home.serve();
    let (go, script) = (home.path("go"), "echo before; while ! [ -e go ]; do sleep 0.05; done; echo after");
    let run = home.command(&["run", "--task", "nightly", "--", "sh", "-c", script]).spawn().unwrap();
    until("the first line is stored", || home.run(&["follow", "nightly", "--no-follow"]).stdout == "before\n");
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let again = home.serve();
    std::fs::write(go, "").unwrap();
    let done = finish(run);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    drop(again);
    assert_eq!(ids(&home), ["nightly", "nightly.2"]);
    assert_eq!(home.ok(&["follow", "nightly"]), "before\nafter\n");
}
