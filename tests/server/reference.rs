//! The reference page of the guide: every request and message in it is exchanged with a real server.
//!
//! Blocks are used in their order. An `http` block is a request, and the block after it is the answer, with the
//! status in its first line. A `ws` block is a conversation over a new WebSocket,
//! whose path is in its first line; `>b` is a binary message in hexadecimal.

use std::path::Path;
use std::process::Stdio;

use crate::common::{Answer, TestServer, serve, within};
use crate::openapi::Exchanges;
use futures::SinkExt;
use hyper::Method;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio_tungstenite::tungstenite::Message;

/// Returns the reference page.
fn reference() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/reference.md")).unwrap()
}

/// Names of members whose values differ between servers.
const VOLATILE: [&str; 24] = [
    "instance",
    "id",
    "last_id",
    "cursor",
    "timestamp",
    "created",
    "started",
    "ended",
    "epoch",
    "sha256",
    "url",
    "expires",
    "bytes",
    "version",
    "message",
    "reason",
    "last",
    "detail",
    "hash",
    "lines_per_s",
    "received_utc",
    "source_seq",
    "updated",
    "next",
];

/// A fenced block: its language, the rest of its first line, and its text.
struct Block<'a> {
    language: &'a str,
    argument: &'a str,
    text: &'a str,
    line: usize,
}

/// Returns the fenced blocks of a page that have a language.
fn blocks(page: &str) -> Vec<Block<'_>> {
    let (mut blocks, mut open, mut offset) = (Vec::new(), None, 0);
    for (index, line) in page.split_inclusive('\n').enumerate() {
        let end = offset + line.len();
        if let Some(info) = line.trim_end().strip_prefix("```") {
            open = match open {
                None => Some((info, end, index + 1)),
                Some((info, start, at)) => {
                    let (language, argument) = info.split_once(' ').unwrap_or((info, ""));
                    blocks.push(Block { language, argument, text: &page[start..offset], line: at });
                    None
                }
            };
        }
        offset = end;
    }
    blocks
}

/// Asserts that `real` has the shape of `shown`: the same members, and equal values except for volatile ones.
fn assert_shape(shown: &Value, real: &Value, name: &str, at: &str) {
    match (shown, real) {
        (Value::Object(shown), Value::Object(members)) => {
            // `{"id":"44"}` stands for a whole task.
            let abbreviated = name == "task" && shown.len() == 1;
            for (name, value) in shown {
                let member = members.get(name).unwrap_or_else(|| panic!("{at}: no member `{name}` in {real}"));
                assert_shape(value, member, name, &format!("{at}.{name}"));
            }
            let unknown: Vec<&String> = members.keys().filter(|name| !shown.contains_key(*name)).collect();
            assert!(abbreviated || unknown.is_empty(), "{at}: the reference lacks {unknown:?} of {real}");
        }
        (Value::Array(shown), Value::Array(items)) if name == "hops" => {
            assert_shape(&keys_of(&shown[0]), &keys_of(&items[0]), "", at);
        }
        (Value::Array(shown), Value::Array(items)) => {
            assert_eq!(shown.len(), items.len(), "{at}: {real}");
            for (index, (shown, item)) in shown.iter().zip(items).enumerate() {
                assert_shape(shown, item, name, &format!("{at}[{index}]"));
            }
        }
        _ if VOLATILE.contains(&name) => {
            let same = shown.is_string() == real.is_string() && shown.is_number() == real.is_number();
            assert!(same, "{at}: {real} instead of {shown}");
        }
        _ => assert_eq!(real, shown, "{at}"),
    }
}

/// Returns an object's members, all null.
fn keys_of(object: &Value) -> Value {
    object.as_object().unwrap().keys().map(|name| (name.clone(), Value::Null)).collect::<serde_json::Map<_, _>>().into()
}

