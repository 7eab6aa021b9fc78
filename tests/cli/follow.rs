//! `follow`: which task, which lines, several tasks at once.

use std::io::{BufRead as _, BufReader};

use crate::support::{Home, finish, until};

/// Appends lines of one channel and ends the task unless it is to stay open.
fn task(home: &Home, id: &str, text: &str, end: Option<&str>) {
    let done = home.run_with(&["append", "--task", id], text.as_bytes());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    if let Some(code) = end {
        home.ok(&["end", "--task", id, "--exit-code", code]);
    }
}

#[test]
fn a_task_is_named_by_a_unique_beginning_or_not_at_all() {
    let home = Home::new();
    let _serve = home.serve();
    let none = home.run(&["follow"]);
    assert!(none.code == Some(1) && none.stderr.contains("there is no task yet"), "{}", none.stderr);
    task(&home, "make-1m8nxrc955r9", "of make\n", None);
    task(&home, "make-1m8nzzc955r9", "another\n", Some("0"));
    task(&home, "nightly", "first night\n", Some("0"));
    assert_eq!(home.ok(&["logs", "make-1m8nx", "--no-follow"]), "of make\n");
    assert_eq!(home.ok(&["follow", "--no-follow"]), "of make\n", "the one that runs");
    assert!(home.ok(&["inspect", "make-1m8nz"]).contains("make-1m8nzzc955r9"));
    assert_eq!(home.ok(&["export", "night"]), "first night\n");
    let ambiguous = home.run(&["show", "make-1m8n"]);
    assert_eq!(ambiguous.code, Some(1));
    for word in ["several tasks", "make-1m8nxrc955r9", "make-1m8nzzc955r9"] {
        assert!(ambiguous.stderr.contains(word), "{word}: {}", ambiguous.stderr);
    }
    home.ok(&["end", "--task", "make-1m8nxrc955r9", "--exit-code", "0"]);
    assert!(home.ok(&["show"]).contains("nightly"), "the newest");
    home.ok(&["run", "-q", "--task", "nightly", "--", "echo", "second night"]);
    assert_eq!(home.ok(&["follow", "night", "--stream", "stdout"]), "second night\n", "the newest attempt");
    assert_eq!(home.ok(&["follow", "nightly.1"]), "first night\n");
    let removed = home.run(&["rm", "make-1m8nx"]);
    assert!(removed.code == Some(1) && removed.stderr.contains("make-1m8nxrc955r9"), "{}", removed.stderr);
}

#[test]
fn times_are_accepted_as_docker_and_journalctl_do() {
    let home = Home::new();
    let _serve = home.serve();
    task(&home, "t", "line\n", Some("0"));
    for time in [
        "1h",
        "1h30m",
        "-1h",
        "2 days ago",
        "today",
        "yesterday",
        "1970-01-02",
        "2020-01-01T10:00:00",
        "2020-01-01 10:00",
    ] {
        assert_eq!(home.ok(&["follow", "t", "--since", time]), "line\n", "--since {time}");
        assert_eq!(home.ok(&["follow", "t", "--until", time, "--since", "1970-01-01"]), "", "--until {time}");
    }
    for time in ["now", "tomorrow", "2099-01-01", "2099-01-01T00:00:00+02:00", "4070908800", "@4070908800.5"] {
        assert_eq!(home.ok(&["follow", "t", "--since", time]), "", "--since {time}");
    }
    for flag in ["--since", "--until"] {
        let bad = home.run(&["follow", "t", flag, "soonish"]);
        assert_eq!(bad.code, Some(2), "{}", bad.stderr);
        assert!(bad.stderr.contains("2026-11-30") && bad.stderr.contains("yesterday"), "{}", bad.stderr);
    }
}

#[test]
fn lines_are_counted_as_they_were_written() {
    let home = Home::new();
    let _serve = home.serve();
    let long = "x".repeat(150_003);
    home.ok(&[
        "run",
        "-q",
        "--task",
        "t",
        "--",
        "sh",
        "-c",
        "echo first; head -c 150003 /dev/zero | tr '\\0' x; echo; echo short",
    ]);
    let only = ["--no-follow", "--stream", "stdout"];
    let tail = |count: &str| home.ok(&[&["follow", "t", "--tail", count], &only[..]].concat());
    assert_eq!(tail("1"), "short\n");
    assert_eq!(tail("2"), format!("{long}\nshort\n"));
    assert_eq!(tail("3"), format!("first\n{long}\nshort\n"));
    assert_eq!((tail("all"), tail("-1")), (tail("3"), tail("99")));
    assert_eq!(tail("0"), "");
    assert_eq!(home.run(&["follow", "t", "-n", "many"]).code, Some(2));
    let text: String = (1..=3_000).map(|n| format!("{} {n}\n", if n % 1_000 == 0 { "rare" } else { "line" })).collect();
    task(&home, "many", &text, Some("0"));
    assert_eq!(home.ok(&["follow", "many", "-f", "-n", "2", "--grep", "RARE", "-i"]), "rare 2000\nrare 3000\n");
}

