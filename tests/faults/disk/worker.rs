//! The disk of a worker's local log is full, cannot be written or does not answer.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::disk::machine::{Mount, shim};
use crate::support::{Done, Home, Serve, finish, lines_of, until};

/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:1";

/// `run --task t FLAGS -- sh -c SCRIPT` with a faulty disk below the folder.
fn run(home: &Home, folder: &Path, url: &str, flags: &[&str], script: &str) -> Child {
    let args = [&["run", "--url", url, "--task", "t"], flags, &["--", "sh", "-c", script]].concat();
    let mut command = home.command(&args);
    command.env("LD_PRELOAD", shim()).env("SHIM_FOLDER", folder).env("SHIM_FAULT", home.path("fault"));
    start(home, command)
}

fn start(home: &Home, mut command: Command) -> Child {
    let (out, err) = (home.path("run.out"), home.path("run.err"));
    command.stdout(fs::File::create(out).unwrap()).stderr(fs::File::create(err).unwrap()).spawn().unwrap()
}

/// Sets the fault from now on.
fn fault(home: &Home, name: &str) {
    fs::write(home.path("fault.part"), name).unwrap();
    fs::rename(home.path("fault.part"), home.path("fault")).unwrap();
}

fn shown(home: &Home) -> Vec<String> {
    lines_of(&home.path("run.out"))
}

fn stderr(home: &Home) -> String {
    fs::read_to_string(home.path("run.err")).unwrap()
}

fn end(child: Child) -> Option<i32> {
    let Done { code, .. } = finish(child);
    code
}

/// The lines of the command in the log `t`, and the facts about it.
fn kept(home: &Home, serve: &Serve) -> (Vec<String>, Value) {
    let log = home.ok(&["follow", "t", "--no-follow", "--stream", "stdout", "--url", &serve.url]);
    let facts = home.ok(&["show", "t", "--json", "--url", &serve.url]);
    (log.lines().map(str::to_owned).collect(), serde_json::from_str(&facts).unwrap())
}

fn numbers(from: usize, to: usize) -> Vec<String> {
    (from..=to).map(|n| n.to_string()).collect()
}

/// Whether `lines` are numbers in order, and their markers count the others up to `last`.
fn check_skipped(lines: &[String], facts: &Value, last: u64) {
    let numbers: Vec<u64> = lines.iter().filter_map(|line| line.parse().ok()).collect();
    assert!(numbers.is_sorted() && numbers.len() == lines.len(), "in order, and whole lines only");
    assert_eq!(numbers.first(), Some(&1), "the first lines stay");
    assert_eq!(numbers.last(), Some(&last), "the newest lines stay");
    let skipped = facts["skipped_lines"].as_u64().unwrap();
    assert_eq!(numbers.len() as u64 + skipped, last, "every missing line is counted");
    assert_eq!(facts["integrity"]["missing_lines"], skipped, "{facts}");
}

/// A log without a name on a full disk: a part stays in memory, the rest is skipped and counted, and the file is used
/// again once there is room.
#[test]
fn a_log_on_a_full_disk_skips_only_the_excess_and_marks_it() {
    let Some(disk) = Mount::tmpfs("a_log_on_a_full_disk_skips_only_the_excess_and_marks_it", 2) else { return };
    let home = Home::new();
    let script = "seq 1 700000; while ! [ -e go ]; do sleep 0.02; done; seq 700001 1000000; exit 4";
    let limit = ["--spool-bytes-max", "1GiB"];
    let args = [&["run", "--url", NOBODY, "--task", "t"][..], &limit, &["--", "sh", "-c", script]].concat();
    let mut command = home.command(&args);
    command.env("TMPDIR", disk.path()).env("TASKTAIL_LISTEN", "127.0.0.1:1");
    let child = start(&home, command);
    until("the flood is shown", || shown(&home).len() == 700_000);
    let told = stderr(&home);
    assert!(told.contains("cannot write the local log in") && told.contains("No space left"), "{told}");
    fs::write(home.path("go"), "").unwrap();
    assert_eq!(end(child), Some(4), "the command does not notice: {}", stderr(&home));
    assert_eq!(shown(&home).len(), 1_000_000);
    let told = stderr(&home);
    let last = told.lines().last().unwrap();
    assert!(last.contains("kept 0 of 1,000,000 lines") && last.contains("were skipped"), "nothing is silent: {told}");
}

