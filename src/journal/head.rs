//! One stream on its way into the store: numbering, packing, publishing.
//!
//! Only the writer holds these; readers see what [`Head::publish`] shows after the commit. What
//! changes a stream besides is in the files named by the verb: `trim`, `delete`, `set_id`, `group`.

use std::sync::Arc;

use super::append::{AppendAck, LineBatch, Number};
use super::group::Groups;
use super::nodes::Nodes;
use super::stream::{BlockRef, Stream, Tip, touch_session};
use super::{JournalCounters, JournalError};
use crate::model::{Channel, ClockReading, EntryBody, EntryId, GapMarker, GapReason, LineText, Origin, Timestamp};
use crate::store::block::{self, BlockBuilder};
use crate::store::{KeyRecord, Store, StreamRecord};

/// What every change of a stream needs.
pub(super) struct Cx<'a> {
    pub(super) store: &'a Store,
    pub(super) counters: &'a JournalCounters,
    /// The time of the command.
    pub(super) now: ClockReading,
}

/// What the writer knows of a stream beyond what is published.
pub(super) struct Head {
    pub(super) stream: Arc<Stream>,
    pub(super) tip: Tip,
    /// Entries ever added to the key (Redis: `entries-added`).
    pub(super) entries_added: u64,
    /// The greatest id that was deleted (Redis: `max-deleted-entry-id`).
    pub(super) max_deleted_id: EntryId,
    /// Redis' nodes; counted when they are first asked for.
    pub(super) nodes: Option<Nodes>,
    /// Consumer groups; read when they are first asked for.
    pub(super) groups: Option<Groups>,
    /// What is stored of groups is of an earlier key.
    pub(super) groups_cleared: bool,
    sessions: Vec<(String, u64)>,
    /// The block that is being filled in this commit.
    open: Option<BlockBuilder>,
    /// Blocks of this commit, not yet published.
    pub(super) fresh: Vec<BlockRef>,
    /// How many of the published blocks go with this commit.
    cut: usize,
    /// Blocks that leave the store after the commit.
    gone: Vec<BlockRef>,
    /// The session of the batch that is being taken, and the last number of it that is packed.
    packing: Option<(String, u64)>,
    /// A record was written.
    stored: bool,
    /// The record must be written with this commit.
    pub(super) record_due: bool,
    pub(super) touched: bool,
}

impl Head {
    pub(super) fn new(stream: &Arc<Stream>) -> Self {
        let tip = stream.tip();
        let key = *stream.key.lock();
        Self {
            stream: stream.clone(),
            tip,
            entries_added: key.entries_added,
            max_deleted_id: key.max_deleted_id,
            // Of a stream that begins now every entry will be seen.
            nodes: (!tip.exists).then(Nodes::default),
            groups: (!tip.exists).then(Groups::default),
            groups_cleared: false,
            sessions: stream.sessions(),
            open: None,
            fresh: Vec::new(),
            cut: 0,
            gone: Vec::new(),
            packing: None,
            stored: tip.last_line > 0 || tip.exists || stream.expires().is_some(),
            record_due: false,
            touched: false,
        }
    }

    pub(super) fn append(&mut self, cx: &Cx<'_>, batch: &LineBatch) -> Result<AppendAck, JournalError> {
        let before = self.tip.last_line;
        let mut repeats = 0;
        let mut seq = batch.session.as_ref().map(|session| session.first_seq);
        let known = batch.session.as_ref().map_or(0, |session| self.seen(&session.name));
        let ends = batch.closes || batch.over.is_some();
        if let Some(first) = seq.filter(|first| *first > known + 1 && (!batch.is_empty() || ends)) {
            let count = first - known - 1;
            match &batch.over {
                Some(limit) => {
                    self.push_mark(cx, GapMarker::over(count, limit))?;
                    self.tip.total_skipped += count;
                }
                None => self.push_mark(cx, GapMarker { reason: GapReason::LostInTransit, count }.to_string())?,
            }
        }
        let known = if ends { known.max(seq.map_or(0, |first| first.saturating_sub(1))) } else { known };
        self.packing = batch.session.as_ref().map(|session| (session.name.clone(), known));
        let mut start = 0;
        let mut taken = true;
        let mut piece = 0;
        for item in &batch.items {
            match (seq.as_mut(), item.number) {
                (Some(next), Number::Next) => {
                    taken = *next > known;
                    *next += 1;
                    piece = 0;
                }
                (_, Number::Same) => piece += 1,
                (None, Number::Next) | (_, Number::None) => {}
            }
            let body = &batch.encoded[start..item.end];
            start = item.end;
            if !taken {
                repeats += 1;
                continue;
            }
            let origin = match (&batch.session, seq) {
                (Some(session), Some(next)) if item.number != Number::None => {
                    Origin::Numbered { session: &session.name, seq: next - 1, piece }
                }
                _ => Origin::Unnumbered,
            };
            self.push_next(cx, body, origin)?;
            self.tip.total_bytes += item.text_bytes;
            self.tip.total_skipped = self.tip.total_skipped.saturating_add(item.skipped);
            if let (Some((_, packed)), Some(next)) = (self.packing.as_mut(), seq) {
                *packed = next - 1;
            }
        }
        JournalCounters::add(&cx.counters.repeats, repeats);
        if let Some((session, last)) = self.packing.take() {
            touch_session(&mut self.sessions, &session, last);
            if let Some(open) = self.open.as_mut() {
                open.record_session(&session, last);
            }
        }
        let count = self.tip.last_line - before;
        let (first_line, last_line) = if count == 0 { (0, 0) } else { (before + 1, self.tip.last_line) };
        let acked_seq = batch.session.as_ref().map(|session| self.seen(&session.name));
        Ok(AppendAck { first_line, last_line, last_id: self.tip.last_id, count, acked_seq })
    }

