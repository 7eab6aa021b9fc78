//! What makes two events the same.

use crate::model::Event;

/// Gives ids to the events of one way that come without: their fingerprint, and which of the equal
/// ones it is. One of these for each way (a task's output, a file from its beginning).
#[derive(Debug, Default)]
pub struct Identities {}

impl Identities {
    /// The event with an `event_id`: its own, or one that the same event gets on every way.
    pub fn identify(&mut self, event: &Event) -> Event {
        event.clone()
    }
}
