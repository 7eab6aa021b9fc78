//! The groups of a stream in memory, and the rows that store them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::journal::JournalError;
use crate::model::{EntryId, Timestamp};
use crate::store::Store;
use crate::store::groups::{
    ConsumerRecord, GroupRecord, GroupRow, GroupWrite, PendingRecord, consumer_key, group_key, pending_key,
};

/// All groups of a stream, sorted by name.
#[derive(Debug, Default)]
pub(in crate::journal) struct Groups {
    pub(super) all: BTreeMap<Box<[u8]>, GroupState>,
    /// Rows to write with this commit.
    pub(super) writes: Vec<GroupWrite>,
}

#[derive(Debug, Default)]
pub(super) struct GroupState {
    pub(super) record: GroupRecord,
    pub(super) consumers: BTreeMap<Arc<[u8]>, ConsumerState>,
    pub(super) pending: BTreeMap<EntryId, PendingState>,
}

#[derive(Debug, Default)]
pub(super) struct ConsumerState {
    pub(super) record: ConsumerRecord,
    pub(super) pending: BTreeSet<EntryId>,
}

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Debug)]
pub(super) struct PendingState {
    pub(super) consumer: Arc<[u8]>,
    pub(super) delivered: Timestamp,
    pub(super) count: u64,
}

/// A group under modification. Its changed rows are added to `writes`.
pub(super) struct GroupMut<'a> {
    /// Number of the stream.
    pub(super) number: u64,
    pub(super) name: &'a [u8],
    pub(super) state: &'a mut GroupState,
    pub(super) writes: &'a mut Vec<GroupWrite>,
}

impl Groups {
    pub(in crate::journal) fn load(store: &Store, number: u64) -> Result<Self, JournalError> {
        let mut groups = Self::default();
        for row in store.group_rows(number) {
            let (name, row) = row?;
            let group = groups.all.entry(name.into()).or_default();
            match row {
                GroupRow::Group(record) => group.record = record,
                GroupRow::Consumer(name, record) => {
                    group.consumers.entry(name.into()).or_default().record = record;
                }
                GroupRow::Pending(id, row) => {
                    let consumer = group.shared_name(&row.consumer);
                    group.consumers.entry(consumer.clone()).or_default().pending.insert(id);
                    let delivered = Timestamp::from_millis(row.delivered_ms);
                    group.pending.insert(id, PendingState { consumer, delivered, count: row.count });
                }
            }
        }
        Ok(groups)
    }

    pub(in crate::journal) fn len(&self) -> usize {
        self.all.len()
    }

    /// Reports whether there are neither groups nor unwritten rows.
    pub(in crate::journal) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.writes.is_empty()
    }

    /// Returns and clears the rows of this commit. They must be written after its entries.
    pub(in crate::journal) fn take_writes(&mut self) -> Vec<GroupWrite> {
        std::mem::take(&mut self.writes)
    }

    /// Adds a group of stream `number`.
    pub(super) fn create(&mut self, number: u64, name: &[u8], record: GroupRecord) -> Result<(), JournalError> {
        self.writes.push(GroupRow::Group(record).write(number, name)?);
        self.all.insert(name.into(), GroupState { record, ..GroupState::default() });
        Ok(())
    }

    /// Removes a group of stream `number` and reports whether it existed.
    pub(super) fn remove(&mut self, number: u64, name: &[u8]) -> bool {
        let Some(removed) = self.all.remove(name) else { return false };
        self.writes.push((group_key(number, name), None));
        self.writes.extend(removed.consumers.keys().map(|consumer| (consumer_key(number, name, consumer), None)));
        self.writes.extend(removed.pending.keys().map(|id| (pending_key(number, name, *id), None)));
        true
    }
}

impl GroupState {
    /// Returns the shared copy of a consumer's name.
    fn shared_name(&self, consumer: &[u8]) -> Arc<[u8]> {
        self.consumers.get_key_value(consumer).map_or_else(|| consumer.into(), |(name, _)| name.clone())
    }

    /// Assigns an entry to a consumer. Its previous consumer, if any, loses it.
    fn assign(&mut self, id: EntryId, consumer: &Arc<[u8]>, delivered: Timestamp, count: u64) {
        let previous = self.pending.insert(id, PendingState { consumer: consumer.clone(), delivered, count });
        if let Some(other) = previous.and_then(|previous| self.consumers.get_mut(&previous.consumer)) {
            other.pending.remove(&id);
        }
        if let Some(consumer) = self.consumers.get_mut(consumer) {
            consumer.pending.insert(id);
        }
    }

    /// Removes a pending entry and reports whether it was pending.
    fn remove_pending(&mut self, id: EntryId) -> bool {
        let Some(pending) = self.pending.remove(&id) else { return false };
        if let Some(consumer) = self.consumers.get_mut(&pending.consumer) {
            consumer.pending.remove(&id);
        }
        true
    }
}

impl GroupMut<'_> {
    pub(super) fn write_group(&mut self) -> Result<(), JournalError> {
        self.writes.push(GroupRow::Group(self.state.record).write(self.number, self.name)?);
        Ok(())
    }

    /// Returns the shared name of a consumer, which is created if it does not exist, and sets the time
    /// when it was last seen.
    pub(super) fn touch_consumer(&mut self, name: &[u8], now: Timestamp) -> Arc<[u8]> {
        let name = self.state.shared_name(name);
        self.state.consumers.entry(name.clone()).or_default().record.seen_ms = now.as_millis();
        name
    }

    /// Sets the time when the consumer last received an entry.
    pub(super) fn set_active(&mut self, name: &Arc<[u8]>, now: Timestamp) {
        if let Some(consumer) = self.state.consumers.get_mut(name) {
            consumer.record.active_ms = Some(now.as_millis());
        }
    }

    pub(super) fn write_consumer(&mut self, name: &Arc<[u8]>) -> Result<(), JournalError> {
        if let Some(consumer) = self.state.consumers.get(name) {
            self.writes.push(GroupRow::Consumer(name.to_vec(), consumer.record).write(self.number, self.name)?);
        }
        Ok(())
    }

    /// Removes a consumer. Returns the number of its pending entries, which are removed too.
    pub(super) fn remove_consumer(&mut self, name: &[u8]) -> u64 {
        let Some(removed) = self.state.consumers.remove(name) else { return 0 };
        self.writes.push((consumer_key(self.number, self.name, name), None));
        for id in &removed.pending {
            self.remove_pending(*id);
        }
        removed.pending.len() as u64
    }

    /// Assigns an entry to a consumer.
    pub(super) fn assign(
        &mut self,
        id: EntryId,
        consumer: &Arc<[u8]>,
        delivered: Timestamp,
        count: u64,
    ) -> Result<(), JournalError> {
        self.state.assign(id, consumer, delivered, count);
        let row = PendingRecord { consumer: consumer.to_vec(), delivered_ms: delivered.as_millis(), count };
        self.writes.push(GroupRow::Pending(id, row).write(self.number, self.name)?);
        Ok(())
    }

    /// Removes a pending entry and reports whether it was pending.
    pub(super) fn remove_pending(&mut self, id: EntryId) -> bool {
        let removed = self.state.remove_pending(id);
        if removed {
            self.writes.push((pending_key(self.number, self.name, id), None));
        }
        removed
    }
}
