//! Downloads as HTTP clients ask for them: HEAD, content codings, entity tags, ranges; the end of an SSE stream; error
//! pages; preflight requests.

use std::io::Read as _;

use hyper::Method;
use tasktail::server::ROUTES;

use crate::common::{Answer, TestServer, serve, serve_with};

const LOG: &str = "/api/v1/tasks/t/log";

/// A server with a sealed log of `count` lines.
async fn with_sealed(count: usize) -> TestServer {
    let server = serve().await;
    let text: String = (1..=count).map(|n| format!("line {n} of a log that is downloaded\n")).collect();
    server.append("t", &text).await;
    server.end("t").await;
    let sealed = || async { !server.get("/api/v1/tasks/t").await.json()["artifact"].is_null() };
    server.until("the log is sealed", sealed).await;
    server
}

async fn get(server: &TestServer, path: &str, headers: &[(&str, &str)]) -> Answer {
    server.ask(Method::GET, path, headers, "").await
}

fn decoded(answer: &Answer) -> Vec<u8> {
    let mut out = Vec::new();
    match answer.headers.get("content-encoding").map(|coding| coding.to_str().unwrap()) {
        None => out.extend_from_slice(&answer.body),
        Some("gzip") => drop(flate2::read::MultiGzDecoder::new(&answer.body[..]).read_to_end(&mut out).unwrap()),
        Some("zstd") => out = zstd::decode_all(&answer.body[..]).unwrap(),
        Some(other) => panic!("{other}"),
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_answered_wherever_get_is_and_with_the_same_headers() {
    let server = with_sealed(3).await;
    let event = r#"{"event_type":"run.created","event_id":"e1"}"#;
    let ndjson = [("content-type", "application/x-ndjson")];
    server.ask(Method::POST, "/api/v1/runs/t/events", &ndjson, event).await;
    let gets = ROUTES.iter().filter(|route| route.methods[0] == "GET" && !route.path.starts_with("/ws/"));
    let mut asked = 0;
    for route in gets {
        let path = route.path.replace("{task}", "t").replace("{run}", "t");
        let path = path
            .replace("{folder}", "shared")
            .replace("{name}", if path.starts_with("/assets") { "style.css" } else { "line.json" });
        let head = server.ask(Method::HEAD, &path, &[], "").await;
        // The stream of a run has no end.
        let get = if path.ends_with("/events/stream") { None } else { Some(server.get(&path).await) };
        assert!(head.body.is_empty(), "HEAD {path}");
        assert_eq!(head.status, get.as_ref().map_or(head.status, |get| get.status), "HEAD {path}");
        for (name, value) in get.iter().flat_map(|get| &get.headers) {
            // The counters of both answers differ, and so may their lengths.
            // A body of unknown length is announced only where it is sent.
            let varies = ["date", "transfer-encoding"].contains(&name.as_str())
                || value == "0"
                || (name == "content-length" && ["/metrics", "/api/v1/pipeline"].contains(&&path[..]));
            assert!(varies || head.headers.get(name) == Some(value), "HEAD {path}: {name} is not {value:?}");
        }
        asked += 1;
    }
    assert!(asked > 15, "only {asked} routes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_is_compressed_as_the_client_accepts() {
    let server = with_sealed(5_000).await;
    let (text, rows) = (server.get(LOG).await, server.get(&format!("{LOG}?format=ndjson")).await);
    assert!(text.headers.get("content-encoding").is_none() && text.headers["vary"] == "accept-encoding");
    for (accepted, format, coding) in [
        ("gzip, deflate, br, zstd", "text", "gzip"),
        ("gzip, deflate, br, zstd", "ndjson", "zstd"),
        ("zstd", "text", "zstd"),
        ("gzip", "ndjson", "gzip"),
    ] {
        let answer = get(&server, &format!("{LOG}?format={format}"), &[("accept-encoding", accepted)]).await;
        assert_eq!(answer.headers["content-encoding"], coding, "{accepted} {format}");
        let plain = if format == "text" { &text } else { &rows };
        assert!(decoded(&answer) == plain.body, "{accepted} {format}");
        assert!(answer.body.len() * 2 < plain.body.len(), "{coding}: {} of {}", answer.body.len(), plain.body.len());
    }
    let filtered = format!("{LOG}?format=ndjson&stream=stdout");
    let answer = get(&server, &filtered, &[("accept-encoding", "zstd;q=0.5, gzip;q=0.4")]).await;
    assert_eq!(answer.headers["content-encoding"], "zstd");
    assert!(decoded(&answer) == server.get(&filtered).await.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_running_task_is_compressed_to_its_tip() {
    let server = serve_with(|options| options.limits.live_window_lines = 100).await;
    let text: String = (1..=3_000).map(|n| format!("line {n}\n")).collect();
    server.append("t", &text).await;
    let plain = server.get(&format!("{LOG}?format=ndjson")).await;
    assert!(plain.headers.get("etag").is_none() && plain.headers["cache-control"] == "no-store");
    let answer = get(&server, &format!("{LOG}?format=ndjson"), &[("accept-encoding", "zstd")]).await;
    assert!(decoded(&answer) == plain.body);
    let answer = get(&server, LOG, &[("accept-encoding", "gzip"), ("range", "bytes=0-3")]).await;
    assert_eq!((answer.status.as_u16(), decoded(&answer)), (200, text.into_bytes()), "a growing log has no ranges");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_log_is_not_sent_again() {
    let server = with_sealed(10).await;
    let first = server.get(LOG).await;
    let etag = first.headers["etag"].to_str().unwrap();
    let again = get(&server, LOG, &[("if-none-match", etag)]).await;
    assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
    assert_eq!(again.headers["etag"], etag);
    let mut tags = vec![etag.to_owned()];
    for (path, accepted) in [("?timestamps=1", ""), ("?format=ndjson", ""), ("?stream=stdout", ""), ("", "gzip")] {
        let other =
            get(&server, &format!("{LOG}{path}"), &[("accept-encoding", accepted), ("if-none-match", etag)]).await;
        assert_eq!(other.status, 200, "{path} {accepted} is another body");
        tags.push(other.headers["etag"].to_str().unwrap().to_owned());
    }
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 5, "{tags:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_log_is_served_in_ranges() {
    let server = with_sealed(5_000).await;
    for path in [LOG.to_owned(), format!("{LOG}?format=ndjson")] {
        let whole = server.get(&path).await;
        assert_eq!(whole.headers["accept-ranges"], "bytes");
        let (etag, length) = (whole.headers["etag"].to_str().unwrap(), whole.body.len());
        for (range, from, to) in [
            ("bytes=0-9".to_owned(), 0, 10),
            (format!("bytes={}-", length / 2), length / 2, length),
            ("bytes=-17".to_owned(), length - 17, length),
        ] {
            let part = get(&server, &path, &[("range", &range), ("accept-encoding", "gzip")]).await;
            assert_eq!(part.status, 206, "{range}: {}", part.text());
            assert_eq!(part.headers["content-range"], format!("bytes {from}-{}/{length}", to - 1));
            assert_eq!(part.headers["content-length"], (to - from).to_string());
            assert!(part.body == whole.body[from..to] && part.headers["etag"] == etag, "{range}");
        }
        let beyond = get(&server, &path, &[("range", &format!("bytes={length}-"))]).await;
        assert_eq!((beyond.status.as_u16(), beyond.code().as_str()), (416, "bad_range"));
        assert_eq!(beyond.headers["content-range"], format!("bytes */{length}"));
        let changed = get(&server, &path, &[("range", "bytes=0-9"), ("if-range", "\"another\"")]).await;
        assert_eq!(
            (changed.status.as_u16(), changed.body.len()),
            (200, length),
            "what the client has is of another log"
        );
        assert_eq!(get(&server, &path, &[("range", "bytes=0-9"), ("if-range", etag)]).await.status, 206);
    }
}

/// The id of the last event of a stream.
fn last_id(stream: &Answer) -> String {
    let text = stream.text();
    text.lines().rev().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_source_that_has_the_end_gets_204() {
    let server = with_sealed(3).await;
    let path = "/api/v1/tasks/t/stream";
    let stream = server.get(path).await;
    let id = last_id(&stream);
    let again = get(&server, path, &[("last-event-id", &id)]).await;
    assert_eq!((again.status.as_u16(), again.body.len()), (204, 0));
    assert_eq!(get(&server, &format!("{path}?wait=1"), &[("last-event-id", &id)]).await.status, 204);
    // One that was cut off after the last line still gets the end.
    let line = stream.text().lines().filter_map(|line| line.strip_prefix("id: ")).nth(2).map(str::to_owned).unwrap();
    let rest = get(&server, path, &[("last-event-id", &line)]).await;
    assert_eq!((rest.status.as_u16(), rest.text().matches("event: ").count()), (200, 1), "{}", rest.text());
    assert_eq!(last_id(&rest), id);
    // As a cursor it is accepted everywhere, and it does not outlive the log.
    let lines = server.get(&format!("/api/v1/tasks/t/lines?after={id}")).await;
    assert_eq!((lines.status.as_u16(), lines.json()["lines"].as_array().unwrap().len()), (200, 0));
    server.ask(Method::DELETE, "/api/v1/tasks/t", &[], "").await;
    server.append("t", "another log\n").await;
    server.end("t").await;
    let other = get(&server, path, &[("last-event-id", &id)]).await;
    assert_eq!(other.status, 200);
    assert!(other.text().contains("event: reset") && other.text().contains("another log"), "{}", other.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_reports_task_states_on_request() {
    let server = with_sealed(2).await;
    let stream = server.get("/api/v1/tasks/t/stream?open=1").await.text();
    let first = stream.split("\n\n").find(|event| event.starts_with("event: ")).unwrap();
    let data: serde_json::Value = serde_json::from_str(first.split_once("data: ").unwrap().1).unwrap();
    assert!(first.starts_with("event: open\n") && !first.contains("id:"), "{first}");
    assert_eq!((&data["task"]["id"], &data["last_line"]), (&"t".into(), &2.into()));
    assert!(!server.get("/api/v1/tasks/t/stream").await.text().contains("event: open"));
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_get_errors_as_pages() {
    let server = serve().await;
    let browser = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    let page = get(&server, "/api/v1/tasks/none%3Cb%3E/log", &[browser]).await;
    assert!(page.status.is_client_error() && page.headers["content-type"] == "text/html; charset=utf-8");
    assert!(!page.text().contains("<b>"), "{}", page.text());
    let page = get(&server, "/api/v1/tasks/none/log", &[browser]).await;
    let text = page.text();
    assert_eq!(page.status, 404);
    assert!(text.contains("task `none` not found") && text.contains("<code>not_found</code>"), "{text}");
    assert!(text.contains("href=\"../../../../\"") && text.contains("href=\"../../../../assets/"), "{text}");
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    assert_eq!(get(&server, "/api/v1/tasks/none/log", &[("accept", "*/*")]).await.code(), "not_found");
    let host = get(&server, "/", &[browser, ("host", "logs.example:8080")]).await;
    let text = host.text();
    assert!(host.status == 403 && text.contains("bad_host"), "{text}");
    assert!(text.contains("proxy_set_header Host $http_host;"), "{text}");
    assert!(text.contains("public_url = &quot;https://logs.example:8080&quot;"), "{text}");
    let problem = get(&server, "/", &[("host", "logs.example:8080")]).await;
    assert_eq!(problem.code(), "bad_host");
    assert_eq!(problem.json()["fix"]["nginx"], "proxy_set_header Host $http_host;");
    let wrong = server.ask(Method::PATCH, "/api/v1/tasks/t/lines", &[], "").await;
    assert_eq!(
        (wrong.code().as_str(), wrong.headers["allow"].to_str().unwrap()),
        ("method_not_allowed", "GET, HEAD, POST, PUT")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn preflight_answers_match_the_served_routes() {
    let server = serve_with(|options| options.allowed_origins = "https://ci.example".parse().unwrap()).await;
    server.append("t", "a\n").await;
    let ask = async |origin: &str, path: &str, method: &str| {
        let headers = [("origin", origin), ("access-control-request-method", method)];
        server.ask(Method::OPTIONS, path, &headers, "").await
    };
    for route in ROUTES.iter().filter(|route| route.methods[0] == "GET" && !route.path.starts_with("/ws/")) {
        let path = route.path.replace(['{', '}'], "");
        for method in ["GET", "HEAD"] {
            let answer = ask("https://ci.example", &path, method).await;
            assert_eq!(answer.status, 204, "{method} {path}");
            assert_eq!(answer.headers["access-control-allow-methods"], "GET, HEAD");
        }
    }
    for (origin, path, method) in [
        ("https://ci.example", "/api/v1/nowhere", "GET"),
        ("https://ci.example", "/login", "POST"),
        ("https://ci.example", "/api/v1/tasks/t/end", "GET"),
        ("https://ci.example", "/api/v1/tasks/t", "DELETE"),
        ("https://evil.example", "/api/v1/tasks/t", "GET"),
    ] {
        let answer = ask(origin, path, method).await;
        assert!(answer.status.is_client_error(), "{origin} {method} {path}: {}", answer.status);
        assert!(answer.headers.get("access-control-allow-methods").is_none(), "{origin} {method} {path}");
    }
    // What a preflight response permits has an effect.
    let names = ask("https://ci.example", LOG, "GET").await.headers["access-control-allow-headers"].clone();
    for name in ["range", "if-none-match", "if-range", "last-event-id", "authorization", "token", "tasktail-share"] {
        assert!(names.to_str().unwrap().split(", ").any(|allowed| allowed == name), "{name}");
    }
    let answer = get(&server, LOG, &[("origin", "https://ci.example")]).await;
    assert!(answer.headers["access-control-expose-headers"].to_str().unwrap().contains("etag"));
    let vary: Vec<&str> = answer.headers.get_all("vary").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(vary, ["accept-encoding", "origin"]);
}
