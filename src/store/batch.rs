//! The writes of one commit, and of the commits that sled does not have yet.

use std::collections::BTreeMap;

use sled::IVec;

use super::StoreError;
use super::position::BlockPosition;
use super::tree_id::{TREE_COUNT, TreeId};

/// A write to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RowWrite {
    /// Deletes the key.
    Delete,
    /// A value as sled stores it.
    Value(IVec),
    /// The contents of a block, before a segment has them.
    Contents {
        bytes: IVec,
        /// Set if the key has never been written, so that deleting it again leaves nothing to do.
        is_new: bool,
    },
    /// The position of a block in a segment.
    Position {
        at: BlockPosition,
        /// Set if the key is neither in sled nor on its way there.
        is_new: bool,
    },
}

impl RowWrite {
    /// Returns the write of a value; `None` deletes the key.
    pub(super) fn of(value: Option<&[u8]>) -> Self {
        value.map_or(Self::Delete, |value| Self::Value(value.into()))
    }

    /// Returns the value that sled stores; `None` if the key is deleted.
    pub(super) fn stored(&self) -> Result<Option<IVec>, StoreError> {
        match self {
            Self::Delete => Ok(None),
            Self::Value(value) | Self::Contents { bytes: value, .. } => Ok(Some(value.clone())),
            Self::Position { at, .. } => at.encode().map(Some),
        }
    }
}

/// Writes to one tree, one per key.
pub(super) type TreeWrites = BTreeMap<IVec, RowWrite>;

/// Writes by tree.
#[derive(Clone, Debug, Default)]
pub(super) struct WriteBatch([TreeWrites; TREE_COUNT]);

impl WriteBatch {
    /// Returns all writes, tree by tree.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TreeId, &IVec, &RowWrite)> {
        TreeId::ALL
            .into_iter()
            .zip(&self.0)
            .flat_map(|(tree, writes)| writes.iter().map(move |(key, write)| (tree, key, write)))
    }

    /// Returns all writes, tree by tree.
    pub(super) fn into_rows(self) -> impl Iterator<Item = (TreeId, IVec, RowWrite)> {
        TreeId::ALL
            .into_iter()
            .zip(self.0)
            .flat_map(|(tree, writes)| writes.into_iter().map(move |(key, write)| (tree, key, write)))
    }

    /// Returns the writes to one tree.
    pub(super) fn tree(&self, tree: TreeId) -> &TreeWrites {
        &self.0[tree as usize]
    }

    /// Adds a write, replacing an earlier one to the same key.
    pub(super) fn put(&mut self, tree: TreeId, key: IVec, write: RowWrite) {
        self.0[tree as usize].insert(key, write);
    }

    /// Removes the write to a key.
    pub(super) fn forget(&mut self, tree: TreeId, key: &[u8]) {
        self.0[tree as usize].remove(key);
    }

    /// Returns the number of writes.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(BTreeMap::len).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(BTreeMap::is_empty)
    }
}
