//! A load run that checks its own result: a real server, a real worker, many viewers.
//!
//! ```text
//! cargo run --release --example load -- latency           1 viewer,     1,000 lines/s
//! cargo run --release --example load -- fanout            1,000 viewers, 1,000 lines/s
//! cargo run --release --example load -- events            a runner's 1,000 events/s to a client by SSE
//! cargo run --release --example load -- screen            the same at 20 events/s, to the dashboard's screen
//! cargo run --release --example load -- export            a finished log of 1,000,000 lines as NDJSON
//! cargo run --release --example load -- start             1,000 finished tasks: time to `listening`, memory idle
//! ```
//!
//! The server is `target/release/tasktail` (or TASKTAIL_BIN) in a process of its own. Each line is
//! the time at which the child wrote it; a viewer's delay is its own clock less that. A line that
//! is missing, doubled or out of order ends the run with an error.

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use serde::Deserialize;
use tasktail::client::{HttpClient, RunFollowStart, RunFollower, RunItem};
use tasktail::worker::{Worker, WorkerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(data: &std::path::Path) -> Result<Self> {
        let binary =
            std::env::var_os("TASKTAIL_BIN").map_or_else(|| PathBuf::from("target/release/tasktail"), PathBuf::from);
        let mut serve = Command::new(binary);
        serve.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data).env("TASKTAIL_LOG", "warn");
        let mut child =
            serve.stdout(Stdio::piped()).spawn().context("the server does not start: cargo build --release first")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("stdout")?).read_line(&mut line)?;
        let url =
            line.trim().strip_prefix("listening on ").context("the server did not say where it listens")?.to_owned();
        Ok(Self { child, url })
    }

    fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Resident memory in KiB.
    fn memory_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let row = status.lines().find(|row| row.starts_with("VmRSS:")).context("VmRSS")?;
        Ok(row.split_whitespace().nth(1).context("a number")?.parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is of no use any more, whatever becomes of the signal.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0))
}

/// The child: a line each interval, holding the time at which it is written.
fn emit(lines: u64, per_second: u64) -> Result<()> {
    let start = Instant::now();
    let mut out = std::io::stdout();
    for n in 0..lines {
        let due = Duration::from_micros(n * 1_000_000 / per_second);
        if let Some(wait) = due.checked_sub(start.elapsed()) {
            std::thread::park_timeout(wait);
        }
        out.write_all(format!("{}\n", now_us()).as_bytes())?;
    }
    Ok(())
}

/// What a viewer needs of a message; a thousand of them share the machine with the server.
#[derive(Deserialize)]
struct ViewerMessage<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow, default)]
    lines: Vec<ViewerLine<'a>>,
}

#[derive(Deserialize)]
struct ViewerLine<'a> {
    n: u64,
    stream: &'a str,
    #[serde(borrow)]
    line: std::borrow::Cow<'a, str>,
}

/// Follows to the end; answers each line's delay in microseconds.
async fn view(address: String, task: &'static str, lines: u64) -> Result<Vec<u64>> {
    // Small buffers: a thousand viewers share the machine with the server.
    let config = WebSocketConfig::default().read_buffer_size(8 * 1024);
    let url = format!("ws://{address}/ws/v1/tasks/{task}?wait=1");
    let (mut socket, _) = tokio_tungstenite::connect_async_with_config(url, Some(config), true).await?;
    let mut delays = Vec::new();
    let mut next = 1;
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else { continue };
        let arrived = now_us();
        let message: ViewerMessage<'_> = serde_json::from_str(&text)?;
        for line in message.lines {
            ensure!(line.n == next, "line {next} was to come, {} came", line.n);
            next += 1;
            if line.stream == "stdout" {
                delays.push(arrived.saturating_sub(line.line.parse()?));
            }
        }
        match message.kind {
            "gap" => bail!("lines are missing: {text}"),
            "end" => break,
            _ => {}
        }
    }
    ensure!(delays.len() as u64 == lines, "{lines} lines were written, {} came", delays.len());
    Ok(delays)
}

/// The runner: an event each interval, holding the time at which it is written.
fn emit_events(count: u64, per_second: u64) -> Result<()> {
    let start = Instant::now();
    let mut out = std::io::stdout();
    for n in 0..count {
        let due = Duration::from_micros(n * 1_000_000 / per_second);
        if let Some(wait) = due.checked_sub(start.elapsed()) {
            std::thread::park_timeout(wait);
        }
        let us = now_us();
        // A word of its own: events that differ in numbers alone share a row of the screen.
        let word: String = n.to_string().bytes().map(|digit| char::from(digit + (b'a' - b'0'))).collect();
        let line = format!(
            "LB_EVENT {{\"run_id\": \"load\", \"host\": \"h1\", \"workload\": \"fio\", \"repetition\": 1, \
             \"total_repetitions\": 3, \"status\": \"running\", \"type\": \"log\", \"level\": \"INFO\", \
             \"message\": \"sent {us} {word}\", \"timestamp\": {}.{:06}}}\n",
            us / 1_000_000,
            us % 1_000_000
        );
        out.write_all(line.as_bytes())?;
    }
    Ok(())
}

