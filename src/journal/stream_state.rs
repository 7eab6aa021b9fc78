//! The state of one stream in the writer: packing entries into blocks, writing and publishing them.
//!
//! Only the writer has access to it; readers see what [`StreamState::publish`] shows after the commit.
//! Other changes to a stream are in the files named after the operation: `numbering` (append), `trim`,
//! `delete`, `set_id`, `group`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::group::Groups;
use super::nodes::{Nodes, SharedNodeLimits};
use super::stream::{BlockRef, Stream, Tip};
use super::{JournalCounters, JournalError};
use crate::model::{ClockReading, EntryBody, EntryId, Origin, Timestamp};
use crate::store::block::BlockBuilder;
use crate::store::{KeyRecord, Store, StreamRecord};

/// The context of a change to a stream.
pub(super) struct WriteContext<'a> {
    pub(super) store: &'a Store,
    pub(super) counters: &'a JournalCounters,
    pub(super) node_limits: &'a SharedNodeLimits,
    /// Time of the command.
    pub(super) now: ClockReading,
}

/// A stream in the writer: the published state plus the changes of this commit.
pub(super) struct StreamState {
    pub(super) stream: Arc<Stream>,
    pub(super) tip: Tip,
    /// Number of entries ever added to the key (Redis: `entries-added`).
    pub(super) entries_added: u64,
    /// Greatest deleted ID (Redis: `max-deleted-entry-id`).
    pub(super) max_deleted_id: EntryId,
    /// Redis' nodes, counted on first use.
    pub(super) nodes: Option<Nodes>,
    /// Consumer groups, loaded on first use.
    pub(super) groups: Option<Groups>,
    /// Set if the stored groups belong to an earlier key and must be removed.
    pub(super) groups_cleared: bool,
    pub(super) sessions: Vec<(String, u64)>,
    /// Block that this commit is filling.
    pub(super) open_block: Option<BlockBuilder>,
    /// Closed blocks of this commit.
    pub(super) unpublished: Vec<BlockRef>,
    /// Number of published blocks, from the front, that this commit removes.
    published_removed: usize,
    /// Blocks to remove from the store after the commit.
    removed_blocks: Vec<BlockRef>,
    /// Session of the batch that is being appended, and its last packed number.
    pub(super) current_session: Option<(String, u64)>,
    /// Set if the store has a record of the stream.
    record_stored: bool,
    /// Set if this commit must write the record.
    pub(super) record_dirty: bool,
    /// Set if the stream is part of this commit.
    pub(super) in_commit: bool,
}

impl StreamState {
    pub(super) fn new(stream: &Arc<Stream>) -> Self {
        let tip = stream.tip();
        let key = *stream.key.lock();
        Self {
            stream: stream.clone(),
            tip,
            entries_added: key.entries_added,
            max_deleted_id: key.max_deleted_id,
            // A key that does not exist yet has no entries to count and no groups to load.
            nodes: (!tip.exists).then(Nodes::default),
            groups: (!tip.exists).then(Groups::default),
            groups_cleared: false,
            sessions: stream.sessions(),
            open_block: None,
            unpublished: Vec::new(),
            published_removed: 0,
            removed_blocks: Vec::new(),
            current_session: None,
            record_stored: tip.last_line > 0 || tip.exists || stream.expires().is_some(),
            record_dirty: false,
            in_commit: false,
        }
    }

    /// Adds an entry whose ID is greater than every other. `decoded` is the decoded `body`, required
    /// only while nodes are counted.
    pub(super) fn push_entry(
        &mut self,
        cx: &WriteContext<'_>,
        id: EntryId,
        body: &[u8],
        decoded: Option<&EntryBody<'_>>,
        origin: Origin<'_>,
    ) -> Result<(), JournalError> {
        let line = self.tip.last_line + 1;
        if !self.tip.exists {
            self.create_key(cx)?;
        }
        if self.open_block.as_ref().is_some_and(|open| !open.has_room(body.len())) {
            self.close_block(cx)?;
        }
        let open = self.open_block.get_or_insert_with(|| {
            JournalCounters::add(&cx.counters.blocks, 1);
            BlockBuilder::new(id, line)
        });
        open.push_with_origin(id, body, origin)?;
        if let (Some(nodes), Some(body)) = (self.nodes.as_mut(), decoded) {
            nodes.push(cx.node_limits.get(), id, line, body);
        }
        self.tip.last_id = id;
        self.tip.last_line = line;
        self.tip.shown_len += 1;
        self.entries_added += 1;
        Ok(())
    }

