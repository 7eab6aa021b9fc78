//! Search: what is matched, in one log and across tasks.

use hyper::Method;
use serde_json::{Value, json};
use tasktail::model::limits::Limits;

use crate::common::{TestServer, serve, serve_with, texts};

const NDJSON: [(&str, &str); 1] = [("content-type", "application/x-ndjson")];

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The rows of one answer of the search route: its hits, and the cursor of its last row.
async fn rows(server: &TestServer, query: &str) -> (Vec<Value>, Value) {
    let answer = server.get(&format!("/api/v1/search?{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let mut rows: Vec<Value> = answer.text().lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    let last = rows.pop().unwrap();
    assert_eq!(last.as_object().unwrap().keys().collect::<Vec<_>>(), ["next"], "{last}");
    (rows, last["next"].clone())
}

/// All hits as `task:n`, over as many requests as it takes.
async fn hits(server: &TestServer, query: &str) -> Vec<String> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let (rows, next) = rows(server, &format!("{query}{after}")).await;
        let hit = |row: &Value| format!("{}:{}", row["task"].as_str().unwrap(), row["n"]);
        found.extend(rows.iter().map(hit));
        let Some(next) = next.as_str() else { return found };
        after = format!("&after={}", encoded(next));
    }
}

/// Appends one record.
async fn record(server: &TestServer, task: &str, text: &str) {
    let body = json!({ "line": text }).to_string();
    let answer = server.ask(Method::POST, &format!("/api/v1/tasks/{task}/lines"), &NDJSON, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn search_matches_displayed_text_or_with_raw_stored_text() {
    let server = serve().await;
    for text in [
        "tests/login \u{1b}[31mFAILED\u{1b}[0m [ 28%]",
        "\u{1b}[1mnpm\u{1b}[22m \u{1b}[33mwarn\u{1b}[39m deprecated left",
        "alpha done\r",
        "Traceback (most recent call last):\n  File \"a.py\", line 3\n    main()\nValueError: bad",
        "10%\r50%\r100%",
        "abx\u{8}c",
        "\u{1b}]8;;https://ci.example/7\u{1b}\\job seven\u{1b}]8;;\u{1b}\\",
        "=====\u{1b}[1m test session starts \u{1b}[0m=====",
    ] {
        record(&server, "s", text).await;
    }
    for (pattern, wanted) in [
        ("login FAILED", &[1][..]),
        ("^npm warn", &[2]),
        ("done$", &[3]),
        ("^ValueError: bad$", &[7]),
        ("main\\(\\)$", &[6]),
        ("^100%$", &[8]),
        ("50%", &[]),
        ("abc", &[9]),
        ("job seven$", &[10]),
        ("ci.example", &[]),
        ("^=+ test session", &[11]),
        ("31m", &[]),
    ] {
        for end in [false, true] {
            let query = format!("/api/v1/tasks/s/lines?q={}{}", encoded(pattern), if end { "&tail=100" } else { "" });
            let answer = server.get(&query).await.json();
            let found: Vec<u64> =
                answer["lines"].as_array().unwrap().iter().map(|l| l["n"].as_u64().unwrap()).collect();
            assert_eq!(found, wanted, "{pattern} {end}");
        }
        let wanted: Vec<String> = wanted.iter().map(|n| format!("s:{n}")).collect();
        assert_eq!(hits(&server, &format!("q={}", encoded(pattern))).await, wanted, "{pattern}");
    }
    for (pattern, wanted) in [("\\[31mFAILED", 1), ("done\\r$", 3), ("^10%\\r50%", 8), ("ci\\.example/7", 10)] {
        let answer = server.get(&format!("/api/v1/tasks/s/lines?raw=1&q={}", encoded(pattern))).await.json();
        assert_eq!(answer["lines"][0]["n"], wanted, "{pattern}: {answer}");
        assert_eq!(hits(&server, &format!("raw=1&q={}", encoded(pattern))).await, [format!("s:{wanted}")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_searched_newest_first_in_pages_of_any_size() {
    let server = serve_with(|options| {
        options.limits = Limits { live_window_lines: 500, ..Limits::default() };
    })
    .await;
    let mut wanted = Vec::new();
    for task in ["a.1", "b", "c"] {
        let lines =
            (1..=3_000).map(|n| if n % 700 == 0 { format!("{task} needle {n}\n") } else { format!("hay {n}\n") });
        assert_eq!(server.append(task, &lines.collect::<String>()).await.status, 200);
        let here: Vec<String> = [700, 1400, 2100, 2800].iter().map(|n| format!("{task}:{n}")).collect();
        wanted.splice(0..0, here);
    }
    assert_eq!(hits(&server, "q=needle").await, wanted);
    for limit in [1, 3, 4, 5, 100] {
        assert_eq!(hits(&server, &format!("q=needle&limit={limit}")).await, wanted, "limit {limit}");
        assert_eq!(
            hits(&server, &format!("q=needle&limit={limit}&task=c&task=a.1")).await,
            [&wanted[..4], &wanted[8..]].concat()
        );
    }
    assert_eq!(hits(&server, "q=needle&since=2099-01-01T00:00:00Z").await, Vec::<String>::new());
    assert_eq!(hits(&server, "q=needle&since=2001-01-01T00:00:00Z&task=b").await, wanted[4..8]);
    assert_eq!(hits(&server, "q=needle&label=branch:main").await, Vec::<String>::new());
    assert_eq!(hits(&server, "q=needle&stream=stderr").await, Vec::<String>::new());
    let (found, next) = rows(&server, "q=needle&limit=1").await;
    assert_eq!(found, [json!({ "task": "c", "n": 700, "line": "c needle 700" })]);
    assert!(next.is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn context_is_around_hits_once() {
    let server = serve().await;
    let text: String =
        (1..=30).map(|n| if [5, 7, 20].contains(&n) { "hit\n".to_owned() } else { format!("{n}\n") }).collect();
    server.append("t", &text).await;
    let (rows, _) = rows(&server, "q=hit&before=2&behind=1").await;
    let shown: Vec<String> =
        rows.iter().map(|row| format!("{}{}", row["n"], if row["context"] == true { "-" } else { "" })).collect();
    assert_eq!(shown, ["3-", "4-", "5", "6-", "7", "8-", "18-", "19-", "20", "21-"]);
    for bad in
        ["q=hit&before=101", "before=1", "q=(", "q=x&limit=0", "q=x&after=zzz", "q=x&since=tuesday", "q=x&label=k"]
    {
        let answer = server.get(&format!("/api/v1/search?{bad}")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "bad_query"), "{bad}");
    }
    assert_eq!(server.get("/api/v1/search?q=x&task=nope").await.code(), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_over_its_time_continues_and_misses_nothing() {
    let server = serve_with(|options| {
        options.limits = Limits {
            search_time_max: std::time::Duration::from_millis(1),
            live_window_lines: 100,
            ..Limits::default()
        };
    })
    .await;
    let line = "ab".repeat(500);
    let body: String = (1..=500).map(|n| format!("{line}{}\n", if n % 100 == 0 { "needle" } else { "" })).collect();
    for task in ["one", "two"] {
        server.append(task, &body).await;
    }
    let slow = encoded("(?:[ab]{1,30}[ab]{1,30})*c|needle$");
    let wanted: Vec<String> =
        ["two", "one"].iter().flat_map(|task| (1..=5).map(move |n| format!("{task}:{}", n * 100))).collect();
    assert_eq!(hits(&server, &format!("q={slow}")).await, wanted);
    let (_, next) = rows(&server, &format!("q={slow}")).await;
    assert!(next.is_string(), "one request does not search it all");
    let found = server.get(&format!("/api/v1/tasks/one/lines?q={slow}&limit=1")).await.json();
    assert!(texts(&found).len() <= 1 && found["next_line"].as_u64().unwrap() > 1, "{found}");
}
