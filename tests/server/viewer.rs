//! Viewers of a real server: WebSocket for one task and for many, SSE; late, slow, and at the end.

use std::collections::HashMap;

use crate::common::{DEADLINE, Socket, TestServer, numbered, serve, serve_with, texts, within};
use futures::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_receives_everything_in_order() {
    let server = serve().await;
    server.append("t", "a\nb\n").await;
    let mut viewer = server.socket("/ws/v1/tasks/t").await;
    let open = viewer.hear().await;
    assert_eq!((&open["type"], &open["last_line"], &open["task"]["id"]), (&json!("open"), &json!(2), &json!("t")));
    assert_eq!(texts(&viewer.hear_type("lines").await), ["a", "b"]);
    server.append("t", "c").await;
    assert_eq!(texts(&viewer.hear_type("lines").await), ["c"]);
    server.end("t").await;
    let end = viewer.hear_type("end").await;
    assert_eq!(end["task"]["status"], "completed");
    let mut again = server.socket(&format!("/ws/v1/tasks/t?after={}", end["cursor"].as_str().unwrap())).await;
    assert_eq!(again.rest().await, [], "behind the end there is nothing");
    assert_eq!(viewer.hear_or_close().await.unwrap_err().unwrap().code, CloseCode::Normal);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_starts_at_its_cursor() {
    let server = serve().await;
    server.append("t", "a\nb\nc\nd\n").await;
    server.end("t").await;
    let cursor = server.get("/api/v1/tasks/t/lines?limit=3").await.json()["cursor"].as_str().unwrap().to_owned();
    let cases = [("from=3", 3..=4), ("tail=1", 4..=4), (&format!("after={cursor}"), 4..=4), ("from=4&tail=9", 4..=4)];
    for (query, wanted) in cases {
        let got = server.socket(&format!("/ws/v1/tasks/t?{query}")).await.rest().await;
        assert_eq!(got.iter().map(|(n, _)| *n).collect::<Vec<_>>(), wanted.collect::<Vec<u64>>(), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn early_and_late_readers_get_every_event_once() {
    let server = serve().await;
    let total = 5_000;
    let write = async {
        let mut worker = server.socket("/ws/v1/worker").await;
        worker.hello().await;
        for n in 1..=total {
            worker.say(numbered("t", n, &[&n.to_string()])).await;
        }
        worker.say(json!({"type":"log_line_end","work_request_id":"t","seq":total + 1,"exit_code":0})).await;
        worker.acked(total + 1).await;
    };
    let view = async |after: u64| {
        let line = || async { server.get("/api/v1/tasks/t").await.json()["last_line"].as_u64() >= Some(after) };
        server.until("some lines", line).await;
        server.socket("/ws/v1/tasks/t?wait=1").await.rest().await
    };
    let wanted: Vec<(u64, String)> = (1..=total).map(|n| (n, n.to_string())).collect();
    let ((), early, middle, late) = tokio::join!(write, view(0), view(1_000), view(4_000));
    for got in [early, middle, late] {
        assert_eq!(got, wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_task_is_an_error_unless_waited_for() {
    let server = serve().await;
    let mut viewer = server.socket("/ws/v1/tasks/none").await;
    assert_eq!(viewer.hear().await["code"], "not_found");
    assert_eq!(viewer.hear_or_close().await.unwrap_err().unwrap().code, CloseCode::Library(4404));
    let mut viewer = server.socket("/ws/v1/tasks/later?wait=1").await;
    server.append("later", "here").await;
    assert_eq!(viewer.hear().await["type"], "open");
    assert_eq!(texts(&viewer.hear_type("lines").await), ["here"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_query_is_refused_before_the_upgrade() {
    let server = serve().await;
    let upgrade = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for (query, named) in [("from=x", "`from`"), ("after=1", "`after`"), ("wait=2", "`wait`")] {
        let answer = server.ask(Method::GET, &format!("/ws/v1/tasks/t?{query}"), &upgrade, "").await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "bad_query"));
        assert!(answer.json()["detail"].as_str().unwrap().contains(named));
    }
    assert_eq!(server.get("/ws/v1/tasks/t").await.status, 426);
    let foreign = [&upgrade[..], &[("origin", "http://evil.example")]].concat();
    assert_eq!(server.ask(Method::GET, "/ws/v1/worker", &foreign, "").await.code(), "bad_origin");
    let old = [&upgrade[..2], &[("sec-websocket-version", "8")], &upgrade[3..]].concat();
    assert_eq!(server.ask(Method::GET, "/ws/v1/worker", &old, "").await.status, 426);
    let accepted = server.open(Method::GET, "/ws/v1/tasks/t?wait=1", &upgrade, "".into()).await;
    assert_eq!(accepted.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_follows_many_tasks() {
    let server = serve().await;
    let mut viewer = server.socket("/ws/v1/follow").await;
    viewer.say_raw("nonsense".to_owned()).await;
    assert_eq!(viewer.hear().await["code"], "bad_message");
    viewer.say(json!({"type":"subscribe","task":"none"})).await;
    let error = viewer.hear().await;
    assert_eq!((&error["code"], &error["task_id"]), (&json!("not_found"), &json!("none")));
    for n in 0..20 {
        viewer.say(json!({"type":"subscribe","task":format!("t{n}"),"wait":true})).await;
    }
    for n in 0..20 {
        server.append(&format!("t{n}"), &format!("a {n}\nb {n}\n")).await;
        server.end(&format!("t{n}")).await;
    }
    let mut got: HashMap<String, Vec<String>> = HashMap::new();
    let mut ended = 0;
    while ended < 20 {
        let message = viewer.hear().await;
        let task = message["task_id"].as_str().unwrap().to_owned();
        match message["type"].as_str().unwrap() {
            "lines" => got.entry(task).or_default().extend(texts(&message)),
            "end" => ended += 1,
            _ => {}
        }
    }
    for n in 0..20 {
        assert_eq!(got[&format!("t{n}")], [format!("a {n}"), format!("b {n}")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsubscribed_task_is_silent() {
    let server = serve().await;
    server.append("a", "1").await;
    server.append("b", "1").await;
    let mut viewer = server.socket("/ws/v1/follow").await;
    viewer.say(json!({"type":"subscribe","task":"a"})).await;
    viewer.hear_type("lines").await;
    viewer.say(json!({"type":"unsubscribe","task":"a"})).await;
    viewer.say(json!({"type":"subscribe","task":"b","tail":0})).await;
    assert_eq!(viewer.hear_type("open").await["task_id"], "b");
    server.append("a", "2").await;
    server.append("b", "2").await;
    let lines = viewer.hear_type("lines").await;
    assert_eq!((&lines["task_id"], texts(&lines)), (&json!("b"), vec!["2".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_that_never_reads_costs_only_itself() {
    // Nobody is dropped in this test's time: a writer that waited for the stuck one would wait for ever.
    let server = serve_with(|options| options.limits.heartbeat = std::time::Duration::from_hours(1)).await;
    let _stuck = server.socket("/ws/v1/tasks/t?wait=1").await;
    let good = server.socket("/ws/v1/tasks/t?wait=1").await;
    let line = "x".repeat(1000);
    let write = async {
        let mut worker = server.socket("/ws/v1/worker").await;
        worker.hello().await;
        for batch in 0..100 {
            worker.say(numbered("t", batch * 200 + 1, &vec![line.as_str(); 200])).await;
        }
        worker.say(json!({"type":"log_line_end","work_request_id":"t","seq":20_001,"exit_code":0})).await;
        worker.acked(20_001).await;
    };
    let read = async {
        let mut good: Socket = good;
        assert_eq!(good.rest().await.len(), 20_000);
    };
    tokio::join!(write, read);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_peer_is_dropped_and_a_living_one_is_not() {
    let server = serve_with(|options| options.limits.heartbeat = std::time::Duration::from_millis(100)).await;
    server.append("t", "a").await;
    let mut living = server.socket("/ws/v1/tasks/t").await;
    // One that never reads never answers a ping.
    let _silent = server.socket("/ws/v1/tasks/t").await;
    let dropped = || async { server.get("/metrics").await.text().contains("tasktail_peers_dropped_total 1") };
    let wait = server.until("one peer dropped", dropped);
    let live = async { while living.hear_type("lines").await["type"] != "end" {} };
    tokio::select! { () = wait => {}, () = live => {} }
    server.append("t", "b").await;
    assert_eq!(texts(&living.hear_type("lines").await), ["b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewers_ping_is_answered_and_its_large_message_is_nothing() {
    let server = serve().await;
    let mut viewer = server.socket("/ws/v1/tasks/t?wait=1").await;
    viewer.say_raw("x".repeat(3 << 20)).await;
    viewer.inner.send(Message::Ping("p".into())).await.unwrap();
    assert_eq!(within("a pong", viewer.inner.next()).await.unwrap().unwrap(), Message::Pong("p".into()));
}

/// Reads events until `end`: (event, id, data).
async fn events(server: &TestServer, path: &str, headers: &[(&str, &str)]) -> Vec<(String, String, Value)> {
    let answer = server.open(Method::GET, path, headers, "".into()).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    assert_eq!(answer.headers()["x-accel-buffering"], "no");
    let body = within("the stream's end", answer.into_body().collect()).await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let blocks = text.split("\n\n").filter(|block| !block.is_empty() && !block.starts_with(':'));
    let field = |block: &str, name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default().to_owned()
    };
    let event = |block: &str| {
        let data = serde_json::from_str(&field(block, "data")).unwrap();
        (field(block, "event"), field(block, "id"), data)
    };
    blocks.map(event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn server_sent_events_resume_where_they_broke() {
    let server = serve().await;
    server.append("t", "a\rb\nc\n[3 messages skipped]\nd\n").await;
    server.end("t").await;
    let all = events(&server, "/api/v1/tasks/t/stream", &[]).await;
    let lines: Vec<&str> = all.iter().filter_map(|(_, _, data)| data["line"].as_str()).collect();
    assert_eq!(lines, ["a\rb", "c", "[3 messages skipped]", "d"], "a carriage return does not tear an event");
    assert_eq!(all.last().unwrap().0, "end");
    assert_eq!(all[0].2["n"], 1);
    let path = format!("/api/v1/tasks/t/stream?after={}", all[0].1);
    let rest = events(&server, &path, &[("last-event-id", &all[1].1)]).await;
    // The task's facts in `end` may differ: the log is sealed meanwhile.
    assert_eq!(rest[..2], all[2..4], "Last-Event-ID beats after");
    assert_eq!((rest.len(), rest[2].0.as_str(), &rest[2].1), (3, "end", &all[4].1));
    assert_eq!(server.get("/api/v1/tasks/none/stream").await.code(), "not_found");
    let bad = server.ask(Method::GET, "/api/v1/tasks/t/stream", &[("last-event-id", "7")], "").await;
    assert_eq!(bad.code(), "bad_cursor");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_line_is_followed_by_its_gap() {
    let server = serve().await;
    let mut worker = server.socket("/ws/v1/worker").await;
    let marker = json!({"line":"[7 messages skipped]","stream":"internal","timestamp":"2026-05-09T14:23:01Z"});
    let lines = json!([crate::common::timed("a"), marker, crate::common::timed("b")]);
    worker.say(json!({"type":"log_lines","work_request_id":"t","first_seq":1,"lines":lines})).await;
    worker.acked(3).await;
    let mut viewer = server.socket("/ws/v1/tasks/t").await;
    let first = viewer.hear_type("lines").await;
    assert_eq!(texts(&first), ["a", "[7 messages skipped]"]);
    let gap = viewer.hear().await;
    let wanted =
        json!({"type":"gap","from":2,"to":2,"reason":"skipped","count":7,"marked":true,"cursor":first["cursor"]});
    assert_eq!(gap, wanted);
    assert_eq!(texts(&viewer.hear().await), ["b"]);
    let gaps = server.get("/api/v1/tasks/t/lines").await.json()["gaps"].clone();
    assert_eq!(gaps, json!([{"from":2,"to":2,"reason":"skipped","count":7,"marked":true}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_closes_everything_in_order_and_in_time() {
    let server = serve().await;
    server.append("t", "a").await;
    let mut viewer = server.socket("/ws/v1/tasks/t").await;
    viewer.hear_type("lines").await;
    let mut many = server.socket("/ws/v1/follow").await;
    many.say(json!({"type":"subscribe","task":"t"})).await;
    many.hear_type("lines").await;
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.hello().await;
    worker.say(numbered("t", 1, &["b"])).await;
    worker.acked(1).await;
    let stream = server.open(Method::GET, "/api/v1/tasks/t/stream", &[], "".into()).await;
    let _stuck = server.socket("/ws/v1/tasks/t").await;
    let TestServer { server, folder, home: _home } = server;
    assert!(folder.path().join("data/server.json").exists());
    let begun = std::time::Instant::now();
    let end = async { server.shutdown().await.unwrap() };
    let watch = async {
        for socket in [&mut viewer, &mut many, &mut worker] {
            let close = loop {
                match socket.hear_or_close().await {
                    Ok(_) => {}
                    Err(close) => break close,
                }
            };
            assert_eq!(close.unwrap().code, CloseCode::Away);
        }
        within("the stream's end", stream.into_body().collect()).await.unwrap();
    };
    within("the shutdown", async { tokio::join!(end, watch) }).await;
    assert!(begun.elapsed().as_secs() < 5 && DEADLINE.as_secs() > 5);
    assert!(!folder.path().join("data/server.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_of_a_removed_task_are_notified() {
    let server = serve().await;
    server.append("t", "a").await;
    let mut viewer = server.socket("/ws/v1/tasks/t").await;
    viewer.hear_type("lines").await;
    let mut many = server.socket("/ws/v1/follow").await;
    many.say(json!({"type":"subscribe","task":"t"})).await;
    many.hear_type("lines").await;
    assert_eq!(server.ask(Method::DELETE, "/api/v1/tasks/t", &[], "").await.status, 204);
    assert_eq!(viewer.hear_type("error").await["code"], "removed");
    assert_eq!(viewer.hear_or_close().await.unwrap_err().unwrap().code, CloseCode::Library(4404));
    let error = many.hear_type("error").await;
    assert_eq!((&error["task_id"], &error["code"]), (&json!("t"), &json!("removed")));
    server.append("u", "b").await;
    many.say(json!({"type":"subscribe","task":"u"})).await;
    assert_eq!(texts(&many.hear_type("lines").await), ["b"], "the connection goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_of_events_has_comments() {
    let server = serve_with(|options| options.limits.heartbeat = std::time::Duration::from_millis(20)).await;
    server.append("t", "a").await;
    let mut stream = server.open(Method::GET, "/api/v1/tasks/t/stream", &[], "".into()).await.into_body();
    let mut text = String::new();
    while text.matches("\n:\n").count() < 3 {
        let frame = within("a comment", stream.frame()).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    assert!(text.contains("data: {\"n\":1,"), "{text}");
}
