//! Deleting single entries (Redis: XDEL). The text is removed; a deleted entry remains, so that line
//! numbers do not shift.

use super::JournalError;
use super::stream::BlockRef;
use super::stream_state::{StreamState, WriteContext};
use crate::model::{Entry, EntryBody, EntryId, Origin};
use crate::store::block::{self, BlockBuilder};

impl StreamState {
    /// Deletes these entries. Returns the number of entries that existed.
    pub(super) fn delete(&mut self, cx: &WriteContext<'_>, ids: &[EntryId]) -> Result<u64, JournalError> {
        self.close_block(cx)?;
        let mut deleted = 0;
        for id in ids {
            let Some(row) = self.block_refs(|row| row.first <= *id && row.last >= *id).pop() else { continue };
            let value = self.read_block(cx, row)?;
            let mut exists = false;
            block::decode(row.first, &value, |entry| {
                exists = entry.id == *id && entry.n >= self.tip.shown_line && !entry.body.is_deleted();
                entry.id < *id
            })?;
            if !exists {
                continue;
            }
            self.ensure_nodes(cx)?;
            self.tip.shown_len -= 1;
            self.max_deleted_id = self.max_deleted_id.max(*id);
            // Before the block: loading looks for deleted entries only if the record has some.
            cx.store.put_stream(&self.stream.name, &self.record())?;
            self.rewrite_without(cx, row, &value, *id)?;
            if let Some(nodes) = self.nodes.as_mut() {
                nodes.delete(*id);
            }
            deleted += 1;
        }
        Ok(deleted)
    }

    fn rewrite_without(
        &mut self,
        cx: &WriteContext<'_>,
        row: BlockRef,
        value: &[u8],
        id: EntryId,
    ) -> Result<(), JournalError> {
        self.rewrite(cx, row, value, |entry| {
            Some(if entry.id == id {
                EntryBody::DELETED
            } else {
                std::mem::replace(&mut entry.body, EntryBody::DELETED)
            })
        })
    }

    /// Removes the entries after `id` completely, so that the last ID can decrease (Redis: XSETID). Each
    /// of them must be deleted or trimmed.
    pub(super) fn truncate_after(&mut self, cx: &WriteContext<'_>, id: EntryId) -> Result<(), JournalError> {
        self.close_block(cx)?;
        self.remove_trimmed_blocks();
        for row in self.block_refs(|row| row.last > id) {
            if row.first > id {
                self.stream.unindex(cx.store, row.first, row.last)?;
                self.stream.blocks.write().retain(|other| other.first != row.first);
                self.unpublished.retain(|other| other.first != row.first);
                cx.store.remove_block(self.stream.number, row.first, row.bytes as usize)?;
            } else {
                let value = self.read_block(cx, row)?;
                self.rewrite(cx, row, &value, |entry| {
                    (entry.id <= id).then(|| std::mem::replace(&mut entry.body, EntryBody::DELETED))
                })?;
            }
        }
        Ok(())
    }

    /// Rewrites a block with the body that `map` returns for each entry, up to the first `None`.
    fn rewrite<'a>(
        &mut self,
        cx: &WriteContext<'_>,
        row: BlockRef,
        value: &'a [u8],
        mut map: impl FnMut(&mut Entry<'a>) -> Option<EntryBody<'a>>,
    ) -> Result<(), JournalError> {
        let old = block::decode_header(value)?;
        let mut builder = BlockBuilder::new(row.first, row.first_line);
        for (session, seq) in &old.sessions {
            builder.record_session(session, *seq);
        }
        let mut encoded = Vec::new();
        let mut failed = None;
        let mut origins = old.origins();
        block::decode(row.first, value, |mut entry| {
            encoded.clear();
            let Some(body) = map(&mut entry) else { return false };
            let origin = origins.next().unwrap_or(Origin::Unknown);
            let pushed = block::encode_body(&mut encoded, &body)
                .and_then(|()| builder.push_with_origin(entry.id, &encoded, origin));
            failed = pushed.err();
            failed.is_none()
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let (header, bytes) = builder.finish(old.total_bytes, old.total_skipped)?;
        self.stream.unindex(cx.store, row.first, row.last)?;
        cx.store.put_block(self.stream.number, row.first, &bytes)?;
        cx.store.remove_excess_parts(self.stream.number, row.first, row.bytes as usize)?;
        self.replace_block_ref(BlockRef::new(row.first, &header));
        Ok(())
    }
}