#[test]
fn lines_are_selected_by_their_displayed_text() {
    let home = Home::new();
    let _serve = home.serve();
    let text =
        "one\n\x1b[1mlogin \x1b[31mFAILED\x1b[0m\r\ntwo\n10%\r100% done\nthree\nfour\nlogin again FAILED\nfive\n";
    task(&home, "t", text, Some("0"));
    let grep = |args: &[&str]| home.ok(&[&["follow", "t"], args].concat());
    assert_eq!(grep(&["--grep", "login FAILED$"]), "\x1b[1mlogin \x1b[31mFAILED\x1b[0m\r\n", "unchanged in a pipe");
    assert_eq!(grep(&["--grep", "10%"]), "", "what was overwritten is not seen");
    assert_eq!(grep(&["--grep", "^100% done$"]), "10%\r100% done\n");
    assert_eq!(grep(&["--grep", "failed", "-i", "-A", "1"]).matches("--\n").count(), 1);
    assert_eq!(grep(&["--grep", "^(two|four)$", "-B1"]).lines().next(), Some("\x1b[1mlogin \x1b[31mFAILED\x1b[0m"));
    assert_eq!(grep(&["--grep", "three", "-C", "1"]), "10%\r100% done\nthree\nfour\n");
    assert_eq!(grep(&["--grep", "o", "-v"]).lines().collect::<Vec<_>>(), ["three", "five"]);
    assert_eq!(grep(&["--grep", "^one", "--grep", "five", "--prefix", "always"]), "t | one\nt | five\n");
    for args in [&["--grep", "("][..], &["-v"], &["-A", "1"]] {
        assert_eq!(home.run(&[&["follow", "t"], args].concat()).code, Some(2), "{args:?}");
    }
    let rows = grep(&["--grep", "three", "--json"]);
    let row: serde_json::Value = serde_json::from_str(&rows).unwrap();
    assert_eq!((&row["task"], &row["line"], &row["n"]), (&"t".into(), &"three".into(), &5.into()));
}

#[test]
fn several_tasks_are_printed_with_their_names() {
    let home = Home::new();
    let _serve = home.serve();
    for (id, label, code) in [("web", "k=v", "0"), ("worker", "k=v", "3"), ("other", "k=w", "0")] {
        let script = format!("echo {id} 1; echo {id} 2; exit {code}");
        home.run(&["run", "-q", "--task", id, "--label", label, "--label", "all=yes", "--", "sh", "-c", &script]);
    }
    let only = ["--stream", "stdout"];
    let printed = home.ok(&[&["follow", "web", "worker"], &only[..]].concat());
    assert_eq!(printed, "web    | web 1\nweb    | web 2\nworker | worker 1\nworker | worker 2\n");
    let labelled = home.run(&[&["follow", "--label", "k=v", "--exit-status"], &only[..]].concat());
    assert_eq!((labelled.code, labelled.stdout), (Some(3), printed.clone()));
    let all = home.ok(&[&["follow", "--all", "--no-follow", "-n", "1", "--prefix", "never"], &only[..]].concat());
    assert_eq!(all, "web 2\nworker 2\nother 2\n");
    assert_eq!(
        home.ok(&["follow", "--label", "k=v", "--label", "all=no", "--wait", "--until", "-1h", "--no-follow"]),
        ""
    );
    let none = home.run(&["follow", "--label", "k=x"]);
    assert!(none.code == Some(1) && none.stderr.contains("no task matches"), "{}", none.stderr);
    let rows = home.ok(&["follow", "--all", "--json", "--grep", "2$"]);
    let tasks: Vec<String> =
        rows.lines().map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap()["task"].to_string()).collect();
    assert_eq!(tasks, ["\"web\"", "\"worker\"", "\"other\""]);
}

#[test]
fn tasks_that_start_later_join() {
    let home = Home::new();
    let _serve = home.serve();
    task(&home, "first", "begun\n", None);
    let mut reader = home.command(&["follow", "--all", "--exit-status"]).spawn().unwrap();
    let mut screen = BufReader::new(reader.stdout.take().unwrap()).lines();
    assert_eq!(screen.next().unwrap().unwrap(), "first | begun");
    task(&home, "second", "joined\n", Some("7"));
    assert_eq!(screen.next().unwrap().unwrap(), "second | joined");
    task(&home, "first", "more\n", Some("0"));
    assert_eq!(screen.next().unwrap().unwrap(), "first  | more");
    assert!(screen.next().is_none(), "it ends with the last task");
    assert_eq!(finish(reader).code, Some(7));
}

