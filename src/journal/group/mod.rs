//! Consumer groups (Redis: XGROUP, XREADGROUP, XACK, XPENDING, XCLAIM, XAUTOCLAIM).
//!
//! A group has a place in the stream; each entry it passes is given to one of its consumers and
//! waits there for an ack. All of it is kept in memory while its stream is written, and row by row in
//! the store. The rows of a commit are written behind its entries, so that none is pending that is not
//! there.

mod change;
mod claim;
mod pending;
mod read;
mod tell;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::head::{Cx, Head};
use super::{JournalError, Transaction};
use crate::model::{EntryId, Timestamp};
use crate::store::groups::{
    ConsumerRecord, GroupRecord, GroupRow, GroupWrite, PendingRecord, consumer_key, group_key, pending_key,
};

pub use change::GroupStart;
pub use claim::{AutoClaim, AutoClaimed, Claim};
pub use pending::{PendingEntry, PendingQuery, PendingSummary};
pub use tell::{ConsumerInfo, GroupInfo};

/// Bytes of the name of a group or a consumer.
pub const GROUP_NAME_BYTES_MAX: usize = 1024;

/// Why nothing was done with a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// There is no such key.
    #[error("there is no such key")]
    NoKey,
    /// There is no such group. Redis: `NOGROUP`.
    #[error("there is no such group")]
    NoGroup,
    /// The group is there already. Redis: `BUSYGROUP`.
    #[error("the group is there already")]
    Exists,
    /// The name of a group or a consumer is too long.
    #[error("the name of a group or a consumer has at most {GROUP_NAME_BYTES_MAX} bytes")]
    NameTooLong,
}

/// What a call on a group gives: the outer error is the journal's.
pub type GroupResult<T> = Result<Result<T, GroupError>, JournalError>;

/// All groups of a stream, in the order of their names.
#[derive(Debug, Default)]
pub(super) struct Groups {
    all: BTreeMap<Box<[u8]>, Group>,
    /// Rows of this commit.
    writes: Vec<GroupWrite>,
}

#[derive(Debug, Default)]
struct Group {
    record: GroupRecord,
    consumers: BTreeMap<Arc<[u8]>, Consumer>,
    pending: BTreeMap<EntryId, Pending>,
}

#[derive(Debug, Default)]
struct Consumer {
    record: ConsumerRecord,
    pending: BTreeSet<EntryId>,
}

#[derive(Clone, Debug)]
struct Pending {
    consumer: Arc<[u8]>,
    delivered: Timestamp,
    count: u64,
}

impl Groups {
    fn load(cx: &Cx<'_>, number: u64) -> Result<Self, JournalError> {
        let mut groups = Self::default();
        for row in cx.store.group_rows(number) {
            let (name, row) = row?;
            let group = groups.all.entry(name.into()).or_default();
            match row {
                GroupRow::Group(record) => group.record = record,
                GroupRow::Consumer(name, record) => {
                    group.consumers.entry(name.into()).or_default().record = record;
                }
                GroupRow::Pending(id, row) => {
                    let consumer = group.name_of(&row.consumer);
                    group.consumers.entry(consumer.clone()).or_default().pending.insert(id);
                    let delivered = Timestamp::from_millis(row.delivered_ms);
                    group.pending.insert(id, Pending { consumer, delivered, count: row.count });
                }
            }
        }
        Ok(groups)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The rows of this commit, to be written behind its entries.
    pub(super) fn take_writes(&mut self) -> Vec<GroupWrite> {
        std::mem::take(&mut self.writes)
    }
}

impl Group {
    /// The one copy of a consumer's name.
    fn name_of(&self, consumer: &[u8]) -> Arc<[u8]> {
        self.consumers.get_key_value(consumer).map_or_else(|| consumer.into(), |(name, _)| name.clone())
    }

    /// Gives an entry to a consumer; whoever had it before has it no more.
    fn give(&mut self, id: EntryId, consumer: &Arc<[u8]>, delivered: Timestamp, count: u64) {
        let before = self.pending.insert(id, Pending { consumer: consumer.clone(), delivered, count });
        if let Some(other) = before.and_then(|before| self.consumers.get_mut(&before.consumer)) {
            other.pending.remove(&id);
        }
        if let Some(consumer) = self.consumers.get_mut(consumer) {
            consumer.pending.insert(id);
        }
    }

