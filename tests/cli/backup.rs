//! Backups of a server that is in use, and their restoration.

use std::os::unix::fs::MetadataExt as _;

use serde_json::Value;

use crate::support::{Home, Serve, finish, until, wait};

/// Returns the report of `tasktail backup`.
fn back_up(home: &Home) -> Value {
    serde_json::from_str(&home.ok(&["backup", "backups", "--json"])).unwrap()
}

/// Returns the lines of a task's log, without those of tasktail itself.
fn lines_of(home: &Home, task: &str, data: &str) -> Vec<String> {
    let log = home.ok(&["export", task, "--data", data]);
    log.lines().filter(|line| !line.starts_with("# ")).map(str::to_owned).collect()
}

#[test]
fn a_backup_during_appends_has_every_acknowledged_line() {
    let home = Home::new();
    let server = home.serve();
    // Long enough that the journal, the growing archive and the seal are all busy.
    let writer = "i=0; while [ ! -e stop ]; do i=$((i+500)); seq $((i-499)) $i | sed 's/^/line /'; sleep 0.02; done";
    let args = ["run", "--task", "busy", "--pty", "never", "--quiet", "--", "sh", "-c", writer];
    let mut run = home.command(&args);
    let mut run = run.stdout(std::process::Stdio::null()).spawn().unwrap();
    let count = || {
        let shown = home.run(&["show", "busy", "--json"]);
        serde_json::from_str::<Value>(&shown.stdout).map_or(0, |task| task["lines"].as_u64().unwrap_or(0))
    };
    until("lines are in the archive and in the journal", || count() > 15_000);
    let short = |number: usize| format!("short-{number}");
    for number in 0..5 {
        home.ok(&["run", "--task", &short(number), "--pty", "never", "--", "echo", "done"]);
        assert_eq!(lines_of(&home, &short(number), ".local/state/tasktail"), ["done"]);
    }
    let acknowledged = count();
    let report = back_up(&home);
    let backup = report["backup"].as_str().unwrap();
    std::fs::write(home.path("stop"), "").unwrap();
    assert_eq!(wait(&mut run), Some(0));
    let live = lines_of(&home, "busy", ".local/state/tasktail");
    drop(server);

    let restored = home.ok(&["restore", "backups", "--data", "restored"]);
    assert!(restored.starts_with("restored 6 tasks") && restored.ends_with(": no faults\n"), "{restored}");
    assert!(home.ok(&["verify", "--data", "restored"]).ends_with(": no faults\n"));
    let lines = lines_of(&home, "busy", "restored");
    // One of the acknowledged lines is of tasktail itself.
    assert!(lines.len() as u64 + 1 >= acknowledged, "{} lines, {acknowledged} were acknowledged", lines.len());
    assert!(lines[..] == live[..lines.len()], "expected the same lines, in the same order");
    for number in 0..5 {
        assert_eq!(lines_of(&home, &short(number), "restored"), ["done"]);
    }
    // A backup is a data folder too. Reading it does not change it.
    assert!(home.ok(&["verify", "--data", backup]).ends_with(": no faults\n"));
}

#[test]
fn the_next_backup_shares_finished_logs_and_keeps_the_first() {
    let home = Home::new();
    let server = home.serve();
    home.ok(&["run", "--task", "one", "--pty", "never", "--", "echo", "first"]);
    until("the log is sealed", || home.path(".local/state/tasktail/archive/one.ndjson.zst").exists());
    let first = back_up(&home);
    assert_eq!((&first["copied_archives"], &first["linked_archives"]), (&1.into(), &0.into()));
    home.ok(&["run", "--task", "two", "--pty", "never", "--", "echo", "second"]);
    until("the log is sealed", || home.path(".local/state/tasktail/archive/two.ndjson.zst").exists());
    home.ok(&["rm", "one"]);
    home.ok(&["run", "--task", "one", "--pty", "never", "--", "echo", "another"]);
    until("the log is sealed", || home.path(".local/state/tasktail/archive/one.ndjson.zst").exists());
    let second = back_up(&home);
    let third = back_up(&home);
    assert_eq!(second["copied_archives"], 2, "{second}");
    assert_eq!((&third["copied_archives"], &third["linked_archives"]), (&0.into(), &2.into()), "{third}");
    let inode = |report: &Value, name: &str| {
        home.path(report["backup"].as_str().unwrap()).join("archive").join(name).metadata().unwrap().ino()
    };
    assert_eq!(inode(&second, "two.ndjson.zst"), inode(&third, "two.ndjson.zst"));
    until("the snapshot is removed", || !home.path(".local/state/tasktail/backup.stage").exists());
    drop(server);
    let restored = home.ok(&["restore", first["backup"].as_str().unwrap(), "--data", "one"]);
    assert!(restored.starts_with("restored 1 task "), "{restored}");
    assert_eq!(lines_of(&home, "one", "one"), ["first"]);
    home.ok(&["restore", "backups", "--data", "newest"]);
    assert_eq!(lines_of(&home, "one", "newest"), ["another"]);
}

#[test]
fn a_backup_needs_no_server_and_restores_tokens() {
    let home = Home::new();
    home.ok(&["run", "--task", "t", "--pty", "never", "--", "echo", "x"]);
    home.ok(&["token", "create", "--name", "ops", "--scope", "admin"]);
    back_up(&home);
    home.ok(&["restore", "backups", "--data", "restored"]);
    assert!(home.ok(&["token", "list", "--data", "restored"]).contains("ops"));
    let again = home.run(&["restore", "backups", "--data", "restored"]);
    assert!(again.code == Some(1) && again.stderr.contains("is not empty; restore to another"), "{}", again.stderr);
    let none = home.run(&["restore", "restored", "--data", "other"]);
    assert!(none.code == Some(1) && none.stderr.contains("has no complete backup"), "{}", none.stderr);
    assert!(!home.path("other/journal").exists());
}

/// A token with patterns would get the logs of others.
#[test]
fn a_backup_requires_a_token_for_everything() {
    let home = Home::new();
    let create = |name: &str, more: &[&str]| {
        home.ok(&[&["token", "create", "--name", name, "--scope", "admin"], more].concat()).trim().to_owned()
    };
    let (all, some) = (create("all", &[]), create("some", &["--task", "a-*"]));
    let _server = Serve::start(home.command(&["serve"]));
    let with = |token: &str| finish(home.command(&["backup", "backups"]).env("TASKTAIL_TOKEN", token).spawn().unwrap());
    let refused = with(&some);
    assert!(refused.code == Some(1) && refused.stderr.contains("without patterns"), "{}", refused.stderr);
    assert_eq!(with(&all).code, Some(0));
}
