//! Pending entries (Redis: XPENDING).

use super::GroupResult;
use crate::journal::Transaction;
use crate::model::EntryId;

/// A summary of the pending entries of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PendingSummary {
    /// Number of pending entries.
    pub count: u64,
    /// First and last pending ID, if any.
    pub span: Option<(EntryId, EntryId)>,
    /// Consumers with pending entries, and their number.
    pub consumers: Vec<(Vec<u8>, u64)>,
}

/// A filter for pending entries.
#[derive(Clone, Copy, Debug)]
pub struct PendingQuery<'a> {
    /// Least ID.
    pub start: EntryId,
    /// Greatest ID.
    pub end: EntryId,
    /// Maximum number of entries.
    pub count: usize,
    /// Consumer whose entries are wanted; `None` for all.
    pub consumer: Option<&'a [u8]>,
    /// Least time since the delivery, in milliseconds.
    pub idle_ms_min: u64,
}

/// A pending entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingEntry {
    /// ID of the entry.
    pub id: EntryId,
    /// Consumer that must acknowledge it.
    pub consumer: Vec<u8>,
    /// Time of the last delivery, in milliseconds since 1970.
    pub delivered_ms: u64,
    /// Milliseconds since then.
    pub idle_ms: u64,
    /// Number of deliveries.
    pub count: u64,
}

impl Transaction<'_> {
    /// Returns a summary of the pending entries of a group.
    pub fn pending_summary(&mut self, name: &[u8], group: &[u8]) -> GroupResult<PendingSummary> {
        self.with_group(name, group, |group| {
            let pending = &group.state.pending;
            let first = pending.first_key_value().map(|(id, _)| *id);
            let last = pending.last_key_value().map(|(id, _)| *id);
            let consumers = group.state.consumers.iter().filter(|(_, consumer)| !consumer.pending.is_empty());
            Ok(PendingSummary {
                count: pending.len() as u64,
                span: first.zip(last),
                consumers: consumers.map(|(name, consumer)| (name.to_vec(), consumer.pending.len() as u64)).collect(),
            })
        })
    }

    /// Returns the pending entries of a group that match `query`.
    pub fn pending(&mut self, name: &[u8], group: &[u8], query: PendingQuery<'_>) -> GroupResult<Vec<PendingEntry>> {
        let now = self.now.time.as_millis();
        self.with_group(name, group, |group| {
            if query.start > query.end {
                return Ok(Vec::new());
            }
            let inside = group.state.pending.range(query.start..=query.end).map(|(id, pending)| {
                let delivered_ms = pending.delivered.as_millis();
                PendingEntry {
                    id: *id,
                    consumer: pending.consumer.to_vec(),
                    delivered_ms,
                    idle_ms: now.saturating_sub(delivered_ms),
                    count: pending.count,
                }
            });
            let matching = inside.filter(|entry| {
                entry.idle_ms >= query.idle_ms_min && query.consumer.is_none_or(|name| *name == *entry.consumer)
            });
            Ok(matching.take(query.count).collect())
        })
    }
}
