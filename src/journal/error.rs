//! The journal's error type.

use std::sync::Arc;
use std::time::Duration;

use crate::store::{StoreError, Unavailable};

/// An error of a journal.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// The store failed; reads may still work.
    #[error("{0}")]
    Store(Arc<StoreError>),
    /// The stream was removed during the call.
    #[error("the stream was removed")]
    Removed,
    /// No greater ID exists. Redis: `ERR The stream has exhausted the last possible ID, unable to add more items`.
    #[error("the stream has exhausted the last possible ID")]
    Exhausted,
    /// The key is not a stream. Redis: `WRONGTYPE Operation against a key holding the wrong kind of value`.
    #[error("the key is not a stream")]
    WrongType,
    /// The entries of another journal cannot follow those of its copy.
    #[error("the copy differs from its source after line {line}")]
    Diverged {
        /// Last line of the copy.
        line: u64,
    },
    /// The journal is closed.
    #[error("the journal is closed")]
    Closed,
    /// The commit did not finish within the timeout.
    #[error("commit timed out after {} s; it may or may not have been stored", .0.as_secs())]
    Unconfirmed(Duration),
}

impl JournalError {
    /// Returns the reason if writes are temporarily unavailable, for example because the disk is full.
    /// Nothing was stored, and a retry may succeed.
    pub fn unavailable(&self) -> Option<&Unavailable> {
        let JournalError::Store(error) = self else { return None };
        match &**error {
            StoreError::Unavailable(refusal) => Some(refusal),
            _ => None,
        }
    }
}

impl From<StoreError> for JournalError {
    fn from(error: StoreError) -> Self {
        JournalError::Store(Arc::new(error))
    }
}
