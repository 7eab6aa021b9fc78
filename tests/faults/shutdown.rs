//! SIGTERM while everybody is there.

use std::collections::HashMap;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use crate::common::{numbered, within};
use crate::support::{Home, LIMIT, Serve, signal};
use crate::tools::{answer, http, say, serve_both};

/// How long a shutdown may take, and what a loaded machine adds to it.
const SHUTDOWN: Duration = Duration::from_secs(5);
const SLACK: Duration = Duration::from_secs(2);

/// How each kind of connection ended.
#[derive(Debug, PartialEq, Eq, Hash, Clone, Copy)]
enum Ended {
    Worker(u16),
    Viewer(u16),
    Stream,
    Redis,
}

/// Waits for the end of a server; gives its exit code and how long it took.
async fn end_of(child: &mut Child, since: Instant) -> (Option<i32>, Duration) {
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return (status.code(), since.elapsed());
        }
        assert!(since.elapsed() < LIMIT, "the server does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Sends without a pause until it is closed; `acked` is the last number that is safe.
async fn work(url: String, task: String, acked: Arc<AtomicU64>, begun: Arc<AtomicUsize>) -> Ended {
    let (socket, _) = tokio_tungstenite::connect_async(format!("{url}/ws/v1/worker")).await.unwrap();
    let (mut sink, mut source) = socket.split();
    let sending = async move {
        for seq in 1.. {
            if sink.send(Message::text(numbered(&task, seq, &["a line of the worker"]).to_string())).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        std::future::pending::<()>().await;
    };
    let hearing = async {
        let mut first = true;
        while let Some(message) = source.next().await {
            match message {
                Ok(Message::Text(text)) => {
                    let reply: Value = serde_json::from_str(&text).unwrap();
                    if let Some(seq) = reply["seq"].as_u64() {
                        acked.fetch_max(seq, Ordering::Relaxed);
                        begun.fetch_add(usize::from(std::mem::take(&mut first)), Ordering::Relaxed);
                    }
                }
                Ok(Message::Close(close)) => return Ended::Worker(close.map_or(0, |close| close.code.into())),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        Ended::Worker(0)
    };
    tokio::select! { () = sending => unreachable!(), ended = hearing => ended }
}

async fn view(url: String, task: String, begun: Arc<AtomicUsize>) -> Ended {
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("{url}/ws/v1/tasks/{task}?wait=1")).await.unwrap();
    let mut first = true;
    while let Some(message) = socket.next().await {
        match message {
            Ok(Message::Text(_)) => {
                begun.fetch_add(usize::from(std::mem::take(&mut first)), Ordering::Relaxed);
            }
            Ok(Message::Close(close)) => return Ended::Viewer(close.map_or(0, |close| close.code.into())),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    Ended::Viewer(0)
}

async fn stream(addr: String, task: String, begun: Arc<AtomicUsize>) -> Ended {
    let mut stream = TcpStream::connect(&addr).await.unwrap();
    say(&mut stream, &format!("GET /api/v1/tasks/{task}/stream?wait=1 HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
    let mut heard = vec![0; 64 * 1024];
    assert!(stream.read(&mut heard).await.unwrap() > 0);
    begun.fetch_add(1, Ordering::Relaxed);
    let mut tail = Vec::new();
    while let Ok(count @ 1..) = stream.read(&mut heard).await {
        tail.extend_from_slice(&heard[..count]);
        tail.drain(..tail.len().saturating_sub(16));
    }
    assert!(tail.ends_with(b"0\r\n\r\n"), "a stream of events was cut: {:?}", String::from_utf8_lossy(&tail));
    Ended::Stream
}

async fn redis(addr: String, number: usize, begun: Arc<AtomicUsize>) -> Ended {
    let mut stream = TcpStream::connect(&addr).await.unwrap();
    let command = if number.is_multiple_of(2) { "XREAD BLOCK 0 STREAMS nothing $\r\n" } else { "PING\r\n" };
    say(&mut stream, command).await;
    begun.fetch_add(1, Ordering::Relaxed);
    let mut heard = [0; 1024];
    while let Ok(1..) = stream.read(&mut heard).await {}
    Ended::Redis
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_sockets_are_notified_and_nothing_acknowledged_is_lost() {
    let home = Home::new();
    let (mut serve, redis_addr) = serve_both(home.command(&["serve", "--resp", "127.0.0.1:0"]));
    let (ws, addr) = (serve.url.replace("http", "ws"), serve.url.strip_prefix("http://").unwrap().to_owned());
    let begun = Arc::new(AtomicUsize::new(0));
    let acked: Vec<Arc<AtomicU64>> = (0..50).map(|_| Arc::default()).collect();
    let mut all = JoinSet::new();
    for (n, acked) in acked.iter().enumerate() {
        all.spawn(work(ws.clone(), format!("t{n}"), acked.clone(), begun.clone()));
    }
    for n in 50..200 {
        let (task, begun) = (format!("t{}", n % 50), begun.clone());
        match n {
            50..150 => all.spawn(view(ws.clone(), task, begun)),
            150..175 => all.spawn(stream(addr.clone(), task, begun)),
            _ => all.spawn(redis(redis_addr.clone(), n, begun)),
        };
    }
    let ready = async {
        while begun.load(Ordering::Relaxed) < 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, ready).await.expect("200 sockets at work");

    let asked = Instant::now();
    signal(&serve.child, "TERM");
    let (code, took) = end_of(&mut serve.child, asked).await;
    assert_eq!(code, Some(0));
    assert!(took < SHUTDOWN + SLACK, "the end took {took:?}");
    println!("SIGTERM with 200 live sockets took {took:?}");
    let mut ends: HashMap<Ended, usize> = HashMap::new();
    while let Some(ended) = within("the end of every connection", all.join_next()).await {
        *ends.entry(ended.unwrap()).or_default() += 1;
    }
    let wanted = [(Ended::Worker(1001), 50), (Ended::Viewer(1001), 100), (Ended::Stream, 25), (Ended::Redis, 25)];
    assert_eq!(ends, HashMap::from(wanted));

    let serve = home.serve();
    let mut kept = http::Kept::connect(&serve.url);
    for (n, acked) in acked.iter().enumerate() {
        let stored = kept.json(&format!("/api/v1/tasks/t{n}"))["last_line"].as_u64().unwrap();
        let acked = acked.load(Ordering::Relaxed);
        assert!(acked > 0 && stored >= acked, "task t{n}: {stored} lines of {acked} acked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_connections_does_not_hold_up_the_end() {
    let home = Home::new();
    let mut serve = home.serve();
    let addr = serve.url.strip_prefix("http://").unwrap().to_owned();
    let answered = Arc::new(AtomicUsize::new(0));
    let mut storm = JoinSet::new();
    for _ in 0..20 {
        let (addr, answered) = (addr.clone(), answered.clone());
        storm.spawn(async move {
            let mut open = Vec::new();
            for n in 0..200 {
                let Ok(mut stream) = TcpStream::connect(&addr).await else { return };
                let asked = if n % 2 == 0 { "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n" } else { "GET /heal" };
                if stream.write_all(asked.as_bytes()).await.is_err() {
                    return;
                }
                let mut byte = [0];
                if n % 2 == 0 && matches!(stream.read(&mut byte).await, Ok(1)) {
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                open.push(stream);
            }
        });
    }
    let raging = async {
        while answered.load(Ordering::Relaxed) < 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, raging).await.expect("a storm");
    let asked = Instant::now();
    signal(&serve.child, "TERM");
    let (code, took) = end_of(&mut serve.child, asked).await;
    assert_eq!(code, Some(0));
    assert!(took < SHUTDOWN + SLACK, "the end took {took:?}");
    storm.abort_all();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    for second in ["TERM", "INT"] {
        let home = Home::new();
        let mut serve: Serve = home.serve();
        // A request that is never whole is given some seconds at the end.
        let mut stuck = TcpStream::connect(serve.url.strip_prefix("http://").unwrap()).await.unwrap();
        let head = "POST /api/v1/tasks/t/lines HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\n\
            expect: 100-continue\r\ncontent-length: 100\r\n\r\n";
        say(&mut stuck, head).await;
        // The server reads the body, so the request is under way.
        assert!(answer(&mut stuck).await.starts_with("HTTP/1.1 100"));
        let asked = Instant::now();
        signal(&serve.child, "TERM");
        // It does not accept any more: the first signal has been heard.
        while TcpStream::connect(serve.url.strip_prefix("http://").unwrap()).await.is_ok() {
            assert!(asked.elapsed() < Duration::from_secs(3), "SIGTERM is not heard");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(serve.child.try_wait().unwrap().is_none(), "the request holds it up");
        signal(&serve.child, second);
        let (code, _) = end_of(&mut serve.child, asked).await;
        assert_eq!(code, Some(130), "after {second}");
    }
}
