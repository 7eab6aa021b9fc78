//! The viewer's client against servers that misbehave: they hang up, repeat, refuse, cut short.

use futures::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tasktail::client::follow::{FollowError, LogFollower, TaskFollowStart, TaskUpdate};
use tasktail::client::http::Probe;
use tasktail::client::{ClientError, Endpoint, HttpClient};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

async fn listener() -> (TcpListener, Endpoint) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    (listener, endpoint)
}

fn task(status: &str) -> serde_json::Value {
    json!({"id": "42", "status": status, "exit_code": null, "signal": null, "command": [], "labels": {}, "host": null,
        "created": "2026-05-09T14:23:01.000Z", "started": null, "ended": null, "lines": 5, "bytes": 10, "first_line": 1,
        "last_line": 5, "skipped_lines": 0, "trimmed_lines": 0, "live": true, "artifact": null})
}

fn open() -> serde_json::Value {
    json!({"type": "open", "task": task("running"), "epoch": "1.1", "first_line": 1, "last_line": 5})
}

fn lines(from: u64, to: u64) -> serde_json::Value {
    let line = |n| json!({"n": n, "id": format!("{n}-0"), "timestamp": "2026-05-09T14:23:01.000Z", "stream": "stdout", "line": "x"});
    json!({"type": "lines", "lines": (from..=to).map(line).collect::<Vec<_>>(), "cursor": format!("c1.1.1.{to:x}.{to}-0")})
}

/// Takes one viewer, says all that, hangs up without a close frame; gives what the viewer asked for.
async fn serve_one(listener: &TcpListener, messages: Vec<serde_json::Value>) -> String {
    let (stream, _) = listener.accept().await.unwrap();
    let mut asked = String::new();
    #[expect(clippy::result_large_err, reason = "the callback's type is given")]
    let note = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        asked = request.uri().to_string();
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, note).await.unwrap();
    for message in messages {
        socket.send(Message::Text(message.to_string().into())).await.unwrap();
    }
    asked
}

#[tokio::test]
async fn a_reconnect_resumes_at_the_cursor_without_duplicates() {
    let (listener, endpoint) = listener().await;
    let server = tokio::spawn(async move {
        let first = serve_one(&listener, vec![open(), lines(1, 3)]).await;
        let gap = json!({"type": "gap", "from": 6, "to": 9, "reason": "trimmed", "count": 4, "cursor": "c1.1.1.9.9-0"});
        let end = json!({"type": "end", "task": task("completed"), "cursor": "c1.1.1.a.10-0"});
        let second = serve_one(&listener, vec![open(), lines(2, 5), gap, lines(10, 10), end]).await;
        (first, second)
    });
    let mut follower = LogFollower::new(endpoint, "42".parse().unwrap(), TaskFollowStart::Beginning, false);
    let mut told = Vec::new();
    while let Some(event) = follower.next().await.unwrap() {
        told.push(match event {
            TaskUpdate::Open { last_line, .. } => format!("open {last_line}"),
            TaskUpdate::Lines(lines) => format!("lines {:?}", lines.iter().map(|line| line.n).collect::<Vec<_>>()),
            TaskUpdate::Gap(gap) => format!("gap {}-{}", gap.from, gap.to),
            TaskUpdate::Disconnected(_) => "disconnected".to_owned(),
            TaskUpdate::Reconnected => "reconnected".to_owned(),
            TaskUpdate::End(task) => format!("end {}", task.status),
            other => format!("{other:?}"),
        });
    }
    assert_eq!(
        told,
        [
            "open 5",
            "lines [1, 2, 3]",
            "disconnected",
            "reconnected",
            "lines [4, 5]",
            "gap 6-9",
            "lines [10]",
            "end completed"
        ]
    );
    let (first, second) = server.await.unwrap();
    assert_eq!(first, "/ws/v1/tasks/42");
    assert_eq!(second, "/ws/v1/tasks/42?after=c1.1.1.3.3-0");
}

#[tokio::test]
async fn rejected_events_are_not_retried() {
    let (listener, endpoint) = listener().await;
    let error = json!({"type": "error", "code": "not_found", "message": "task 42 not found"});
    tokio::spawn(async move { serve_one(&listener, vec![error]).await });
    let mut follower = LogFollower::new(endpoint, "42".parse().unwrap(), TaskFollowStart::Beginning, false);
    let error = follower.next().await.unwrap_err();
    assert!(matches!(error, FollowError::Refused { ref code, .. } if code == "not_found"), "{error}");

    let nobody = "http://127.0.0.1:1".parse().unwrap();
    let mut follower = LogFollower::new(nobody, "42".parse().unwrap(), TaskFollowStart::Beginning, false);
    let error = follower.next().await.unwrap_err();
    assert!(matches!(error, FollowError::Unreachable { .. }), "{error}");
}

/// Answers each connection with the next of these texts, and closes it.
async fn answer_each(listener: TcpListener, answers: Vec<&'static str>) {
    for answer in answers {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    }
}

async fn read_request(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(stream.read_u8().await.unwrap());
    }
}

#[tokio::test]
async fn problems_are_shown_as_text_and_short_bodies_are_errors() {
    const PROBLEM: &str = "HTTP/1.1 404 Not Found\r\ncontent-type: application/problem+json\r\nconnection: close\r\n\r\n\
        {\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404,\"detail\":\"no such task\",\"code\":\"not_found\"}";
    const SHORT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
    const STRANGER: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello";
    let (listener, endpoint) = listener().await;
    tokio::spawn(answer_each(listener, vec![PROBLEM, SHORT, SHORT, STRANGER]));
    let client = HttpClient::new(endpoint);
    let error = client.get::<serde_json::Value>("/api/v1/tasks/x", &[]).await.unwrap_err();
    assert!(error.is_not_found() && !error.is_transient() && error.to_string() == "no such task", "{error}");
    let error = client.get::<serde_json::Value>("/", &[]).await.unwrap_err();
    assert!(matches!(error, ClientError::Broken { .. }) && error.is_transient(), "{error}");
    let (length, chunks) = client.download("/", &[]).await.unwrap();
    assert_eq!(length, Some(10));
    let chunks: Vec<_> = chunks.take(2).collect().await;
    assert!(chunks.last().unwrap().is_err(), "a short file is no file");
    assert_eq!(client.probe(std::time::Duration::from_secs(5)).await, Probe::Other);
}
