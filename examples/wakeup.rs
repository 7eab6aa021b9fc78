//! How long a blocked XREAD takes to wake up, on any server that speaks the Redis protocol.
//!
//! ```text
//! cargo run --release --example wakeup -- 127.0.0.1:6380 [ROUNDS]
//! ```
//!
//! Two clients play ping-pong: each adds an entry to the stream that the other waits for, and waits
//! for the next in its own. One round trip is two entries and two wake-ups. Printed are the median and
//! the 99th percentile in microseconds; an answer that is not the entry just added ends the run.

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Rounds that are not counted: caches and clocks settle.
const WARM_UP: usize = 200;
const ROUNDS: usize = 5_000;
/// A wake-up that takes longer is a fault.
const TIMEOUT: Duration = Duration::from_secs(10);

struct Client {
    socket: TcpStream,
}

impl Client {
    fn connect(address: &str) -> Result<Self> {
        let socket = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { socket })
    }

    fn send(&mut self, words: &[&str]) -> Result<()> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        Ok(self.socket.write_all(request.as_bytes())?)
    }

    /// Reads until the answer ends as it must.
    fn expect(&mut self, end: &str) -> Result<()> {
        let (mut answer, mut chunk) = (Vec::new(), [0; 1024]);
        while !answer.ends_with(end.as_bytes()) {
            let read = self.socket.read(&mut chunk).context("no wake-up")?;
            ensure!(read > 0 && !answer.starts_with(b"-"), "answered {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&chunk[..read]);
        }
        Ok(())
    }

    fn add(&mut self, stream: &str, round: usize) -> Result<()> {
        self.send(&["XADD", stream, &format!("{round}-1"), "line", &format!("round {round}")])?;
        self.expect(&format!("{round}-1\r\n"))
    }

    fn wait(&mut self, stream: &str, round: usize) -> Result<()> {
        self.send(&["XREAD", "BLOCK", "10000", "STREAMS", stream, &format!("{}-1", round - 1)])?;
        self.expect(&format!("round {round}\r\n"))
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().context("say the server's address, such as 127.0.0.1:6380")?;
    let rounds = arguments.next().map_or(Ok(ROUNDS), |rounds| rounds.parse()).context("ROUNDS is not a number")?;
    let all = rounds + WARM_UP;
    let mut here = Client::connect(&address)?;
    here.send(&["DEL", "wakeup:ping", "wakeup:pong"])?;
    here.expect("\r\n")?;
    let there = std::thread::spawn({
        let mut there = Client::connect(&address)?;
        move || -> Result<()> {
            (1..=all).try_for_each(|round| {
                there.wait("wakeup:ping", round)?;
                there.add("wakeup:pong", round)
            })
        }
    });
    let mut trips = Vec::with_capacity(rounds);
    for round in 1..=all {
        let start = Instant::now();
        here.add("wakeup:ping", round)?;
        here.wait("wakeup:pong", round)?;
        if round > WARM_UP {
            trips.push(start.elapsed());
        }
    }
    there.join().map_err(|_| anyhow::anyhow!("the other client failed"))??;
    trips.sort_unstable();
    let at = |percent: usize| trips[(trips.len() - 1) * percent / 100].as_micros();
    println!("{} {}", at(50), at(99));
    Ok(())
}
