//! A run's events by server-sent events with real curl, while the server is killed and started again:
//! each event once, in order, and whole (formats 2.1: no half line, no empty line in it), behind the `Last-Event-ID` that curl had last.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Home, Serve, signal, until, wait};

/// Events of the test, and those of one POST.
const EVENTS: usize = 3_000;
const BATCH: usize = 20;

/// `curl -N`, whose output goes to a file.
struct Curl {
    child: Child,
    out: PathBuf,
}

impl Curl {
    fn follow(home: &Home, url: &str, round: usize, last: Option<&str>) -> Self {
        let out = home.path(&format!("round{round}"));
        let mut command = Command::new("curl");
        command.args(["-N", "-sS"]).arg(format!("{url}/api/v1/runs/r/events/stream?wait=1"));
        if let Some(last) = last {
            command.arg("-H").arg(format!("Last-Event-ID: {last}"));
        }
        let child = command.stdout(File::create(&out).unwrap()).stderr(Stdio::null()).spawn().unwrap();
        Self { child, out }
    }

    /// `(id, number)` of each whole event so far.
    fn events(&self) -> Vec<(String, usize)> {
        frames(&self.out)
    }
}

impl Drop for Curl {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
        }
        drop(self.child.wait());
    }
}

fn frames(path: &Path) -> Vec<(String, usize)> {
    let text = String::from_utf8(std::fs::read(path).unwrap()).unwrap();
    let whole = text.rfind("\n\n").map_or("", |end| &text[..end]);
    let mut found = Vec::new();
    for frame in whole.split("\n\n") {
        let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name));
        assert_ne!(field("event: "), Some("reset"), "it is the same log");
        let Some(data) = field("data: ") else { continue };
        let event: serde_json::Value = serde_json::from_str(data).unwrap();
        let number = event["reason"].as_str().unwrap().parse().unwrap();
        found.push((field("id: ").unwrap().to_owned(), number));
    }
    found
}

/// Posts one batch; false if the server did not say that it has it.
fn post(url: &str, from: usize) -> bool {
    let rows: String = (from..from + BATCH)
        .map(|n| format!("{{\"event_type\":\"step.started\",\"event_id\":\"e{n}\",\"reason\":\"{n}\"}}\n"))
        .collect();
    let mut child = Command::new("curl")
        .args(["-sSf", "-H", "content-type: application/x-ndjson", "--data-binary", "@-"])
        .arg(format!("{url}/api/v1/runs/r/events"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(rows.as_bytes()).ok();
    child.wait().unwrap().success()
}

#[test]
fn curl_misses_and_repeats_nothing_over_kills_and_restarts() {
    let home = Home::new();
    let mut serve = home.serve();
    let url = serve.url.clone();
    let listen = url.strip_prefix("http://").unwrap().to_owned();
    let posted = Arc::new(AtomicUsize::new(0));
    let poster = std::thread::spawn({
        let (url, posted) = (url.clone(), posted.clone());
        move || {
            while posted.load(Ordering::Relaxed) < EVENTS {
                // What was cut off is sent again: it may be there already.
                if post(&url, posted.load(Ordering::Relaxed) + 1) {
                    posted.fetch_add(BATCH, Ordering::Relaxed);
                }
            }
        }
    });
    let mut seen: Vec<(String, usize)> = Vec::new();
    for round in 0..3 {
        let mut curl = Curl::follow(&home, &url, round, seen.last().map(|(id, _)| id.as_str()));
        until("some events", || curl.events().len() >= EVENTS / 8);
        if round == 1 {
            signal(&serve.child, "TERM");
        } else {
            serve.child.kill().unwrap();
        }
        wait(&mut serve.child);
        serve = Serve::start(home.command(&["serve", "--listen", &listen]));
        wait(&mut curl.child);
        seen.extend(curl.events());
    }
    assert!(seen.len() < EVENTS, "the server was away while events came");
    let curl = Curl::follow(&home, &url, 3, seen.last().map(|(id, _)| id.as_str()));
    poster.join().unwrap();
    until("all events", || seen.len() + curl.events().len() >= EVENTS);
    seen.extend(curl.events());
    let numbers: Vec<usize> = seen.iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers, (1..=EVENTS).collect::<Vec<_>>());
}
