//! Packing: neighbouring small blocks become one.
//!
//! A task that writes a line now and then makes a block of each. The packed block takes the key of
//! the first and is written before the others are removed; after a kill in between, loading finds
//! the others inside it and removes them.

use std::sync::Arc;

use super::JournalError;
use super::stream::{BlockRef, Stream};
use crate::model::Origin;
use crate::store::Store;
use crate::store::block::{self, BLOCK_BYTES_TARGET, BLOCK_ENTRIES_MAX, BlockBuilder};

/// Fewer neighbours than this are not worth a write.
const RUN_BLOCKS_MIN: usize = 4;

/// Packs every run of small neighbours; answers how many blocks went.
pub(super) fn compact(store: &Store, stream: &Arc<Stream>) -> Result<u64, JournalError> {
    let rows: Vec<BlockRef> = stream.blocks.read().iter().copied().collect();
    let mut gone = 0;
    let mut start = 0;
    while start < rows.len() {
        let end = run_end(&rows, start);
        if end - start >= RUN_BLOCKS_MIN {
            pack(store, stream, &rows[start..end])?;
            gone += (end - start - 1) as u64;
        }
        start = end;
    }
    Ok(gone)
}

/// Where a run that fits one block ends.
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

fn pack(store: &Store, stream: &Arc<Stream>, run: &[BlockRef]) -> Result<(), JournalError> {
    let mut builder = BlockBuilder::new(run[0].first, run[0].first_line);
    let mut body = Vec::new();
    let (mut total_bytes, mut total_skipped) = (0, 0);
    for row in run {
        let Some(value) = store.block(stream.number, row.first, row.bytes as usize)? else { return Ok(()) };
        let header = block::decode_header(&value)?;
        (total_bytes, total_skipped) = (header.total_bytes, header.total_skipped);
        for (session, seq) in &header.sessions {
            builder.note_session(session, *seq);
        }
        let mut failed = None;
        let mut origins = header.origins();
        block::decode(row.first, &value, |entry| {
            body.clear();
            let origin = origins.next().unwrap_or(Origin::Unknown);
            let packed =
                block::encode_body(&mut body, &entry.body).and_then(|()| builder.push_of(entry.id, &body, origin));
            failed = packed.err();
            failed.is_none()
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
    }
    let (header, bytes) = builder.finish(total_bytes, total_skipped)?;
    store.put_block(stream.number, run[0].first, &bytes)?;
    let packed = BlockRef {
        first: run[0].first,
        last: header.last_id,
        first_line: header.first_line,
        count: header.count,
        bytes: header.bytes,
    };
    {
        let mut blocks = stream.blocks.write();
        if let Some(at) = blocks.iter().position(|row| row.first == packed.first) {
            blocks.drain(at + 1..at + run.len());
            blocks[at] = packed;
        }
    }
    for row in &run[1..] {
        store.remove_block(stream.number, row.first, row.bytes as usize)?;
    }
    Ok(())
}
