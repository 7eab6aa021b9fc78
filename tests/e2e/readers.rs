//! A reader that takes nothing, beside one that takes everything.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::WebSocket;

use crate::net::{Viewer, dial};
use crate::support::{Home, Serve};
use crate::tools::memory;

const LINES: usize = 50_000;
/// Each would hold some 10 MB if the server queued for it; it may hold the frame that it does not take.
const SLEEPERS: usize = 32;
const GROWTH_MAX: u64 = SLEEPERS as u64 * 1024 * 1024;

/// Viewers that take nothing, and beside them one that reads a task from its first line to its end.
fn one_task(home: &Home, serve: &Serve, task: &str, sleepers: usize) -> Vec<WebSocket<TcpStream>> {
    let text: String = (1..=LINES).map(|n| format!("line {n} {}\n", "x".repeat(80))).collect();
    let sleepers = (0..sleepers).map(|_| dial(&serve.url, task, None).unwrap()).collect();
    let fast = Viewer::start(&serve.url, task);
    let begun = Instant::now();
    let done = home.run_with(&["append", "--task", task, "--url", &serve.url], text.as_bytes());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    home.ok(&["end", "--task", task, "--exit-code", "0", "--url", &serve.url]);
    let seen = fast.finish();
    assert!(begun.elapsed() < Duration::from_secs(20), "the fast one was slowed: {:?}", begun.elapsed());
    seen.check_dense();
    assert_eq!(seen.lines.len(), LINES);
    sleepers
}

#[test]
fn viewers_that_never_read_slow_no_one() {
    let home = Home::new();
    let serve = home.serve();
    // The first sleeper's: what all viewers of a task share has its place then.
    drop(one_task(&home, &serve, "warm", 1));
    let before = memory(serve.child.id(), "VmRSS:");
    let mut sleepers = one_task(&home, &serve, "t", SLEEPERS);
    let growth = memory(serve.child.id(), "VmRSS:").saturating_sub(before);
    println!("{growth} bytes more with {SLEEPERS} viewers that do not read");
    assert!(growth < GROWTH_MAX, "{growth} bytes more");

    // One of them wakes up, and has it all.
    let mut socket = sleepers.pop().unwrap();
    let mut lines = 0;
    loop {
        let text = socket.read().unwrap();
        let Ok(text) = text.into_text() else { continue };
        let Ok(message) = serde_json::from_str::<serde_json::Value>(&text) else { continue };
        match message["type"].as_str().unwrap() {
            "lines" => {
                let rows = message["lines"].as_array().unwrap();
                assert_eq!(rows[0]["n"].as_u64(), Some(lines + 1));
                lines += rows.len() as u64;
            }
            "end" => break,
            _ => {}
        }
    }
    assert_eq!(lines, LINES as u64);
}
