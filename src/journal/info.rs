//! What there is to say of a key (Redis: XINFO STREAM).

use super::head::{Cx, Head};
use super::{IdRange, JournalError};
use crate::model::EntryId;

/// A key's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Entries.
    pub len: u64,
    /// Redis' nodes.
    pub nodes: u64,
    /// Nodes of the radix tree that Redis would keep them in.
    pub tree_nodes: u64,
    /// The greatest id ever added.
    pub last_id: EntryId,
    /// The greatest id that was deleted.
    pub max_deleted_id: EntryId,
    /// Entries ever added.
    pub entries_added: u64,
    /// Consumer groups.
    pub groups: u64,
    /// The first entry's id; `0-0` if there is none.
    pub first_id: EntryId,
}

impl Head {
    pub(super) fn info(&mut self, cx: &Cx<'_>) -> Result<StreamInfo, JournalError> {
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