    /// Creates the key, empty. Entries that are already in the stream do not belong to it.
    pub(super) fn create_key(&mut self, cx: &WriteContext<'_>) -> Result<(), JournalError> {
        self.clear_key();
        self.tip.exists = true;
        if self.is_expired(cx.now.time) {
            *self.stream.expires.write() = None;
        }
        if !self.record_stored {
            // Before the first block: blocks without a record would belong to no stream.
            cx.store.put_stream(&self.stream.name, &self.record())?;
            self.record_stored = true;
        }
        self.record_dirty = self.tip.last_line > 0 || self.record_dirty;
        Ok(())
    }

    /// Deletes the key (Redis: DEL). Its entries remain for readers by line number. An expiration time
    /// that has passed remains until the next key of this name is created.
    pub(super) fn delete_key(&mut self, now: Timestamp) {
        self.clear_key();
        self.tip.exists = false;
        if !self.is_expired(now) {
            *self.stream.expires.write() = None;
        }
        self.record_dirty = true;
    }

    fn clear_key(&mut self) {
        self.tip.shown_line = self.tip.last_line + 1;
        self.tip.shown_len = 0;
        self.entries_added = 0;
        self.max_deleted_id = EntryId::MIN;
        self.nodes = Some(Nodes::default());
        self.clear_groups();
    }

