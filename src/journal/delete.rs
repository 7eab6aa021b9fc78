//! Deleting single entries (Redis: XDEL): the text goes, the place stays, so that line numbers hold.

use super::JournalError;
use super::head::{Cx, Head};
use super::stream::BlockRef;
use crate::model::{Entry, EntryBody, EntryId, Origin};
use crate::store::block::{self, BlockBuilder};

impl Head {
    /// Deletes these entries; answers how many were there.
    pub(super) fn delete(&mut self, cx: &Cx<'_>, ids: &[EntryId]) -> Result<u64, JournalError> {
        self.close_block(cx)?;
        let mut gone = 0;
        for id in ids {
            let Some(row) = self.rows(|row| row.first <= *id && row.last >= *id).pop() else { continue };
            let value = self.block(cx, row)?;
            let mut there = false;
            block::decode(row.first, &value, |entry| {
                there = entry.id == *id && entry.n >= self.tip.shown_line && !entry.body.is_deleted();
                entry.id < *id
            })?;
            if !there {
                continue;
            }
            self.ensure_nodes(cx)?;
            self.tip.shown_len -= 1;
            self.max_deleted_id = self.max_deleted_id.max(*id);
            // Before the block: one that holds deleted entries is only known by this.
            cx.store.put_stream(&self.stream.name, &self.record())?;
            self.rewrite_without(cx, row, &value, *id)?;
            if let Some(nodes) = self.nodes.as_mut() {
                nodes.delete(*id);
            }
            gone += 1;
        }
        Ok(gone)
    }

    fn rewrite_without(&mut self, cx: &Cx<'_>, row: BlockRef, value: &[u8], id: EntryId) -> Result<(), JournalError> {
        self.rewrite(cx, row, value, |entry| {
            Some(if entry.id == id {
                EntryBody::DELETED
            } else {
                std::mem::replace(&mut entry.body, EntryBody::DELETED)
            })
        })
    }

    /// Takes entries above `id` away, place and all: only where each of them is deleted or trimmed, so
    /// that ids may go back (Redis: XSETID).
    pub(super) fn cut_behind(&mut self, cx: &Cx<'_>, id: EntryId) -> Result<(), JournalError> {
        self.close_block(cx)?;
        self.drop_blocks();
        for row in self.rows(|row| row.last > id) {
            if row.first > id {
                self.stream.blocks.write().retain(|other| other.first != row.first);
                self.fresh.retain(|other| other.first != row.first);
                cx.store.remove_block(self.stream.number, row.first, row.bytes as usize)?;
            } else {
                let value = self.block(cx, row)?;
                self.rewrite(cx, row, &value, |entry| {
                    (entry.id <= id).then(|| std::mem::replace(&mut entry.body, EntryBody::DELETED))
                })?;
            }
        }
        Ok(())
    }

    /// Writes a block anew with what `keep` gives of each entry, up to where it gives nothing.
    fn rewrite<'a>(
        &mut self,
        cx: &Cx<'_>,
        row: BlockRef,
        value: &'a [u8],
        mut keep: impl FnMut(&mut Entry<'a>) -> Option<EntryBody<'a>>,
    ) -> Result<(), JournalError> {
        let old = block::decode_header(value)?;
        let mut builder = BlockBuilder::new(row.first, row.first_line);
        for (session, seq) in &old.sessions {
            builder.note_session(session, *seq);
        }
        let mut body = Vec::new();
        let mut failed = None;
        let mut origins = old.origins();
        block::decode(row.first, value, |mut entry| {
            body.clear();
            let Some(kept) = keep(&mut entry) else { return false };
            let origin = origins.next().unwrap_or(Origin::Unknown);
            failed = block::encode_body(&mut body, &kept).and_then(|()| builder.push_of(entry.id, &body, origin)).err();
            failed.is_none()
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let (header, bytes) = builder.finish(old.total_bytes, old.total_skipped)?;
        cx.store.put_block(self.stream.number, row.first, &bytes)?;
        cx.store.remove_parts(self.stream.number, row.first, bytes.len(), row.bytes as usize)?;
        self.replace_row(BlockRef::new(row.first, &header));
        Ok(())
    }
}
