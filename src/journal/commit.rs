//! The commit that the writer is gathering, and the replies that wait for it.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::JournalError;
use super::stream::Stream;

/// The channel for the result of a command.
pub(super) type CommandReply<T> = oneshot::Sender<Result<T, JournalError>>;

/// A callback that receives the result of the commit: `None`, or the error that failed it.
pub type CommitCallback = Box<dyn FnOnce(Option<&JournalError>) + Send>;

/// Reserved queue capacity, released on drop: after the commit, or unused.
#[derive(Debug)]
pub struct QueuePermit {
    pub(super) _permit: OwnedSemaphorePermit,
}

/// Changes and replies that belong to the next commit.
#[derive(Default)]
pub(super) struct PendingCommit {
    /// Set if the store has uncommitted writes other than those of `streams`.
    pub(super) has_writes: bool,
    /// Numbers of the changed streams.
    pub(super) streams: Vec<u64>,
    /// Streams removed in this commit; restored if it fails.
    pub(super) removed: Vec<Arc<Stream>>,
    /// Streams compacted in this commit; reloaded if it fails.
    pub(super) compacted: Vec<Arc<Stream>>,
    /// Callbacks to run after the commit.
    pub(super) callbacks: Vec<CommitCallback>,
    /// Bytes written.
    pub(super) bytes: usize,
    /// Queue capacity of the commands, released after the commit.
    pub(super) permits: Vec<QueuePermit>,
}

impl PendingCommit {
    /// Sends `result` after the commit, or the commit's error instead of a success.
    pub(super) fn reply_later<T: Send + 'static>(&mut self, reply: CommandReply<T>, result: Result<T, JournalError>) {
        self.callbacks.push(Box::new(move |failed: Option<&JournalError>| {
            let result = match failed {
                Some(error) => result.and(Err(error.clone())),
                None => result,
            };
            // The receiver may have been dropped.
            reply.send(result).ok();
        }));
    }

    /// Runs the callbacks with the error of the commit, if it failed.
    pub(super) fn run_callbacks(&mut self, failed: Option<&JournalError>) {
        for callback in self.callbacks.drain(..) {
            callback(failed);
        }
    }

    /// Releases the queue capacity of the committed commands.
    pub(super) fn release_permits(&mut self) {
        self.permits.clear();
        self.bytes = 0;
    }
}
