//! Errors of the engine, by what the caller can do.

use std::time::Duration;

/// The error of an operation on the shared journal.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// The URL or a setting of Redis does not allow to start; an operator must change it.
    #[error("{0}")]
    Config(String),
    /// Redis did not answer in time, or not as a primary; the operation may or may not have been applied.
    #[error("the journal's Redis is unavailable ({reason}): nothing was answered within {waited:?}")]
    Unavailable {
        /// The last error.
        reason: String,
        /// Time after which the operation was given up.
        waited: Duration,
    },
    /// Redis refused the operation as a whole (memory, replicas, disk); nothing was applied.
    #[error("the journal's Redis refused a write: {0}")]
    Refused(String),
    /// An argument exceeds what the journal can store.
    #[error("{0}")]
    Invalid(String),
    /// An answer that no version of the scripts gives.
    #[error("unexpected answer of the journal's Redis: {0}")]
    Protocol(String),
}

impl EngineError {
    /// Reports whether the same operation can succeed later without a change of settings.
    pub fn is_temporary(&self) -> bool {
        matches!(self, EngineError::Unavailable { .. } | EngineError::Refused(_))
    }
}