/// The time in an event's message.
fn sent(text: &str) -> Option<u64> {
    text.split_once("sent ")?.1.split(' ').next()?.parse().ok()
}

/// A worker whose command prints so many events.
async fn run_events(server: &Server, count: u64, per_second: u64) -> Result<()> {
    let this = std::env::current_exe()?.to_string_lossy().into_owned();
    let mut options = WorkerOptions::new(&server.url, "load".parse()?);
    options.show = false;
    let command = ["emit-events".to_owned(), count.to_string(), per_second.to_string()];
    let command = std::iter::once(this).chain(command).map(Into::into).collect();
    Worker::run(options, command).await?;
    Ok(())
}

/// Events of a runner, through worker, journal, extraction, run, to one client by SSE.
async fn events() -> Result<()> {
    const COUNT: u64 = 10_000;
    let folder = tempfile::tempdir()?;
    let server = Server::start(folder.path())?;
    let client = HttpClient::new(server.url.parse()?);
    let mut follower = RunFollower::new(client, "load".parse()?, RunFollowStart::First);
    let reading = tokio::spawn(async move {
        let mut delays = Vec::new();
        let mut last = 0;
        while (delays.len() as u64) < COUNT {
            match follower.next().await? {
                RunItem::Event { event, .. } => {
                    let arrived = now_us();
                    let sent = sent(event.view().message.as_deref().unwrap_or_default()).context("a time")?;
                    ensure!(sent >= last, "an event came twice, or out of order");
                    last = sent;
                    delays.push(arrived.saturating_sub(sent));
                }
                RunItem::Connected => {}
                other => bail!("{other:?}"),
            }
        }
        Ok(delays)
    });
    run_events(&server, COUNT, 1_000).await?;
    let mut delays =
        tokio::time::timeout(Duration::from_secs(30), reading).await.context("events are missing")???;
    delays.sort_unstable();
    println!(
        "{COUNT} events at 1,000/s, runner's line to SSE client, durable: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms; every event once",
        percentile(&delays, 50),
        percentile(&delays, 99),
        percentile(&delays, 100),
    );
    Ok(())
}

