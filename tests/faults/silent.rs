//! A thousand connections that say nothing.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{Home, until};
use crate::tools::{http, memory, number, serve_both};

const SILENT: usize = 1_000;

#[test]
fn a_thousand_idle_connections_cost_little_and_time_out() {
    let home = Home::new();
    let mut command = home.command(&["serve", "--resp", "127.0.0.1:0", "--header-timeout", "20s"]);
    command.env("TASKTAIL_LOG", "error");
    let (serve, redis) = serve_both(command);
    let mut kept = http::Kept::connect(&serve.url);
    kept.get("/metrics");
    let before = memory(serve.child.id(), "VmRSS:");
    let begun = Instant::now();
    let silent: Vec<TcpStream> = (0..SILENT)
        .map(|n| {
            TcpStream::connect(if n % 2 == 0 { serve.url.strip_prefix("http://").unwrap() } else { &redis }).unwrap()
        })
        .collect();
    let all = |metrics: &str| number(metrics, "tasktail_connections") + number(metrics, "tasktail_redis_connections");
    until("all are there", || all(&kept.get("/metrics").1) >= SILENT as f64 + 1.0 || begun.elapsed().as_secs() > 15);
    let each = memory(serve.child.id(), "VmRSS:").saturating_sub(before) / SILENT as u64;
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let begun = Instant::now();
        assert_eq!(http::Kept::connect(&serve.url).get("/healthz").0, 200);
        slowest = slowest.max(begun.elapsed());
    }
    println!("{each} bytes a silent connection; the slowest of 50 requests beside them took {slowest:?}");
    assert!(each <= 24 * 1024, "{each} bytes a silent connection");
    assert!(slowest < Duration::from_secs(2), "a request beside them took {slowest:?}");
    until("all have ended", || {
        kept = http::Kept::connect(&serve.url);
        all(&kept.get("/metrics").1) <= 3.0
    });
    drop(silent);
}
