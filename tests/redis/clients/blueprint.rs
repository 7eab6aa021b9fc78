//! An application made for Redis, run unchanged: the same results, and more to see.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::clients::scripts::{converse, python};
use crate::clients::servers::{LIMIT, Server, Which};

#[test]
fn an_application_made_for_redis() {
    let redis = run(&Server::start(Which::Redis), |_| {});
    assert_eq!(redis.len(), 301 + 4, "{redis:?}");
    assert_eq!(redis[301], "length 301 type stream expires True");
    assert_eq!(redis[304], "deleted 1 exists 0 ttl -2 left []");
    if std::env::var_os("TASKTAIL_ORACLES_ONLY").is_some() {
        return;
    }

    let server = Server::start(Which::Tasktail);
    let http = server.http.unwrap();
    let ours = run(&server, |read| assert_eq!(lines(http), read, "while it runs"));
    assert_eq!(ours, redis);
    assert_eq!(lines(http), ours[..301], "after the DELETE");
}

/// Runs it; `meanwhile` is called with the lines read before it tidies up.
fn run(server: &Server, meanwhile: impl Fn(&[String])) -> Vec<String> {
    let mut command = python("blueprint.py");
    command.env("REDIS_URL", format!("redis://{}/0", server.resp)).env("PYTHONIOENCODING", "utf-8");
    let mut read = Vec::new();
    converse(command, |line| {
        read.push(line.to_owned());
        (line == "all read").then(|| {
            meanwhile(&read[..301]);
            "go on".to_owned()
        })
    })
}

/// The lines of the task by HTTP, as the application prints them.
fn lines(http: SocketAddr) -> Vec<String> {
    let page = get(http, "/api/v1/tasks/42/lines?limit=10000");
    let lines = page["lines"].as_array().unwrap_or_else(|| panic!("{page}"));
    let text = |line: &Value, field: &str| line[field].as_str().unwrap_or_else(|| panic!("{line}")).to_owned();
    lines
        .iter()
        .map(|line| {
            assert_eq!(text(line, "timestamp"), "2026-05-09T14:23:01.000Z");
            format!("2026-05-09T14:23:01+00:00 {}: {}", text(line, "stream"), text(line, "line"))
        })
        .collect()
}

fn get(http: SocketAddr, path: &str) -> Value {
    let mut stream = TcpStream::connect(http).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {http}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    assert!(head.contains(" 200 "), "{answer}");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}
