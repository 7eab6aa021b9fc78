//! Appending a batch to a stream: dropping duplicates, marking gaps, numbering lines.

use super::batch::{AppendAck, BatchItem, LineBatch, LineNumbering};
use super::sessions::touch_session;
use super::stream_state::{StreamState, WriteContext};
use super::{JournalCounters, JournalError};
use crate::model::{Channel, EntryBody, GapMarker, GapReason, LineText, Origin};
use crate::store::block;

/// The sequence numbers of a batch while it is appended.
struct SeqCursor {
    /// Number of the next line, if the batch has a session.
    next: Option<u64>,
    /// Last number that is already stored.
    known: u64,
    /// Index of the current piece within its line.
    piece: u32,
    /// Set if the current line is a duplicate.
    duplicate: bool,
}

impl SeqCursor {
    /// Moves to the next item of the batch.
    fn advance(&mut self, numbering: LineNumbering) {
        match (self.next.as_mut(), numbering) {
            (Some(next), LineNumbering::Next) => {
                self.duplicate = *next <= self.known;
                *next += 1;
                self.piece = 0;
            }
            (_, LineNumbering::Continuation) => self.piece += 1,
            (None, LineNumbering::Next) | (_, LineNumbering::Unnumbered) => {}
        }
    }

    /// Returns the number of the current line, if the batch has a session.
    fn current(&self) -> Option<u64> {
        self.next.map(|next| next - 1)
    }

    fn origin<'b>(&self, batch: &'b LineBatch, item: &BatchItem) -> Origin<'b> {
        match (&batch.session, self.current()) {
            (Some(session), Some(seq)) if item.numbering != LineNumbering::Unnumbered => {
                Origin::Numbered { session: &session.name, seq, piece: self.piece }
            }
            _ => Origin::Unnumbered,
        }
    }
}

impl StreamState {
    /// Appends the entries of a batch that are not duplicates, after a gap marker if numbers are
    /// missing before them.
    pub(super) fn append(&mut self, cx: &WriteContext<'_>, batch: &LineBatch) -> Result<AppendAck, JournalError> {
        let before = self.tip.last_line;
        let known = self.mark_gap(cx, batch)?;
        self.current_session = batch.session.as_ref().map(|session| (session.name.clone(), known));
        let duplicates = self.push_items(cx, batch, known)?;
        JournalCounters::add(&cx.counters.repeats, duplicates);
        self.finish_session();
        let count = self.tip.last_line - before;
        let (first_line, last_line) = if count == 0 { (0, 0) } else { (before + 1, self.tip.last_line) };
        let acked_seq = batch.session.as_ref().map(|session| self.last_seq(&session.name));
        Ok(AppendAck { first_line, last_line, last_id: self.tip.last_id, count, acked_seq })
    }

    /// Adds a gap marker if numbers are missing before the batch. Returns the last number of its
    /// session that is stored or accounted for.
    fn mark_gap(&mut self, cx: &WriteContext<'_>, batch: &LineBatch) -> Result<u64, JournalError> {
        let Some(session) = &batch.session else { return Ok(0) };
        let known = self.last_seq(&session.name);
        let closes_gap = batch.ends_session || batch.over_limit.is_some();
        if session.first_seq > known + 1 && (!batch.is_empty() || closes_gap) {
            let count = session.first_seq - known - 1;
            match &batch.over_limit {
                Some(limit) => {
                    self.push_gap_marker(cx, GapMarker::over(count, limit))?;
                    self.tip.total_skipped += count;
                }
                None => {
                    self.push_gap_marker(cx, GapMarker { reason: GapReason::LostInTransit, count }.to_string())?;
                }
            }
        }
        Ok(if closes_gap { known.max(session.first_seq.saturating_sub(1)) } else { known })
    }

    /// Adds the entries of a batch whose numbers are above `known`. Returns the number of duplicates.
    fn push_items(&mut self, cx: &WriteContext<'_>, batch: &LineBatch, known: u64) -> Result<u64, JournalError> {
        let next = batch.session.as_ref().map(|session| session.first_seq);
        let mut cursor = SeqCursor { next, known, piece: 0, duplicate: false };
        let (mut start, mut duplicates) = (0, 0);
        for item in &batch.items {
            cursor.advance(item.numbering);
            let body = &batch.encoded[start..item.end];
            start = item.end;
            if cursor.duplicate {
                duplicates += 1;
                continue;
            }
            self.push_auto_id(cx, body, cursor.origin(batch, item))?;
            self.tip.total_bytes += item.text_bytes;
            self.tip.total_skipped = self.tip.total_skipped.saturating_add(item.skipped);
            self.tip.own_lines += u64::from(item.own);
            if let (Some((_, packed)), Some(seq)) = (self.current_session.as_mut(), cursor.current()) {
                *packed = seq;
            }
        }
        Ok(duplicates)
    }

    /// Records the last packed number of the batch's session.
    fn finish_session(&mut self) {
        let Some((session, last)) = self.current_session.take() else { return };
        touch_session(&mut self.sessions, &session, last);
        if let Some(open) = self.open_block.as_mut() {
            open.record_session(&session, last);
        }
    }

    fn last_seq(&self, session: &str) -> u64 {
        self.sessions.iter().find(|(name, _)| name == session).map_or(0, |(_, seq)| *seq)
    }

    /// Adds a line that stands for missing numbers.
    fn push_gap_marker(&mut self, cx: &WriteContext<'_>, text: String) -> Result<(), JournalError> {
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
        self.push_auto_id(cx, &body, Origin::Unnumbered)?;
        self.tip.total_bytes += text_bytes;
        self.tip.own_lines += 1;
        Ok(())
    }

    /// Adds an entry with the ID that XADD assigns for `*`.
    fn push_auto_id(&mut self, cx: &WriteContext<'_>, body: &[u8], origin: Origin<'_>) -> Result<(), JournalError> {
        let id = self.tip.last_id.following(cx.now.stamp.as_millis()).ok_or(JournalError::Exhausted)?;
        let decoded = if self.nodes.is_some() { Some(block::decode_body(body)?) } else { None };
        self.push_entry(cx, id, body, decoded.as_ref(), origin)
    }
}
