//! A client of the Redis port that speaks plain RESP.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{TestServer, within};

pub(crate) struct Redis {
    stream: TcpStream,
}

impl Redis {
    pub(crate) async fn connect(server: &TestServer) -> Self {
        let url = server.server.redis_url().expect("a Redis port");
        let stream = within("a connection", TcpStream::connect(url.strip_prefix("redis://").unwrap())).await.unwrap();
        Self { stream }
    }

    pub(crate) async fn send(&mut self, args: &[&str]) {
        let mut request = format!("*{}\r\n", args.len());
        for arg in args {
            request.push_str(&format!("${}\r\n{arg}\r\n", arg.len()));
        }
        within("sending", self.stream.write_all(request.as_bytes())).await.unwrap();
    }

    /// The reply, at least its first line; whole if it came in one piece, as all of these do. Empty: closed.
    pub(crate) async fn hear(&mut self) -> String {
        let mut reply = BytesMut::new();
        while !reply.ends_with(b"\r\n") {
            if within("a reply", self.stream.read_buf(&mut reply)).await.unwrap() == 0 {
                break;
            }
        }
        String::from_utf8_lossy(&reply).into_owned()
    }

    pub(crate) async fn ask(&mut self, args: &[&str]) -> String {
        self.send(args).await;
        self.hear().await
    }

    /// Several commands at once; all their replies up to one that ends with this.
    pub(crate) async fn pipeline(&mut self, commands: &[&[&str]], last: &str) -> String {
        for command in commands {
            self.send(command).await;
        }
        let mut replies = String::new();
        while !replies.ends_with(last) {
            let reply = self.hear().await;
            assert!(!reply.is_empty(), "closed after {replies:?}");
            replies.push_str(&reply);
        }
        replies
    }

    /// Waits until the server has closed.
    pub(crate) async fn ended(mut self) {
        let mut rest = Vec::new();
        // What was not read may turn the end into a reset.
        within("the end of a Redis connection", self.stream.read_to_end(&mut rest)).await.ok();
    }
}
