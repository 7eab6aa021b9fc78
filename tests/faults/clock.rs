//! The system's clock is set: an hour back, a year forward, while the server runs and between two
//! starts. The real binary runs under libfaketime, which gives it a clock of the test's own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{Home, signal, until, wait};
use crate::tools::{http, number, serve_both};

const YEAR: &str = "+365d";
const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;
const HOUR_MS: u64 = 3600 * 1000;

/// A server with a clock that a file sets.
struct Clockwork {
    home: Home,
    flags: Vec<&'static str>,
}

/// What such a server is while it runs.
struct Running {
    serve: crate::support::Serve,
    kept: http::Kept,
    redis: BufReader<TcpStream>,
}

fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path().join("faketime"));
    let found = folders.map(|folder| folder.join("libfaketimeMT.so.1")).find(|path| path.is_file());
    found.expect("libfaketime (Debian: faketime)")
}

impl Clockwork {
    fn new(flags: &[&'static str]) -> Self {
        let clock = Self { home: Home::new(), flags: [&["serve", "--resp", "127.0.0.1:0"], flags].concat() };
        clock.set("+0");
        clock
    }

    fn set(&self, offset: &str) {
        // Replaced in one step: it is read at every look at the clock.
        std::fs::write(self.home.path("clock.new"), offset).unwrap();
        std::fs::rename(self.home.path("clock.new"), self.home.path("clock")).unwrap();
    }

    fn start(&self) -> Running {
        let mut command: Command = self.home.command(&self.flags);
        command
            .env("LD_PRELOAD", library())
            .env("FAKETIME_TIMESTAMP_FILE", self.home.path("clock"))
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_NO_CACHE", "1");
        let (serve, redis) = serve_both(command);
        let kept = http::Kept::connect(&serve.url);
        Running { serve, kept, redis: BufReader::new(TcpStream::connect(redis).unwrap()) }
    }

    /// Appends to a task without a worker.
    fn append(&self, running: &Running, task: &str, text: &str) {
        self.home.ok(&["append", "--task", task, "--url", &running.serve.url, text]);
    }
}

impl Running {
    /// The first line of a command's reply that is no length.
    fn redis(&mut self, command: &str) -> String {
        self.redis.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
        loop {
            let mut line = String::new();
            assert!(self.redis.read_line(&mut line).unwrap() > 0);
            if !line.starts_with(['$', '*']) {
                return line.trim_end().trim_start_matches([':', '+']).to_owned();
            }
        }
    }

    /// The id that `XADD KEY *` gives.
    fn add(&mut self, key: &str) -> (u64, u64) {
        let id = self.redis(&format!("XADD {key} * f v"));
        let (ms, seq) = id.split_once('-').unwrap_or_else(|| panic!("{id}"));
        (ms.parse().unwrap(), seq.parse().unwrap())
    }

    fn status(&mut self, task: &str) -> String {
        self.kept.json(&format!("/api/v1/tasks/{task}"))["status"].as_str().unwrap().to_owned()
    }

    /// Waits until the server has looked at its tasks under the clock as it is now.
    fn looks(&mut self, ahead: impl Fn(f64) -> bool) {
        until("the jump is seen", || ahead(number(&self.kept.get("/metrics").1, "tasktail_clock_ahead_seconds")));
        let looks = |running: &mut Self| number(&running.kept.get("/metrics").1, "tasktail_keeper_sweeps_total");
        let before = looks(self);
        until("two looks at every task", || looks(self) >= before + 2.0);
    }

    fn stop(mut self) {
        signal(&self.serve.child, "TERM");
        assert_eq!(wait(&mut self.serve.child), Some(0));
    }
}

#[test]
fn ids_stay_ordered_and_nothing_expires_when_the_clock_is_set() {
    let clock = Clockwork::new(&["--retention-age", "30d", "--worker-grace", "10s"]);
    let mut running = clock.start();
    clock.append(&running, "done", "kept");
    clock.home.ok(&["end", "--task", "done", "--exit-code", "0", "--url", &running.serve.url]);
    clock.append(&running, "open", "one");
    until("it is sealed", || !running.kept.json("/api/v1/tasks/done")["artifact"].is_null());
    let mut worker = clock.home.command(&[
        "run",
        "--task",
        "work",
        "--url",
        &running.serve.url,
        "sh",
        "-c",
        "echo a; read go; echo b",
    ]);
    let mut worker = worker.stdin(std::process::Stdio::piped()).spawn().unwrap();
    until("the worker is there", || running.kept.get("/api/v1/tasks/work").0 == 200);
    let first = running.add("stream");
    running.redis("EXPIRE stream 3600");
    let first_line = running.add("task:logs:open");

    clock.set("-1h");
    running.looks(|ahead| ahead < -3_000.0);
    let back = running.add("stream");
    assert!(back > first && back.0 == first.0, "{back:?} after {first:?}: the clock was not set back");
    assert!(running.add("task:logs:open") > first_line);
    clock.append(&running, "open", "under a clock that was set back");

    clock.set(YEAR);
    running.looks(|ahead| ahead > 30_000_000.0);
    let forward = running.add("stream");
    assert!(forward > back && forward.0 > first.0 + YEAR_MS - HOUR_MS, "{forward:?}: the clock was not set forward");
    for task in ["open", "work"] {
        assert_eq!(running.status(task), "running", "{task}");
    }
    let left: u64 = running.redis("TTL stream").parse().unwrap();
    assert!((3_000..=3_600).contains(&left), "{left} s left of 3600");
    assert_eq!(running.status("done"), "completed");

    // Everything that is removed for its age is looked at right after a start.
    running.stop();
    let mut running = clock.start();
    running.looks(|ahead| ahead > 30_000_000.0);
    assert_eq!((running.status("done").as_str(), running.status("open").as_str()), ("completed", "running"));
    assert!(running.add("stream") > forward);

    clock.set("+0");
    running.looks(|ahead| ahead == 0.0);
    assert!(running.add("stream") > forward, "ids never go back");
    assert_eq!(running.status("open"), "running");
    clock.append(&running, "open", "under the right clock again");
    let log = running.kept.json("/api/v1/tasks/open/lines?limit=100");
    let id = |line: &serde_json::Value| {
        let id = line["id"].as_str().unwrap().split_once('-').unwrap();
        (id.0.parse::<u64>().unwrap(), id.1.parse::<u64>().unwrap())
    };
    let ids: Vec<(u64, u64)> = log["lines"].as_array().unwrap().iter().map(id).collect();
    assert!(ids.len() >= 4 && ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    drop(worker.kill());
    worker.wait().unwrap();
    running.stop();
}

#[test]
fn a_clock_that_stays_where_it_jumped_to_is_believed() {
    let clock = Clockwork::new(&["--clock-hold", "3s"]);
    let mut running = clock.start();
    clock.append(&running, "open", "one");
    running.add("stream");
    running.redis("EXPIRE stream 3600");
    clock.set(YEAR);
    until("it is given up", || running.status("open") == "lost");
    assert_eq!(running.redis("EXISTS stream"), "0");
    running.stop();
}
