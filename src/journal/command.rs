//! The commands that the queue carries to the writer.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::batch::{AppendAck, LineBatch};
use super::commit::{CommandReply, CommitCallback, QueuePermit};
use super::replica::ReplicaBatch;
use super::stream::Stream;
use super::transaction::Transaction;
use super::trim::Trim;
use crate::model::Timestamp;
use crate::store::RunRecord;

/// A request to the writer.
#[derive(Debug)]
pub(super) enum WriteCommand {
    Append {
        stream: Arc<Stream>,
        batch: LineBatch,
        trim: Option<Trim>,
        permit: QueuePermit,
        reply: CommandReply<AppendAck>,
    },
    Replicate {
        stream: Arc<Stream>,
        batch: ReplicaBatch,
        permit: QueuePermit,
        reply: CommandReply<u64>,
    },
    Trim {
        stream: Arc<Stream>,
        trim: Trim,
        reply: CommandReply<u64>,
    },
    Remove {
        stream: Arc<Stream>,
        reply: CommandReply<()>,
    },
    Expire {
        stream: Arc<Stream>,
        at: Option<Timestamp>,
        reply: CommandReply<()>,
    },
    Compact {
        stream: Arc<Stream>,
        reply: CommandReply<u64>,
    },
    Transaction(PreparedTransaction),
    Unblock {
        client: u64,
        reason: WakeReason,
    },
    PutTask {
        id: Box<[u8]>,
        record: Option<Vec<u8>>,
        reply: CommandReply<()>,
    },
    PutSummary {
        stream: Arc<Stream>,
        summary: RunRecord,
        reply: CommandReply<()>,
    },
    Stop {
        reply: oneshot::Sender<()>,
    },
}

/// A transaction that can be queued, with its capacity of the queue.
pub struct PreparedTransaction {
    pub(super) run: Box<dyn FnOnce(&mut Transaction<'_>) -> CommitCallback + Send>,
    pub(super) permit: QueuePermit,
}

impl PreparedTransaction {
    /// Prepares a closure that the writer runs as one transaction. The callback it returns runs after the
    /// commit, with the error of a failed commit.
    pub fn new(permit: QueuePermit, run: impl FnOnce(&mut Transaction<'_>) -> CommitCallback + Send + 'static) -> Self {
        Self { run: Box::new(run), permit }
    }
}

impl std::fmt::Debug for PreparedTransaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreparedTransaction").finish_non_exhaustive()
    }
}

/// The reason why a blocked client is retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeReason {
    /// One of its keys has changed.
    Changed,
    /// Its timeout has passed, it disconnected, or `CLIENT UNBLOCK id TIMEOUT`.
    TimedOut,
    /// `CLIENT UNBLOCK id ERROR`.
    Unblocked,
}
