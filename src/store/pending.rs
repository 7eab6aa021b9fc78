//! Writes that sled does not have yet, in four layers.
//!
//! ```text
//! next        collected for the next commit
//! committing  the commit that is being appended to the log
//! recent      commits that the log has, merged
//! applying    commits that the log has and that sled receives now (`checkpoint`)
//! ```
//!
//! Reads look here first, from the newest layer on, so that a writer sees its own writes. The first two layers have the
//! contents of blocks; the others have their positions in segments. A failed commit leaves no trace: its writes are
//! discarded here. A block that is removed while it is in `recent` never reaches sled.

use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;
use sled::IVec;

use super::StoreError;
use super::batch::{RowWrite, TreeWrites, WriteBatch};
use super::position::BlockPosition;
use super::tree_id::TreeId;

/// Key and value of one row of a tree.
pub(super) type TreeRow = (IVec, RowWrite);

/// The commits that sled receives, and the number of the last one's frame.
#[derive(Clone, Debug)]
pub(super) struct FrozenCommits {
    pub(super) batch: Arc<WriteBatch>,
    pub(super) frame: u64,
}

/// The writes that sled does not have. The lock is held only briefly.
#[derive(Debug, Default)]
pub(super) struct PendingWrites(RwLock<PendingLayers>);

#[derive(Debug, Default)]
struct PendingLayers {
    next: WriteBatch,
    committing: Option<Arc<WriteBatch>>,
    recent: WriteBatch,
    applying: Option<FrozenCommits>,
}

impl PendingLayers {
    /// Returns the writes to one tree, newest layer first.
    fn of(&self, tree: TreeId) -> impl DoubleEndedIterator<Item = &TreeWrites> {
        let committing = self.committing.as_deref().map(|batch| batch.tree(tree));
        let applying = self.applying.as_ref().map(|frozen| frozen.batch.tree(tree));
        [Some(self.next.tree(tree)), committing, Some(self.recent.tree(tree)), applying].into_iter().flatten()
    }

    /// Returns the write of the layers that the log has.
    fn committed(&self, tree: TreeId, key: &[u8]) -> Option<&RowWrite> {
        let applying = || self.applying.as_ref().and_then(|frozen| frozen.batch.tree(tree).get(key));
        self.recent.tree(tree).get(key).or_else(applying)
    }

    /// Adds a write that the log has.
    fn record(&mut self, tree: TreeId, key: IVec, write: RowWrite) {
        let write = match write {
            RowWrite::Delete
                if matches!(self.recent.tree(tree).get(&key), Some(RowWrite::Position { is_new: true, .. })) =>
            {
                return self.recent.forget(tree, &key);
            }
            RowWrite::Position { at, is_new: true } => {
                RowWrite::Position { at, is_new: self.committed(tree, &key).is_none() }
            }
            write => write,
        };
        self.recent.put(tree, key, write);
    }
}

impl PendingWrites {
    /// Adds a write to the next commit.
    pub(super) fn put(&self, tree: TreeId, key: &[u8], write: RowWrite) {
        self.0.write().next.put(tree, key.into(), write);
    }

    /// Returns the pending write for `key`, if any.
    pub(super) fn get(&self, tree: TreeId, key: &[u8]) -> Option<RowWrite> {
        self.0.read().of(tree).find_map(|writes| writes.get(key).cloned())
    }