/// Sends the request of an `http` block.
async fn request(server: &TestServer, block: &Block<'_>, exchanges: &mut Exchanges) -> Answer {
    let (head, body) = block.text.split_once("\n\n").unwrap_or((block.text, ""));
    let mut lines = head.lines();
    let (method, path) = lines.next().unwrap().split_once(' ').unwrap();
    let headers: Vec<(&str, &str)> = lines.map(|line| line.split_once(": ").unwrap()).collect();
    let answer = server.ask(method.parse::<Method>().unwrap(), path, &headers, body.to_owned()).await;
    exchanges.answer(method, path, &answer, block.line);
    answer
}

/// Compares an answer with the block that shows it.
fn compare(answer: &Answer, shown: &Block<'_>, at: &str) {
    let status: u16 = shown.argument.trim().parse().unwrap();
    assert_eq!(answer.status, status, "{at}: {}", answer.text());
    match shown.language {
        "json" if shown.text.is_empty() => assert!(answer.body.is_empty(), "{at}: {}", answer.text()),
        "json" => assert_shape(&serde_json::from_str(shown.text).unwrap(), &answer.json(), "", at),
        "text" => assert_eq!(answer.text(), shown.text, "{at}"),
        "ndjson" => {
            let row = |row: &str| serde_json::from_str::<Value>(row).unwrap();
            let rows = |text: &str| Value::Array(text.lines().map(row).collect());
            assert_shape(&rows(shown.text), &rows(&answer.text()), "", at);
        }
        "sse" => compare_events(&answer.text(), shown.text, at),
        other => panic!("{at}: an answer in `{other}`"),
    }
}

/// Compares SSE event by event and field by field; comments are ignored.
fn compare_events(real: &str, shown: &str, at: &str) {
    let events = |text: &str| -> Vec<Vec<(String, String)>> {
        let fields = |event: &str| -> Vec<(String, String)> {
            let fields = event.lines().filter(|line| !line.starts_with(':')).filter_map(|line| line.split_once(':'));
            fields.map(|(name, value)| (name.to_owned(), value.trim_start().to_owned())).collect()
        };
        text.split("\n\n").map(fields).filter(|fields| !fields.is_empty()).collect()
    };
    let (real, shown) = (events(real), events(shown));
    assert_eq!(real.len(), shown.len(), "{at}: {real:?}");
    for (real, shown) in real.iter().zip(&shown) {
        let names = |event: &[(String, String)]| event.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(real), names(shown), "{at}");
        for ((name, real), (_, shown)) in real.iter().zip(shown) {
            match name.as_str() {
                "data" => {
                    assert_shape(&serde_json::from_str(shown).unwrap(), &serde_json::from_str(real).unwrap(), "", at);
                }
                "event" => assert_eq!(real, shown, "{at}"),
                _ => assert!(!real.is_empty(), "{at}: an empty {name}"),
            }
        }
    }
}

