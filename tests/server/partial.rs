//! The current unterminated line: shown to the viewers that ask for it, replaced by the finished line, never stored.

use crate::common::{Socket, TestServer, serve, texts, timed, within};
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::{Value, json};

/// Starts a worker of the task `t`.
async fn worker(server: &TestServer) -> Socket {
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.hello().await;
    worker.say(json!({"type":"task_start","work_request_id":"t","session":"s","command":["job"]})).await;
    worker.hear_type("resume").await;
    worker
}

fn partial(stream: &str, line: &str) -> Value {
    json!({"type":"partial","work_request_id":"t","stream":stream,"line":line,"timestamp":"2026-05-09T14:23:01Z"})
}

/// Waits for the partial line that a viewer shows next, as its stream and text.
async fn shown(viewer: &mut Socket) -> (String, String) {
    let line = viewer.hear_type("partial").await["line"].take();
    assert!(line.get("n").is_none() && line.get("id").is_none(), "{line}");
    (line["stream"].as_str().unwrap().to_owned(), line["line"].as_str().unwrap().to_owned())
}

fn of(stream: &str, line: &str) -> (String, String) {
    (stream.to_owned(), line.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_line_is_shown_and_replaced() {
    let server = serve().await;
    let mut worker = worker(&server).await;
    let mut viewer = server.socket("/ws/v1/tasks/t?partial=1").await;
    let mut plain = server.socket("/ws/v1/tasks/t").await;
    viewer.hear_type("open").await;
    worker.say(partial("stdout", " 10 %|#")).await;
    assert_eq!(shown(&mut viewer).await, of("stdout", " 10 %|#"));
    worker.say(partial("stderr", "Password: ")).await;
    assert_eq!(shown(&mut viewer).await, of("stderr", "Password: "));
    let line = json!({"type":"log_lines","work_request_id":"t","first_seq":1,"lines":[timed("100 %|####")]});
    worker.say(line).await;
    assert_eq!(texts(&viewer.hear_type("lines").await), ["100 %|####"]);
    // The lines replaced both at the viewer; what still stands is sent again.
    assert_eq!(shown(&mut viewer).await, of("stderr", "Password: "));
    worker.say(partial("stderr", "")).await;
    assert_eq!(shown(&mut viewer).await, of("stderr", ""));
    worker.say(json!({"type":"log_line_end","work_request_id":"t","seq":2,"exit_code":0})).await;
    assert_eq!(viewer.hear().await["type"], "end", "nothing is shown after the last line");
    assert_eq!(plain.rest().await, [(1, "100 %|####".to_owned())]);
    assert_eq!(server.get("/api/v1/tasks/t").await.json()["lines"], 1);
    assert_eq!(server.texts("t").await, ["100 %|####"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_viewer_sees_the_newest_and_the_end_of_the_worker_removes_it() {
    let server = serve().await;
    let mut worker = worker(&server).await;
    for percent in 0..50 {
        worker.say(partial("stdout", &format!("{percent} %"))).await;
    }
    worker.say(json!({"type":"log_lines","work_request_id":"t","first_seq":1,"lines":[timed("one")]})).await;
    worker.say(partial("stdout", "99 %")).await;
    worker.acked(1).await;
    let mut viewer = server.socket("/ws/v1/tasks/t?partial=1").await;
    let mut many = server.socket("/ws/v1/follow?partial=1").await;
    many.say(json!({"type":"subscribe","task":"t"})).await;
    assert_eq!(texts(&viewer.hear_type("lines").await), ["one"]);
    assert_eq!(shown(&mut viewer).await, of("stdout", "99 %"));
    let message = many.hear_type("partial").await;
    assert_eq!((&message["task_id"], &message["line"]["line"]), (&json!("t"), &json!("99 %")));
    drop(worker);
    assert_eq!(shown(&mut viewer).await, of("stdout", ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_line_is_an_event_without_an_id() {
    let server = serve().await;
    let mut worker = worker(&server).await;
    worker.say(json!({"type":"log_lines","work_request_id":"t","first_seq":1,"lines":[timed("one")]})).await;
    worker.acked(1).await;
    worker.say(partial("stdout", "half")).await;
    let mut stream = server.open(Method::GET, "/api/v1/tasks/t/stream?partial=1", &[], "".into()).await.into_body();
    let mut heard = String::new();
    while !heard.contains("\"half\"") {
        let frame = within("the event", stream.frame()).await.unwrap().unwrap();
        heard.push_str(&String::from_utf8_lossy(frame.data_ref().unwrap()));
    }
    let event = heard.split("\n\n").find(|event| event.contains("half")).unwrap();
    let data = event.strip_prefix("event: partial\ndata: ").unwrap_or_else(|| panic!("{event}"));
    let line: Value = serde_json::from_str(data).unwrap();
    assert_eq!(line, json!({"timestamp":"2026-05-09T14:23:01.000Z","stream":"stdout","line":"half"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_partial_lines_is_paced_for_a_viewer() {
    let server = serve().await;
    let mut worker = worker(&server).await;
    let mut viewer = server.socket("/ws/v1/tasks/t?partial=1").await;
    viewer.hear_type("open").await;
    let begun = std::time::Instant::now();
    for n in 1..=2_000 {
        worker.say(partial("stdout", &n.to_string())).await;
    }
    let mut count = 0;
    while shown(&mut viewer).await.1 != "2000" {
        count += 1;
    }
    let most = begun.elapsed().as_millis() / 100 + 2;
    assert!(count <= most, "{count} messages in {:?}", begun.elapsed());
}
