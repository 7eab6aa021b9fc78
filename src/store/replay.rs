//! Replaying the commits that sled has lost, when the store is opened.

use std::path::Path;
use std::sync::Arc;

use super::StoreError;
use super::batch::{RowWrite, WriteBatch};
use super::legacy_log;
use super::log::CommitLog;
use super::pending::FrozenCommits;
use super::record::StreamRecord;
use super::segments::Segments;
use super::tree_id::TreeId;
use super::trees::Trees;

/// What is open besides sled.
pub(super) struct OpenedLog {
    pub(super) segments: Arc<Segments>,
    pub(super) log: CommitLog,
}

impl OpenedLog {
    /// Opens the segments of a folder, and makes sled receive the commits that it has lost, durably.
    pub(super) fn open(folder: &Path, trees: &Trees, segment_bytes: u64) -> Result<Self, StoreError> {
        let (mut batch, mut number_max) = (WriteBatch::default(), 0);
        let mut known = trees.frame()?;
        let commits = legacy_log::replay(folder, known, |write| {
            number_max = number_max.max(stream_number(write.tree, write.key, write.value));
            batch.put(write.tree, write.key.into(), RowWrite::of(write.value));
        })
        .map_err(StoreError::Sync)?;
        known = apply(trees, batch, known, commits)?;
        legacy_log::remove(folder).map_err(StoreError::Sync)?;

        let (segments, logs) = Segments::open(folder).map_err(StoreError::Sync)?;
        let segments = Arc::new(segments);
        let mut batch = WriteBatch::default();
        let (log, commits) = CommitLog::open(segments.clone(), &logs, known, segment_bytes, |found| {
            let value = match &found.write {
                RowWrite::Value(value) => Some(&**value),
                _ => None,
            };
            number_max = number_max.max(stream_number(found.tree, found.key, value));
            batch.put(found.tree, found.key.into(), found.write);
        })
        .map_err(StoreError::Sync)?;
        apply(trees, batch, known, commits)?;
        trees.skip_numbers(number_max)?;
        trees.make_durable()?;
        Ok(Self { segments, log })
    }
}

/// Applies the commits after the frame `known`. Returns the number of the last one's frame.
fn apply(trees: &Trees, batch: WriteBatch, known: u64, commits: u64) -> Result<u64, StoreError> {
    let frame = known + commits;
    if commits > 0 {
        trees.apply_durably(&FrozenCommits { batch: Arc::new(batch), frame })?;
        tracing::info!(commits, "replayed the last commits from the log");
    }
    Ok(frame)
}

/// Returns the number of the stream that a write belongs to; 0 if there is none.
fn stream_number(tree: TreeId, key: &[u8], value: Option<&[u8]>) -> u64 {
    let key = key.first_chunk::<8>().map_or(0, |number| u64::from_be_bytes(*number));
    match (tree, value) {
        (TreeId::Blocks | TreeId::Groups, _) => key,
        (TreeId::Streams, Some(record)) => StreamRecord::decode(record).map_or(0, |record| record.number),
        _ => 0,
    }
}