/// Events of a runner, to what the dashboard shows in a terminal of tmux.
async fn screen() -> Result<()> {
    const COUNT: u64 = 200;
    let folder = tempfile::tempdir()?;
    let server = Server::start(folder.path())?;
    let socket = format!("load-{}", std::process::id());
    let tmux = |args: &[&str]| -> Result<String> {
        let output = Command::new("tmux").args(["-L", &socket]).args(args).output().context("tmux")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let binary = std::env::var("TASKTAIL_BIN").unwrap_or_else(|_| "target/release/tasktail".to_owned());
    let command = format!("{binary} --url {} dashboard --run load", server.url);
    tmux(&["new-session", "-d", "-x", "120", "-y", "40", &command])?;
    let running = run_events(&server, COUNT, 20);
    let watching = async {
        let mut delays = std::collections::BTreeMap::new();
        let until = Instant::now() + Duration::from_secs(20);
        while (delays.len() as u64) < COUNT && Instant::now() < until {
            let shown = tmux(&["capture-pane", "-p"])?;
            let now = now_us();
            for time in shown.lines().filter_map(sent) {
                delays.entry(time).or_insert(now.saturating_sub(time));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok::<_, anyhow::Error>(delays)
    };
    let (ran, delays) = tokio::join!(running, watching);
    tmux(&["kill-server"])?;
    ran?;
    let mut delays: Vec<u64> = delays?.into_values().collect();
    let seen = delays.len();
    delays.sort_unstable();
    println!(
        "{seen} of {COUNT} events at 20/s seen on the dashboard's screen: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms (a look takes some milliseconds itself)",
        percentile(&delays, 50),
        percentile(&delays, 99),
        percentile(&delays, 100),
    );
    ensure!(seen as u64 == COUNT, "not every event was seen");
    Ok(())
}

fn percentile(sorted: &[u64], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |us| *us as f64 / 1000.0)
}

/// So many viewers, 1,000 lines a second for some seconds.
async fn viewers(count: usize, seconds: u64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(folder.path())?;
    let lines = 1_000 * seconds;
    let before = server.memory_kib()?;
    let mut viewing = Vec::new();
    for _ in 0..count {
        viewing.push(tokio::spawn(view(server.address().to_owned(), "load", lines)));
    }
    connected(&server, count).await?;
    let idle = server.memory_kib()?.saturating_sub(before);
    let this = std::env::current_exe()?.to_string_lossy().into_owned();
    let mut options = WorkerOptions::new(&server.url, "load".parse()?);
    options.show = false;
    Worker::run(options, vec![this.into(), "emit".into(), lines.to_string().into(), "1000".into()]).await?;
    let mut delays = Vec::new();
    for viewer in viewing {
        delays.extend(viewer.await??);
    }
    delays.sort_unstable();
    println!(
        "{count} viewers, {lines} lines at 1,000 lines/s, durable: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms; every line at every viewer; {:.1} KiB an idle viewer",
        percentile(&delays, 50),
        percentile(&delays, 99),
        percentile(&delays, 100),
        idle as f64 / count as f64,
    );
    Ok(())
}

/// Waits until the server counts so many viewers.
async fn connected(server: &Server, count: usize) -> Result<()> {
    for _ in 0..1_000 {
        let metrics = get(server, "/metrics").await?;
        let metrics = String::from_utf8_lossy(&metrics);
        let now = metrics
            .lines()
            .find(|row| row.starts_with("tasktail_viewers "))
            .and_then(|row| row.rsplit(' ').next()?.parse().ok());
        if now.unwrap_or(0usize) >= count {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("not all of the {count} viewers were connected")
}

async fn get(server: &Server, path: &str) -> Result<Vec<u8>> {
    let mut socket = tokio::net::TcpStream::connect(server.address()).await?;
    socket.write_all(format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", server.address()).as_bytes()).await?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await?;
    Ok(answer)
}

async fn post(server: &Server, path: &str, kind: &str, body: &[u8]) -> Result<()> {
    let mut socket = tokio::net::TcpStream::connect(server.address()).await?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        server.address(),
        body.len()
    );
    socket.write_all(head.as_bytes()).await?;
    socket.write_all(body).await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    Ok(())
}

async fn finish(server: &Server, task: &str, text: &[u8]) -> Result<()> {
    post(server, &format!("/api/v1/tasks/{task}/lines"), "text/plain", text).await?;
    post(server, &format!("/api/v1/tasks/{task}/end"), "application/json", br#"{"exit_code":0}"#).await?;
    for _ in 0..3_000 {
        let facts = get(server, &format!("/api/v1/tasks/{task}")).await?;
        if String::from_utf8_lossy(&facts).contains("\"sha256\"") {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("task {task} was not sealed")
}

async fn export() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(folder.path())?;
    let mut text = Vec::new();
    for n in 0..1_000_000 {
        writeln!(text, "  CC [M]  drivers/net/ethernet/part-{n}.o with some options")?;
    }
    let start = Instant::now();
    finish(&server, "big", &text).await?;
    println!("1,000,000 lines in by one POST, ended and sealed: {:.2} s", start.elapsed().as_secs_f64());
    for _ in 0..3 {
        let start = Instant::now();
        let log = get(&server, "/api/v1/tasks/big/log?format=ndjson").await?;
        let taken = start.elapsed().as_secs_f64();
        let lines = log.iter().filter(|byte| **byte == b'\n').count();
        ensure!((1_000_000..1_000_020).contains(&lines), "{lines} lines came");
        println!(
            "whole log as NDJSON, {} MB: {:.2} s, {:.1} million lines/s",
            log.len() / 1_000_000,
            taken,
            1.0 / taken
        );
    }
    Ok(())
}

async fn start() -> Result<()> {
    let folder = tempfile::tempdir()?;
    {
        let mut server = Server::start(folder.path())?;
        for n in 0..1_000 {
            finish(&server, &format!("t{n}"), b"one\ntwo\nthree\n").await?;
        }
        let pid = rustix::process::Pid::from_raw(i32::try_from(server.child.id())?).context("a pid")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        server.child.wait()?;
    }
    for _ in 0..5 {
        let start = Instant::now();
        let server = Server::start(folder.path())?;
        let taken = start.elapsed();
        tokio::time::sleep(Duration::from_secs(1)).await;
        println!(
            "1,000 finished tasks: listening after {:.0} ms, {:.1} MB idle",
            taken.as_secs_f64() * 1000.0,
            server.memory_kib()? as f64 / 1024.0
        );
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["emit", lines, rate] => emit(lines.parse()?, rate.parse()?),
        ["emit-events", count, rate] => emit_events(count.parse()?, rate.parse()?),
        ["events"] => events().await,
        ["screen"] => screen().await,
        ["latency"] => viewers(1, 10).await,
        ["fanout"] => viewers(1_000, 10).await,
        ["export"] => export().await,
        ["start"] => start().await,
        _ => bail!("name one of latency, fanout, events, screen, export, start"),
    }
}
