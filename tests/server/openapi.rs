//! The reference for programs: valid, complete, and what a server really sends.
//!
//! The validators are those of Python, in the environment that `scripts/test` makes from `tests/clients/openapi.txt`.

use std::path::Path;

use hyper::Method;
use serde_json::{Value, json};
use tasktail::server::ROUTES;
use tokio::process::Command;

use crate::common::{Answer, TestServer, serve};

/// Requests and messages to validate.
#[derive(Default)]
pub(crate) struct Exchanges(Vec<Value>);

impl Exchanges {
    /// Adds the answer to a request.
    pub(crate) fn answer(&mut self, method: &str, path: &str, answer: &Answer, line: usize) {
        let content_type = answer.headers.get("content-type").map_or("", |value| value.to_str().unwrap());
        let (status, body, at) = (answer.status.as_u16(), answer.text(), format!("reference.md:{line}"));
        self.0.push(json!({
            "kind": "answer", "method": method, "path": path, "status": status, "type": content_type, "body": body, "at": at,
        }));
        if content_type == "text/event-stream" {
            let schema = if path.contains("/runs/") { "run-stream-event" } else { "task-stream-event" };
            for event in body.split("\n\n").filter_map(parse_event) {
                self.0.push(json!({ "kind": "message", "schema": schema, "value": event, "at": at }));
            }
        }
    }

    /// Adds a message of a client.
    pub(crate) fn said(&mut self, path: &str, message: &str, line: usize) {
        let schema = if path.contains("/worker") { "worker-message" } else { "follow-request" };
        self.push(schema, serde_json::from_str(message).unwrap(), line);
    }

    /// Adds a message of the server. An error is the reply to the message before.
    pub(crate) fn heard(&mut self, path: &str, message: &Value, line: usize) {
        if message["type"] == "error" && path.contains("/worker") {
            self.0.last_mut().unwrap()["kind"] = "rejected".into();
        }
        let schema = match path.split('?').next().unwrap() {
            "/ws/v1/worker" => "server-reply",
            "/ws/v1/follow" => "follow-message",
            _ => "viewer-message",
        };
        self.push(schema, message.clone(), line);
    }

    fn push(&mut self, schema: &str, value: Value, line: usize) {
        let at = format!("reference.md:{line}");
        self.0.push(json!({ "kind": "message", "schema": schema, "value": value, "at": at }));
    }

    /// Validates everything with the documents of the server.
    pub(crate) async fn validate(self, server: &TestServer) {
        let file = server.folder.path().join("exchanges");
        let lines: String = self.0.iter().map(|row| format!("{row}\n")).collect();
        std::fs::write(&file, lines).unwrap();
        let counts = python(&["check", &server.server.url(), file.to_str().unwrap()]).await;
        let count = |name: &str| counts[name].as_u64().unwrap();
        assert!(count("answer") > 20 && count("message") > 25 && count("rejected") > 0, "{counts}");
    }
}

/// Returns the fields of an SSE event, with its parsed data; `None` for a comment.
fn parse_event(text: &str) -> Option<Value> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_start);
    let data: Value = serde_json::from_str(field("data:")?).unwrap();
    let mut event = json!({ "event": field("event:").unwrap_or("message"), "data": data });
    if let Some(id) = field("id:") {
        event["id"] = id.into();
    }
    Some(event)
}

/// Runs `tests/clients/openapi.py`, and returns what it prints.
async fn python(arguments: &[&str]) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/openapi/venv/bin/python");
    assert!(python.exists(), "there is no {}: scripts/test installs it", python.display());
    let mut command = Command::new(python);
    command.arg(root.join("tests/clients/openapi.py")).args(arguments).kill_on_drop(true);
    let output = tokio::time::timeout(std::time::Duration::from_secs(300), command.output()).await.unwrap().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{err}");
    serde_json::from_str(out.lines().last().unwrap()).unwrap_or_else(|error| panic!("{error}: {out}{err}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_in_the_document_and_nothing_else() {
    let server = serve().await;
    let document = server.get("/api/v1/openapi.json").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert_eq!(document["servers"], json!([{ "url": "/" }]));
    let mut served: Vec<String> = Vec::new();
    for route in ROUTES {
        let path = route.path.replace("{task}", "{id}").replace("{run}", "{id}");
        served.push(format!("{} {path}", route.methods[0]));
    }
    let mut described: Vec<String> = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        described
            .extend(operations.as_object().unwrap().keys().map(|method| format!("{} {path}", method.to_uppercase())));
    }
    served.sort();
    described.sort();
    assert_eq!(described, served);
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_served_by_name() {
    let server = serve().await;
    let schema = server.get("/api/v1/schemas/line.json").await;
    assert_eq!(schema.headers["content-type"], "application/schema+json");
    assert_eq!(schema.json()["title"], "Line");
    let etag = schema.headers["etag"].to_str().unwrap();
    let again = server.ask(Method::GET, "/api/v1/schemas/line.json", &[("if-none-match", etag)], "").await;
    assert_eq!(again.status, 304);
    for missing in ["line", "nothing.json", "..%2Fmod.rs"] {
        assert_eq!(server.get(&format!("/api/v1/schemas/{missing}")).await.code(), "not_found", "{missing}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_client_reads_a_task() {
    let server = serve().await;
    server.append("made", "one\ntwo\n").await;
    server.end("made").await;
    let folder = server.folder.path().join("client");
    std::fs::create_dir(&folder).unwrap();
    let read = python(&["client", &server.server.url(), folder.to_str().unwrap(), "made"]).await;
    let wanted = json!({
        "id": "made", "status": "completed", "exit_code": 0, "listed": ["made"], "lines": ["one", "two"],
        "missing": "Problem",
    });
    assert_eq!(read, wanted);
}
