//! Sending replies, and closing the connection.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::{RedisConnection, shutting_down};
use crate::model::limits::Limit;
use crate::server::redis::batch::CommandBatch;
use crate::wire::resp::Reply;

/// Largest reply buffer to reuse; larger ones are freed.
const RETAINED_BYTES_MAX: usize = 64 * 1024;
/// Time allowed for the last replies when the server shuts down.
pub(super) const LAST_SEND_TIMEOUT: Duration = Duration::from_secs(1);

impl RedisConnection {
    /// Sends the replies. Drops a client that accepts no data for too long.
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
                () = shutdown => return Err(shutting_down()),
                () = self.client.disconnect.cancelled() => return Err(shutting_down()),
            };
            let Ok(written) = written else {
                self.port.state.metrics.peers_dropped.inc();
                self.port.state.limit_counters.count(Limit::send_timeout);
                return Err(io::Error::new(io::ErrorKind::TimedOut, "client accepted no data"));
            };
            match written? {
                0 if rest.is_empty() => break,
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => sent += count,
            }
        }
        self.port.state.metrics.redis.bytes_out.inc_by(sent as u64);
        self.client.status.lock().bytes_out += sent as u64;
        if sent > RETAINED_BYTES_MAX {
            *reply = reply.emptied();
        } else {
            reply.truncate(0);
        }
        Ok(())
    }

    /// Sends a final protocol error, if there is one, and closes the connection.
    pub(super) async fn close(&mut self, mut batch: Box<CommandBatch>) -> io::Result<()> {
        if let Some(error) = self.protocol_error {
            self.port.state.metrics.redis.errors.inc();
            batch.reply.error(error.reply_text());
            self.send(&mut batch.reply).await?;
            self.shutdown().await?;
            self.drain().await;
            return Ok(());
        }
        self.shutdown().await
    }

    /// Shuts down the sending side. Under TLS this sends a message, which may block.
    async fn shutdown(&mut self) -> io::Result<()> {
        timeout(LAST_SEND_TIMEOUT, self.stream.shutdown()).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Discards remaining input: closing with unread bytes would make the system discard the last reply.
    async fn drain(&mut self) {
        let mut sink = vec![0; RETAINED_BYTES_MAX];
        let taken = timeout(LAST_SEND_TIMEOUT, async { while matches!(self.stream.read(&mut sink).await, Ok(1..)) {} });
        tokio::select! {
            _ = taken => {}
            () = self.port.state.shutdown.cancelled() => {}
        }
    }
}
