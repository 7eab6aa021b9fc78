//! The writes of one commit.

use std::collections::BTreeMap;

use sled::IVec;

use super::tree_id::{TREE_COUNT, TreeId};

/// Writes to one tree, one per key; `None` deletes the key.
pub(super) type TreeWrites = BTreeMap<IVec, Option<IVec>>;

/// The writes of one commit, by tree.
#[derive(Debug, Default)]
pub(super) struct WriteBatch([TreeWrites; TREE_COUNT]);

impl WriteBatch {
    /// Returns all writes, tree by tree.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TreeId, &IVec, Option<&IVec>)> {
        TreeId::ALL
            .into_iter()
            .zip(&self.0)
            .flat_map(|(tree, writes)| writes.iter().map(move |(key, value)| (tree, key, value.as_ref())))
    }

    /// Returns the writes to one tree.
    pub(super) fn tree(&self, tree: TreeId) -> &TreeWrites {
        &self.0[tree as usize]
    }

    /// Adds a write, replacing an earlier one to the same key.
    pub(super) fn put(&mut self, tree: TreeId, key: &[u8], value: Option<&[u8]>) {
        self.0[tree as usize].insert(key.into(), value.map(IVec::from));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(BTreeMap::is_empty)
    }
}
