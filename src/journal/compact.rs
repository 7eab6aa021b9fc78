//! Compaction: neighbouring small blocks are merged into one.
//!
//! A task that writes a line now and then creates one block per line. The merged block uses the key of
//! the first block and is written before the others are removed. After a kill in between, loading the
//! stream finds that the others are contained in it, and removes them.

use std::sync::Arc;

use super::JournalError;
use super::stream::{BlockRef, Stream};
use crate::model::Origin;
use crate::store::Store;
use crate::store::block::{self, BLOCK_BYTES_TARGET, BLOCK_ENTRIES_MAX, BlockBuilder};

/// Least number of blocks whose merge is worth a write.
const RUN_BLOCKS_MIN: usize = 4;

/// Merges every run of small neighbouring blocks. Returns the number of removed blocks.
pub(super) fn compact_stream(store: &Store, stream: &Arc<Stream>) -> Result<u64, JournalError> {
    let rows: Vec<BlockRef> = stream.blocks.read().iter().copied().collect();
    let mut removed = 0;
    let mut start = 0;
    while start < rows.len() {
        let end = run_end(&rows, start);
        if end - start >= RUN_BLOCKS_MIN {
            merge(store, stream, &rows[start..end])?;
            removed += (end - start - 1) as u64;
        }
        start = end;
    }
    Ok(removed)
}

/// Reports whether compaction would merge some of these blocks.
pub(super) fn has_small_blocks(rows: &[BlockRef]) -> bool {
    (0..rows.len()).any(|start| run_end(rows, start) - start >= RUN_BLOCKS_MIN)
}

/// Returns the end of the longest run from `start` that fits in one block.
fn run_end(rows: &[BlockRef], start: usize) -> usize {
    let (mut entries, mut bytes) = (0, 0);
    for (at, row) in rows.iter().enumerate().skip(start) {
        entries += row.count;
        bytes += row.bytes as usize;
        if at > start && (entries > BLOCK_ENTRIES_MAX || bytes > BLOCK_BYTES_TARGET) {
            return at;
        }
    }
    rows.len()
}

/// Replaces the blocks of a run by one.
fn merge(store: &Store, stream: &Arc<Stream>, run: &[BlockRef]) -> Result<(), JournalError> {
    let mut builder = BlockBuilder::new(run[0].first, run[0].first_line);
    let mut body = Vec::new();
    let (mut total_bytes, mut total_skipped) = (0, 0);
    for row in run {
        let Some(value) = store.block(stream.number, row.first, row.bytes as usize)? else { return Ok(()) };
        let header = block::decode_header(&value)?;
        (total_bytes, total_skipped) = (header.total_bytes, header.total_skipped);
        for (session, seq) in &header.sessions {
            builder.record_session(session, *seq);
        }
        let mut failed = None;
        let mut origins = header.origins();
        block::decode(row.first, &value, |entry| {
            body.clear();
            let origin = origins.next().unwrap_or(Origin::Unknown);
            let pushed = block::encode_body(&mut body, &entry.body)
                .and_then(|()| builder.push_with_origin(entry.id, &body, origin));
            failed = pushed.err();
            failed.is_none()
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
    }
    let (header, bytes) = builder.finish(total_bytes, total_skipped)?;
    stream.unindex(store, run[0].first, header.last_id)?;
    store.put_block(stream.number, run[0].first, &bytes)?;
    let merged = BlockRef::new(run[0].first, &header);
    {
        let mut blocks = stream.blocks.write();
        if let Some(at) = blocks.iter().position(|row| row.first == merged.first) {
            blocks.drain(at + 1..at + run.len());
            blocks[at] = merged;
        }
    }
    for row in &run[1..] {
        store.remove_block(stream.number, row.first, row.bytes as usize)?;
    }
    Ok(())
}