#[test]
fn several_tasks_survive_the_server() {
    let home = Home::new();
    let serve = home.serve();
    let listen = serve.url.strip_prefix("http://").unwrap().to_owned();
    for id in ["a", "b"] {
        task(&home, id, "before\n", None);
    }
    let mut reader = home.command(&["follow", "a", "b", "--url", &serve.url]).spawn().unwrap();
    let mut screen = BufReader::new(reader.stdout.take().unwrap()).lines();
    let mut next = || screen.next().map(|line| line.unwrap());
    let mut seen = [next().unwrap(), next().unwrap()];
    seen.sort();
    assert_eq!(seen, ["a | before", "b | before"]);
    drop(serve);
    let _serve = crate::support::Serve::start(home.command(&["serve", "--listen", &listen]));
    task(&home, "b", "after\n", Some("0"));
    assert_eq!(next().unwrap(), "b | after", "nothing twice");
    task(&home, "a", "after\n", Some("0"));
    assert_eq!((next().unwrap(), next()), ("a | after".to_owned(), None));
    assert_eq!(finish(reader).code, Some(0));
}

#[test]
fn fifty_busy_tasks_are_printed_whole() {
    let home = Home::new();
    let _serve = home.serve();
    let ids: Vec<String> = (0..50).map(|n| format!("t{n}")).collect();
    for id in &ids {
        task(&home, id, "begun\n", None);
    }
    let reader = home.command(&["follow", "--all"]).spawn().unwrap();
    let text: String = (1..=400).map(|n| format!("line {n}\n")).collect();
    let writers: Vec<_> = ids
        .iter()
        .map(|id| {
            let (home, text) = (&home, &text);
            move || task(home, id, text, Some("0"))
        })
        .collect();
    std::thread::scope(|scope| {
        let (left, right) = writers.split_at(25);
        for half in [left, right] {
            scope.spawn(|| half.iter().for_each(|write| write()));
        }
    });
    let done = finish(reader);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    for id in &ids {
        let prefix = format!("{id:<3} | ");
        let lines: Vec<&str> = done.stdout.lines().filter_map(|line| line.strip_prefix(&prefix)).collect();
        assert_eq!(lines.len(), 401, "{id}");
        assert!(lines.iter().skip(1).enumerate().all(|(at, line)| *line == format!("line {}", at + 1)), "{id}");
    }
}

#[test]
fn times_before_lines_have_four_forms() {
    let home = Home::new();
    let _serve = home.serve();
    task(&home, "t", "a\nb\n", Some("0"));
    let first = |args: &[&str]| {
        let mut command = home.command(&[&["follow", "t"], args].concat());
        let done = finish(command.env("TZ", "Asia/Kolkata").spawn().unwrap());
        done.stdout.lines().next().unwrap_or_default().to_owned()
    };
    assert!(first(&["-t"]).ends_with("Z a"), "{}", first(&["-t"]));
    assert!(first(&["--time", "local"]).ends_with("+05:30 a"), "{}", first(&["--time", "local"]));
    for mode in ["relative", "delta"] {
        let line = first(&["--time", mode]);
        assert!(line.starts_with("+00:00:00.") && line.ends_with(" a"), "{mode}: {line}");
    }
}

#[test]
fn completions_ask_for_ids_and_labels() {
    let home = Home::new();
    let serve = home.serve();
    home.ok(&["run", "-q", "--task", "make-1", "--label", "branch=main", "--label", "odd=$(id)", "--", "true"]);
    task(&home, "nightly", "x\n", None);
    let complete = |words: &[&str]| home.ok(&[&["complete", "--"], words].concat());
    assert_eq!(complete(&["follow", "ma"]), "make-1\n");
    assert_eq!(complete(&["show", ""]), "nightly\nmake-1\n");
    assert_eq!(complete(&["list", "--label", ""]), "branch=main\n", "nothing that a shell would run");
    assert_eq!(complete(&["list", "--label", "branch", "=", "m"]), "main\n");
    assert_eq!(complete(&["list", "x"]), "");
    assert_eq!(complete(&["--url", "http://127.0.0.1:1", "follow", ""]), "");
    for shell in ["bash", "zsh", "fish"] {
        assert!(home.ok(&["completions", shell]).contains("tasktail complete --"), "{shell}");
    }
    // The script of bash, as bash uses it.
    let script = home.path("completion");
    std::fs::write(&script, home.ok(&["completions", "bash"])).unwrap();
    let bash = format!(
        "source {}; PATH={}:$PATH; COMP_WORDS=(tasktail follow ma); COMP_CWORD=2; _tasktail_dynamic tasktail ma follow; echo \"${{COMPREPLY[@]}}\"; \
         COMP_WORDS=(tasktail list --status fa); COMP_CWORD=3; _tasktail_dynamic tasktail fa --status; echo \"${{COMPREPLY[@]}}\"",
        script.display(),
        std::path::Path::new(env!("CARGO_BIN_EXE_tasktail")).parent().unwrap().display()
    );
    let mut command = std::process::Command::new("bash");
    command.args(["--norc", "-c", &bash]).env("HOME", home.path("")).env("TASKTAIL_URL", &serve.url);
    let output = command.output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "make-1\nfailed\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    until("the server still answers", || home.run(&["list"]).code == Some(0));
}
