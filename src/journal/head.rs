//! One stream on its way into the store: numbering, packing, trimming, publishing.
//!
//! Only the writer holds these; readers see what [`Head::publish`] shows after the commit.

use std::sync::Arc;

use super::append::{Appended, Batch};
use super::stream::{BlockRef, Stream, Tip, touch_session};
use super::trim::Trim;
use super::{Counters, JournalError};
use crate::model::{Channel, EntryBody, EntryId, GapReason, LineText, Mark, Timestamp};
use crate::store::block::{self, BlockBuilder};
use crate::store::{Store, StoreError, StreamRecord};

/// What the writer knows of a stream beyond what is published.
pub(super) struct Head {
    pub(super) stream: Arc<Stream>,
    tip: Tip,
    sessions: Vec<(String, u64)>,
    /// The block that is being filled in this commit.
    open: Option<BlockBuilder>,
    /// Blocks of this commit, not yet published.
    fresh: Vec<BlockRef>,
    /// The session of the batch that is being taken, and the last number of it that is packed.
    packing: Option<(String, u64)>,
    /// Its record is in the store.
    pub(super) stored: bool,
    pub(super) touched: bool,
}

impl Head {
    pub(super) fn new(stream: &Arc<Stream>) -> Self {
        let tip = stream.tip();
        Self {
            stream: stream.clone(),
            tip,
            sessions: stream.sessions(),
            open: None,
            fresh: Vec::new(),
            packing: None,
            stored: tip.last_line > 0 || stream.expires().is_some(),
            touched: false,
        }
    }

    pub(super) fn append(
        &mut self,
        store: &Store,
        counters: &Counters,
        batch: &Batch,
    ) -> Result<Appended, JournalError> {
        let now_ms = Timestamp::now().as_millis();
        let before = self.tip.last_line;
        let mut repeats = 0;
        let mut seq = batch.session.as_ref().map(|session| session.first_seq);
        let known = batch.session.as_ref().map_or(0, |session| self.seen(&session.name));
        if let Some(first) = seq.filter(|first| *first > known + 1 && !batch.is_empty()) {
            self.push_mark(store, counters, now_ms, first - known - 1)?;
        }
        self.packing = batch.session.as_ref().map(|session| (session.name.clone(), known));
        let mut start = 0;
        let mut taken = true;
        for item in &batch.items {
            if let Some(next) = seq.as_mut().filter(|_| item.numbered) {
                taken = *next > known;
                *next += 1;
            }
            let body = &batch.encoded[start..item.end];
            start = item.end;
            if !taken {
                repeats += 1;
                continue;
            }
            self.push(store, counters, now_ms, body)?;
            self.tip.total_bytes += item.text_bytes;
            self.tip.total_skipped += item.skipped;
            if let (Some((_, packed)), Some(next)) = (self.packing.as_mut(), seq) {
                *packed = next - 1;
            }
        }
        Counters::add(&counters.repeats, repeats);
        if let Some((session, last)) = self.packing.take() {
            touch_session(&mut self.sessions, &session, last);
            if let Some(open) = self.open.as_mut() {
                open.note_session(&session, last);
            }
        }
        let count = self.tip.last_line - before;
        let (first_line, last_line) = if count == 0 { (0, 0) } else { (before + 1, self.tip.last_line) };
        let acked_seq = batch.session.as_ref().map(|session| self.seen(&session.name));
        Ok(Appended { first_line, last_line, last_id: self.tip.last_id, count, acked_seq })
    }

    fn seen(&self, session: &str) -> u64 {
        self.sessions.iter().find(|(name, _)| name == session).map_or(0, |(_, seq)| *seq)
    }

    /// A line that stands for numbers which never came.
    fn push_mark(&mut self, store: &Store, counters: &Counters, now_ms: u64, count: u64) -> Result<(), JournalError> {
        let text = Mark { reason: GapReason::LostInTransit, count }.to_string();
        let text_bytes = text.len() as u64 + 1;
        let timestamp = Timestamp::from_millis(now_ms);
        let line = LineText { timestamp, channel: Channel::Internal, partial: false, lossy: false, text: text.into() };
        let mut body = Vec::new();
        block::encode_body(&mut body, &EntryBody::Line(line))?;
        self.push(store, counters, now_ms, &body)?;
        self.tip.total_bytes += text_bytes;
        Ok(())
    }

    fn push(&mut self, store: &Store, counters: &Counters, now_ms: u64, body: &[u8]) -> Result<(), JournalError> {
        let id = self.tip.last_id.following(now_ms).ok_or(JournalError::Exhausted)?;
        if self.open.as_ref().is_some_and(|open| !open.has_room(body.len())) {
            self.close_block(store)?;
        }
        let line = self.tip.last_line + 1;
        let open = self.open.get_or_insert_with(|| {
            Counters::add(&counters.blocks, 1);
            BlockBuilder::new(id, line)
        });
        open.push(id, body)?;
        self.tip.last_id = id;
        self.tip.last_line = line;
        Ok(())
    }

