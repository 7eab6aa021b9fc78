//! The commands that the queue carries to the writer.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::batch::{AppendAck, LineBatch};
use super::commit::{CommandReply, CommitCallback, QueuePermit};
use super::stream::Stream;
use super::transaction::Transaction;
use super::trim::Trim;
use crate::model::Timestamp;

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
    Transaction {
        run: TransactionFn,
        permit: QueuePermit,
    },
    Unblock {
        client: u64,
        reason: WakeReason,
    },
    PutTask {
        id: Box<[u8]>,
        record: Option<Vec<u8>>,
        reply: CommandReply<()>,
    },
    Stop {
        reply: oneshot::Sender<()>,
    },
}

/// A closure that the writer runs as one transaction.
pub(super) struct TransactionFn(pub(super) Box<dyn FnOnce(&mut Transaction<'_>) -> CommitCallback + Send>);

impl std::fmt::Debug for TransactionFn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TransactionFn")
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
