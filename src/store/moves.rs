//! Copying live blocks to another segment.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::Ordering;

use sled::IVec;

use super::batch::{RowWrite, WriteBatch};
use super::block_rows::stored_position;
use super::frame::{FrameEncoder, FrameReader};
use super::position::BlockPosition;
use super::segments::{NewSegment, SEGMENT_HEADER_BYTES, SegmentKind};
use super::tree_id::TreeId;
use super::trees::Trees;
use super::{Store, StoreError};

/// Bytes of one frame of copies.
const COPIES_FRAME_BYTES: usize = 1024 * 1024;
/// Number of new positions in one frame of the log. Commits wait meanwhile.
const MOVES_PER_FRAME: usize = 512;

/// A block that was copied.
#[derive(Debug)]
struct CopiedBlock {
    key: IVec,
    from: BlockPosition,
    to: BlockPosition,
}

/// Writes copies of blocks to a segment.
struct CopiesWriter {
    made: NewSegment,
    /// Offset of the next frame.
    end: u64,
    /// Number of the next frame.
    next: u64,
    encoder: FrameEncoder,
    /// Blocks of the frame that is being encoded.
    waiting: Vec<(IVec, BlockPosition)>,
    copied: Vec<CopiedBlock>,
}

impl CopiesWriter {
    fn new(made: NewSegment) -> Self {
        let mut encoder = FrameEncoder::default();
        encoder.clear();
        let end = SEGMENT_HEADER_BYTES as u64;
        Self { made, end, next: 1, encoder, waiting: Vec::new(), copied: Vec::new() }
    }

    fn push(&mut self, key: &[u8], from: BlockPosition, contents: &[u8]) -> io::Result<()> {
        self.encoder.push_block(key, contents);
        self.waiting.push((key.into(), from));
        if self.encoder.len() >= COPIES_FRAME_BYTES { self.write_frame() } else { Ok(()) }
    }

    fn write_frame(&mut self) -> io::Result<()> {
        let (frame, blocks) = self.encoder.finish(self.made.header.salt, self.next);
        self.made.file.write_all_at(frame, self.end)?;
        for ((key, from), block) in self.waiting.drain(..).zip(blocks) {
            let segment = self.made.header.number;
            let to =
                BlockPosition { segment, offset: self.end + block.offset as u64, bytes: block.bytes, crc: block.crc };
            self.copied.push(CopiedBlock { key, from, to });
        }
        self.end += frame.len() as u64;
        self.next += 1;
        self.encoder.clear();
        Ok(())
    }

    /// Makes the copies durable.
    fn finish(&mut self) -> io::Result<()> {
        if !self.waiting.is_empty() {
            self.write_frame()?;
        }
        self.made.file.sync_all()
    }
}

impl Store {
    /// Copies the live blocks of segments to a new one, and moves them there. The caller must have the lock of
    /// reclaiming.
    pub(super) fn move_live_blocks(&self, victims: &[u64]) -> Result<(), StoreError> {
        let trees = self.trees()?;
        let made = self.segments.create(SegmentKind::Copies, 1).map_err(|error| self.unavailable_or_poisoned(error))?;
        let number = made.header.number;
        let mut writer = CopiesWriter::new(made);
        let copied = victims.iter().try_for_each(|victim| self.copy_live_blocks(&trees, *victim, &mut writer));
        let moved = match copied.and_then(|()| writer.finish().map_err(StoreError::Sync)) {
            Ok(()) => self.record_moves(&trees, &writer.copied),
            Err(StoreError::Sync(error)) => Err(self.unavailable_or_poisoned(error)),
            Err(error) => Err(error),
        };
        // What was not moved is dead there.
        let last_frame = self.log.lock().next() - 1;
        self.segments.set_sealed(number, writer.end, last_frame);
        self.space.add_written(writer.end);
        self.counters.copied_bytes.fetch_add(writer.end, Ordering::Relaxed);
        moved
    }

