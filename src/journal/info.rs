//! Details of a key (Redis: XINFO STREAM).

use super::stream_state::{StreamState, WriteContext};
use super::{IdRange, JournalError};
use crate::model::EntryId;

/// Details of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Number of entries.
    pub len: u64,
    /// Number of Redis' nodes.
    pub nodes: u64,
    /// Number of nodes of the radix tree in which Redis would store them.
    pub tree_nodes: u64,
    /// Greatest ID ever added.
    pub last_id: EntryId,
    /// Greatest deleted ID.
    pub max_deleted_id: EntryId,
    /// Number of entries ever added.
    pub entries_added: u64,
    /// Number of consumer groups.
    pub groups: u64,
    /// ID of the first entry; `0-0` if there is none.
    pub first_id: EntryId,
}

impl StreamState {
    /// Returns the details of the key.
    pub(super) fn info(&mut self, cx: &WriteContext<'_>) -> Result<StreamInfo, JournalError> {
        self.ensure_nodes(cx)?;
        let (nodes, tree_nodes) = self.nodes.as_ref().map_or((0, 1), |nodes| (nodes.len(), nodes.tree_nodes()));
        let mut first_id = EntryId::MIN;
        let first = IdRange { start: EntryId::MIN, end: EntryId::MAX, count: 1, reverse: false };
        self.range(cx, first, &mut |entry| first_id = entry.id)?;
        Ok(StreamInfo {
            len: self.tip.shown_len,
            nodes: nodes as u64,
            tree_nodes: tree_nodes as u64,
            last_id: self.tip.last_id,
            max_deleted_id: self.max_deleted_id,
            entries_added: self.entries_added,
            groups: self.groups(cx)?.len() as u64,
            first_id,
        })
    }
}