    fn seen(&self, session: &str) -> u64 {
        self.sessions.iter().find(|(name, _)| name == session).map_or(0, |(_, seq)| *seq)
    }

    /// A line that stands for numbers which never came.
    fn push_mark(&mut self, cx: &Cx<'_>, text: String) -> Result<(), JournalError> {
        let text_bytes = text.len() as u64 + 1;
        let line = LineText {
            timestamp: cx.now.stamp,
            channel: Channel::Internal,
            partial: false,
            lossy: false,
            text: text.into(),
        };
        let mut body = Vec::new();
        block::encode_body(&mut body, &EntryBody::Line(line))?;
        self.push_next(cx, &body, Origin::Unnumbered)?;
        self.tip.total_bytes += text_bytes;
        Ok(())
    }

    /// Adds an entry with the id that `*` gives.
    fn push_next(&mut self, cx: &Cx<'_>, body: &[u8], origin: Origin<'_>) -> Result<(), JournalError> {
        let id = self.tip.last_id.following(cx.now.stamp.as_millis()).ok_or(JournalError::Exhausted)?;
        let decoded = if self.nodes.is_some() { Some(block::decode_body(body)?) } else { None };
        self.push(cx, id, body, decoded.as_ref(), origin)
    }

    /// Adds an entry whose id is above every other. `decoded` is what `body` says; needed only while
    /// nodes are counted.
    pub(super) fn push(
        &mut self,
        cx: &Cx<'_>,
        id: EntryId,
        body: &[u8],
        decoded: Option<&EntryBody<'_>>,
        origin: Origin<'_>,
    ) -> Result<(), JournalError> {
        let line = self.tip.last_line + 1;
        if !self.tip.exists {
            self.create(cx)?;
        }
        if self.open.as_ref().is_some_and(|open| !open.has_room(body.len())) {
            self.close_block(cx)?;
        }
        let open = self.open.get_or_insert_with(|| {
            JournalCounters::add(&cx.counters.blocks, 1);
            BlockBuilder::new(id, line)
        });
        open.push_with_origin(id, body, origin)?;
        if let (Some(nodes), Some(body)) = (self.nodes.as_mut(), decoded) {
            nodes.push(id, line, body);
        }
        self.tip.last_id = id;
        self.tip.last_line = line;
        self.tip.shown_len += 1;
        self.entries_added += 1;
        Ok(())
    }

    /// The key comes into being, empty; an entry that is here from before it is not of it.
    pub(super) fn create(&mut self, cx: &Cx<'_>) -> Result<(), JournalError> {
        self.clear_key();
        self.tip.exists = true;
        if self.is_expired(cx.now.time) {
            *self.stream.expires.write() = None;
        }
        if !self.stored {
            // Before the first block: blocks without a record would belong to nobody.
            cx.store.put_stream(&self.stream.name, &self.record())?;
            self.stored = true;
        }
        self.record_due = self.tip.last_line > 0 || self.record_due;
        Ok(())
    }

    /// The key goes; its entries stay for those who read by line (Redis: DEL). The time that made it
    /// go stays, until the next key of this name.
    pub(super) fn hide(&mut self, now: Timestamp) {
        self.clear_key();
        self.tip.exists = false;
        if !self.is_expired(now) {
            *self.stream.expires.write() = None;
        }
        self.record_due = true;
    }

    fn clear_key(&mut self) {
        self.tip.shown_line = self.tip.last_line + 1;
        self.tip.shown_len = 0;
        self.entries_added = 0;
        self.max_deleted_id = EntryId::MIN;
        self.nodes = Some(Nodes::default());
        self.clear_groups();
    }