    fn copy_live_blocks(&self, trees: &Trees, victim: u64, writer: &mut CopiesWriter) -> Result<(), StoreError> {
        let Some((file, salt)) = self.segments.file_and_salt(victim).map_err(StoreError::Sync)? else { return Ok(()) };
        let mut reader = FrameReader::new(&file, salt, SEGMENT_HEADER_BYTES as u64).map_err(StoreError::Sync)?;
        while let Some(frame) = reader.read().map_err(StoreError::Sync)? {
            let mut failed = Ok(());
            let read = frame.each_write(victim, |found| {
                let (RowWrite::Position { at, .. }, Some(contents)) = (&found.write, found.contents) else { return };
                if failed.is_err() {
                    return;
                }
                failed = match self.is_at(trees, found.key, at) {
                    Ok(true) => writer.push(found.key, *at, contents).map_err(StoreError::Sync),
                    Ok(false) => Ok(()),
                    Err(error) => Err(error),
                };
            });
            read.map_err(StoreError::Sync)?;
            failed?;
        }
        Ok(())
    }

    /// Reports whether a committed block is at this position.
    fn is_at(&self, trees: &Trees, key: &[u8], at: &BlockPosition) -> Result<bool, StoreError> {
        match self.pending.committed_block(key) {
            Some(RowWrite::Position { at: found, .. }) => Ok(found == *at),
            Some(_) => Ok(false),
            None => match trees.of(TreeId::Blocks).get(key)? {
                Some(value) => Ok(stored_position(key, &value) == Some(*at)),
                None => Ok(false),
            },
        }
    }

    /// Writes the new positions of copied blocks to the log, unless they have changed meanwhile.
    fn record_moves(&self, trees: &Trees, copied: &[CopiedBlock]) -> Result<(), StoreError> {
        for copied in copied.chunks(MOVES_PER_FRAME) {
            // No commit and no checkpoint changes a row between the look at it and its change.
            let _no_checkpoint = self.live.lock();
            let mut log = self.log.lock();
            self.check_writable()?;
            let mut batch = WriteBatch::default();
            for block in copied {
                if self.is_at(trees, &block.key, &block.from)? {
                    let write = RowWrite::Position { at: block.to, is_new: false };
                    batch.put(TreeId::Blocks, block.key.clone(), write);
                }
            }
            if !batch.is_empty() {
                let appended = log.append(&batch).map_err(|error| self.unavailable_or_poisoned(error))?;
                self.unapplied_bytes.fetch_add(appended.bytes, Ordering::AcqRel);
                self.pending.record_moves(batch);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EntryId;
    use crate::store::StoreOptions;

    #[test]
    fn block_changed_after_it_was_copied_is_not_moved() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
        let id = |n| EntryId::new(n, 0);
        for n in 1..=3 {
            store.put_new_block(1, id(n), b"old").unwrap();
        }
        store.commit().unwrap();
        store.checkpoint_with(&mut store.live.lock(), true).unwrap();
        let trees = store.trees().unwrap();
        let mut writer = CopiesWriter::new(store.segments.create(SegmentKind::Copies, 1).unwrap());
        store.copy_live_blocks(&trees, 1, &mut writer).unwrap();
        writer.finish().unwrap();
        assert_eq!(writer.copied.len(), 3);
        store.remove_block(1, id(1), 3).unwrap();
        store.put_block(1, id(2), b"new").unwrap();
        store.commit().unwrap();
        // One of the changes is known to the log only, then to sled.
        for _ in 0..2 {
            store.record_moves(&trees, &writer.copied).unwrap();
            let found: Vec<_> = store.blocks_of(1).map(Result::unwrap).collect();
            assert_eq!(found, [(id(2), b"new".to_vec()), (id(3), b"old".to_vec())]);
            store.checkpoint().unwrap();
        }
        assert_eq!(store.block(1, id(1), 3).unwrap(), None);
    }
}
