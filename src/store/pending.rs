//! Writes that sled does not have yet: collected for the next commit, or being committed.
//!
//! Reads look here first, so that a writer sees its own writes. sled receives them only once their frame
//! is in the write-ahead log, so a failed commit leaves no trace: its writes are discarded here.

use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;
use sled::IVec;

use super::StoreError;
use super::batch::{TreeWrites, WriteBatch};
use super::tree_id::TreeId;

/// Key and value of one row of a tree.
pub(super) type TreeRow = (IVec, IVec);

/// The writes that sled does not have. The lock is held only briefly.
#[derive(Debug, Default)]
pub(super) struct PendingWrites(RwLock<PendingLayers>);

#[derive(Debug, Default)]
struct PendingLayers {
    /// Writes for the next commit.
    next: WriteBatch,
    /// The commit being written, or commits that sled failed to apply.
    committing: Option<Arc<WriteBatch>>,
}

impl PendingLayers {
    /// Returns the writes to one tree, newest layer first.
    fn of(&self, tree: TreeId) -> impl DoubleEndedIterator<Item = &TreeWrites> {
        let committing = self.committing.as_deref().map(|batch| batch.tree(tree));
        [Some(self.next.tree(tree)), committing].into_iter().flatten()
    }
}

impl PendingWrites {
    /// Adds a write to the next commit; `None` deletes the key.
    pub(super) fn put(&self, tree: TreeId, key: &[u8], value: Option<&[u8]>) {
        self.0.write().next.put(tree, key, value);
    }

    /// Returns the pending write for `key`, if any; `Some(None)` is a pending delete.
    pub(super) fn get(&self, tree: TreeId, key: &[u8]) -> Option<Option<IVec>> {
        self.0.read().of(tree).find_map(|writes| writes.get(key).cloned())
    }

    /// Returns a copy of the pending writes whose keys are from `from` on and before `end`.
    fn range(&self, tree: TreeId, from: &[u8], end: &[u8]) -> TreeWrites {
        let mut found = TreeWrites::new();
        // The newer layer is inserted last and wins.
        for writes in self.0.read().of(tree).rev() {
            let rows = writes.range::<[u8], _>((Bound::Included(from), Bound::Excluded(end)));
            found.extend(rows.map(|(key, value)| (key.clone(), value.clone())));
        }
        found
    }

    /// Returns a copy of the pending writes whose keys begin with `prefix`.
    fn prefix_range(&self, tree: TreeId, prefix: &[u8]) -> TreeWrites {
        let mut found = TreeWrites::new();
        // The newer layer is inserted last and wins.
        for writes in self.0.read().of(tree).rev() {
            let from = writes.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
            let matching = from.take_while(|(key, _)| key.starts_with(prefix));
            found.extend(matching.map(|(key, value)| (key.clone(), value.clone())));
        }
        found
    }

    /// Starts a commit with the writes collected so far. Returns `None` if there are none.
    pub(super) fn begin_commit(&self) -> Option<Arc<WriteBatch>> {
        let mut layers = self.0.write();
        if layers.next.is_empty() {
            return None;
        }
        let batch = Arc::new(std::mem::take(&mut layers.next));
        layers.committing = Some(batch.clone());
        Some(batch)
    }

    /// Shows these writes to readers: the write-ahead log has them, sled may not.
    pub(super) fn set_committing(&self, batch: Arc<WriteBatch>) {
        self.0.write().committing = Some(batch);
    }

    /// Ends a commit: either sled has it now, or it failed.
    pub(super) fn end_commit(&self) {
        self.0.write().committing = None;
    }

    /// Discards the writes collected for the next commit.
    pub(super) fn discard_next(&self) {
        self.0.write().next = WriteBatch::default();
    }

    /// Returns the rows of a tree whose keys begin with `prefix`, in key order.
    pub(super) fn scan(&self, id: TreeId, tree: &sled::Tree, prefix: &[u8]) -> MergedScan {
        let pending = self.prefix_range(id, prefix);
        MergedScan { stored: tree.scan_prefix(prefix).peekable(), pending: pending.into_iter().peekable() }
    }

