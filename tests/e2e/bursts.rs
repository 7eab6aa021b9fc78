//! Bursts of ordinary programs: every line is kept, whatever keeps the log and whoever serves.

use std::process::Stdio;

use crate::support::{Home, finish};
use crate::tools::data;

/// Ways to run a command.
const WAYS: [&[&str]; 3] = [&[], &["--spool", "sp"], &["--pty", "always"]];

/// Runs a script in every way, with the server in the same process, and compares the stored lines.
fn check(home: &Home, name: &str, script: &str, wanted: &[String]) {
    for (way, flags) in WAYS.iter().enumerate() {
        let task = format!("{name}-{way}");
        let args = [&["run", "--task", &task], *flags, &["--", "bash", "-c", script]].concat();
        let done = finish(home.command(&args).stdout(Stdio::null()).spawn().unwrap());
        assert_eq!(done.code, Some(0), "{task}: {}", done.stderr);
        let lines = wanted.len().to_string();
        let grouped = match lines.len() {
            ..=3 => lines.clone(),
            length => format!("{},{}", &lines[..length - 3], &lines[length - 3..]),
        };
        let last = format!("tasktail: kept {grouped} lines · tasktail follow {task}\n");
        assert!(done.stderr.ends_with(&last), "{task}: {}", done.stderr);
        let kept = home.run(&["follow", &task, "--stream", "stdout,stderr", "--no-follow"]);
        // Lines of stderr are printed there, without a terminal of the command.
        let printed = if kept.stdout.is_empty() { kept.stderr } else { kept.stdout };
        assert!(printed.lines().eq(wanted), "{task}: {} of {lines} lines", printed.lines().count());
        let facts: serde_json::Value = serde_json::from_str(&home.ok(&["show", &task, "--json"])).unwrap();
        assert_eq!(facts["integrity"]["state"], "complete", "{task}: {facts}");
        assert_eq!(facts["integrity"]["hash"], facts["integrity"]["said_hash"], "{task}");
        assert_eq!(facts["skipped_lines"], 0, "{task}");
    }
    assert!(data(home).is_dir());
}

#[test]
fn short_lines() {
    let home = Home::new();
    for lines in [5_000, 12_000, 50_000] {
        let wanted: Vec<String> = (1..=lines).map(|n| n.to_string()).collect();
        check(&home, &format!("seq-{lines}"), &format!("seq {lines}"), &wanted);
    }
}

#[test]
fn a_large_file() {
    let home = Home::new();
    let wanted: Vec<String> =
        (0..50_000).map(|n| format!("Nov 30 18:0{}:01 host unit[{n}]: {:060}", n % 10, n)).collect();
    std::fs::write(home.path("big.log"), wanted.join("\n") + "\n").unwrap();
    check(&home, "cat", "cat big.log", &wanted);
}

#[test]
fn a_failing_test_with_much_output_keeps_its_traceback() {
    let home = Home::new();
    let mut wanted = vec!["=== FAILURES ===".to_owned(), "--- Captured stdout call ---".to_owned()];
    wanted.extend((0..15_000).map(|n| format!("step {n}: checked")));
    wanted.extend(
        ["Traceback (most recent call last):", "AssertionError: 1 != 2", "1 failed in 0.52s"].map(str::to_owned),
    );
    std::fs::write(home.path("report"), wanted.join("\n") + "\n").unwrap();
    check(&home, "pytest", "cat report", &wanted);
}

#[test]
fn long_lines_and_both_channels() {
    let home = Home::new();
    let wanted: Vec<String> = (0..3_000).map(|n| format!("+{}", "diff é ".repeat(n % 700))).collect();
    std::fs::write(home.path("patch"), wanted.join("\n") + "\n").unwrap();
    check(&home, "patch", "cat patch", &wanted);
    // In one order, because the second program starts after the first.
    let wanted: Vec<String> = (1..=9_000).map(|n| n.to_string()).collect();
    check(&home, "stderr", "seq 9000 >&2", &wanted);
}
