//! Appending batches, and the ticket that resolves after the commit.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Timeout;

use super::command::WriteCommand;
use super::commit::QueuePermit;
use super::{AppendAck, Journal, JournalError, LineBatch, Stream, Trim};

/// The reply of a commit, with the journal's timeout.
type TimedReply = Timeout<oneshot::Receiver<Result<AppendAck, JournalError>>>;

/// A future that resolves when the batch is as durable as the journal's [`super::Durability`] promises.
#[derive(Debug)]
pub struct CommitTicket {
    /// Boxed because a tokio timer must not move.
    reply: Pin<Box<TimedReply>>,
    timeout: Duration,
}

impl Future for CommitTicket {
    type Output = Result<AppendAck, JournalError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.reply.as_mut().poll(cx).map(|reply| match reply {
            Ok(reply) => reply.unwrap_or(Err(JournalError::Closed)),
            Err(_) => Err(JournalError::Unconfirmed(self.timeout)),
        })
    }
}

impl Journal {
    /// Queues a batch, after waiting for queue capacity (bounded by bytes). Batches keep the order
    /// in which they were queued. `trim` is applied right after the batch, like MAXLEN of XADD.
    pub async fn append(
        &self,
        stream: &Arc<Stream>,
        batch: LineBatch,
        trim: Option<Trim>,
    ) -> Result<CommitTicket, JournalError> {
        let permit = self.reserve(batch.bytes()).await?;
        Ok(self.append_reserved(stream, batch, trim, permit))
    }

    /// Waits until the queue has capacity for `bytes` and reserves it. Dropping the permit releases
    /// the capacity.
    pub async fn reserve(&self, bytes: usize) -> Result<QueuePermit, JournalError> {
        self.inner.queue.reserve(bytes).await
    }

    /// Queues a small batch, for example a gap marker, without waiting for capacity.
    pub fn append_small(&self, stream: &Arc<Stream>, batch: LineBatch) -> Result<CommitTicket, JournalError> {
        let permit = self.inner.queue.empty_permit()?;
        Ok(self.append_reserved(stream, batch, None, permit))
    }

    /// Queues a batch whose capacity is already reserved.
    pub fn append_reserved(
        &self,
        stream: &Arc<Stream>,
        batch: LineBatch,
        trim: Option<Trim>,
        permit: QueuePermit,
    ) -> CommitTicket {
        let (reply, receiver) = oneshot::channel();
        self.inner.queue.send(WriteCommand::Append { stream: stream.clone(), batch, trim, permit, reply });
        let timeout = self.commit_timeout();
        CommitTicket { reply: Box::pin(tokio::time::timeout(timeout, receiver)), timeout }
    }
}
