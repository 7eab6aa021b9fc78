//! What waits for an ack (Redis: XPENDING).

use super::{GroupResult, Transaction};
use crate::model::EntryId;

/// What waits in a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PendingSummary {
    /// Entries.
    pub count: u64,
    /// The ids of the first and the last, if there is one.
    pub span: Option<(EntryId, EntryId)>,
    /// Consumers for whose ack something waits, and how much.
    pub consumers: Vec<(Vec<u8>, u64)>,
}

/// Which pending entries are wanted.
#[derive(Clone, Copy, Debug)]
pub struct PendingQuery<'a> {
    /// The least id.
    pub start: EntryId,
    /// The greatest id.
    pub end: EntryId,
    /// Entries at most.
    pub count: usize,
    /// Only those of this consumer.
    pub consumer: Option<&'a [u8]>,
    /// Only those that wait for so long, in milliseconds.
    pub idle_ms_min: u64,
}

/// An entry that waits for an ack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingEntry {
    /// Its id.
    pub id: EntryId,
    /// Whose ack it waits for.
    pub consumer: Vec<u8>,
    /// Since when, in milliseconds since 1970.
    pub delivered_ms: u64,
    /// Milliseconds since then.
    pub idle_ms: u64,
    /// How often it was given.
    pub count: u64,
}

impl Transaction<'_> {
    /// What waits in a group, in sum.
    pub fn pending_summary(&mut self, name: &[u8], group: &[u8]) -> GroupResult<PendingSummary> {
        self.with_group(name, group, |group| {
            let pending = &group.group.pending;
            let first = pending.first_key_value().map(|(id, _)| *id);
            let last = pending.last_key_value().map(|(id, _)| *id);
            let consumers = group.group.consumers.iter().filter(|(_, consumer)| !consumer.pending.is_empty());
            Ok(PendingSummary {
                count: pending.len() as u64,
                span: first.zip(last),
                consumers: consumers.map(|(name, consumer)| (name.to_vec(), consumer.pending.len() as u64)).collect(),
            })
        })
    }

    /// What waits in a group, one by one.
    pub fn pending(&mut self, name: &[u8], group: &[u8], query: PendingQuery<'_>) -> GroupResult<Vec<PendingEntry>> {
        let now = self.now.time.as_millis();
        self.with_group(name, group, |group| {
            if query.start > query.end {
                return Ok(Vec::new());
            }
            let inside = group.group.pending.range(query.start..=query.end).map(|(id, pending)| {
                let delivered_ms = pending.delivered.as_millis();
                PendingEntry {
                    id: *id,
                    consumer: pending.consumer.to_vec(),
                    delivered_ms,
                    idle_ms: now.saturating_sub(delivered_ms),
                    count: pending.count,
                }
            });
            let wanted = inside.filter(|entry| {
                entry.idle_ms >= query.idle_ms_min && query.consumer.is_none_or(|name| *name == *entry.consumer)
            });
            Ok(wanted.take(query.count).collect())
        })
    }
}
