//! What was written and is not in sled yet: gathered for the next commit, or on its way.
//!
//! Reads look here first, so that whoever writes sees his own writes; sled gets them only once their
//! frame is in the write-ahead log. So a commit that fails leaves nothing behind: it is forgotten here.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;
use sled::IVec;

use super::StoreError;
use super::wal::{TREES, TreeId};

/// A row of a tree.
pub(super) type TreeRow = (IVec, IVec);

/// Writes of one tree, each key once; without a value the key goes.
type Writes = BTreeMap<IVec, Option<IVec>>;

/// The writes of one commit, by tree.
#[derive(Debug, Default)]
pub(super) struct WriteBatch([Writes; TREES]);

impl WriteBatch {
    /// All of them, tree by tree.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TreeId, &IVec, Option<&IVec>)> {
        TreeId::ALL
            .into_iter()
            .zip(&self.0)
            .flat_map(|(place, writes)| writes.iter().map(move |(key, value)| (place, key, value.as_ref())))
    }

    pub(super) fn put(&mut self, place: TreeId, key: &[u8], value: Option<&[u8]>) {
        self.0[place as usize].insert(key.into(), value.map(IVec::from));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(BTreeMap::is_empty)
    }
}

/// The writes that sled has not. Held for a moment.
#[derive(Debug, Default)]
pub(super) struct PendingWrites(RwLock<Layers>);

#[derive(Debug, Default)]
struct Layers {
    /// For the next commit.
    pending: WriteBatch,
    /// Of the commit that is being written, or of those that sled could not take in.
    committing: Option<Arc<WriteBatch>>,
}

impl Layers {
    /// The newest first.
    fn of(&self, place: TreeId) -> impl DoubleEndedIterator<Item = &Writes> {
        let committing = self.committing.as_deref().map(|changes| &changes.0[place as usize]);
        [Some(&self.pending.0[place as usize]), committing].into_iter().flatten()
    }
}

impl PendingWrites {
    pub(super) fn put(&self, place: TreeId, key: &[u8], value: Option<&[u8]>) {
        self.0.write().pending.put(place, key, value);
    }

    /// What is here of a key: its value, or `None` in it where it goes.
    pub(super) fn get(&self, place: TreeId, key: &[u8]) -> Option<Option<IVec>> {
        self.0.read().of(place).find_map(|writes| writes.get(key).cloned())
    }

    /// What is here of the keys that begin so, as it is now.
    fn prefix_range(&self, place: TreeId, prefix: &[u8]) -> Writes {
        let mut found = Writes::new();
        // The newer layer comes last and stays.
        for writes in self.0.read().of(place).rev() {
            let from = writes.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
            let here = from.take_while(|(key, _)| key.starts_with(prefix));
            found.extend(here.map(|(key, value)| (key.clone(), value.clone())));
        }
        found
    }

    /// Takes what was gathered for a commit; nothing if there is nothing.
    pub(super) fn begin_commit(&self) -> Option<Arc<WriteBatch>> {
        let mut layers = self.0.write();
        if layers.pending.is_empty() {
            return None;
        }
        let changes = Arc::new(std::mem::take(&mut layers.pending));
        layers.committing = Some(changes.clone());
        Some(changes)
    }

    /// These are in the log of commits and may not be in sled.
    pub(super) fn set_committing(&self, changes: Arc<WriteBatch>) {
        self.0.write().committing = Some(changes);
    }

    /// The commit is in sled, or never was.
    pub(super) fn end_commit(&self) {
        self.0.write().committing = None;
    }

    /// Forgets what was gathered.
    pub(super) fn forget_pending(&self) {
        self.0.write().pending = WriteBatch::default();
    }

    /// The rows of a tree whose keys begin so, in order.
    pub(super) fn scan(&self, place: TreeId, tree: &sled::Tree, prefix: &[u8]) -> MergedScan {
        let over = self.prefix_range(place, prefix);
        MergedScan { stored: tree.scan_prefix(prefix).peekable(), over: over.into_iter().peekable() }
    }

    /// The last key of a tree that begins so.
    pub(super) fn last_key(
        &self,
        place: TreeId,
        tree: &sled::Tree,
        prefix: &[u8],
    ) -> Result<Option<IVec>, sled::Error> {
        let over = self.prefix_range(place, prefix);
        let newest = over.iter().rev().find(|(_, value)| value.is_some()).map(|(key, _)| key.clone());
        let mut stored = tree.scan_prefix(prefix).keys();
        let stored = loop {
            match stored.next_back().transpose()? {
                Some(key) if over.get(&key).is_some_and(Option::is_none) => {}
                found => break found,
            }
        };
        Ok(newest.max(stored))
    }
}

/// The rows of a tree, those that are not in sled yet among them.
pub(super) struct MergedScan {
    stored: Peekable<sled::Iter>,
    over: Peekable<std::collections::btree_map::IntoIter<IVec, Option<IVec>>>,
}

impl Iterator for MergedScan {
    type Item = Result<TreeRow, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((over, _)) = self.over.peek() else {
                return self.stored.next().map(|row| row.map_err(StoreError::from));
            };
            match self.stored.peek() {
                Some(Err(_)) => return self.stored.next().map(|row| row.map_err(StoreError::from)),
                Some(Ok((key, _))) if key < over => return self.stored.next().map(|row| row.map_err(StoreError::from)),
                Some(Ok((key, _))) if key == over => drop(self.stored.next()),
                _ => {}
            }
            if let Some((key, Some(value))) = self.over.next() {
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
    fn a_scan_shows_what_is_written_over_what_is_stored() {
        let db = sled::Config::new().temporary(true).open().unwrap();
        let tree = db.open_tree("t").unwrap();
        for key in ["a1", "a3", "a5", "b1"] {
            tree.insert(key, "old").unwrap();
        }
        let overlay = PendingWrites::default();
        overlay.put(TreeId::Blocks, b"a2", Some(b"first"));
        overlay.put(TreeId::Blocks, b"a3", Some(b"new"));
        let changes = overlay.begin_commit().unwrap();
        assert_eq!(changes.iter().count(), 2);
        overlay.put(TreeId::Blocks, b"a2", Some(b"second"));
        overlay.put(TreeId::Blocks, b"a5", None);
        overlay.put(TreeId::Blocks, b"a9", None);
        overlay.put(TreeId::Streams, b"a4", Some(b"of another tree"));
        let wanted: Vec<(Vec<u8>, Vec<u8>)> =
            [("a1", "old"), ("a2", "second"), ("a3", "new")].map(|(k, v)| (k.into(), v.into())).to_vec();
        assert_eq!(keys(overlay.scan(TreeId::Blocks, &tree, b"a")), wanted);
        assert_eq!(overlay.last_key(TreeId::Blocks, &tree, b"a").unwrap().unwrap(), b"a3");
        assert_eq!(overlay.last_key(TreeId::Blocks, &tree, b"c").unwrap(), None);
        assert_eq!(overlay.get(TreeId::Blocks, b"a5"), Some(None));
        assert_eq!(overlay.get(TreeId::Blocks, b"a1"), None, "sled knows");
        overlay.forget_pending();
        overlay.end_commit();
        assert_eq!(keys(overlay.scan(TreeId::Blocks, &tree, b"a")).len(), 3, "as it is stored");
    }
}
