//! Consumer groups (Redis: XGROUP, XREADGROUP, XACK, XPENDING, XCLAIM, XAUTOCLAIM).
//!
//! A group has a position in the stream. Each entry before it was delivered to one of its consumers and
//! is pending until that consumer acknowledges it. Groups are held in memory while their stream is
//! written to, and row by row in the store. The rows of a commit are written after its entries, so that
//! no pending row refers to an entry that does not exist.

mod claim;
mod info;
mod manage;
mod pending;
mod read;
mod state;

use super::{JournalError, Transaction};
use state::GroupMut;

pub use claim::{AutoClaim, AutoClaimed, Claim};
pub use info::{ConsumerInfo, GroupInfo};
pub use manage::GroupStart;
pub use pending::{PendingEntry, PendingQuery, PendingSummary};
pub(super) use state::Groups;

/// Maximum length of the name of a group or a consumer, in bytes.
pub const GROUP_NAME_BYTES_MAX: usize = 1024;

/// An error that prevented an operation on a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The key does not exist.
    #[error("no such key")]
    NoKey,
    /// The group does not exist. Redis: `NOGROUP`.
    #[error("no such group")]
    NoGroup,
    /// The group already exists. Redis: `BUSYGROUP`.
    #[error("the group already exists")]
    Exists,
    /// The name of a group or a consumer is too long.
    #[error("names of groups and consumers must not exceed {GROUP_NAME_BYTES_MAX} bytes")]
    NameTooLong,
}

/// The result of an operation on a group. The outer error is an error of the journal.
pub type GroupResult<T> = Result<Result<T, GroupError>, JournalError>;

impl Transaction<'_> {
    /// Calls `act` with an existing group, and adds the key to the commit if a row changed.
    fn with_group<T>(
        &mut self,
        name: &[u8],
        group: &[u8],
        act: impl FnOnce(&mut GroupMut<'_>) -> Result<T, JournalError>,
    ) -> GroupResult<T> {
        let Some((state, cx)) = self.state(name)? else { return Ok(Err(GroupError::NoKey)) };
        let number = state.stream.number;
        let groups = state.groups(&cx)?;
        let Some(found) = groups.all.get_mut(group) else { return Ok(Err(GroupError::NoGroup)) };
        let done = act(&mut GroupMut { number, name: group, state: found, writes: &mut groups.writes })?;
        if !groups.writes.is_empty() {
            self.include_in_commit(name);
        }
        Ok(Ok(done))
    }
}

fn is_too_long(name: &[u8]) -> bool {
    name.len() > GROUP_NAME_BYTES_MAX
}
