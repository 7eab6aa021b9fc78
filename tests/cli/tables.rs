//! `list`, `rm` and `export`: selection, sorting, removal by condition, formats.

use crate::support::{Home, until};

/// A home with tasks of all outcomes.
fn with_outcomes() -> (Home, crate::support::Serve) {
    let home = Home::new();
    let serve = home.serve();
    for (id, label, script) in [
        ("good", "branch=main", "echo one; echo two; echo three"),
        ("bad", "branch=main", "echo one; exit 3"),
        ("killed", "branch=dev", "kill -9 $$"),
    ] {
        home.run(&["run", "-q", "--task", id, "--label", label, "--label", "x=y", "--", "sh", "-c", script]);
    }
    home.ok(&["append", "--task", "open", "still running"]);
    (home, serve)
}

fn ids(home: &Home, args: &[&str]) -> Vec<String> {
    let rows = home.ok(&[&["list", "--json"], args].concat());
    rows.lines()
        .map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap()["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn tasks_are_selected_and_sorted() {
    let (home, _serve) = with_outcomes();
    assert_eq!(ids(&home, &[]), ["open", "killed", "bad", "good"]);
    assert_eq!(ids(&home, &["--status", "failed"]), ["killed", "bad"]);
    assert_eq!(ids(&home, &["--status", "failed", "--status", "running"]), ["open", "killed", "bad"]);
    assert_eq!(ids(&home, &["--label", "branch=main", "--label", "x=y"]), ["bad", "good"]);
    assert_eq!(ids(&home, &["--label", "branch=main", "--label", "x=z"]), [""; 0]);
    assert_eq!(ids(&home, &["--sort", "name"]), ["bad", "good", "killed", "open"]);
    assert_eq!(ids(&home, &["--sort", "name", "--reverse", "--limit", "2"]), ["open", "killed"]);
    assert_eq!(ids(&home, &["--sort", "lines", "--limit", "1"]), ["good"]);
    assert_eq!(ids(&home, &["--sort", "ended"]), ["open", "killed", "bad", "good"]);
    assert_eq!(ids(&home, &["--reverse"]), ["good", "bad", "killed", "open"]);
    for name in ["ls", "ps"] {
        assert_eq!(home.ok(&[name, "--status", "running"]).lines().count(), 2);
    }
    for args in [&["--status", "broken"][..], &["--sort", "size"]] {
        assert_eq!(home.run(&[&["list"], args].concat()).code, Some(2));
    }
    let watch = home.run(&["list", "--watch"]);
    assert!(watch.code == Some(1) && watch.stderr.contains("terminal"), "{}", watch.stderr);
}

#[test]
fn errors_and_warnings_of_ended_logs_are_stored_listed_and_sorted() {
    let home = Home::new();
    let counts = |home: &Home| -> Vec<(String, serde_json::Value)> {
        let rows = home.ok(&["list", "--json", "--sort", "errors"]);
        let row = |row: &str| serde_json::from_str::<serde_json::Value>(row).unwrap();
        rows.lines()
            .map(row)
            .map(|task| {
                (task["id"].as_str().unwrap().to_owned(), serde_json::json!([task["errors"], task["warnings"]]))
            })
            .collect()
    };
    let compiler = "echo 'a.c:1:2: error: x'; echo 'a.c:3:4: warning: y'; echo 'a.c:5:6: warning: z'";
    // Without a server, by the process that ends the task; on a busy machine it may lack the time.
    until("a run without a server stores the counts", || {
        home.run(&["run", "-q", "--task", "solo", "--", "sh", "-c", compiler]);
        home.ok(&["list", "--json", "--limit", "1"]).contains(r#""errors":1,"warnings":2"#)
    });
    home.ok(&["rm", "--status", "completed", "--yes"]);
    let serve = home.serve();
    home.run(&["run", "-q", "--task", "one", "--", "sh", "-c", &format!("{compiler}; exit 1")]);
    home.run(&["run", "-q", "--task", "two", "--", "sh", "-c", &format!("{compiler}; echo 'b.c:1:1: error: x'")]);
    home.ok(&["run", "-q", "--task", "none", "--", "echo", "a log that mentions an error: none"]);
    let wanted = |ids: &[(&str, [u64; 2])]| -> Vec<(String, serde_json::Value)> {
        ids.iter().map(|(id, counts)| ((*id).to_owned(), serde_json::json!(counts))).collect()
    };
    let all = wanted(&[("two", [2, 2]), ("one", [1, 2]), ("none", [0, 0])]);
    until("all are counted", || counts(&home) == all);
    drop(serve);
    let serve = home.serve();
    assert_eq!(counts(&home), all, "stored");
    let table = home.ok(&["list"]);
    let row = table.lines().find(|row| row.starts_with("two ")).unwrap();
    assert!(
        table.starts_with("TASK") && table.lines().next().unwrap().contains("ERRORS") && row.contains(" 2+2 "),
        "{table}"
    );
    let shown = home.ok(&["show", "one"]);
    assert!(shown.lines().any(|line| line.split_whitespace().eq(["warnings:", "2"])), "{shown}");
    home.ok(&["append", "--task", "open", "a.c:1:2: error: x"]);
    assert_eq!(counts(&home)[3], ("open".to_owned(), serde_json::json!([null, null])), "it runs");
    // A log that is too long to be counted before its end is stored.
    std::fs::write(home.path("long"), "a line of the log\n".repeat(60_000) + "a.c:1:2: error: x\n").unwrap();
    home.ok(&["run", "-q", "--task", "long", "--", "cat", "long"]);
    until("the long log is counted", || counts(&home).contains(&("long".to_owned(), serde_json::json!([1, 0]))));
    drop(serve);
    assert!(counts(&home).contains(&("long".to_owned(), serde_json::json!([1, 0]))), "stored");
}

#[test]
fn tasks_are_removed_by_condition_after_a_confirmation() {
    let (home, _serve) = with_outcomes();
    let asked = home.run(&["rm", "--status", "failed"]);
    assert_eq!(asked.code, Some(1), "no terminal to ask on");
    for word in ["bad", "killed", "2 tasks", "--yes"] {
        assert!(asked.stderr.contains(word), "{word}: {}", asked.stderr);
    }
    assert_eq!(ids(&home, &[]).len(), 4);
    assert_eq!(home.ok(&["rm", "--status", "failed", "--label", "branch=main", "--yes"]), "bad\n");
    assert_eq!(home.ok(&["rm", "--older-than", "1h", "--yes"]), "", "they are too young");
    let running = home.run(&["rm", "open"]);
    assert!(running.code == Some(1) && running.stderr.contains("--force"), "{}", running.stderr);
    assert_eq!(home.ok(&["rm", "--older-than", "1ms", "--yes"]), "good\nkilled\n", "those that run stay");
    assert_eq!(home.ok(&["rm", "open", "--force"]), "open\n");
    assert_eq!(home.run(&["rm", "good", "--status", "failed"]).code, Some(2));
}

#[test]
fn a_log_is_exported_as_a_recording() {
    let (home, _serve) = with_outcomes();
    let cast = home.ok(&["export", "good", "--format", "asciicast"]);
    let mut lines = cast.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let header = lines.next().unwrap();
    assert_eq!((&header["version"], &header["width"], &header["height"]), (&2.into(), &80.into(), &24.into()));
    let events: Vec<serde_json::Value> = lines.collect();
    assert_eq!(events.iter().map(|event| event[2].as_str().unwrap()).collect::<String>(), "one\r\ntwo\r\nthree\r\n");
    let times: Vec<f64> = events.iter().map(|event| event[0].as_f64().unwrap()).collect();
    assert!(times.is_sorted() && times[0] >= 0.0 && times[2] < 60.0, "{times:?}");
    home.ok(&["export", "good", "--format", "asciicast", "-o", "good.cast"]);
    assert_eq!(std::fs::read_to_string(home.path("good.cast")).unwrap(), cast);
}
