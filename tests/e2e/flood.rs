//! More output than the worker has memory for, and more than it may keep, while the server is out of reach.

use std::time::{Duration, Instant};

use crate::net::{Proxy, Viewer, facts};
use crate::support::{Home, until};
use crate::tools::{Background, peak, serve_at, wait_for};

const FLOOD: u64 = 300_000;
const WORKER_BYTES_MAX: u64 = 48 * 1024 * 1024;
/// More than an idle server, less than the line.
const SERVER_BYTES_MAX: u64 = 96 * 1024 * 1024;

#[test]
fn a_flood_during_an_outage_is_one_gap_and_slows_no_one() {
    let home = Home::new();
    let serve = serve_at(&home, "127.0.0.1:0", &[]);
    let proxy = Proxy::start(&serve.url);
    let viewer = Viewer::start(&serve.url, "t");
    let script = format!(
        "echo first; {}; seq 1 {FLOOD}; touch {}; {}; echo last",
        wait_for(&home.path("go")),
        home.path("written").display(),
        wait_for(&home.path("end"))
    );
    let args = ["run", "--url", &proxy.url, "--task", "t", "--spool-bytes-max", "200KiB", "--", "sh", "-c", &script];
    let mut run = Background::start(&home, "run", &args);
    until("the first line", || viewer.has("first"));
    proxy.shut();
    run.says("connection lost");
    let begun = Instant::now();
    std::fs::write(home.path("go"), "").unwrap();
    until("the flood is written", || home.path("written").exists());
    assert!(begun.elapsed() < Duration::from_secs(15), "the child is not slowed: {:?}", begun.elapsed());
    proxy.open();
    until("the end of the flood", || viewer.has(&FLOOD.to_string()));
    let peak = peak(run.child.id());
    assert!(peak < WORKER_BYTES_MAX, "the worker took {peak} bytes");
    std::fs::write(home.path("end"), "").unwrap();
    assert_eq!(run.code(), Some(0), "{}", run.err());
    assert_eq!(run.out().len() as u64, FLOOD + 2, "all of it was shown here");
    assert!(run.err().contains("has reached its limit of 200KiB (spool_bytes_max)"), "{}", run.err());

    let seen = viewer.finish();
    seen.check_dense();
    let texts = seen.texts("stdout");
    let skipped = FLOOD + 2 - texts.len() as u64;
    assert!(skipped > 0);
    let last = "lines exceeded the limit of the local log (spool_bytes_max) and were skipped · tasktail follow t\n";
    assert!(run.err().ends_with(last), "{}", run.err());
    let marks: Vec<String> =
        seen.texts("internal").into_iter().filter(|text| text.ends_with("messages skipped]")).collect();
    assert_eq!(marks, [format!("[{skipped} messages skipped]")]);
    assert_eq!(texts.last().unwrap(), "last");
    let numbers: Vec<u64> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    assert!(numbers.is_sorted() && numbers.last() == Some(&FLOOD));
    let at = seen.lines.iter().position(|line| line["line"] == marks[0]).unwrap();
    let before = seen.lines[..at].iter().filter(|line| line["stream"] == "stdout").count();
    let after = seen.lines[at..].iter().find(|line| line["stream"] == "stdout").unwrap();
    let next: u64 = after["line"].as_str().unwrap().parse().unwrap();
    assert_eq!(before as u64 + skipped, next, "the mark stands where the lines are missing");

    assert_eq!(seen.gaps.len(), 1, "{:?}", seen.gaps);
    assert_eq!((&seen.gaps[0]["reason"], &seen.gaps[0]["count"]), (&"skipped".into(), &skipped.into()));
    let told = facts(&serve.url, "t");
    assert_eq!(told["skipped_lines"], skipped);
    let (integrity, hash) = (&told["integrity"], &told["integrity"]["said_hash"]);
    assert_eq!((&integrity["state"], &integrity["missing_lines"]), (&"incomplete".into(), &skipped.into()));
    assert_eq!(&integrity["hash"], hash, "what was not skipped is what was sent");
    let shown = home.ok(&["show", "t", "--url", &serve.url]);
    let grouped = format!("{},{:03} lines skipped by the worker at line", skipped / 1_000, skipped % 1_000);
    assert!(shown.contains(&grouped), "{grouped}: {shown}");
    let mut follow = Background::start(&home, "follow", &["follow", "t", "--url", &serve.url]);
    assert_eq!(follow.code(), Some(0));
    assert!(follow.err().contains(&format!("# [{skipped} messages skipped]")), "{}", follow.err());
    assert!(follow.out() == texts);
    let mut plain = Background::start(&home, "plain", &["follow", "t", "--stream", "stdout", "--url", &serve.url]);
    assert_eq!(plain.code(), Some(0));
    assert!(plain.err().contains(&format!("{skipped} lines were skipped")), "{}", plain.err());
}

