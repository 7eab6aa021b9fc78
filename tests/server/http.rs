//! HTTP routes of a real server: append, read, download, refuse.

use crate::common::{options, serve, serve_with, texts};
use hyper::Method;
use serde_json::json;
use tasktail::server::{ServeError, Server};

const NDJSON: [(&str, &str); 1] = [("content-type", "application/x-ndjson")];

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_appended_and_read() {
    let server = serve().await;
    let answer = server.append("t", "a\nb\r\n\nd").await;
    let appended = answer.json();
    assert_eq!(
        (&appended["appended"], &appended["first_line"], &appended["last_line"]),
        (&json!(4), &json!(1), &json!(4))
    );
    assert!(appended["last_id"].as_str().unwrap().contains('-'));
    assert_eq!(server.texts("t").await, ["a", "b\r", "", "d"]);
    let rows = "{\"line\":\"e\",\"stream\":\"stderr\",\"timestamp\":\"2026-05-09T14:23:01Z\"}\n\n{\"line\":\"f\"}\n";
    let answer = server.ask(Method::POST, "/api/v1/tasks/t/lines", &NDJSON, rows).await;
    assert_eq!(answer.json()["appended"], 2);
    let read = async |query: &str| server.get(&format!("/api/v1/tasks/t/lines?{query}")).await.json();
    assert_eq!(texts(&read("stream=stderr").await), ["e"]);
    assert_eq!(texts(&read("q=%5Ba-b%5D").await), ["a", "b\r"]);
    assert_eq!(texts(&read("q=.&tail=2").await), ["e", "f"]);
    assert_eq!(texts(&read("tail=2").await), ["e", "f"]);
    assert_eq!(texts(&read("from=3&limit=2").await), ["", "d"]);
    let page = read("limit=2").await;
    assert_eq!((texts(&page), &page["last_line"]), (vec!["a".to_owned(), "b\r".to_owned()], &json!(6)));
    let rest = read(&format!("after={}&q=e|f", page["cursor"].as_str().unwrap())).await;
    assert_eq!(texts(&rest), ["e", "f"]);
    let after = read(&format!("after={}", rest["cursor"].as_str().unwrap())).await;
    assert_eq!((texts(&after), &after["cursor"]), (vec![], &rest["cursor"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_append_is_harmless() {
    let server = serve().await;
    let path = "/api/v1/tasks/t/lines?session=s&first_seq=1";
    for wanted in [2, 0] {
        let answer = server.ask(Method::POST, path, &[("content-type", "text/plain")], "a\nb\n").await;
        assert_eq!(answer.json()["appended"], wanted);
    }
    assert_eq!(server.texts("t").await, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_row_is_named_and_rows_before_it_stay() {
    let server = serve().await;
    let rows = "{\"line\":\"a\"}\n{\"lines\":7}\n{\"line\":\"c\"}\n";
    let answer = server.ask(Method::POST, "/api/v1/tasks/t/lines", &NDJSON, rows).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "bad_line"));
    let problem = answer.json();
    assert_eq!((&problem["row"], &problem["appended"]), (&json!(1), &json!(1)));
    assert!(problem["detail"].as_str().unwrap().contains("`line`"));
    assert_eq!(server.texts("t").await, ["a"]);
    let answer = server.ask(Method::POST, "/api/v1/tasks/u/lines", &NDJSON, "no JSON\n").await;
    assert_eq!(answer.status, 400);
    assert_eq!(server.get("/api/v1/tasks/u").await.code(), "not_found", "no good line, no task");
    let huge = format!("{{\"line\":\"a\"}}\n{{\"line\":\"{}\"}}\n{{\"line\":\"c\"}}\n", "y".repeat(2 << 20));
    let answer = server.ask(Method::POST, "/api/v1/tasks/h/lines", &NDJSON, huge).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (413, "too_large"));
    let problem = answer.json();
    assert_eq!((&problem["row"], &problem["appended"]), (&json!(1), &json!(1)));
    assert!(problem["detail"].as_str().unwrap().contains("row 1 (from 0) has over 1048576 bytes"), "{problem}");
    assert_eq!(server.texts("h").await, ["a"]);
    let pdf = [("content-type", "application/pdf")];
    let answer = server.ask(Method::POST, "/api/v1/tasks/u/lines", &pdf, "a\n").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (415, "bad_content_type"));
    let long = "z".repeat(100_000);
    assert_eq!(server.append("u", &format!("{long}\nnext\n")).await.json()["appended"], 3, "two pieces and a line");
    assert_eq!(server.get("/api/v1/tasks/u/log").await.text(), format!("{long}\nnext\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_downloaded_as_text_or_ndjson() {
    let server = serve().await;
    server.append("a:b", "one\ntwo\n").await;
    let text = server.get("/api/v1/tasks/a:b/log").await;
    assert_eq!(text.text(), "one\ntwo\n");
    assert_eq!(text.headers["content-disposition"], "attachment; filename=\"task-a_b.log\"");
    assert!(server.get("/api/v1/tasks/a:b/log?timestamps=1").await.text().contains("Z two\n"));
    let rows = server.get("/api/v1/tasks/a:b/log?format=ndjson").await.text();
    let last: serde_json::Value = serde_json::from_str(rows.lines().last().unwrap()).unwrap();
    assert_eq!((&last["n"], &last["line"]), (&json!(2), &json!("two")));
    assert_eq!(server.get("/api/v1/tasks/a:b/log?format=pdf").await.code(), "bad_query");
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_listed_shown_ended_and_removed() {
    let server = serve().await;
    assert_eq!(server.end("t").await.code(), "not_found");
    server.append("t", "a").await;
    server.append("u", "a").await;
    assert_eq!(server.get("/api/v1/tasks").await.json()["tasks"].as_array().unwrap().len(), 2);
    let form = server.ask(Method::POST, "/api/v1/tasks/t/end", &[("content-type", "text/plain")], "{}").await;
    assert_eq!(form.status, 415);
    let json_type = [("content-type", "application/json")];
    let bad = server.ask(Method::POST, "/api/v1/tasks/t/end", &json_type, r#"{"exit_code":"x"}"#).await;
    assert_eq!(bad.code(), "bad_message");
    let large = server.ask(Method::POST, "/api/v1/tasks/t/end", &json_type, " ".repeat(70_000)).await;
    assert_eq!(large.status, 413);
    assert_eq!(server.end("t").await.json()["status"], "completed");
    assert_eq!(server.get("/api/v1/tasks/t").await.json()["exit_code"], 0);
    assert_eq!(server.ask(Method::DELETE, "/api/v1/tasks/t", &[], "").await.status, 204);
    assert_eq!(server.get("/api/v1/tasks/t").await.code(), "not_found");
    assert_eq!(server.ask(Method::DELETE, "/api/v1/tasks/t", &[], "").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_return_a_problem_with_the_cause() {
    let server = serve().await;
    server.append("t", "a").await;
    let cases = [
        ("/nowhere", 404, "not_found"),
        ("/api/v1/tasks/x/y", 404, "not_found"),
        ("/api/v1/tasks/a%2Fb", 400, "bad_id"),
        ("/api/v1/tasks/t/lines?limit=0", 400, "bad_query"),
        ("/api/v1/tasks/t/lines?limit=10001", 400, "bad_query"),
        ("/api/v1/tasks/t/lines?from=x", 400, "bad_query"),
        ("/api/v1/tasks/t/lines?stream=loud", 400, "bad_query"),
        ("/api/v1/tasks/t/lines?q=(", 400, "bad_query"),
        ("/api/v1/tasks/t/lines?after=7", 400, "bad_query"),
        ("/api/v1/tasks?status=odd", 400, "bad_query"),
        ("/api/v1/tasks/none/lines", 404, "not_found"),
        ("/api/v1/tasks/none/log", 404, "not_found"),
    ];
    for (path, status, code) in cases {
        let answer = server.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{path}");
    }
    for (method, path) in
        [(Method::PUT, "/api/v1/tasks/t"), (Method::POST, "/healthz"), (Method::GET, "/api/v1/tasks/t/end")]
    {
        assert_eq!(server.ask(method, path, &[], "").await.code(), "method_not_allowed", "{path}");
    }
    assert_eq!(server.ask(Method::GET, "/healthz", &[("host", "evil.example")], "").await.code(), "bad_host");
    let foreign = [("origin", "http://evil.example"), ("content-type", "text/plain")];
    assert_eq!(server.ask(Method::POST, "/api/v1/tasks/t/lines", &foreign, "x").await.code(), "bad_origin");
    assert_eq!(server.texts("t").await, ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_are_there() {
    let server = serve().await;
    assert_eq!(server.get("/healthz").await.json()["name"], "tasktail");
    let head = server.ask(Method::HEAD, "/healthz", &[], "").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    for page in ["/", "/tasks/t"] {
        let answer = server.get(page).await;
        assert!(answer.text().starts_with("<!doctype html>") || answer.text().starts_with("<!DOCTYPE html>"));
        assert!(answer.headers["content-security-policy"].to_str().unwrap().contains("default-src"));
        let known = [("if-none-match", answer.headers["etag"].to_str().unwrap())];
        assert_eq!(server.ask(Method::GET, page, &known, "").await.status, 304);
    }
    assert_eq!(server.get("/assets/task/task.js").await.headers["x-content-type-options"], "nosniff");
    assert_eq!(server.get("/assets/task/none.js").await.code(), "not_found");
    assert_eq!(server.get("/readyz").await.json()["durability"], "commit");
    server.append("t", "a\nb\n").await;
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains("tasktail_lines_received_total 2"), "{metrics}");
    let accept = [("accept", "application/openmetrics-text")];
    assert!(server.ask(Method::GET, "/metrics", &accept, "").await.text().ends_with("# EOF\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_is_refused() {
    let server = serve_with(|options| options.limits.connections_max = 1).await;
    let held = server.socket("/ws/v1/tasks/t?wait=1").await;
    assert_eq!(server.get("/healthz").await.status, 503);
    drop(held);
    server.until("a free place", || async { server.get("/healthz").await.status == 200 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_start_reports_one_line() {
    let server = serve().await;
    let reason = async |change: &dyn Fn(&mut tasktail::server::ServeOptions)| {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(&folder);
        change(&mut options);
        let error: ServeError = Server::start(options).await.expect_err("it should not start");
        let text = error.to_string();
        assert!(!text.contains('\n'), "{text}");
        text
    };
    let addr = server.server.addr().to_string();
    assert!(reason(&|options| options.listen = addr.clone()).await.contains("in use"));
    assert!(reason(&|options| options.listen = "0.0.0.0:0".to_owned()).await.contains("loopback"));
    assert!(reason(&|options| options.listen = "nonsense".to_owned()).await.contains("nonsense"));
    // A file where the folder should be: nobody can write there, whoever runs the test.
    let file = tempfile::NamedTempFile::new().unwrap();
    let blocked = file.path().join("data");
    assert!(reason(&|options| options.data = blocked.clone()).await.contains("cannot write"));
    let taken = server.folder.path().join("data");
    assert!(reason(&|options| options.data = taken.clone()).await.contains("in use"));
}
