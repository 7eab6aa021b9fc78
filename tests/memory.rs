//! What an idle viewer costs the server, and a flood its worker; alone in their process, because one test measures the
//! process.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[allow(dead_code, reason = "not every test program uses all helpers")]
mod common;

#[allow(dead_code, reason = "not every test program uses all helpers")]
#[path = "cli/support.rs"]
mod support;

use std::process::Stdio;
use std::sync::PoisonError;

use common::{serve, within};
use support::{Home, finish, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Few enough for the usual limit of 1,024 open files: both ends are in this process.
const VIEWERS: usize = 400;

/// Memory of this process that is in use, in bytes.
fn resident() -> usize {
    usize::try_from(memory(std::process::id(), "VmRSS:")).unwrap()
}

/// A number of `/proc/PID/status`, in bytes.
fn memory(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Memory that the worker of a flood may use.
const WORKER_BYTES_MAX: u64 = 48 * 1024 * 1024;

/// One test at a time.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// A worker whose command writes faster than the server stores.
#[test]
fn a_worker_uses_at_most_48_mib_during_a_flood() {
    /// 60 MB, more than the worker may use.
    const LINES: u64 = 60_000;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::new();
    let serve = home.serve();
    for flags in [&[][..], &["--spool", "sp"]] {
        let task = format!("t{}", flags.len());
        // After the flood it waits, so that the worker can be measured while it sends.
        let flood = format!("awk 'BEGIN {{ for (i = 1; i <= {LINES}; i++) printf \"%d %0990d\\n\", i, 0 }}'");
        let script = format!("{flood}; while ! [ -e measured-{task} ]; do sleep 0.05; done");
        let args = [&["run", "--task", &task, "--url", &serve.url], flags, &["--", "sh", "-c", &script]].concat();
        let worker = home.command(&args).stdout(Stdio::null()).spawn().unwrap();
        let pid = worker.id();
        until("half of the flood is stored", || {
            let known = home.run(&["show", &task, "--json", "--url", &serve.url]);
            let facts = serde_json::from_str::<serde_json::Value>(&known.stdout).unwrap_or_default();
            facts["lines"].as_u64() > Some(LINES / 2)
        });
        // Without the pages of its program, which are many in a debug build.
        let peak = memory(pid, "VmHWM:").saturating_sub(memory(pid, "RssFile:"));
        println!("the worker took {peak} bytes ({flags:?})");
        std::fs::write(home.path(&format!("measured-{task}")), "").unwrap();
        let done = finish(worker);
        assert!(done.stderr.ends_with(&format!("kept 60,000 lines · tasktail follow {task}\n")), "{}", done.stderr);
        assert!(peak < WORKER_BYTES_MAX, "the worker took {peak} bytes ({flags:?})");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::await_holding_lock, reason = "no other task waits for it")]
async fn an_idle_viewer_uses_at_most_24_kib() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = serve().await;
    server.append("t", &"a line of some length, as they are\n".repeat(50)).await;
    let before = resident();
    let mut viewers = Vec::new();
    for _ in 0..VIEWERS {
        // A bare socket: the client's own buffers should not count.
        let mut stream = TcpStream::connect(server.server.addr()).await.unwrap();
        let request = "GET /ws/v1/tasks/t HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
            sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut seen = 0;
        let mut buffer = [0; 4096];
        // The head, `open`, and 50 lines: once they are read the viewer is idle.
        while seen < 5_000 {
            seen += within("lines", stream.read(&mut buffer)).await.unwrap();
        }
        viewers.push(stream);
    }
    let each = resident().saturating_sub(before) / VIEWERS;
    println!("{each} bytes an idle viewer");
    assert!(each <= 24 * 1024, "{each} bytes an idle viewer");
}
