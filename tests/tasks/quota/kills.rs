//! The real server, killed with SIGKILL while it writes an archive anew without its middle.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::quota::log_bytes::text;

const ROUNDS: usize = 4;
const BATCH_LINES: u64 = 2_000;
const DEADLINE: Duration = Duration::from_secs(120);
/// Between two looks: shorter than it takes to write an archive anew.
const LOOK_EVERY: Duration = Duration::from_millis(1);

struct Server {
    child: Child,
    addr: String,
}

impl Server {
    fn start(data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tasktail"))
            .args(["serve", "--listen", "127.0.0.1:0", "--live-window-lines", "100"])
            .args(["--task-bytes-max", "2MiB", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .env("TASKTAIL_LOG", "warn")
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("it said {line:?}"));
        Self { child, addr: addr.to_owned() }
    }

    fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().unwrap();
    }

    fn get(&self, path: &str) -> Value {
        let answer = ask(&self.addr, &format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.addr)).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"))
    }

    fn last_line(&self) -> u64 {
        self.get("/api/v1/tasks/t")["last_line"].as_u64().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn ask(addr: &str, request: &str) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(addr)?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    socket.write_all(request.as_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 ") => Ok(body.to_owned()),
        _ => Err(std::io::Error::other(answer)),
    }
}

fn append(addr: &str, from: u64) -> std::io::Result<u64> {
    let body: String = (from..from + BATCH_LINES).map(|n| text(n) + "\n").collect();
    let head = format!(
        "POST /api/v1/tasks/t/lines HTTP/1.0\r\nHost: {addr}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let answer: Value = serde_json::from_str(&ask(addr, &(head + &body))?)?;
    answer["last_line"].as_u64().ok_or_else(|| std::io::Error::other("it says no last line"))
}

/// Reads the whole log: each number is a line or in a gap, once. Answers how many gaps there are, and
/// how many lines are in them. Lines that are dropped while it reads make one more gap.
fn account(server: &Server, lines: u64) -> (u64, u64) {
    let (mut next, mut missing, mut gaps) = (1, 0, 0);
    while next <= lines {
        let page = server.get(&format!("/api/v1/tasks/t/lines?from={next}&limit=10000"));
        let mut gap = page["gaps"].as_array().unwrap().iter();
        for line in page["lines"].as_array().unwrap() {
            let n = line["n"].as_u64().unwrap();
            if n != next {
                let gap = gap.next().unwrap_or_else(|| panic!("no gap before line {n}, after {next}"));
                assert_eq!((gap["from"].as_u64(), gap["to"].as_u64()), (Some(next), Some(n - 1)));
                assert_eq!(gap["reason"], "quota");
                (missing, gaps) = (missing + n - next, gaps + 1);
            }
            assert_eq!(line["line"], text(n));
            next = n + 1;
        }
        assert!(gap.next().is_none(), "a gap that is none: {}", page["gaps"]);
    }
    (gaps, missing)
}

fn half_made(data: &Path) -> PathBuf {
    data.join("archive/t.ndjson.zst.open.new")
}

#[test]
fn a_kill_in_the_middle_of_it_costs_no_line() {
    let data = tempfile::tempdir().unwrap();
    let (mut acked, mut found) = (0, 0);
    for _ in 0..ROUNDS {
        let mut server = Server::start(data.path());
        if half_made(data.path()).exists() {
            panic!("what was half made is removed at the start");
        }
        let killed = AtomicBool::new(false);
        let addr = server.addr.clone();
        let mut from = if acked == 0 { 1 } else { server.last_line() + 1 };
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut last = 0;
                while !killed.load(Ordering::Acquire) {
                    match append(&addr, from) {
                        Ok(line) => (last, from) = (line, line + 1),
                        Err(_) if killed.load(Ordering::Acquire) => {}
                        // Killed, and not told yet.
                        Err(_) => std::thread::park_timeout(LOOK_EVERY),
                    }
                }
                last
            });
            let begun = Instant::now();
            while !half_made(data.path()).exists() {
                assert!(begun.elapsed() < DEADLINE, "the archive is never written anew");
                std::thread::park_timeout(LOOK_EVERY);
            }
            server.kill();
            killed.store(true, Ordering::Release);
            acked = acked.max(writer.join().unwrap());
        });
        found += usize::from(half_made(data.path()).exists());
        let server = Server::start(data.path());
        let lines = server.last_line();
        assert!(lines >= acked, "{acked} lines were acked, {lines} are there");
        account(&server, lines);
    }
    assert!(found > 0, "no kill came while it was half made");
    let server = Server::start(data.path());
    let end = format!(
        "POST /api/v1/tasks/t/end HTTP/1.0\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}",
        server.addr
    );
    ask(&server.addr, &end).unwrap();
    let begun = Instant::now();
    while server.get("/api/v1/tasks/t")["artifact"].is_null() {
        assert!(begun.elapsed() < DEADLINE, "it is never sealed");
    }
    let (gaps, missing) = account(&server, server.last_line());
    assert_eq!(gaps, 1, "head, one gap, tail");
    assert_eq!(server.get("/api/v1/tasks/t")["trimmed_lines"], missing);
}
