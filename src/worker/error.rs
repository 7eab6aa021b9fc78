//! The errors of a worker.

use crate::client::{BadToken, BadUrl};

/// An error that stops a worker. [`WorkerError::exit_code`] returns the exit code for it.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The URL is not `http://HOST:PORT`.
    #[error(transparent)]
    BadUrl(#[from] BadUrl),
    /// The access token is malformed.
    #[error(transparent)]
    BadToken(#[from] BadToken),
    /// The command is empty.
    #[error("no command was given")]
    NoCommand,
    /// The command does not exist. Its task ended with exit code 127.
    #[error("{command}: command not found")]
    NotFound {
        /// Command name.
        command: String,
    },
    /// The command exists but cannot be executed. Its task ended with exit code 126.
    #[error("{command}: cannot be executed")]
    NotExecutable {
        /// Command name.
        command: String,
        /// Underlying error.
        source: std::io::Error,
    },
    /// Another step failed before the command ran.
    #[error("{what}")]
    Setup {
        /// Failed operation.
        what: String,
        /// Underlying error.
        source: std::io::Error,
    },
}

impl WorkerError {
    /// Returns the exit code for the process: 127 not found, 126 not executable, else 125.
    pub fn exit_code(&self) -> i32 {
        match self {
            WorkerError::NotFound { .. } => 127,
            WorkerError::NotExecutable { .. } => 126,
            _ => 125,
        }
    }
}
