//! HTTP connections that ask too slowly, too much, or never take the answer.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::common::{serve_with, texts, within};
use crate::tools::{answer, dial, dial_from, drip, metric, reached, rest, say};

const SHORT: Duration = Duration::from_secs(1);
const DRIP: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread")]
async fn only_the_connection_with_a_slow_request_head_times_out() {
    let server = serve_with(|options| options.limits.header_timeout = SHORT).await;
    let begun = Instant::now();
    let mut slow = dial(&server).await;
    say(&mut slow, "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-slow: ").await;
    let (heard, other) = tokio::join!(drip(slow, b'x', DRIP), server.get("/healthz"));
    assert_eq!((heard.as_str(), other.status.as_u16()), ("", 200));
    assert!(begun.elapsed() >= SHORT);
    assert!(reached(&server, "header_timeout").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_word_is_closed() {
    let server = serve_with(|options| options.limits.header_timeout = SHORT).await;
    let mut silent = dial(&server).await;
    assert_eq!(rest(&mut silent).await, "");
    assert!(reached(&server, "header_timeout").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_is_closed_when_it_is_idle_and_a_live_one_is_not() {
    let server =
        serve_with(|options| (options.limits.header_timeout, options.limits.idle_timeout) = (SHORT, SHORT)).await;
    server.append("t", "first").await;
    let mut viewer = server.socket("/ws/v1/tasks/t").await;
    assert_eq!(texts(&viewer.hear_type("lines").await), ["first"]);
    let mut stream = dial(&server).await;
    say(&mut stream, "GET /api/v1/tasks/t/stream HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let mut kept = dial(&server).await;
    for _ in 0..2 {
        say(&mut kept, "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert!(answer(&mut kept).await.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(rest(&mut kept).await, "");
    assert!(reached(&server, "idle_timeout").await >= 1.0);
    // Both have been quiet for as long as the one that was closed.
    server.append("t", "second").await;
    assert_eq!(texts(&viewer.hear_type("lines").await), ["second"]);
    server.end("t").await;
    assert!(rest(&mut stream).await.contains("second"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_times_out() {
    let server = serve_with(|options| options.limits.body_timeout = SHORT).await;
    server.append("t", "kept").await;
    let mut slow = dial(&server).await;
    let path = "/api/v1/tasks/t/end";
    say(&mut slow, &head(path, "application/json")).await;
    let heard = drip(slow, b' ', DRIP).await;
    assert!(heard.starts_with("HTTP/1.1 408") && heard.contains("\"code\":\"body_timeout\""), "{heard}");
    assert_eq!(reached(&server, "body_timeout").await, 1.0);
}

/// The head of an append of many bytes, and its first row.
fn head(path: &str, kind: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: 1000000\r\n\r\nkept\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_append_times_out_and_keeps_received_lines() {
    let server = serve_with(|options| options.limits.append_idle_timeout = SHORT).await;
    for (path, kind) in [("/api/v1/tasks/t/lines", "text/plain"), ("/api/v1/runs/r/events", "application/x-ndjson")] {
        let mut slow = dial(&server).await;
        say(&mut slow, &format!("{}half", head(path, kind))).await;
        let heard = rest(&mut slow).await;
        assert!(heard.starts_with("HTTP/1.1 408") && heard.contains("append_idle_timeout"), "{path}: {heard}");
    }
    assert_eq!(server.texts("t").await, ["kept", "half"]);
    assert_eq!(reached(&server, "append_idle_timeout").await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_may_drip_and_is_seen_while_it_does() {
    let server = serve_with(|options| options.limits.body_timeout = SHORT).await;
    let mut slow = dial(&server).await;
    say(&mut slow, &head("/api/v1/tasks/t/lines", "text/plain")).await;
    let begun = Instant::now();
    let mut dripped = 0;
    let mut beat = tokio::time::interval(DRIP);
    while begun.elapsed() < 2 * SHORT {
        beat.tick().await;
        slow.write_all(b"x\n").await.unwrap();
        dripped += 1;
    }
    server.until("every line that came is seen", || async { server.texts("t").await.len() == dripped + 1 }).await;
    // The sender breaks off in the middle of a line.
    slow.write_all(b"last words").await.unwrap();
    drop(slow);
    server.until("the rest is seen", || async { server.texts("t").await.last().unwrap() == "last words" }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unread_response_times_out() {
    let server = serve_with(|options| {
        (options.limits.send_timeout, options.limits.download_timeout) = (SHORT, 6 * SHORT);
    })
    .await;
    // More than the system keeps for a socket.
    let text = format!("{}\n", "x".repeat(999)).repeat(1_000);
    for _ in 0..16 {
        assert_eq!(server.append("t", &text).await.status, 200);
    }
    let mut stuck = Vec::new();
    for path in ["/api/v1/tasks/t/log", "/api/v1/tasks/t/stream", "/ws/v1/tasks/t"] {
        let mut stream = dial_from("127.0.0.1", &server).await;
        let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
            sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let upgrade = if path.starts_with("/ws") { upgrade } else { "" };
        say(&mut stream, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{upgrade}\r\n")).await;
        stuck.push(stream);
    }
    server.until("two are given up", || async { reached(&server, "send_timeout").await >= 2.0 }).await;
    assert_eq!(reached(&server, "download_timeout").await, 0.0, "a download has more time");
    server.until("the download is cut", || async { reached(&server, "download_timeout").await >= 1.0 }).await;
    // The one that asks is a connection too.
    let free =
        || async { metric(&server, "tasktail_connections").await + metric(&server, "tasktail_viewers").await == 1.0 };
    server.until("their places are free", free).await;
    drop(stuck);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_connections_and_others_have_theirs() {
    let server = serve_with(|options| options.limits.connections_per_address_max = 2).await;
    let first = dial(&server).await;
    let mut second = dial(&server).await;
    let mut third = dial(&server).await;
    let request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    say(&mut third, request).await;
    let heard = rest(&mut third).await;
    let (head, body) = heard.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 429") && head.contains("retry-after"), "{heard}");
    let problem: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&problem["code"], &problem["status"]), (&"too_many_connections".into(), &429.into()));
    let mut other = dial_from("127.0.0.2", &server).await;
    say(&mut other, request).await;
    assert!(answer(&mut other).await.starts_with("HTTP/1.1 200"));
    drop(first);
    within("a free place", async {
        loop {
            let mut fourth = dial(&server).await;
            say(&mut fourth, request).await;
            if answer(&mut fourth).await.starts_with("HTTP/1.1 200") {
                return;
            }
        }
    })
    .await;
    say(&mut second, request).await;
    assert!(answer(&mut second).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_above_the_limit_gets_an_error() {
    let server = serve_with(|options| options.limits.connections_max = 1).await;
    let mut first = dial(&server).await;
    let mut second = dial(&server).await;
    say(&mut second, "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let heard = rest(&mut second).await;
    assert!(heard.starts_with("HTTP/1.1 503") && heard.contains("too_many_connections"), "{heard}");
    say(&mut first, "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(answer(&mut first).await.contains("tasktail_limit_reached_total{limit=\"connections_max\"} 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order_and_large_heads_are_refused() {
    let server = serve_with(|_| {}).await;
    let mut stream = dial(&server).await;
    let paths: Vec<String> = (0..100).map(|n| format!("/none-{n}")).collect();
    let asked: String = paths.iter().map(|path| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).collect();
    say(&mut stream, &asked).await;
    say(&mut stream, "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    let heard = rest(&mut stream).await;
    assert_eq!((heard.matches("HTTP/1.1 404").count(), heard.matches("HTTP/1.1 200").count()), (100, 1));
    for head in ["x: y\r\n".repeat(200), format!("x: {}\r\n", "y".repeat(64 * 1024))] {
        let mut stream = dial(&server).await;
        // It may be refused, and the connection closed, before all of it is written.
        let request = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{head}\r\n");
        drop(stream.write_all(request.as_bytes()).await);
        let heard = rest(&mut stream).await;
        assert!(heard.starts_with("HTTP/1.1 431") || heard.is_empty(), "{heard}");
    }
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_proxy_have_separate_limits() {
    let server = serve_with(|options| {
        options.trusted_proxy = "127.0.0.9".parse().unwrap();
        options.limits.connections_per_address_max = 1;
    })
    .await;
    server.append("t", "x").await;
    let ask = |path: &str, client: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: {client}\r\n\r\n")
    };
    let mut first = dial_from("127.0.0.9", &server).await;
    say(&mut first, &ask("/api/v1/tasks/t/stream", "192.0.2.1")).await;
    assert!(answer(&mut first).await.starts_with("HTTP/1.1 200"));
    let mut second = dial_from("127.0.0.9", &server).await;
    say(&mut second, &ask("/healthz", "192.0.2.1")).await;
    let heard = answer(&mut second).await;
    assert!(heard.starts_with("HTTP/1.1 429") && heard.contains("too_many_connections"), "{heard}");
    // The same connection of the proxy brings another client, and the first again when it has room.
    say(&mut second, &ask("/healthz", "192.0.2.2")).await;
    assert!(answer(&mut second).await.starts_with("HTTP/1.1 200"));
    drop(first);
    within("the share of the one that went", async {
        loop {
            say(&mut second, &ask("/healthz", "192.0.2.1")).await;
            if answer(&mut second).await.starts_with("HTTP/1.1 200") {
                return;
            }
        }
    })
    .await;
}
