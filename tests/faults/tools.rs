//! Raw sockets, and a server's counters.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::common::{DEADLINE, TestServer, within};
use crate::support::Serve;

/// A connection on which nothing was said yet.
pub(crate) async fn dial(server: &TestServer) -> TcpStream {
    within("a connection", TcpStream::connect(server.server.addr())).await.unwrap()
}

/// One from this address of the machine, with as little room for what it does not read as there can be.
pub(crate) async fn dial_from(address: &str, server: &TestServer) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
    within("a connection", socket.connect(server.server.addr())).await.unwrap()
}

pub(crate) async fn say(stream: &mut TcpStream, text: &str) {
    within("a write", stream.write_all(text.as_bytes())).await.unwrap();
}

/// Everything up to the connection's end, however it ends.
pub(crate) async fn rest(stream: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = within("the connection's end", stream.read(&mut buffer)).await {
        heard.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&heard).into_owned()
}

/// Sends a byte of this every so often, again and again, until the connection is closed. Gives what was heard.
pub(crate) async fn drip(stream: TcpStream, byte: u8, every: Duration) -> String {
    let (mut reader, mut writer) = stream.into_split();
    let dripping = async {
        let mut beat = tokio::time::interval(every);
        while writer.write_all(&[byte]).await.is_ok() {
            beat.tick().await;
        }
        std::future::pending::<()>().await;
    };
    let hearing = async {
        let mut heard = Vec::new();
        let mut buffer = vec![0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            heard.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8_lossy(&heard).into_owned()
    };
    tokio::select! {
        () = dripping => unreachable!(),
        heard = tokio::time::timeout(DEADLINE, hearing) => heard.expect("a dripping connection is closed"),
    }
}

/// An answer's head and as much of its body as its length says.
pub(crate) async fn answer(stream: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&heard).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        let count = within("an answer", stream.read_buf(&mut heard)).await.unwrap();
        assert!(count > 0, "closed after {text:?}");
    }
}

/// A number of `/metrics`, by its whole name.
pub(crate) async fn metric(server: &TestServer, name: &str) -> f64 {
    number(&server.get("/metrics").await.text(), name)
}

/// A number in what `/metrics` says; 0 if it does not.
pub(crate) fn number(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |number| number.parse().unwrap())
}

/// How often a limit was reached.
pub(crate) async fn reached(server: &TestServer, limit: &str) -> f64 {
    metric(server, &format!("tasktail_limit_reached_total{{limit=\"{limit}\"}}")).await
}

/// A server as a process, with the address of its Redis port.
pub(crate) fn serve_both(mut command: Command) -> (Serve, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut after = |words: &str| {
        let line = lines.next().unwrap().unwrap();
        line.strip_prefix(words).unwrap_or_else(|| panic!("said {line:?}")).to_owned()
    };
    let url = after("listening on ");
    let redis = after("redis on redis://");
    (Serve { child, url }, redis)
}

/// A number of `/proc/PID/status`, in bytes.
pub(crate) fn memory(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// A server as a process, asked over one connection that was there before.
pub(crate) mod http {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpStream;

    use serde_json::Value;

    use crate::support::LIMIT;

    /// A connection that is kept.
    pub(crate) struct Kept {
        stream: BufReader<TcpStream>,
    }

    impl Kept {
        pub(crate) fn connect(url: &str) -> Self {
            let stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            Self { stream: BufReader::new(stream) }
        }

        /// The status and the body.
        pub(crate) fn get(&mut self, path: &str) -> (u16, String) {
            let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
            self.stream.get_mut().write_all(request.as_bytes()).unwrap();
            let (mut status, mut length) = (0, 0);
            loop {
                let mut line = String::new();
                assert!(self.stream.read_line(&mut line).unwrap() > 0, "closed before the answer to {path}");
                let line = line.trim_end();
                if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                    status = rest[..3].parse().unwrap();
                }
                if let Some(bytes) = line.strip_prefix("content-length: ") {
                    length = bytes.parse().unwrap();
                }
                if line.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).unwrap();
            (status, String::from_utf8(body).unwrap())
        }

        pub(crate) fn json(&mut self, path: &str) -> Value {
            let (status, body) = self.get(path);
            assert_eq!(status, 200, "{path}: {body}");
            serde_json::from_str(&body).unwrap()
        }
    }
}