    /// Puts the open block into the store. Each block notes the numbers of its own lines: a kill
    /// may come between two blocks of one batch, and the resend must not double the first.
    pub(super) fn close_block(&mut self, store: &Store) -> Result<(), JournalError> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        if let Some((session, packed)) = &self.packing {
            open.note_session(session, *packed);
        }
        let first = open.first();
        let (header, bytes) = open.finish(self.tip.total_bytes, self.tip.total_skipped)?;
        store.put_block(self.stream.number, first, &bytes)?;
        self.fresh.push(BlockRef {
            first,
            last: header.last_id,
            first_line: header.first_line,
            count: header.count,
            bytes: header.bytes,
        });
        Ok(())
    }

    pub(super) fn trim(&mut self, store: &Store, trim: Trim) -> Result<u64, JournalError> {
        self.close_block(store)?;
        let published = self.stream.blocks.read();
        let rows = || published.iter().chain(&self.fresh).copied();
        let before = self.tip.first_line;
        let whole = |keep_from: u64| {
            rows().map(|row| row.last_line() + 1).take_while(|end| *end <= keep_from).last().unwrap_or(before)
        };
        let by_id = |id: EntryId| {
            rows().take_while(|row| row.last < id).map(|row| row.last_line() + 1).last().unwrap_or(before)
        };
        let keep_from = match trim {
            Trim::MaxLen(max) => (self.tip.last_line + 1).saturating_sub(max),
            Trim::AboutMaxLen(max) => whole((self.tip.last_line + 1).saturating_sub(max)),
            Trim::ThroughLine(line) => line.min(self.tip.last_line) + 1,
            Trim::AboutMinId(id) => by_id(id),
            Trim::MinId(id) => {
                let from = by_id(id);
                let cut = rows().find(|row| row.first < id && row.last >= id);
                cut.map_or(Ok(from), |row| first_line_from(store, self.stream.number, row, id))?
            }
        };
        drop(published);
        if keep_from <= before {
            return Ok(0);
        }
        self.tip.first_line = keep_from;
        // The watermark and the sessions of what goes are written before anything goes.
        store.put_stream(&self.stream.name, &self.record())?;
        let mut gone = Vec::new();
        {
            let mut blocks = self.stream.blocks.write();
            while let Some(row) = blocks.front().filter(|row| row.last_line() < keep_from).copied() {
                blocks.pop_front();
                gone.push(row);
            }
        }
        let stale = self.fresh.iter().take_while(|row| row.last_line() < keep_from).count();
        gone.extend(self.fresh.drain(..stale));
        // Shown at once, so that no reader looks for a block that is about to go.
        self.stream.tip.send_modify(|tip| tip.first_line = keep_from);
        for row in gone {
            store.remove_block(self.stream.number, row.first, row.bytes as usize)?;
        }
        Ok(keep_from - before)
    }

    pub(super) fn record(&self) -> StreamRecord {
        StreamRecord {
            number: self.stream.number,
            birth: self.stream.birth(),
            last_id: self.tip.last_id,
            last_line: self.tip.last_line,
            first_line: self.tip.first_line,
            total_bytes: self.tip.total_bytes,
            total_skipped: self.tip.total_skipped,
            sessions: self.sessions.clone(),
            expires_ms: self.stream.expires().map(Timestamp::as_millis),
        }
    }

    pub(super) fn publish(&mut self, counters: &Counters) {
        self.touched = false;
        Counters::add(&counters.entries, self.tip.last_line - self.stream.tip().last_line);
        self.stream.blocks.write().extend(self.fresh.drain(..));
        self.stream.sessions.lock().clone_from(&self.sessions);
        let tip = self.tip;
        self.stream.tip.send_if_modified(|published| {
            let moved = *published != tip;
            *published = Tip { removed: published.removed, ..tip };
            moved
        });
    }
}

/// The line number of the first entry of a block whose id is not below `id`.
fn first_line_from(store: &Store, number: u64, row: BlockRef, id: EntryId) -> Result<u64, JournalError> {
    let mut found = row.last_line() + 1;
    let gone = || StoreError::Damaged { at: format!("block {}", row.first), what: "it is not there".into() };
    let value = store.block(number, row.first, row.bytes as usize)?.ok_or_else(gone)?;
    block::decode(row.first, &value, |entry| {
        if entry.id >= id {
            found = entry.n;
        }
        entry.id < id
    })?;
    Ok(found)
}
