//! Replies on their way out, the last word, and the end.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::{Connection, ending};
use crate::model::limits::Limit;
use crate::server::redis::batch::Batch;
use crate::wire::resp::Reply;

/// Replies of more bytes have a block of their own, which is not kept.
const KEEP_BYTES: usize = 64 * 1024;
/// What a client is given to take its replies when the server is to end.
pub(super) const LAST_SEND_TIMEOUT: Duration = Duration::from_secs(1);

impl Connection {
    /// Sends what there is. A client that takes nothing for long is given up.
    pub(super) async fn send(&mut self, reply: &mut Reply) -> io::Result<()> {
        let bytes = reply.bytes();
        let mut sent = match self.stream.try_write(bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        while sent < bytes.len() || self.stream.is_tls() {
            let shutdown = async {
                self.port.state.shutdown.cancelled().await;
                sleep(LAST_SEND_TIMEOUT).await;
            };
            let rest = &bytes[sent..];
            let write = async {
                if rest.is_empty() { self.stream.flush().await.map(|()| 0) } else { self.stream.write(rest).await }
            };
            let written = tokio::select! {
                written = timeout(self.port.state.options.limits.send_timeout, write) => written,
                () = shutdown => return Err(ending()),
                () = self.client.end.cancelled() => return Err(ending()),
            };
            let Ok(written) = written else {
                self.port.state.metrics.peers_dropped.inc();
                self.port.state.limit_counters.count(Limit::send_timeout);
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no replies"));
            };
            match written? {
                0 if rest.is_empty() => break,
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => sent += count,
            }
        }
        self.port.state.metrics.redis.bytes_out.inc_by(sent as u64);
        self.client.facts.lock().bytes_out += sent as u64;
        if sent > KEEP_BYTES {
            *reply = reply.emptied();
        } else {
            reply.truncate(0);
        }
        Ok(())
    }

    /// Says the last word, if there is one, and closes.
    pub(super) async fn part(&mut self, mut batch: Box<Batch>) -> io::Result<()> {
        if let Some(error) = self.broken {
            self.port.state.metrics.redis.errors.inc();
            batch.reply.error(error.reply_text());
            self.send(&mut batch.reply).await?;
            self.hang_up().await?;
            self.linger().await;
            return Ok(());
        }
        self.hang_up().await
    }

    /// Says that nothing more comes; under TLS that is a message too, which the client must take.
    async fn hang_up(&mut self) -> io::Result<()> {
        timeout(LAST_SEND_TIMEOUT, self.stream.shutdown()).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Takes what is still coming: closed with bytes unread, the system would take the last word back.
    async fn linger(&mut self) {
        let mut sink = vec![0; KEEP_BYTES];
        let taken = timeout(LAST_SEND_TIMEOUT, async { while matches!(self.stream.read(&mut sink).await, Ok(1..)) {} });
        tokio::select! {
            _ = taken => {}
            () = self.port.state.shutdown.cancelled() => {}
        }
    }
}
