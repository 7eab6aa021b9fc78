//! A worker's socket: its numbered lines survive kills at random moments while they flow, are archived and
//! are sealed: every acked line is there, none is there twice, numbers stay dense.

use std::path::Path;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use crate::crash::{Dice, rounds};
use crate::disk::server::Server;

const ROUNDS_DEFAULT: u64 = 30;
const BATCH_LINES: u64 = 150;

fn start(data: &Path) -> Server {
    Server::start(data, &["--live-window-lines", "300"])
}

fn get(server: &Server, path: &str) -> String {
    let answer = server.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.body
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

/// A kill leaves nothing that `verify` calls a fault.
fn check_folder(data: &Path) {
    let verify = std::process::Command::new(env!("CARGO_BIN_EXE_tasktail"))
        .arg("verify")
        .arg("--data")
        .arg(data)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verify.stdout);
    assert!(
        verify.status.success() && said.ends_with("no faults\n"),
        "{said}{}",
        String::from_utf8_lossy(&verify.stderr)
    );
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
    let rounds = rounds(ROUNDS_DEFAULT);
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(u64::from(std::process::id()));
    let mut acked = 0;
    for round in 0..rounds {
        let server = start(folder.path());
        acked = send(&server.addr, acked, 1 + dice.roll(12), None).await;
        if round % 8 == 7 {
            check(&get(&server, "/api/v1/tasks/k/log?format=ndjson"), acked);
        }
        server.kill();
        if round % 8 == 7 {
            check_folder(folder.path());
        }
    }
    // The end, with kills while the archive is sealed and the journal removed.
    let last = acked + 5_000;
    let mut ended = false;
    for _ in 0..6 {
        let server = start(folder.path());
        if !ended {
            ended = send(&server.addr, acked, u64::MAX, Some(last)).await == last + 1;
        }
        server.kill();
        check_folder(folder.path());
    }
    let server = start(folder.path());
    while serde_json::from_str::<serde_json::Value>(&get(&server, "/api/v1/tasks/k")).unwrap()["artifact"].is_null() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let log = get(&server, "/api/v1/tasks/k/log?format=ndjson");
    assert_eq!(check(&log, last - 1), last, "what was sent after the last ack of a kill was sent again, once");
    let archive = std::fs::File::open(folder.path().join("archive/k.ndjson.zst")).unwrap();
    assert!(zstd::decode_all(archive).unwrap() == log.as_bytes(), "the archive is the log");
    server.kill();
}