/// Holds the conversation of a `ws` block.
async fn converse(server: &TestServer, block: &Block<'_>, at: &str, exchanges: &mut Exchanges) {
    let mut lines = block.text.lines();
    let path = lines.next().unwrap().strip_prefix("GET ").unwrap();
    let mut socket = server.socket(path).await;
    for line in lines {
        let (side, message) = line.split_at(2);
        match (side, message) {
            ("> ", message) => {
                socket.say_raw(message.to_owned()).await;
                exchanges.said(path, message, block.line);
            }
            (">b", hex) => {
                let bytes =
                    hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect::<Vec<_>>();
                socket.inner.send(Message::binary(bytes)).await.unwrap();
            }
            ("< ", close) if close.starts_with("close ") => {
                let got = socket.hear_or_close().await.unwrap_err().unwrap();
                assert_eq!(format!("close {}", u16::from(got.code)), close, "{at}");
            }
            ("< ", message) => {
                let heard = socket.hear().await;
                assert_shape(&serde_json::from_str(message).unwrap(), &heard, "", at);
                exchanges.heard(path, &heard, block.line);
            }
            _ => panic!("{at}: `{line}`"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_reference_matches_a_server() {
    let server = serve().await;
    let reference = reference();
    let blocks = blocks(&reference);
    let mut asked = 0;
    let mut exchanges = Exchanges::default();
    let mut remaining = blocks.iter();
    while let Some(block) = remaining.next() {
        let at = format!("reference.md:{}", block.line);
        match block.language {
            "http" => {
                let shown = remaining.next().unwrap();
                // A log is sealed shortly after its end; the examples show it sealed.
                if block.text.contains("status=completed") || block.text.starts_with("DELETE /api/v1/tasks") {
                    let sealed = || async { !server.get("/api/v1/tasks/42").await.json()["artifact"].is_null() };
                    server.until("the log is sealed", sealed).await;
                }
                compare(&request(&server, block, &mut exchanges).await, shown, &at);
                asked += 1;
            }
            "ws" => {
                converse(&server, block, &at, &mut exchanges).await;
                asked += 1;
            }
            // Code that makes a message of an example, and markup.
            "python" | "html" => {}
            other => panic!("{at}: a block of `{other}`"),
        }
    }
    assert!(asked >= 20, "only {asked} examples");
    let ended = || async { server.get("/api/v1/tasks/43").await.json()["status"] == "completed" };
    server.until("the simplest worker's task has ended", ended).await;
    assert_eq!(server.texts("43").await, ["Building..."]);
    exchanges.validate(&server).await;
}

/// The Python worker of the reference streams a command while it runs, and ends with its exit code.
#[tokio::test(flavor = "multi_thread")]
async fn the_worker_of_the_reference_streams_a_command() {
    let (server, reference) = (serve().await, reference());
    let is_worker = |block: &&Block<'_>| block.language == "python" && block.text.contains("import connect");
    let worker = server.folder.path().join("worker.py");
    std::fs::write(&worker, blocks(&reference).iter().find(is_worker).unwrap().text).unwrap();
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/openapi/venv/bin/python");
    assert!(python.exists(), "there is no {}: scripts/test installs it", python.display());
    let work = |task: &str, script: &str| {
        let mut command = Command::new(&python);
        let url = server.server.url().replace("http", "ws") + "/ws/v1/worker";
        command.arg(&worker).args([&url, task, "sh", "-c", script]).kill_on_drop(true).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let go = server.folder.path().join("go");
    let script = format!("echo first; until [ -e {} ]; do sleep 0.02; done; echo second >&2; exit 3", go.display());
    let child = work("made", &script);
    let first = || async { server.get("/api/v1/tasks/made").await.json()["lines"] == 1 };
    server.until("the first line is there while the command runs", first).await;
    std::fs::write(go, "").unwrap();
    let done = within("the worker", child.wait_with_output()).await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(server.texts("made").await, ["first", "second"]);
    let task = server.get("/api/v1/tasks/made").await.json();
    assert_eq!((&task["status"], &task["exit_code"]), (&json!("completed"), &json!(3)));

    within("a worker", work("killed", "kill -9 $$").wait_with_output()).await.unwrap();
    assert_eq!(server.get("/api/v1/tasks/killed").await.json()["signal"], 9);
    let late = within("a late worker", work("made", "true").wait_with_output()).await.unwrap();
    assert_eq!(late.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&late.stderr).contains("has ended"), "{}", String::from_utf8_lossy(&late.stderr));
}

/// Every route that the server has is named in the reference.
#[test]
fn every_route_is_in_the_reference() {
    let reference = reference();
    for route in tasktail::server::ROUTES {
        let page = route.path.replace("{task}", "{id}").replace("{run}", "{id}");
        let example = route.path.replace("{task}", "4").replace("{run}", "bench-7");
        let named = reference.contains(&page) || reference.contains(&example);
        let is_page = matches!(route.access, tasktail::server::RequiredAccess::Page)
            || ["/login", "/logout"].contains(&route.path);
        assert!(named || is_page || route.path.starts_with("/assets/"), "{:?} {}", route.methods, route.path);
    }
}
