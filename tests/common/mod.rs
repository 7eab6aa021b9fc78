//! A server in a temporary folder on a free port, and small clients for it. No wait is of a fixed length:
//! what is waited for has a deadline.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

pub(crate) mod home;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tasktail::server::{ServeOptions, Server};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Whatever takes longer is a failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Between two looks at what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A server that goes with its folder.
pub(crate) struct TestServer {
    pub(crate) server: Server,
    pub(crate) folder: TempDir,
    /// The shared store that the whole run of tests uses in place of the folder; see [`SHARED_VARIABLE`].
    pub(crate) home: Option<home::TestHome>,
}

/// Set to run the tests over a shared store: each server has a Redis and a folder of objects of its own.
const SHARED_VARIABLE: &str = "TASKTAIL_TEST_SHARED";

/// Options for a server on a free port over this folder.
pub(crate) fn options(folder: &TempDir) -> ServeOptions {
    ServeOptions { listen: "127.0.0.1:0".to_owned(), data: folder.path().join("data"), ..ServeOptions::default() }
}

/// A server with the defaults.
pub(crate) async fn serve() -> TestServer {
    serve_with(|_| {}).await
}

/// A server with options of the test's own.
pub(crate) async fn serve_with(change: impl FnOnce(&mut ServeOptions)) -> TestServer {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(&folder);
    let home = match std::env::var_os(SHARED_VARIABLE) {
        Some(_) => Some(home::TestHome::start().await),
        None => None,
    };
    change(&mut options);
    started(options, folder, home).await
}

/// A server with these options over its folder, or over its shared store if it has one.
pub(crate) async fn started(mut options: ServeOptions, folder: TempDir, home: Option<home::TestHome>) -> TestServer {
    // A server with a Redis port has its tasks in its folder.
    if let Some(home) = home.as_ref().filter(|_| options.resp.is_none()) {
        options.home.get_or_insert_with(|| home.options());
    }
    TestServer { server: Server::start(options).await.unwrap(), folder, home }
}

/// Waits for something, with a deadline.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}

/// Waits until the condition holds, with a deadline. Looks at it at once and then every few milliseconds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    within(what, async {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if holds().await {
                return;
            }
        }
    })
    .await;
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The problem's code, after checking its type and status.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text());
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        problem["code"].as_str().unwrap().to_owned()
    }
}

impl TestServer {
    /// One request on a connection of its own; the body is still to be read.
    pub(crate) async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Response<Incoming> {
        let stream = TcpStream::connect(self.server.addr()).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", self.server.addr().to_string());
        }
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        within(path, sender.send_request(request.body(Full::new(body)).unwrap())).await.unwrap()
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let (head, body) = self.open(method, path, headers, body.into()).await.into_parts();
        let body = within(path, body.collect()).await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], "").await
    }

    /// Appends plain text.
    pub(crate) async fn append(&self, task: &str, text: &str) -> Answer {
        let path = format!("/api/v1/tasks/{task}/lines");
        self.ask(Method::POST, &path, &[("content-type", "text/plain")], text.to_owned()).await
    }

    pub(crate) async fn end(&self, task: &str) -> Answer {
        let path = format!("/api/v1/tasks/{task}/end");
        self.ask(Method::POST, &path, &[("content-type", "application/json")], r#"{"exit_code":0}"#).await
    }

    /// The texts of a task's lines.
    pub(crate) async fn texts(&self, task: &str) -> Vec<String> {
        let answer = self.get(&format!("/api/v1/tasks/{task}/lines?limit=10000")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        texts(&answer.json())
    }

    /// A WebSocket.
    pub(crate) async fn socket(&self, path: &str) -> Socket {
        let url = format!("ws://{}{path}", self.server.addr());
        let (inner, _) = within(path, tokio_tungstenite::connect_async(url)).await.unwrap();
        Socket { inner }
    }

    /// Waits until the condition holds, as [`until`] does.
    pub(crate) async fn until<F: Future<Output = bool>>(&self, what: &str, holds: impl FnMut() -> F) {
        until(what, holds).await;
    }
}

/// The texts of `lines`.
pub(crate) fn texts(message: &Value) -> Vec<String> {
    let lines = message["lines"].as_array().unwrap_or_else(|| panic!("no lines: {message}"));
    lines.iter().map(|line| line["line"].as_str().unwrap().to_owned()).collect()
}

/// A client's WebSocket.
pub(crate) struct Socket {
    pub(crate) inner: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    pub(crate) async fn say(&mut self, message: Value) {
        self.say_raw(message.to_string()).await;
    }

    pub(crate) async fn say_raw(&mut self, text: String) {
        within("sending", self.inner.send(Message::text(text))).await.unwrap();
    }

    /// The next message; `Err` with the close that came instead.
    pub(crate) async fn hear_or_close(&mut self) -> Result<Value, Option<CloseFrame>> {
        // A ping now and then is no message.
        within("a message", async {
            loop {
                match self.inner.next().await {
                    Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                    Some(Ok(Message::Close(close))) => return Err(close),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => panic!("{error}"),
                    None => return Err(None),
                }
            }
        })
        .await
    }

    pub(crate) async fn hear(&mut self) -> Value {
        self.hear_or_close().await.unwrap_or_else(|close| panic!("closed instead of a message: {close:?}"))
    }

    /// The next message of this type, others skipped.
    pub(crate) async fn hear_type(&mut self, kind: &str) -> Value {
        within(kind, async {
            loop {
                let message = self.hear().await;
                if message["type"] == kind {
                    return message;
                }
            }
        })
        .await
    }

    /// Says hello and waits for the welcome.
    pub(crate) async fn hello(&mut self) {
        self.say(json!({"type":"hello","protocol":1,"worker":"test"})).await;
        assert_eq!(self.hear().await["type"], "welcome");
    }

    /// Waits for an ack up to this number.
    pub(crate) async fn acked(&mut self, seq: u64) {
        while self.hear_type("ack").await["seq"].as_u64().unwrap() < seq {}
    }

    /// Everything up to `end`: the lines' numbers and texts.
    pub(crate) async fn rest(&mut self) -> Vec<(u64, String)> {
        let mut all = Vec::new();
        loop {
            let message = self.hear().await;
            match message["type"].as_str().unwrap() {
                "lines" => {
                    let lines = message["lines"].as_array().unwrap();
                    all.extend(
                        lines.iter().map(|l| (l["n"].as_u64().unwrap(), l["line"].as_str().unwrap().to_owned())),
                    );
                }
                "end" => return all,
                _ => {}
            }
        }
    }
}

/// A numbered batch of lines.
pub(crate) fn numbered(task: &str, first_seq: u64, texts: &[&str]) -> Value {
    let lines: Vec<Value> = texts.iter().map(|text| timed(text)).collect();
    json!({"type":"log_lines","work_request_id":task,"first_seq":first_seq,"lines":lines})
}

/// A line with a time.
pub(crate) fn timed(text: &str) -> Value {
    json!({"line":text,"timestamp":"2026-05-09T14:23:01.000Z","stream":"stdout"})
}

/// The blueprint's message for one line.
pub(crate) fn plain(task: impl Into<Value>, text: &str) -> Value {
    json!({"type":"log_line","work_request_id":task.into(),"line":text,
        "timestamp":"2026-05-09T14:23:01+00:00","stream":"stdout"})
}