#[test]
fn lines_that_a_full_disk_could_not_keep_are_marked_in_the_log() {
    let Some(disk) = Mount::tmpfs("lines_that_a_full_disk_could_not_keep_are_marked_in_the_log", 1) else { return };
    let home = Home::new();
    let serve = home.serve();
    // Stopped, it confirms nothing, and the log grows.
    crate::support::signal(&serve.child, "STOP");
    let script = "seq 1 400000; touch written; while ! [ -e go ]; do sleep 0.02; done; echo 400001";
    let args = ["run", "--url", &serve.url, "--task", "t", "--spool-bytes-max", "1GiB", "--", "sh", "-c", script];
    let mut command = home.command(&args);
    command.env("TMPDIR", disk.path());
    let child = start(&home, command);
    until("the flood is over", || home.path("written").exists());
    crate::support::signal(&serve.child, "CONT");
    fs::write(home.path("go"), "").unwrap();
    assert_eq!(end(child), Some(0), "{}", stderr(&home));
    let told = stderr(&home);
    assert!(told.contains("cannot write the local log in") && told.contains("No space left"), "{told}");
    assert!(told.lines().last().unwrap().contains("were skipped"), "{told}");
    let (lines, facts) = kept(&home, &serve);
    assert!(lines.len() < 400_000);
    check_skipped(&lines, &facts, 400_001);
}

/// Files cannot be created: the output is kept in memory, and all of it arrives.
#[test]
fn output_is_kept_in_memory_if_no_file_can_be_created() {
    let home = Home::new();
    let serve = home.serve();
    fs::create_dir(home.path("sp")).unwrap();
    let script = "seq 1 10; while ! [ -e go ]; do sleep 0.02; done; seq 11 50000";
    let child = run(&home, &home.path("sp"), &serve.url, &["--spool", "sp", "--spool-bytes-max", "1MiB"], script);
    until("the first lines", || shown(&home).len() == 10);
    // The segment that is open is full after 128 KiB, and no further one can be created.
    fault(&home, "eio");
    fs::write(home.path("go"), "").unwrap();
    until("the fault is told", || stderr(&home).contains("cannot write the local log in sp"));
    assert!(stderr(&home).contains("Input/output error"), "{}", stderr(&home));
    fs::remove_file(home.path("fault")).unwrap();
    assert_eq!(end(child), Some(0), "{}", stderr(&home));
    let (lines, facts) = kept(&home, &serve);
    if facts["skipped_lines"] == 0 {
        assert!(lines == numbers(1, 50_000), "{} lines", lines.len());
    } else {
        // The server was too slow for the memory.
        check_skipped(&lines, &facts, 50_000);
    }
}

/// Syncs fail or hang: the output neither waits nor is lost, since it is in the page cache.
#[test]
fn a_spool_that_cannot_be_synced_loses_nothing() {
    for (name, told) in [("syncio", "cannot sync the spool in"), ("hang", "")] {
        let home = Home::new();
        fs::create_dir(home.path("sp")).unwrap();
        let script = "echo 1; while ! [ -e go ]; do sleep 0.02; done; seq 2 60000; touch written";
        let child = run(&home, &home.path("sp"), NOBODY, &["--spool", "sp"], script);
        until("the first line", || shown(&home).len() == 1);
        fault(&home, name);
        fs::write(home.path("go"), "").unwrap();
        until("the command does not wait for the disk", || home.path("written").exists());
        until("the fault is told", || stderr(&home).contains(told));
        fs::remove_file(home.path("fault")).unwrap();
        assert_eq!(end(child), Some(0), "{name}: {}", stderr(&home));
        let stored = "the rest is stored in sp; send it with `tasktail spool send sp`\n";
        assert!(stderr(&home).ends_with(stored), "{name}: {}", stderr(&home));
        let serve = home.serve();
        home.ok(&["spool", "send", "sp", "--url", &serve.url]);
        let (lines, facts) = kept(&home, &serve);
        assert!(lines == numbers(1, 60_000), "{name}: {} lines", lines.len());
        assert_eq!(facts["integrity"]["state"], "complete", "{name}: {facts}");
    }
}

/// No file can be created anywhere: memory takes over, which is told at the start.
#[test]
fn without_any_disk_the_output_is_kept_in_memory() {
    let home = Home::new();
    let serve = home.serve();
    let mut command = home.command(&["run", "--url", &serve.url, "--task", "t", "--", "seq", "1", "20000"]);
    // In a view of the file system in which none of the folders for such files can be written. The program itself may
    // be in one of them.
    let args: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
    let mut limited = Command::new("unshare");
    limited.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    limited.arg(
        "for d in /tmp /var/tmp; do mount --rbind \"$d\" \"$d\" && mount -o remount,bind,ro \"$d\" || exit 99; done; \
         exec \"$0\" \"$@\"",
    );
    limited.arg(command.get_program()).args(args);
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.env("TMPDIR", "/proc").current_dir("/").stdin(Stdio::null());
    command = limited;
    let done = finish(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("cannot create a file for the local log"), "{}", done.stderr);
    assert!(done.stderr.contains("64MiB of output are kept in memory"), "{}", done.stderr);
    assert!(done.stderr.ends_with("kept 20,000 lines · tasktail follow t\n"), "{}", done.stderr);
    let (lines, facts) = kept(&home, &serve);
    assert!(lines == numbers(1, 20_000) && facts["integrity"]["state"] == "complete", "{facts}");
}
