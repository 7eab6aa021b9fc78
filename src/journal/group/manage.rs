//! Creating, changing and removing groups and consumers (Redis: XGROUP), and acks (XACK).

use super::{GroupError, GroupResult, is_too_long};
use crate::journal::Transaction;
use crate::model::EntryId;
use crate::store::groups::GroupRecord;

/// The start position of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupStart {
    /// After this ID.
    After(EntryId),
    /// After the last entry (Redis: `$`).
    Last,
}

impl Transaction<'_> {
    /// Creates a group (Redis: XGROUP CREATE), and with `create_key` the key if it does not exist.
    pub fn create_group(
        &mut self,
        name: &[u8],
        group: &[u8],
        start: GroupStart,
        entries_read: Option<u64>,
        create_key: bool,
    ) -> GroupResult<()> {
        if is_too_long(group) {
            return Ok(Err(GroupError::NameTooLong));
        }
        if create_key {
            self.create(name)?;
        }
        let Some((state, cx)) = self.state(name)? else { return Ok(Err(GroupError::NoKey)) };
        let (number, last) = (state.stream.number, state.tip.last_id);
        let groups = state.groups(&cx)?;
        if groups.all.contains_key(group) {
            return Ok(Err(GroupError::Exists));
        }
        groups.create(number, group, GroupRecord { last_id: start.resolve(last), entries_read })?;
        self.include_in_commit(name);
        Ok(Ok(()))
    }

    /// Moves a group (Redis: XGROUP SETID).
    pub fn set_group(
        &mut self,
        name: &[u8],
        group: &[u8],
        start: GroupStart,
        entries_read: Option<u64>,
    ) -> GroupResult<()> {
        let Some((state, _)) = self.state(name)? else { return Ok(Err(GroupError::NoKey)) };
        let last = state.tip.last_id;
        self.with_group(name, group, |group| {
            group.state.record = GroupRecord { last_id: start.resolve(last), entries_read };
            group.write_group()
        })
    }

    /// Removes a group and reports whether it existed (Redis: XGROUP DESTROY). Clients blocked on the
    /// key are retried.
    pub fn destroy_group(&mut self, name: &[u8], group: &[u8]) -> GroupResult<bool> {
        let Some((state, cx)) = self.state(name)? else { return Ok(Err(GroupError::NoKey)) };
        let number = state.stream.number;
        if !state.groups(&cx)?.remove(number, group) {
            return Ok(Ok(false));
        }
        self.include_in_commit(name);
        self.writer.blocked.mark_ready(name);
        Ok(Ok(true))
    }

    /// Creates a consumer and reports whether it is new (Redis: XGROUP CREATECONSUMER).
    pub fn create_consumer(&mut self, name: &[u8], group: &[u8], consumer: &[u8]) -> GroupResult<bool> {
        if is_too_long(consumer) {
            return Ok(Err(GroupError::NameTooLong));
        }
        let now = self.now.time;
        self.with_group(name, group, |group| {
            if group.state.consumers.contains_key(consumer) {
                return Ok(false);
            }
            let consumer = group.touch_consumer(consumer, now);
            group.write_consumer(&consumer)?;
            Ok(true)
        })
    }

    /// Removes a consumer (Redis: XGROUP DELCONSUMER). Returns the number of its pending entries.
    pub fn delete_consumer(&mut self, name: &[u8], group: &[u8], consumer: &[u8]) -> GroupResult<u64> {
        self.with_group(name, group, |group| Ok(group.remove_consumer(consumer)))
    }

    /// Acknowledges entries (Redis: XACK). Returns the number of entries that were pending.
    pub fn ack(&mut self, name: &[u8], group: &[u8], ids: &[EntryId]) -> GroupResult<u64> {
        self.with_group(name, group, |group| Ok(ids.iter().filter(|id| group.remove_pending(**id)).count() as u64))
    }
}

impl GroupStart {
    fn resolve(self, last: EntryId) -> EntryId {
        match self {
            GroupStart::After(id) => id,
            GroupStart::Last => last,
        }
    }
}