    /// Whether the key's time has run out.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.stream.expires().is_some_and(|at| at <= now)
    }

    /// Counts nodes from the first entry, if that was not done.
    pub(super) fn ensure_nodes(&mut self, cx: &Cx<'_>) -> Result<(), JournalError> {
        if self.nodes.is_none() {
            let mut nodes = Nodes::default();
            self.visit_lines(cx, self.tip.shown_line, self.tip.last_line, |entry| {
                if !entry.body.is_deleted() {
                    nodes.push(entry.id, entry.n, &entry.body);
                }
                true
            })?;
            self.nodes = Some(nodes);
        }
        Ok(())
    }

    /// Puts the open block into the store. Each block notes the numbers of its own lines: a kill
    /// may come between two blocks of one batch, and the resend must not double the first.
    pub(super) fn close_block(&mut self, cx: &Cx<'_>) -> Result<(), JournalError> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        if let Some((session, packed)) = &self.packing {
            open.record_session(session, *packed);
        }
        let first = open.first();
        let (header, bytes) = open.finish(self.tip.total_bytes, self.tip.total_skipped)?;
        cx.store.put_block(self.stream.number, first, &bytes)?;
        self.fresh.push(BlockRef::new(first, &header));
        Ok(())
    }

    /// Writes everything of this commit: entries, then the record that speaks of them.
    pub(super) fn settle(&mut self, cx: &Cx<'_>) -> Result<(), JournalError> {
        self.close_block(cx)?;
        self.drop_blocks();
        if std::mem::take(&mut self.record_due) {
            cx.store.put_stream(&self.stream.name, &self.record())?;
            self.stored = true;
        }
        if std::mem::take(&mut self.groups_cleared) {
            cx.store.remove_groups(self.stream.number)?;
        }
        if let Some(groups) = self.groups.as_mut() {
            cx.store.put_group_rows(groups.take_writes())?;
        }
        Ok(())
    }

    /// Blocks below the watermark go with this commit.
    pub(super) fn drop_blocks(&mut self) {
        let below = |row: &BlockRef| row.last_line() < self.tip.first_line;
        let published = self.stream.blocks.read();
        while let Some(row) = published.get(self.cut).copied().filter(below) {
            self.cut += 1;
            self.gone.push(row);
        }
        let stale = self.fresh.iter().take_while(|row| below(row)).count();
        drop(published);
        self.gone.extend(self.fresh.drain(..stale));
    }

    /// Whether its published blocks are as they will be after this commit.
    pub(super) fn is_settled(&self) -> bool {
        self.cut == 0
    }

    /// Blocks that are in the store, published or not, in order; those that go are left out.
    pub(super) fn rows(&self, wanted: impl Fn(&BlockRef) -> bool) -> Vec<BlockRef> {
        let published = self.stream.blocks.read();
        published.iter().skip(self.cut).chain(&self.fresh).filter(|row| wanted(row)).copied().collect()
    }

    /// The block that is still being filled.
    pub(super) fn open(&self) -> Option<&BlockBuilder> {
        self.open.as_ref()
    }

    /// A block was written anew: its bytes are others.
    pub(super) fn replace_row(&mut self, row: BlockRef) {
        let mut published = self.stream.blocks.write();
        let at = published.partition_point(|other| other.first < row.first);
        match published.get_mut(at).filter(|other| other.first == row.first) {
            Some(other) => *other = row,
            None => {
                if let Some(other) = self.fresh.iter_mut().find(|other| other.first == row.first) {
                    *other = row;
                }
            }
        }
    }

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
            key: self.key(),
        }
    }

    fn key(&self) -> KeyRecord {
        let span = (self.tip.last_line + 1).saturating_sub(self.tip.shown_line);
        KeyRecord {
            exists: self.tip.exists,
            shown_line: self.tip.shown_line,
            deleted: span - self.tip.shown_len,
            entries_added: self.entries_added,
            max_deleted_id: self.max_deleted_id,
        }
    }

    /// Shows this commit to readers, and answers which blocks are to leave the store.
    pub(super) fn publish(&mut self, counters: &JournalCounters) -> Vec<BlockRef> {
        self.touched = false;
        let added = self.tip.last_line - self.stream.tip().last_line;
        JournalCounters::add(&counters.entries, added);
        if added > 0 {
            counters.last_entry_ms.store(self.tip.last_id.ms, std::sync::atomic::Ordering::Relaxed);
        }
        {
            let mut blocks = self.stream.blocks.write();
            blocks.drain(..self.cut);
            blocks.extend(self.fresh.drain(..));
        }
        self.cut = 0;
        self.stream.sessions.lock().clone_from(&self.sessions);
        *self.stream.key.lock() = self.key();
        let tip = self.tip;
        self.stream.tip.send_if_modified(|published| {
            let moved = *published != tip;
            *published = Tip { removed: published.removed, ..tip };
            moved
        });
        std::mem::take(&mut self.gone)
    }
}