    /// Reports whether the key has expired.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.stream.expires().is_some_and(|at| at <= now)
    }

    /// Counts the nodes from the first entry, unless they are already counted.
    pub(super) fn ensure_nodes(&mut self, cx: &WriteContext<'_>) -> Result<(), JournalError> {
        if self.nodes.is_none() {
            let (mut nodes, limits) = (Nodes::default(), cx.node_limits.get());
            self.visit_lines(cx, self.tip.shown_line, self.tip.last_line, |entry| {
                if !entry.body.is_deleted() {
                    nodes.push(limits, entry.id, entry.n, &entry.body);
                }
                true
            })?;
            self.nodes = Some(nodes);
        }
        Ok(())
    }

    /// Returns the groups of the key, loading them from the store on first use.
    pub(super) fn groups(&mut self, cx: &WriteContext<'_>) -> Result<&mut Groups, JournalError> {
        match &mut self.groups {
            Some(groups) => Ok(groups),
            none => Ok(none.insert(Groups::load(cx.store, self.stream.number)?)),
        }
    }

    /// Removes all groups of the key.
    fn clear_groups(&mut self) {
        self.groups_cleared |= !self.groups.as_ref().is_some_and(Groups::is_empty);
        self.groups = Some(Groups::default());
    }

    /// Writes the open block to the store. Each block records the session numbers of its own lines:
    /// after a kill between two blocks of one batch, resending must not duplicate the first.
    pub(super) fn close_block(&mut self, cx: &WriteContext<'_>) -> Result<(), JournalError> {
        let Some(mut open) = self.open_block.take() else { return Ok(()) };
        if let Some((session, packed)) = &self.current_session {
            open.record_session(session, *packed);
        }
        let first = open.first();
        let (header, bytes) = open.finish(self.tip.total_bytes, self.tip.total_skipped)?;
        cx.store.put_new_block(self.stream.number, first, &bytes)?;
        self.unpublished.push(BlockRef::new(first, &header));
        Ok(())
    }

    /// Writes all changes of this commit to the store: entries, then the record that refers to them.
    pub(super) fn flush(&mut self, cx: &WriteContext<'_>) -> Result<(), JournalError> {
        self.close_block(cx)?;
        self.remove_trimmed_blocks();
        self.write_index(cx)?;
        if std::mem::take(&mut self.record_dirty) {
            cx.store.put_stream(&self.stream.name, &self.record())?;
            self.record_stored = true;
        }
        if std::mem::take(&mut self.groups_cleared) {
            cx.store.remove_groups(self.stream.number)?;
        }
        if let Some(groups) = self.groups.as_mut() {
            cx.store.put_group_rows(groups.take_writes())?;
        }
        Ok(())
    }

    /// Schedules the blocks below the watermark for removal with this commit.
    pub(super) fn remove_trimmed_blocks(&mut self) {
        let below = |row: &BlockRef| row.last_line() < self.tip.first_line;
        let published = self.stream.blocks.read();
        while let Some(row) = published.get(self.published_removed).copied().filter(below) {
            self.published_removed += 1;
            self.removed_blocks.push(row);
        }
        let stale = self.unpublished.iter().take_while(|row| below(row)).count();
        drop(published);
        self.removed_blocks.extend(self.unpublished.drain(..stale));
    }

    /// Returns the number of published blocks, from the front, that this commit removes.
    pub(super) fn published_removed(&self) -> usize {
        self.published_removed
    }

    /// Reports whether this commit removes any published block.
    pub(super) fn removes_published_blocks(&self) -> bool {
        self.published_removed > 0
    }

    /// Returns the blocks in the store that match, published or not, in order. Blocks to be removed
    /// are left out.
    pub(super) fn block_refs(&self, matches: impl Fn(&BlockRef) -> bool) -> Vec<BlockRef> {
        let published = self.stream.blocks.read();
        let remaining = published.iter().skip(self.published_removed).chain(&self.unpublished);
        remaining.filter(|row| matches(row)).copied().collect()
    }

    /// Returns the block that this commit is filling.
    pub(super) fn open_block(&self) -> Option<&BlockBuilder> {
        self.open_block.as_ref()
    }

    /// Replaces the reference to a block that was rewritten.
    pub(super) fn replace_block_ref(&mut self, row: BlockRef) {
        let mut published = self.stream.blocks.write();
        let at = published.partition_point(|other| other.first < row.first);
        match published.get_mut(at).filter(|other| other.first == row.first) {
            Some(other) => *other = row,
            None => {
                if let Some(other) = self.unpublished.iter_mut().find(|other| other.first == row.first) {
                    *other = row;
                }
            }
        }
    }

    /// Returns the record of the stream as of this commit.
    pub(super) fn record(&self) -> StreamRecord {
        StreamRecord {
            number: self.stream.number,
            incarnation: self.stream.incarnation(),
            last_id: self.tip.last_id,
            last_line: self.tip.last_line,
            first_line: self.tip.first_line,
            total_bytes: self.tip.total_bytes,
            total_skipped: self.tip.total_skipped,
            sessions: self.sessions.clone(),
            expires_ms: self.stream.expires().map(Timestamp::as_millis),
            key: self.key_record(),
        }
    }

    fn key_record(&self) -> KeyRecord {
        let span = (self.tip.last_line + 1).saturating_sub(self.tip.shown_line);
        KeyRecord {
            exists: self.tip.exists,
            shown_line: self.tip.shown_line,
            deleted: span - self.tip.shown_len,
            entries_added: self.entries_added,
            max_deleted_id: self.max_deleted_id,
        }
    }

    /// Publishes this commit to readers. Returns the blocks to remove from the store.
    pub(super) fn publish(&mut self, counters: &JournalCounters) -> Vec<BlockRef> {
        self.in_commit = false;
        let added = self.tip.last_line - self.stream.tip().last_line;
        JournalCounters::add(&counters.entries, added);
        if added > 0 {
            counters.last_entry_ms.store(self.tip.last_id.ms, Ordering::Relaxed);
        }
        {
            let mut blocks = self.stream.blocks.write();
            blocks.drain(..self.published_removed);
            blocks.extend(self.unpublished.drain(..));
        }
        self.published_removed = 0;
        self.stream.sessions.lock().clone_from(&self.sessions);
        *self.stream.key.lock() = self.key_record();
        let tip = self.tip;
        self.stream.tip.send_if_modified(|published| {
            let moved = *published != tip;
            *published = Tip { removed: published.removed, ..tip };
            moved
        });
        std::mem::take(&mut self.removed_blocks)
    }
}
