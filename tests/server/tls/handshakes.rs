//! Clients that are slow at the handshake, many of them, or speak without TLS.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::{TestServer, within};
use crate::tls::certs::Folder;
use crate::tls::{client, secure};

/// The first bytes of a handshake, which goes no further.
const HALF: &[u8] = &[22, 3, 1, 2, 0];

async fn half(addr: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(HALF).await.unwrap();
    stream
}

/// Waits until the server hangs up.
async fn hung_up(stream: &mut TcpStream) {
    let mut sink = [0; 1024];
    within("the server hangs up", async { while matches!(stream.read(&mut sink).await, Ok(1..)) {} }).await;
}

async fn is_served(server: &TestServer, folder: &Folder) -> bool {
    let health: Result<Value, _> = client(server, folder).get("/healthz", &[]).await;
    health.is_ok_and(|health| health["name"] == "tasktail")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_handshake_blocks_no_one_and_times_out() {
    let folder = Folder::usual();
    let server = secure(&folder, |options| options.limits.handshake_timeout = Duration::from_secs(3)).await;
    let redis: std::net::SocketAddr = server.server.redis_url().unwrap()["rediss://".len()..].parse().unwrap();
    let mut silent = TcpStream::connect(server.server.addr()).await.unwrap();
    let mut halves = [half(server.server.addr()).await, half(redis).await];
    assert!(is_served(&server, &folder).await, "while others stop halfway");
    for stream in halves.iter_mut().chain([&mut silent]) {
        hung_up(stream).await;
    }
    // A connection is counted once it is gone.
    within("all three are counted", async {
        loop {
            let metrics = crate::tls::trust::text(&client(&server, &folder), "/metrics").await;
            let has = |line: &str| metrics.contains(line);
            if has("tasktail_limit_reached_total{limit=\"handshake_timeout\"} 3\n")
                && has("tasktail_tls_handshakes_failed_total 3\n")
            {
                break;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_silent_handshakes_delay_no_one() {
    let folder = Folder::usual();
    let server = secure(&folder, |_| {}).await;
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(half(server.server.addr()).await);
    }
    assert!(is_served(&server, &folder).await);
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_counts_as_a_connection() {
    let folder = Folder::usual();
    let server = secure(&folder, |options| {
        options.limits.connections_max = 3;
        options.limits.handshake_timeout = Duration::from_secs(60);
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(half(server.server.addr()).await);
    }
    let mut one_too_many = half(server.server.addr()).await;
    hung_up(&mut one_too_many).await;
    assert!(!is_served(&server, &folder).await);
    drop(held);
    server.until("a free place", || is_served(&server, &folder)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_tls_gets_an_error_in_its_own_protocol() {
    let folder = Folder::usual();
    let server = secure(&folder, |_| {}).await;
    let say = async |addr: &str, text: &[u8]| {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(text).await.unwrap();
        let mut answer = String::new();
        within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
        answer
    };
    let addr = server.server.addr().to_string();
    let answer = say(&addr, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.contains("application/problem+json") && answer.contains("https://"), "{answer}");
    let redis = server.server.redis_url().unwrap();
    let answer = say(redis.strip_prefix("rediss://").unwrap(), b"*1\r\n$4\r\nPING\r\n").await;
    assert!(answer.starts_with("-ERR") && answer.contains("rediss://"), "{answer}");
    // A client of ours says it in the same words.
    let plain = server.server.url().replace("https", "http").parse().unwrap();
    let error = tasktail::client::HttpClient::new(plain).get::<Value>("/healthz", &[]).await.unwrap_err();
    assert!(error.to_string().contains("requires HTTPS"), "{error}");
}
