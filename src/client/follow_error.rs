//! Errors of the followers of one task and of several.

/// An error that ends following.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The first connection could not be opened.
    #[error("cannot reach {url}: {why}")]
    Unreachable {
        /// The server's address.
        url: String,
        /// Reason, for people.
        why: String,
    },
    /// The server rejected the request.
    #[error("{message}")]
    Refused {
        /// Stable code.
        code: String,
        /// Description, for people.
        message: String,
    },
}