#[test]
fn a_100_mb_line_costs_neither_side_its_memory() {
    let home = Home::new();
    let serve = home.serve();
    let script = format!(
        "echo first; head -c 104857600 /dev/zero | tr '\\0' x; echo; touch {}; {}; echo last",
        home.path("written").display(),
        wait_for(&home.path("end"))
    );
    let args = ["run", "--url", &serve.url, "--task", "t", "--", "sh", "-c", &script];
    let mut run = Background::start(&home, "run", &args);
    until("the line is written", || home.path("written").exists());
    let worker = peak(run.child.id());
    assert!(worker < WORKER_BYTES_MAX, "the worker took {worker} bytes");
    std::fs::write(home.path("end"), "").unwrap();
    assert_eq!(run.code(), Some(0), "{}", run.err());
    let server = peak(serve.child.id());
    println!("worker {worker} bytes, server {server} bytes");
    assert!(server < SERVER_BYTES_MAX, "the server took {server} bytes");
    let last = home.ok(&["follow", "t", "--no-follow", "--stream", "stdout", "--url", &serve.url]);
    let end = last.get(last.len().saturating_sub(40)..);
    assert!(last.ends_with("x\nlast\n"), "what follows the long line is a line of its own: {end:?}");
}

#[test]
fn with_overflow_wait_the_command_waits_for_the_server() {
    let home = Home::new();
    let serve = serve_at(&home, "127.0.0.1:0", &[]);
    let proxy = Proxy::start(&serve.url);
    // More than the log and a pipe hold.
    let flood = r#"awk 'BEGIN { for (i = 1; i <= 20000; i++) printf "%d %0200d\n", i, 0 }'"#;
    let script = format!("echo first; {}; touch began; {flood}; touch written", wait_for(&home.path("go")));
    let options = ["--spool-bytes-max", "200KiB", "--overflow", "wait"];
    let args = [&["run", "--url", &proxy.url, "--task", "t"], &options[..], &["--", "sh", "-c", &script]].concat();
    let mut run = Background::start(&home, "run", &args);
    let viewer = Viewer::start(&serve.url, "t");
    until("the first line", || viewer.has("first"));
    proxy.shut();
    run.says("connection lost");
    std::fs::write(home.path("go"), "").unwrap();
    // Were it not to wait, lines would be missing below.
    until("the flood begins", || home.path("began").exists());
    assert!(!home.path("written").exists(), "the log and the pipe cannot hold all of it");
    proxy.open();
    assert_eq!(run.code(), Some(0), "{}", run.err());
    assert!(run.err().ends_with("kept 20,001 lines · tasktail follow t\n"), "{}", run.err());
    let seen = viewer.finish();
    seen.check_dense();
    let wanted: Vec<String> = (1..=20_000).map(|n| format!("{n} {:0200}", 0)).collect();
    assert!(seen.gaps.is_empty() && seen.texts("stdout")[1..] == wanted);
    assert_eq!(facts(&serve.url, "t")["integrity"]["state"], "complete");
}

#[test]
fn a_flood_while_cut_off_for_long_is_kept_as_a_whole() {
    const LINES: u64 = 500_000;
    let home = Home::new();
    let serve = serve_at(&home, "127.0.0.1:0", &[]);
    let proxy = Proxy::start(&serve.url);
    proxy.shut();
    let script = format!("seq 1 {LINES}; touch {}; {}", home.path("written").display(), wait_for(&home.path("end")));
    let args = ["run", "--url", &proxy.url, "--task", "t", "--", "sh", "-c", &script];
    let mut run = Background::start(&home, "run", &args);
    until("the flood is written", || home.path("written").exists());
    proxy.open();
    std::fs::write(home.path("end"), "").unwrap();
    until("the task is known", || home.run(&["show", "t", "--url", &serve.url]).code == Some(0));
    until("the flood is sent", || facts(&serve.url, "t")["lines"].as_u64() > Some(LINES / 2));
    let peak = peak(run.child.id());
    assert_eq!(run.code(), Some(0), "{}", run.err());
    println!("the worker took {peak} bytes");
    assert!(peak < WORKER_BYTES_MAX, "the worker took {peak} bytes");
    assert!(run.err().ends_with("kept 500,000 lines · tasktail follow t\n"), "{}", run.err());
    let facts = facts(&serve.url, "t");
    assert_eq!((&facts["integrity"]["state"], &facts["skipped_lines"]), (&"complete".into(), &0.into()));
    assert_eq!(facts["integrity"]["hash"], facts["integrity"]["said_hash"]);
}