    /// An entry waits no more; answers whether it did.
    fn forget(&mut self, id: EntryId) -> bool {
        let Some(before) = self.pending.remove(&id) else { return false };
        if let Some(consumer) = self.consumers.get_mut(&before.consumer) {
            consumer.pending.remove(&id);
        }
        true
    }
}

/// A group of a stream, and how its changes are written.
struct GroupMut<'a> {
    number: u64,
    name: &'a [u8],
    group: &'a mut Group,
    writes: &'a mut Vec<GroupWrite>,
}

impl GroupMut<'_> {
    fn write_group(&mut self) -> Result<(), JournalError> {
        self.writes.push(GroupRow::Group(self.group.record).write(self.number, self.name)?);
        Ok(())
    }

    /// The consumer of this name, made if it is not there; it was seen now.
    fn see(&mut self, name: &[u8], now: Timestamp) -> Arc<[u8]> {
        let name = self.group.name_of(name);
        self.group.consumers.entry(name.clone()).or_default().record.seen_ms = now.as_millis();
        name
    }

    /// The consumer got something now.
    fn activate(&mut self, name: &Arc<[u8]>, now: Timestamp) {
        if let Some(consumer) = self.group.consumers.get_mut(name) {
            consumer.record.active_ms = Some(now.as_millis());
        }
    }

    fn write_consumer(&mut self, name: &Arc<[u8]>) -> Result<(), JournalError> {
        if let Some(consumer) = self.group.consumers.get(name) {
            self.writes.push(GroupRow::Consumer(name.to_vec(), consumer.record).write(self.number, self.name)?);
        }
        Ok(())
    }

    fn give(
        &mut self,
        id: EntryId,
        consumer: &Arc<[u8]>,
        delivered: Timestamp,
        count: u64,
    ) -> Result<(), JournalError> {
        self.group.give(id, consumer, delivered, count);
        let row = PendingRecord { consumer: consumer.to_vec(), delivered_ms: delivered.as_millis(), count };
        self.writes.push(GroupRow::Pending(id, row).write(self.number, self.name)?);
        Ok(())
    }

    fn forget(&mut self, id: EntryId) -> bool {
        let there = self.group.forget(id);
        if there {
            self.writes.push((pending_key(self.number, self.name, id), None));
        }
        there
    }
}

impl Head {
    /// The groups of the key, read from the store when they are first asked for.
    pub(super) fn groups(&mut self, cx: &Cx<'_>) -> Result<&mut Groups, JournalError> {
        match &mut self.groups {
            Some(groups) => Ok(groups),
            none => Ok(none.insert(Groups::load(cx, self.stream.number)?)),
        }
    }

    /// The key has no groups any more.
    pub(super) fn clear_groups(&mut self) {
        let none_known = self.groups.as_ref().is_some_and(|groups| groups.all.is_empty() && groups.writes.is_empty());
        self.groups_cleared |= !none_known;
        self.groups = Some(Groups::default());
    }
}

impl Transaction<'_> {
    /// Calls `act` with a group that is there; a change is part of this commit.
    fn with_group<T>(
        &mut self,
        name: &[u8],
        group: &[u8],
        act: impl FnOnce(&mut GroupMut<'_>) -> Result<T, JournalError>,
    ) -> GroupResult<T> {
        let Some((head, cx)) = self.head(name)? else { return Ok(Err(GroupError::NoKey)) };
        let number = head.stream.number;
        let groups = head.groups(&cx)?;
        let Some(found) = groups.all.get_mut(group) else { return Ok(Err(GroupError::NoGroup)) };
        let done = act(&mut GroupMut { number, name: group, group: found, writes: &mut groups.writes })?;
        if !groups.writes.is_empty() {
            self.include(name);
        }
        Ok(Ok(done))
    }
}

fn is_too_long(name: &[u8]) -> bool {
    name.len() > GROUP_NAME_BYTES_MAX
}
