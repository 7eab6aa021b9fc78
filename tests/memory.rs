//! What an idle viewer costs the server; alone in its process, because it measures the process.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[allow(dead_code, reason = "not every test program uses all helpers")]
mod common;

use common::{serve, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Few enough for the usual limit of 1,024 open files: both ends are in this process.
const VIEWERS: usize = 400;

/// Memory of this process that is in use, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_viewer_takes_at_most_24_kib() {
    let server = serve().await;
    server.append("t", &"a line of some length, as they are\n".repeat(50)).await;
    let before = resident();
    let mut viewers = Vec::new();
    for _ in 0..VIEWERS {
        // A bare socket: the client's own buffers should not count.
        let mut stream = TcpStream::connect(server.server.addr()).await.unwrap();
        let request = "GET /ws/v1/tasks/t HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
            sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut seen = 0;
        let mut buffer = [0; 4096];
        // The head, `open`, and 50 lines: once they are read the viewer is idle.
        while seen < 5_000 {
            seen += within("lines", stream.read(&mut buffer)).await.unwrap();
        }
        viewers.push(stream);
    }
    let each = resident().saturating_sub(before) / VIEWERS;
    println!("{each} bytes an idle viewer");
    assert!(each <= 24 * 1024, "{each} bytes an idle viewer");
}