    /// Returns a copy of the pending writes whose keys are from `from` on and before `end`.
    fn range(&self, tree: TreeId, from: &[u8], end: &[u8]) -> TreeWrites {
        let mut found = TreeWrites::new();
        // The newer layer is inserted last and wins.
        for writes in self.0.read().of(tree).rev() {
            let rows = writes.range::<[u8], _>((Bound::Included(from), Bound::Excluded(end)));
            found.extend(rows.map(|(key, write)| (key.clone(), write.clone())));
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
            found.extend(matching.map(|(key, write)| (key.clone(), write.clone())));
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

    /// Ends a commit that the log has, with its blocks at these positions.
    pub(super) fn end_commit(&self, batch: Arc<WriteBatch>, positions: &[BlockPosition]) {
        let mut layers = self.0.write();
        layers.committing = None;
        let batch = Arc::try_unwrap(batch).unwrap_or_else(|shared| (*shared).clone());
        let mut positions = positions.iter();
        for (tree, key, write) in batch.into_rows() {
            let write = match write {
                RowWrite::Contents { is_new, .. } => match positions.next() {
                    Some(at) => RowWrite::Position { at: *at, is_new },
                    None => continue,
                },
                write => write,
            };
            layers.record(tree, key, write);
        }
    }

    /// Ends a commit that failed.
    pub(super) fn discard_commit(&self) {
        self.0.write().committing = None;
    }

    /// Discards the writes collected for the next commit.
    pub(super) fn discard_next(&self) {
        self.0.write().next = WriteBatch::default();
    }

    /// Returns the write of a block that the log has and sled does not.
    pub(super) fn committed_block(&self, key: &[u8]) -> Option<RowWrite> {
        self.0.read().committed(TreeId::Blocks, key).cloned()
    }

    /// Records new positions of blocks, which the log has.
    pub(super) fn record_moves(&self, batch: WriteBatch) {
        let mut layers = self.0.write();
        for (tree, key, write) in batch.into_rows() {
            layers.record(tree, key, write);
        }
    }

    /// Returns the commits that sled must receive next, the last of which is `frame`. sled must have received those
    /// before.
    pub(super) fn freeze(&self, frame: u64) -> FrozenCommits {
        let mut layers = self.0.write();
        let frozen = FrozenCommits { batch: Arc::new(std::mem::take(&mut layers.recent)), frame };
        layers.applying = Some(frozen.clone());
        frozen
    }

    /// Returns the commits that sled is receiving, or has failed to apply.
    pub(super) fn frozen(&self) -> Option<FrozenCommits> {
        self.0.read().applying.clone()
    }

    /// Records that sled has the frozen commits.
    pub(super) fn set_applied(&self) {
        self.0.write().applying = None;
    }

    /// Returns the number of rows that the log has and sled does not.
    pub(super) fn unapplied_rows(&self) -> usize {
        let layers = self.0.read();
        layers.recent.len() + layers.applying.as_ref().map_or(0, |frozen| frozen.batch.len())
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
        let newest = pending.iter().rev().find(|(_, write)| **write != RowWrite::Delete).map(|(key, _)| key.clone());
        let mut stored = tree.scan_prefix(prefix).keys();
        let stored = loop {
            match stored.next_back().transpose()? {
                Some(key) if pending.get(&key) == Some(&RowWrite::Delete) => {}
                found => break found,
            }
        };
        Ok(newest.max(stored))
    }
}

/// The rows of a tree, merged from sled and the pending writes.
pub(super) struct MergedScan {
    stored: Peekable<sled::Iter>,
    pending: Peekable<std::collections::btree_map::IntoIter<IVec, RowWrite>>,
}

impl MergedScan {
    fn next_stored(&mut self) -> Option<Result<TreeRow, StoreError>> {
        let row = self.stored.next()?;
        Some(row.map(|(key, value)| (key, RowWrite::Value(value))).map_err(StoreError::from))
    }
}

impl Iterator for MergedScan {
    type Item = Result<TreeRow, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((pending, _)) = self.pending.peek() else { return self.next_stored() };
            match self.stored.peek() {
                Some(Err(_)) => return self.next_stored(),
                Some(Ok((key, _))) if key < pending => return self.next_stored(),
                Some(Ok((key, _))) if key == pending => drop(self.stored.next()),
                _ => {}
            }
            match self.pending.next() {
                Some((_, RowWrite::Delete)) | None => {}
                Some(row) => return Some(Ok(row)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(scan: MergedScan) -> Vec<(Vec<u8>, Vec<u8>)> {
        let row = |(key, write): TreeRow| (key.to_vec(), write.stored().unwrap().unwrap().to_vec());
        scan.map(|found| found.map(row).unwrap()).collect()
    }

    fn put(pending: &PendingWrites, tree: TreeId, key: &str, value: Option<&str>) {
        pending.put(tree, key.as_bytes(), RowWrite::of(value.map(str::as_bytes)));
    }

    fn commit(pending: &PendingWrites, positions: &[BlockPosition]) {
        let batch = pending.begin_commit().unwrap();
        pending.end_commit(batch, positions);
    }

    #[test]
    fn scan_merges_pending_and_stored_rows() {
        let db = sled::Config::new().temporary(true).open().unwrap();
        let tree = db.open_tree("t").unwrap();
        for key in ["a1", "a3", "a5", "b1"] {
            tree.insert(key, "old").unwrap();
        }
        let pending = PendingWrites::default();
        put(&pending, TreeId::Streams, "a2", Some("first"));
        put(&pending, TreeId::Streams, "a3", Some("newer"));
        commit(&pending, &[]);
        pending.freeze(1);
        put(&pending, TreeId::Streams, "a3", Some("new"));
        commit(&pending, &[]);
        let batch = pending.begin_commit();
        assert!(batch.is_none());
        put(&pending, TreeId::Streams, "a2", Some("second"));
        put(&pending, TreeId::Streams, "a5", None);
        put(&pending, TreeId::Streams, "a9", None);
        put(&pending, TreeId::Tasks, "a4", Some("of another tree"));
        let wanted: Vec<(Vec<u8>, Vec<u8>)> =
            [("a1", "old"), ("a2", "second"), ("a3", "new")].map(|(k, v)| (k.into(), v.into())).to_vec();
        assert_eq!(keys(pending.scan(TreeId::Streams, &tree, b"a")), wanted);
        assert_eq!(keys(pending.scan_between(TreeId::Streams, &tree, b"a2", b"a4")), wanted[1..]);
        assert_eq!(keys(pending.scan_between(TreeId::Streams, &tree, b"a4", b"a2")), []);
        assert_eq!(pending.last_key(TreeId::Streams, &tree, b"a").unwrap().unwrap(), b"a3");
        assert_eq!(pending.last_key(TreeId::Streams, &tree, b"c").unwrap(), None);
        assert_eq!(pending.get(TreeId::Streams, b"a5"), Some(RowWrite::Delete));
        assert_eq!(pending.get(TreeId::Streams, b"a1"), None, "not pending, only in sled");
        pending.discard_next();
        assert_eq!(pending.get(TreeId::Streams, b"a2"), Some(RowWrite::of(Some(b"first"))));
        pending.set_applied();
        assert_eq!(pending.get(TreeId::Streams, b"a2"), None, "sled has it");
        assert_eq!(pending.get(TreeId::Streams, b"a3"), Some(RowWrite::of(Some(b"new"))));
    }

    #[test]
    fn removed_block_reaches_sled_only_if_its_key_may_be_there() {
        let pending = PendingWrites::default();
        let at = BlockPosition { segment: 1, offset: 36, bytes: 3, crc: 0 };
        let add = |key: &str, is_new: bool| {
            pending.put(TreeId::Blocks, key.as_bytes(), RowWrite::Contents { bytes: "abc".into(), is_new });
        };
        let remove = |key: &str| put(&pending, TreeId::Blocks, key, None);
        add("new", true);
        add("rewritten", false);
        commit(&pending, &[at, at]);
        remove("new");
        remove("rewritten");
        commit(&pending, &[]);
        assert_eq!(pending.get(TreeId::Blocks, b"new"), None);
        assert_eq!(pending.get(TreeId::Blocks, b"rewritten"), Some(RowWrite::Delete));
        // sled has the key before it knows of the removal.
        add("frozen", true);
        commit(&pending, &[at]);
        pending.freeze(3);
        remove("frozen");
        commit(&pending, &[]);
        assert_eq!(pending.get(TreeId::Blocks, b"frozen"), Some(RowWrite::Delete));
        // The same key again, while a removal of the first one waits.
        add("frozen", true);
        commit(&pending, &[at]);
        pending.set_applied();
        remove("frozen");
        commit(&pending, &[]);
        assert_eq!(pending.get(TreeId::Blocks, b"frozen"), Some(RowWrite::Delete));
    }
}