    /// Returns the rows of a tree whose keys are from `from` on and before `end`, in key order.
    pub(super) fn scan_between(&self, id: TreeId, tree: &sled::Tree, from: &[u8], end: &[u8]) -> MergedScan {
        let end = end.max(from);
        let pending = self.range(id, from, end);
        MergedScan { stored: tree.range(from..end).peekable(), pending: pending.into_iter().peekable() }
    }

    /// Returns the last key of a tree that begins with `prefix`.
    pub(super) fn last_key(&self, id: TreeId, tree: &sled::Tree, prefix: &[u8]) -> Result<Option<IVec>, sled::Error> {
        let pending = self.prefix_range(id, prefix);
        let newest = pending.iter().rev().find(|(_, value)| value.is_some()).map(|(key, _)| key.clone());
        let mut stored = tree.scan_prefix(prefix).keys();
        let stored = loop {
            match stored.next_back().transpose()? {
                Some(key) if pending.get(&key).is_some_and(Option::is_none) => {}
                found => break found,
            }
        };
        Ok(newest.max(stored))
    }
}

/// The rows of a tree, merged from sled and the pending writes.
pub(super) struct MergedScan {
    stored: Peekable<sled::Iter>,
    pending: Peekable<std::collections::btree_map::IntoIter<IVec, Option<IVec>>>,
}

impl Iterator for MergedScan {
    type Item = Result<TreeRow, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((pending, _)) = self.pending.peek() else {
                return self.stored.next().map(|row| row.map_err(StoreError::from));
            };
            match self.stored.peek() {
                Some(Err(_)) => return self.stored.next().map(|row| row.map_err(StoreError::from)),
                Some(Ok((key, _))) if key < pending => {
                    return self.stored.next().map(|row| row.map_err(StoreError::from));
                }
                Some(Ok((key, _))) if key == pending => drop(self.stored.next()),
                _ => {}
            }
            if let Some((key, Some(value))) = self.pending.next() {
                return Some(Ok((key, value)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(scan: MergedScan) -> Vec<(Vec<u8>, Vec<u8>)> {
        scan.map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap()).collect()
    }

    #[test]
    fn scan_merges_pending_and_stored_rows() {
        let db = sled::Config::new().temporary(true).open().unwrap();
        let tree = db.open_tree("t").unwrap();
        for key in ["a1", "a3", "a5", "b1"] {
            tree.insert(key, "old").unwrap();
        }
        let pending = PendingWrites::default();
        pending.put(TreeId::Blocks, b"a2", Some(b"first"));
        pending.put(TreeId::Blocks, b"a3", Some(b"new"));
        let batch = pending.begin_commit().unwrap();
        assert_eq!(batch.iter().count(), 2);
        pending.put(TreeId::Blocks, b"a2", Some(b"second"));
        pending.put(TreeId::Blocks, b"a5", None);
        pending.put(TreeId::Blocks, b"a9", None);
        pending.put(TreeId::Streams, b"a4", Some(b"of another tree"));
        let wanted: Vec<(Vec<u8>, Vec<u8>)> =
            [("a1", "old"), ("a2", "second"), ("a3", "new")].map(|(k, v)| (k.into(), v.into())).to_vec();
        assert_eq!(keys(pending.scan(TreeId::Blocks, &tree, b"a")), wanted);
        assert_eq!(keys(pending.scan_between(TreeId::Blocks, &tree, b"a2", b"a4")), wanted[1..]);
        assert_eq!(keys(pending.scan_between(TreeId::Blocks, &tree, b"a4", b"a2")), []);
        assert_eq!(pending.last_key(TreeId::Blocks, &tree, b"a").unwrap().unwrap(), b"a3");
        assert_eq!(pending.last_key(TreeId::Blocks, &tree, b"c").unwrap(), None);
        assert_eq!(pending.get(TreeId::Blocks, b"a5"), Some(None));
        assert_eq!(pending.get(TreeId::Blocks, b"a1"), None, "not pending, only in sled");
        pending.discard_next();
        pending.end_commit();
        assert_eq!(keys(pending.scan(TreeId::Blocks, &tree, b"a")).len(), 3, "only the stored rows are left");
    }
}
