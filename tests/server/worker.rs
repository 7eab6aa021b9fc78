//! The worker protocol over a real server: what is answered, what is kept, what a fault costs.

use std::time::Duration;

use crate::common::{Socket, TestServer, numbered, plain, serve, serve_with, timed, within};
use futures::{SinkExt, StreamExt};
use hyper::Method;
use serde_json::{Value, json};
use tasktail::model::{Channel, Timestamp};
use tasktail::wire::worker::block::{BlockEncoder, BlockEncoding};
use tokio_tungstenite::tungstenite::Message;

/// The marker of one line that could not be stored.
const LOST: &str = "[1 messages lost in transit]";

#[tokio::test(flavor = "multi_thread")]
async fn hello_start_lines_and_end_are_answered() {
    let server = serve().await;
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.say(json!({"type":"hello","protocol":1,"worker":"w"})).await;
    let features = ["log_block", "partial"];
    let welcome = json!({"type":"welcome","protocol":1,"heartbeat_s":15,"line_bytes_max":65536,"features":features});
    assert_eq!(worker.hear().await, welcome);
    worker.say(json!({"type":"task_start","work_request_id":42,"session":"s","command":["make","-j8"]})).await;
    let resume = json!({"type":"resume","work_request_id":42,"session":"s","acked_seq":0});
    assert_eq!(worker.hear().await, resume);
    let lines = json!({"type":"log_lines","work_request_id":42,"first_seq":1,"lines":[timed("a"),timed("b")]});
    worker.say(lines).await;
    assert_eq!(worker.hear().await, json!({"type":"ack","work_request_id":42,"seq":2}));
    let end = json!({"type":"log_line_end","work_request_id":42,"seq":3,"exit_code":0});
    worker.say(end.clone()).await;
    assert_eq!(worker.hear().await, json!({"type":"ack","work_request_id":42,"seq":3}));
    worker.say(end).await;
    assert_eq!(worker.hear().await["type"], "ack", "a repeated end with its number is acked again");
    assert_eq!(server.texts("42").await, ["a", "b"]);
    let task = server.get("/api/v1/tasks/42").await.json();
    assert_eq!((&task["status"], &task["command"][0]), (&json!("completed"), &json!("make")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_the_blueprint_alone_is_kept_and_never_answered() {
    let server = serve().await;
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.say(plain(42, "one")).await;
    worker.say_raw("{not json".to_owned()).await;
    worker.say(plain(42, "two")).await;
    worker.say(json!({"type":"log_line_end","work_request_id":42,"exit_code":3})).await;
    worker.say(plain(42, "too late")).await;
    finish(&mut worker).await;
    ended(&server, "42").await;
    let texts = server.texts("42").await;
    assert_eq!([&texts[0], &texts[1], &texts[3]], ["one", LOST, "two"], "what was not read is marked");
    assert!(texts[2].contains("not JSON") && texts.len() == 4, "{texts:?}");
    assert_eq!(server.get("/api/v1/tasks/42").await.json()["exit_code"], 3);
}

/// Closes and reads what still comes: for a worker of the blueprint that is nothing.
async fn finish(worker: &mut Socket) {
    worker.inner.close(None).await.unwrap();
    while let Some(Ok(message)) = within("the close", worker.inner.next()).await {
        assert!(message.is_close(), "{message}");
    }
}

async fn ended(server: &TestServer, task: &str) {
    server
        .until("the end", || async {
            let answer = server.get(&format!("/api/v1/tasks/{task}")).await;
            answer.status == 200 && answer.json()["status"] == "completed"
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_are_dropped_and_holes_are_shown() {
    let server = serve().await;
    for _ in 0..2 {
        let mut worker = server.socket("/ws/v1/worker").await;
        worker.hello().await;
        worker.say(json!({"type":"task_start","work_request_id":"t","session":"s","command":[]})).await;
        worker.hear_type("resume").await;
        worker.say(numbered("t", 1, &["a", "b"])).await;
        worker.say(numbered("t", 2, &["b", "c"])).await;
        worker.acked(3).await;
    }
    assert_eq!(server.texts("t").await, ["a", "b", "c"]);
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.say(json!({"type":"task_start","work_request_id":"t","session":"s","command":[]})).await;
    assert_eq!(worker.hear_type("resume").await["acked_seq"], 3);
    worker.say(numbered("t", 6, &["f"])).await;
    worker.acked(6).await;
    assert_eq!(server.texts("t").await, ["a", "b", "c", "[2 messages lost in transit]", "f"]);
    let mut viewer = server.socket("/ws/v1/tasks/t").await;
    let gap = viewer.hear_type("gap").await;
    assert_eq!((&gap["from"], &gap["reason"]), (&json!(4), &json!("lost_in_transit")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_message_costs_only_itself() {
    let server = serve().await;
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.hello().await;
    let long_id = "x".repeat(200);
    let cases = [
        ("{oops".to_owned(), "bad_json", "JSON", LOST),
        (r#"{"type":"shout","work_request_id":"t"}"#.to_owned(), "unknown_type", "`type`", ""),
        (r#"{"type":"log_line","work_request_id":"t"}"#.to_owned(), "bad_line", "`line`", LOST),
        (r#"{"type":"log_line","work_request_id":"t","line":7}"#.to_owned(), "bad_line", "`line`", "7"),
        (plain("", "x").to_string(), "bad_message", "`work_request_id`", LOST),
        (plain("a/b", "x").to_string(), "bad_message", "`work_request_id`", LOST),
        (plain(long_id, "x").to_string(), "bad_message", "`work_request_id`", LOST),
        (plain("t", "nul \0").to_string(), "bad_line", "`line`", "nul \u{fffd}"),
        (plain("t", &"y".repeat(2 << 20)).to_string(), "too_large", "1048576", LOST),
        (plain("t", &"z".repeat(100 << 20)).to_string(), "too_large", "1048576", LOST),
    ];
    let mut wanted = Vec::new();
    for (index, (message, code, named, kept)) in cases.into_iter().enumerate() {
        worker.say(plain("t", &format!("before {index}"))).await;
        worker.say_raw(message).await;
        worker.say(plain("t", &format!("after {index}"))).await;
        let error = worker.hear_type("error").await;
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().unwrap().contains(named), "{error}");
        wanted.extend([format!("before {index}"), kept.to_owned(), format!("after {index}")]);
    }
    worker.say(json!({"type":"log_line_end","work_request_id":"t","exit_code":0})).await;
    ended(&server, "t").await;
    let mut texts = server.texts("t").await;
    let explained = texts.len();
    texts.retain(|text| !text.starts_with("tasktail: "));
    wanted.retain(|text| !text.is_empty());
    assert_eq!(texts, wanted);
    assert_eq!(explained - texts.len(), 8, "each marker is explained, and the missing time is noted");
    let task = server.get("/api/v1/tasks/t").await.json();
    assert_eq!(task["integrity"]["missing_lines"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_cannot_be_stored_as_sent_is_kept_as_well_as_it_can_be() {
    let server = serve().await;
    let mut worker = server.socket("/ws/v1/worker").await;
    let odd = r#"{"type":"log_line","work_request_id":4242,"line":"compiling caf\udce9.c","timestamp":"2026-11-30T10:00:00+00:00","stream":"stdout"}"#;
    worker.say(plain(4242, "before")).await;
    worker.say_raw(odd.to_owned()).await;
    worker.say(plain(4242, "nul \0 inside")).await;
    worker.say(plain(4242, "Traceback:\n  main()\nValueError: bad\n")).await;
    worker.say(plain(4242, "after")).await;
    worker.say(json!({"type":"log_line_end","work_request_id":4242,"exit_code":0})).await;
    ended(&server, "4242").await;
    let page = server.get("/api/v1/tasks/4242/lines").await.json();
    let lines: Vec<(&str, bool)> = page["lines"].as_array().unwrap().iter().map(text_and_lossy).collect();
    let wanted = [
        ("before", false),
        ("compiling caf\u{fffd}.c", true),
        ("nul \u{fffd} inside", true),
        ("Traceback:", false),
        ("  main()", false),
        ("ValueError: bad", false),
        ("after", false),
    ];
    assert_eq!(lines, wanted);
}

fn text_and_lossy(line: &Value) -> (&str, bool) {
    (line["line"].as_str().unwrap(), line["lossy"] == true)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_stay_exact_around_a_bad_line() {
    let server = serve().await;
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.hello().await;
    worker.say(json!({"type":"task_start","work_request_id":"t","session":"s","command":[]})).await;
    let batch = r#"{"type":"log_lines","work_request_id":"t","first_seq":1,"lines":[
        {"line":"one","timestamp":"2026-11-30T10:00:00Z"},{"line":"\udce9","timestamp":"2026-11-30T10:00:00Z"},
        {"stream":"stdout"},{"line":"two\nparts","timestamp":"2026-11-30T10:00:00Z","stream":"loud"}]}"#;
    for _ in 0..2 {
        worker.say_raw(batch.to_owned()).await;
    }
    worker.say(numbered("t", 5, &["five"])).await;
    worker.acked(5).await;
    worker.say(json!({"type":"log_line_end","work_request_id":"t","seq":6,"exit_code":0,"count":5})).await;
    worker.acked(6).await;
    let texts = server.texts("t").await;
    assert_eq!(texts.len(), 7, "{texts:?}");
    assert_eq!(texts[..3], ["one", "\u{fffd}", LOST]);
    assert!(texts[3].contains("`lines[2].line` is missing"), "{texts:?}");
    assert_eq!(texts[4..], ["two", "parts", "five"]);
    let task = server.get("/api/v1/tasks/t").await.json();
    assert_eq!((&task["integrity"]["state"], &task["integrity"]["missing_lines"]), (&json!("incomplete"), &json!(1)));
}

/// Returns a block of lines, numbered from `first_seq`.
fn block(task: &str, first_seq: u64, texts: &[&str], encoding: BlockEncoding) -> Message {
    let mut encoder = BlockEncoder::new(encoding);
    for text in texts {
        encoder.push(Channel::Stderr, Timestamp::from_millis(1_778_336_581_000), text, false, false);
    }
    Message::binary(encoder.finish(&task.parse().unwrap(), first_seq))
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_follow_the_rules_of_single_lines() {
    let server = serve().await;
    for encoding in [BlockEncoding::Raw, BlockEncoding::Zstd] {
        let mut worker = server.socket("/ws/v1/worker").await;
        worker.hello().await;
        worker.say(json!({"type":"task_start","work_request_id":"t","session":"s","command":[]})).await;
        worker.hear_type("resume").await;
        worker.inner.send(block("t", 1, &["one", "two"], encoding)).await.unwrap();
        worker.say(numbered("t", 3, &["three"])).await;
        worker.inner.send(block("t", 3, &["three", "four"], encoding)).await.unwrap();
        worker.acked(4).await;
    }
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.hello().await;
    worker.say(json!({"type":"task_start","work_request_id":"t","session":"s","command":[]})).await;
    assert_eq!(worker.hear_type("resume").await["acked_seq"], 4);
    worker.inner.send(Message::binary(b"\xb1\x01\x02{}".to_vec())).await.unwrap();
    assert_eq!(worker.hear_type("error").await["code"], "bad_block");
    worker.inner.send(block("t", 7, &["seven"], BlockEncoding::Raw)).await.unwrap();
    worker.acked(7).await;
    assert_eq!(server.texts("t").await, ["one", "two", "three", "four", "[2 messages lost in transit]", "seven"]);
    let lines = server.get("/api/v1/tasks/t/lines?limit=3").await.json();
    let streams: Vec<&str> = lines["lines"].as_array().unwrap().iter().map(|l| l["stream"].as_str().unwrap()).collect();
    assert_eq!(streams, ["stderr", "stderr", "stdout"]);
    assert_eq!(lines["lines"][0]["timestamp"], "2026-05-09T14:23:01.000Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_time_is_noted_once() {
    let server = serve().await;
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.say(json!({"type":"log_line","work_request_id":"t","line":"a"})).await;
    worker.say(json!({"type":"log_line","work_request_id":"t","line":"b","timestamp":"noon"})).await;
    worker.say(json!({"type":"log_line_end","work_request_id":"t","exit_code":0})).await;
    ended(&server, "t").await;
    let lines = server.get("/api/v1/tasks/t/lines").await.json();
    let of = |n: usize, field: &str| lines["lines"][n][field].as_str().unwrap().to_owned();
    assert_eq!((of(0, "line").as_str(), of(2, "line").as_str()), ("a", "b"));
    assert_eq!(of(1, "stream"), "internal");
    assert!(of(1, "line").contains("without an RFC 3339 timestamp"));
    assert_eq!(lines["lines"].as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_end_wins_and_later_lines_are_refused_aloud() {
    let server = serve().await;
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.hello().await;
    worker.say(plain("t", "a")).await;
    worker.say(json!({"type":"log_line_end","work_request_id":"t","exit_code":1})).await;
    worker.say(json!({"type":"log_line_end","work_request_id":"t","exit_code":2})).await;
    assert_eq!(worker.hear_type("error").await["code"], "task_ended");
    worker.say(plain("t", "late")).await;
    let error = worker.hear_type("error").await;
    assert_eq!((&error["code"], &error["work_request_id"]), (&json!("task_ended"), &json!("t")));
    assert_eq!(server.get("/api/v1/tasks/t").await.json()["exit_code"], 1);
    assert_eq!(server.texts("t").await, ["a"]);
    assert_eq!(server.append("t", "later\n").await.code(), "task_ended");
    assert_eq!(server.end("t").await.status, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_of_one_task_make_one_order() {
    let server = serve().await;
    let send = async |name: &'static str| {
        let mut worker = server.socket("/ws/v1/worker").await;
        worker.say(json!({"type":"task_start","work_request_id":"t","session":name,"command":[]})).await;
        for seq in 1..=200 {
            worker.say(numbered("t", seq, &[&format!("{name} {seq}")])).await;
        }
        worker.acked(200).await;
    };
    tokio::join!(send("a"), send("b"));
    let texts = server.texts("t").await;
    assert_eq!(texts.len(), 400);
    for name in ["a", "b"] {
        let own: Vec<&String> = texts.iter().filter(|text| text.starts_with(name)).collect();
        let wanted: Vec<String> = (1..=200).map(|seq| format!("{name} {seq}")).collect();
        assert_eq!(own, wanted.iter().collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_line_is_cut_whether_numbered_or_not() {
    let server = serve().await;
    let mut worker = server.socket("/ws/v1/worker").await;
    let long = "ü".repeat(50_000);
    worker.say(plain("t", &long)).await;
    worker.say(numbered("t", 1, &[&long, "next"])).await;
    worker.acked(2).await;
    let lines = server.get("/api/v1/tasks/t/lines").await.json();
    let partial: Vec<bool> = lines["lines"].as_array().unwrap().iter().map(|l| l["partial"] == true).collect();
    assert_eq!(partial, [true, false, true, false, false]);
    let text = server.get("/api/v1/tasks/t/log").await.text();
    assert_eq!(text, format!("{long}\n{long}\nnext\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_without_its_worker_is_lost_and_can_resume() {
    let server = serve_with(|options| options.limits.worker_grace = Duration::from_millis(50)).await;
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.say(numbered("t", 1, &["a"])).await;
    worker.acked(1).await;
    drop(worker);
    let status = async |wanted: &str| server.get("/api/v1/tasks/t").await.json()["status"] == wanted;
    server.until("lost", || status("lost")).await;
    assert_eq!(server.texts("t").await[0], "a");
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.say(numbered("t", 1, &["b"])).await;
    worker.acked(1).await;
    server.until("running", || status("running")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_worker_is_acked_and_every_line_is_there() {
    let server = serve().await;
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.hello().await;
    let texts: Vec<String> = (0..500).map(|n| format!("line {n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for batch in 0..40 {
        worker.say(numbered("t", batch * 500 + 1, &texts)).await;
    }
    worker.acked(20_000).await;
    assert_eq!(server.get("/api/v1/tasks/t").await.json()["lines"], 20_000);
}

/// Starts an attempt of `n` in a session, and returns the answer.
async fn attempt(server: &TestServer, session: &str, mode: &str) -> (Socket, Value) {
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.hello().await;
    let start = json!({"type":"task_start","work_request_id":"n","session":session,"attempt":mode});
    worker.say(start).await;
    let answer = worker.hear_type("resume").await;
    (worker, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_can_ask_for_a_log_of_its_own() {
    let server = serve().await;
    let (mut first, answer) = attempt(&server, "s1", "new").await;
    assert!(answer.get("task").is_none(), "{answer}");
    let (mut second, answer) = attempt(&server, "s2", "new").await;
    assert_eq!((&answer["work_request_id"], &answer["task"]), (&json!("n"), &json!("n.2")), "the first is in use");
    let line = |text: &str| json!({"type":"log_line","work_request_id":"n","seq":1,"line":text,"stream":"stdout"});
    for (worker, text) in [(&mut first, "one"), (&mut second, "two")] {
        worker.say(line(text)).await;
        assert_eq!(worker.hear_type("ack").await["work_request_id"], "n");
    }
    drop((first, second));
    // The same session gets the same log, whatever has happened since.
    let (_third, answer) = attempt(&server, "s3", "new").await;
    assert_eq!(answer["task"], "n.3");
    for (session, task) in [("s1", None), ("s2", Some("n.2")), ("s3", Some("n.3"))] {
        let (_worker, answer) = attempt(&server, session, "new").await;
        assert_eq!(answer.get("task").and_then(Value::as_str), task);
        assert_eq!(answer["acked_seq"], u64::from(session != "s3"));
    }
    assert!(server.texts("n.1").await.contains(&"one".to_owned()));
    assert!(server.texts("n.2").await.contains(&"two".to_owned()));
    assert_eq!(server.get("/api/v1/tasks/n").await.json()["id"], "n.3");
    // Lines over HTTP reach the newest one, and the end of it leaves the others.
    server.append("n", "more\n").await;
    assert!(server.texts("n.3").await.contains(&"more".to_owned()));
    server.end("n").await;
    assert_eq!(server.get("/api/v1/tasks/n.2").await.json()["status"], "running");
    // A deletion is of one exact log.
    for (id, status) in [("n.1", 204), ("n.1", 404), ("n", 404), ("n.2", 204), ("n.3", 204)] {
        let answer = server.ask(Method::DELETE, &format!("/api/v1/tasks/{id}"), &[], String::new()).await;
        assert_eq!(answer.status, status, "{id}");
    }
    let mut bad = server.socket("/ws/v1/worker").await;
    bad.hello().await;
    bad.say(json!({"type":"task_start","work_request_id":"n","session":"s","attempt":"old"})).await;
    let error = bad.hear_type("error").await;
    assert!(error["message"].as_str().unwrap().contains("`attempt` must be new or replace"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_worker_that_reads_no_errors_are_kept_in_a_new_log() {
    let server = serve().await;
    let mut worker = server.socket("/ws/v1/worker").await;
    worker.say(plain("42", "a")).await;
    worker.say(json!({"type":"log_line_end","work_request_id":"42","exit_code":0})).await;
    ended(&server, "42").await;
    let mut again = server.socket("/ws/v1/worker").await;
    again.say(plain("42", "b")).await;
    again.say(json!({"type":"log_line_end","work_request_id":"42","exit_code":1})).await;
    ended(&server, "42.2").await;
    // A second end is no log.
    again.say(json!({"type":"log_line_end","work_request_id":"42","exit_code":2})).await;
    again.say(plain("other", "x")).await;
    let other = || async { server.get("/api/v1/tasks/other").await.status == 200 };
    server.until("the later task is there", other).await;
    assert_eq!(server.get("/api/v1/tasks/42.3").await.status, 404);
    assert_eq!(server.get("/api/v1/tasks/42").await.json()["exit_code"], 1);
    assert!(server.texts("42.1").await.contains(&"a".to_owned()) && server.texts("42").await.contains(&"b".to_owned()));
}
