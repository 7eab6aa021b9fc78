//! Failures of deliveries.

/// The reason why a notice was not delivered.
#[derive(Debug)]
pub(super) enum SendFailure {
    /// A later attempt may succeed.
    Transient(String),
    /// A later attempt would fail, too.
    Final(String),
}
