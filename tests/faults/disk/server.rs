//! The real server, and small clients for it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// A server that is killed when it is dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) addr: String,
    pub(crate) redis: SocketAddr,
}

/// What a route answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The stable word of a problem.
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// `tasktail serve` over this folder.
pub(crate) fn command(data: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tasktail"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--resp", "127.0.0.1:0", "--data"])
        .arg(data)
        .args(flags)
        .env("TASKTAIL_LOG", "error")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

impl Server {
    pub(crate) fn start(data: &Path, flags: &[&str]) -> Self {
        Self::spawn(command(data, flags))
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        Self::try_spawn(&mut command).expect("the server ends")
    }

    /// `None` if it ends before it serves.
    pub(crate) fn try_spawn(command: &mut Command) -> Option<Self> {
        let mut child = command.spawn().unwrap();
        let (mut addr, mut redis) = (None, None);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while addr.is_none() || redis.is_none() {
            let Some(Ok(line)) = lines.next() else {
                child.wait().unwrap();
                return None;
            };
            if let Some(found) = line.strip_prefix("listening on http://") {
                addr = Some(found.to_owned());
            }
            if let Some((_, found)) = line.split_once("redis://") {
                redis = Some(found.trim().parse().unwrap());
            }
        }
        Some(Self { child, addr: addr.unwrap(), redis: redis.unwrap() })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// As the power cut of a process.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn ask(&self, method: &str, path: &str, kind: &str, body: &str) -> Answer {
        let mut socket = TcpStream::connect(&self.addr).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            self.addr,
            body.len()
        );
        socket.write_all(head.as_bytes()).unwrap();
        socket.write_all(body.as_bytes()).unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        parse_answer(&answer).unwrap_or_else(|| panic!("no whole answer: {}", String::from_utf8_lossy(&answer)))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "text/plain", "")
    }

    /// Appends lines.
    pub(crate) fn append(&self, task: &str, text: &str) -> Answer {
        self.ask("POST", &format!("/api/v1/tasks/{task}/lines"), "text/plain", text)
    }

    pub(crate) fn end(&self, task: &str) -> Answer {
        self.ask("POST", &format!("/api/v1/tasks/{task}/end"), "application/json", r#"{"exit_code":0}"#)
    }

    pub(crate) fn remove(&self, task: &str) -> Answer {
        self.ask("DELETE", &format!("/api/v1/tasks/{task}"), "text/plain", "")
    }

    /// The whole log, as texts; numbers are dense.
    pub(crate) fn log(&self, task: &str) -> Vec<String> {
        let answer = self.get(&format!("/api/v1/tasks/{task}/log?format=ndjson"));
        assert_eq!(answer.status, 200, "{task}: {}", answer.body);
        let mut texts = Vec::new();
        for (index, row) in answer.body.lines().enumerate() {
            let line: Value = serde_json::from_str(row).unwrap();
            assert_eq!(line["n"].as_u64(), Some(index as u64 + 1), "{task}: numbers are dense");
            texts.push(line["line"].as_str().unwrap().to_owned());
        }
        texts
    }

    /// A number of `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body;
        let row = text.lines().find(|row| row.split(' ').next() == Some(name));
        row.and_then(|row| row.split(' ').nth(1)).unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An HTTP answer, if it is whole.
pub(crate) fn parse_answer(bytes: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let body = match length {
        Some(length) => (body.len() >= length).then(|| body.to_owned())?,
        None if head.contains("transfer-encoding: chunked") => unchunked(body)?,
        None => body.to_owned(),
    };
    Some(Answer { status, body })
}

fn unchunked(mut body: &str) -> Option<String> {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.push_str(rest.get(..size)?);
        body = rest.get(size..)?.strip_prefix("\r\n")?;
    }
}
