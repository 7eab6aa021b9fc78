//! The real server, killed with SIGKILL at random moments while lines flow, are archived and are
//! sealed: every acked line is there, none is there twice, numbers stay dense.
//!
//! `TASKTAIL_CRASH_ROUNDS` makes it longer.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

const ROUNDS_DEFAULT: u64 = 40;
const BATCH_LINES: u64 = 150;

struct Server {
    child: Child,
    addr: String,
}

impl Server {
    fn start(data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tasktail"))
            .args(["serve", "--listen", "127.0.0.1:0", "--live-window-lines", "300", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .env("TASKTAIL_LOG", "warn")
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr =
            line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("it said {line:?}")).to_owned();
        Self { child, addr }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn get(&self, path: &str) -> String {
        let mut socket = TcpStream::connect(&self.addr).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(socket, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.addr).unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 "), "{path}: {head}");
        body.to_owned()
    }
}

/// A small generator, seeded by the process: which round is killed when differs from run to run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Sends numbered lines from what is acked, until so many acks came. Answers the last acked number.
async fn send(addr: &str, acked_before: u64, acks: u64, end_at: Option<u64>) -> u64 {
    let (socket, _) = tokio_tungstenite::connect_async(format!("ws://{addr}/ws/v1/worker")).await.unwrap();
    let (mut sink, mut stream) = socket.split();
    let text = |json: serde_json::Value| Message::text(json.to_string());
    sink.send(text(serde_json::json!({"type":"hello","protocol":1}))).await.unwrap();
    sink.send(text(serde_json::json!({"type":"task_start","work_request_id":"k","session":"s"}))).await.unwrap();
    let mut acked = None;
    let mut next = 0;
    let mut seen = 0;
    while seen < acks {
        let message = tokio::time::timeout(Duration::from_secs(20), stream.next())
            .await
            .expect("the server is silent")
            .unwrap()
            .unwrap();
        let Message::Text(json) = message else { continue };
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        match json["type"].as_str().unwrap() {
            "resume" => {
                let resumed = json["acked_seq"].as_u64().unwrap();
                assert!(resumed >= acked_before, "acked {acked_before}, and after the kill only {resumed} is known");
                acked = Some(resumed);
                next = resumed + 1;
            }
            "ack" => {
                seen += 1;
                acked = Some(json["seq"].as_u64().unwrap());
                if acked == end_at.map(|last| last + 1) {
                    return last_of(acked);
                }
            }
            "error" => panic!("{json}"),
            _ => continue,
        }
        while acked.is_some_and(|acked| next <= acked + 20 * BATCH_LINES) && end_at.is_none_or(|last| next <= last) {
            let to = end_at.map_or(next + BATCH_LINES - 1, |last| last.min(next + BATCH_LINES - 1));
            let lines: Vec<_> = (next..=to).map(|n| serde_json::json!({"line": n.to_string()})).collect();
            sink.send(text(
                serde_json::json!({"type":"log_lines","work_request_id":"k","first_seq":next,"lines":lines}),
            ))
            .await
            .unwrap();
            next = to + 1;
        }
        if end_at.is_some_and(|last| next == last + 1) {
            sink.send(text(serde_json::json!({"type":"log_line_end","work_request_id":"k","exit_code":0,"seq":next})))
                .await
                .unwrap();
            next += 1;
        }
    }
    last_of(acked)
}

fn last_of(acked: Option<u64>) -> u64 {
    acked.expect("the server answered the start")
}

/// Every line once, in order, with dense numbers; lines that tell of missing times are passed over.
fn check(ndjson: &str, at_least: u64) -> u64 {
    let mut wanted = 1;
    for (index, row) in ndjson.lines().enumerate() {
        let line: serde_json::Value = serde_json::from_str(row).unwrap();
        assert_eq!(line["n"].as_u64(), Some(index as u64 + 1), "line numbers are dense");
        if line["stream"] == "internal" {
            continue;
        }
        assert_eq!(line["line"], wanted.to_string(), "line {} is not the one that was sent", index + 1);
        wanted += 1;
    }
    assert!(wanted > at_least, "acked {at_least} lines, {} are there", wanted - 1);
    wanted - 1
}

#[tokio::test(flavor = "multi_thread")]
async fn acked_lines_survive_kills_at_any_moment_and_none_is_doubled() {
    let rounds = std::env::var("TASKTAIL_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS_DEFAULT);
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(u64::from(std::process::id()));
    let mut acked = 0;
    for round in 0..rounds {
        let server = Server::start(folder.path());
        acked = send(&server.addr, acked, 1 + dice.roll(12), None).await;
        if round % 8 == 7 {
            check(&server.get("/api/v1/tasks/k/log?format=ndjson"), acked);
        }
        server.kill();
    }
    // The end, with kills while the archive is sealed and the journal removed.
    let last = acked + 5_000;
    let mut ended = false;
    for _ in 0..6 {
        let server = Server::start(folder.path());
        if !ended {
            ended = send(&server.addr, acked, u64::MAX, Some(last)).await == last + 1;
        }
        server.kill();
    }
    let server = Server::start(folder.path());
    while serde_json::from_str::<serde_json::Value>(&server.get("/api/v1/tasks/k")).unwrap()["artifact"].is_null() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let log = server.get("/api/v1/tasks/k/log?format=ndjson");
    assert_eq!(check(&log, last - 1), last, "what was sent after the last ack of a kill was sent again, once");
    let archive = std::fs::File::open(folder.path().join("archive/k.ndjson.zst")).unwrap();
    assert!(zstd::decode_all(archive).unwrap() == log.as_bytes(), "the archive is the log");
    server.kill();
}
