//! A search costs a bounded amount, whatever its pattern.

use std::time::{Duration, Instant};

use tasktail::model::limits::Limits;

use crate::common::{TestServer, serve_with, texts};

fn encoded(pattern: &str) -> String {
    percent_encoding::utf8_percent_encode(pattern, percent_encoding::NON_ALPHANUMERIC).to_string()
}

async fn search(server: &TestServer, pattern: &str, from: u64) -> crate::common::Answer {
    server.get(&format!("/api/v1/tasks/t/lines?q={}&from={from}&limit=10000", encoded(pattern))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_that_is_too_large_is_refused_and_the_limit_named() {
    let server = serve_with(|_| {}).await;
    server.append("t", "one\ntwo\n").await;
    for (pattern, names) in [
        ("x".repeat(5_000), "search_pattern_bytes_max"),
        (r"\w{900}".to_owned(), "search_program_bytes_max"),
        ("(".repeat(100) + &")".repeat(100), "nest"),
        ("(".to_owned(), "parameter `q`"),
    ] {
        let answer = search(&server, &pattern, 1).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "bad_query"), "{names}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(names), "{names}: {detail}");
    }
    assert_eq!(texts(&search(&server, r"(?i)T\w+", 1).await.json()), ["two"]);
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains("tasktail_limit_reached_total{limit=\"search_program_bytes_max\"} 1\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_search_returns_in_time_with_a_cursor_and_misses_nothing() {
    let server = serve_with(|options| {
        options.limits = Limits {
            search_time_max: Duration::from_millis(1),
            searches_max: 1,
            search_program_bytes_max: 4 << 20,
            ..Limits::default()
        }
    })
    .await;
    let line = "ab".repeat(2_000);
    let body: String = (1..=400).map(|n| format!("{line} {}\n", if n % 50 == 0 { "needle" } else { "hay" })).collect();
    assert_eq!(server.append("t", &body).await.status, 200);
    // Matched with many states at once; what it looks for is there, or not, as for a plain word.
    let pattern = r"(?:[ab]{1,60}[ab]{1,60})*c|needle$";
    let (mut from, mut found, mut requests) = (1, Vec::new(), 0);
    loop {
        let begun = Instant::now();
        let answer = search(&server, pattern, from).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        let answer = answer.json();
        requests += 1;
        found.extend(answer["lines"].as_array().unwrap().iter().map(|line| line["n"].as_u64().unwrap()));
        let next = answer["next_line"].as_u64().unwrap();
        assert!(next > from, "it comes on");
        from = next;
        if from > answer["last_line"].as_u64().unwrap() {
            break;
        }
    }
    assert_eq!(found, (1..=8).map(|n| n * 50).collect::<Vec<u64>>());
    assert!(requests > 1, "one request does not search it all");
    let many = futures::future::join_all((0..8).map(|_| search(&server, pattern, 1))).await;
    assert!(many.iter().all(|answer| answer.status == 200), "each has its turn");
    let metrics = server.get("/metrics").await.text();
    assert!(!metrics.contains("tasktail_limit_reached_total{limit=\"searches_max\"} 0\n"), "they waited");
}
