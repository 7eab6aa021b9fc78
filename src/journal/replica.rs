//! Copying the entries of another journal, with their IDs, line numbers and origins.
//!
//! A copy is idempotent: entries up to the last line are skipped, so that a source can be read again from any position.
//! Line numbers stay dense. Numbers that the source lacks, because a client deleted their entries there, become
//! tombstones here.

use std::sync::Arc;

use super::command::WriteCommand;
use super::sessions::touch_session;
use super::stream_state::{StreamState, WriteContext};
use super::{Journal, JournalError, Stream};
use crate::model::{Channel, EntryBody, EntryId, GapMarker, GapReason, Origin};
use crate::store::{KeyRecord, StreamRecord, block};

/// Maximum tombstones between two copied entries.
const TOMBSTONES_MAX: u64 = 10_000;

/// Entries of another journal, in order.
#[derive(Debug, Default)]
pub struct ReplicaBatch {
    encoded: Vec<u8>,
    items: Vec<ReplicaItem>,
    /// Sessions that the items refer to by index.
    sessions: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct ReplicaItem {
    /// End of its encoded body in the batch.
    end: usize,
    id: EntryId,
    line: u64,
    text_bytes: u64,
    /// Lines that it reports as dropped by the worker.
    skipped: u64,
    /// Whether it is a line of tasktail itself.
    own: bool,
    origin: Option<ReplicaOrigin>,
}

/// Index of the session, number of the line in it, and number of the piece in the line.
#[derive(Clone, Copy, Debug)]
struct ReplicaOrigin {
    session: usize,
    seq: u64,
    piece: u32,
}

impl ReplicaBatch {
    /// Creates an empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry. Its ID and its line number must be above those of the entry before.
    ///
    /// # Errors
    /// The entry is too large to be stored.
    pub fn push(
        &mut self,
        id: EntryId,
        line: u64,
        body: &EntryBody<'_>,
        origin: Origin<'_>,
    ) -> Result<(), JournalError> {
        block::encode_body(&mut self.encoded, body)?;
        let origin = match origin {
            Origin::Numbered { session, seq, piece } => {
                Some(ReplicaOrigin { session: self.session_index(session), seq, piece })
            }
            Origin::Unnumbered | Origin::Unknown => None,
        };
        let (end, text_bytes, own) = (self.encoded.len(), body.text_bytes(), body.is_own());
        self.items.push(ReplicaItem { end, id, line, text_bytes, skipped: skipped_lines(body), own, origin });
        Ok(())
    }

    fn session_index(&mut self, session: &str) -> usize {
        self.sessions.iter().rposition(|known| known == session).unwrap_or_else(|| {
            self.sessions.push(session.to_owned());
            self.sessions.len() - 1
        })
    }

    /// Reports whether the batch has no entries.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns the bytes that the batch occupies in the queue.
    pub fn bytes(&self) -> usize {
        self.encoded.len() + self.items.len() * size_of::<ReplicaItem>()
    }
}

/// Returns the number of lines that a body reports as dropped by the worker.
fn skipped_lines(body: &EntryBody<'_>) -> u64 {
    match body {
        EntryBody::Line(line) if line.channel == Channel::Internal => GapMarker::parse(&line.text)
            .filter(|mark| matches!(mark.reason, GapReason::Skipped | GapReason::Quota))
            .map_or(0, |mark| mark.count),
        _ => 0,
    }
}

impl StreamState {
    /// Adds the entries that are after the last line. Returns the last line number.
    ///
    /// # Errors
    /// [`JournalError::Diverged`] if an entry cannot follow: its ID is not above the last one, or too many are missing
    /// before it.
    pub(super) fn replicate(&mut self, cx: &WriteContext<'_>, batch: &ReplicaBatch) -> Result<u64, JournalError> {
        let mut start = 0;
        for item in &batch.items {
            let body = &batch.encoded[start..item.end];
            start = item.end;
            if item.line <= self.tip.last_line {
                continue;
            }
            self.fill_up_to(cx, item)?;
            if item.id <= self.tip.last_id {
                return Err(JournalError::Diverged { line: self.tip.last_line });
            }
            let origin = match item.origin {
                Some(ReplicaOrigin { session, seq, piece }) => {
                    let session = &batch.sessions[session];
                    self.current_session = Some((session.clone(), seq));
                    Origin::Numbered { session, seq, piece }
                }
                None => Origin::Unnumbered,
            };
            let decoded = if self.nodes.is_some() { Some(block::decode_body(body)?) } else { None };
            self.push_entry(cx, item.id, body, decoded.as_ref(), origin)?;
            self.tip.total_bytes += item.text_bytes;
            self.tip.total_skipped = self.tip.total_skipped.saturating_add(item.skipped);
            self.tip.own_lines += u64::from(item.own);
            if let Some((session, seq)) = self.current_session.take() {
                self.record_session(&session, seq);
            }
        }
        Ok(self.tip.last_line)
    }

    fn record_session(&mut self, session: &str, seq: u64) {
        if self.sessions.last().is_none_or(|(name, last)| name != session || *last < seq) {
            touch_session(&mut self.sessions, session, seq);
        }
        if let Some(open) = self.open_block.as_mut() {
            open.record_session(session, seq);
        }
    }

    /// Adds tombstones for the line numbers before an entry that the source lacks.
    fn fill_up_to(&mut self, cx: &WriteContext<'_>, item: &ReplicaItem) -> Result<(), JournalError> {
        let missing = item.line - self.tip.last_line - 1;
        if missing == 0 {
            return Ok(());
        }
        if missing > TOMBSTONES_MAX {
            return Err(JournalError::Diverged { line: self.tip.last_line });
        }
        let mut body = Vec::new();
        block::encode_body(&mut body, &EntryBody::DELETED)?;
        for _ in 0..missing {
            // The IDs of the missing entries were between those of their neighbours, so there is one for each.
            let last = self.tip.last_id;
            let id = EntryId::new(last.ms, last.seq.saturating_add(1));
            let id = if last == EntryId::MIN { EntryId::new(0, 1) } else { id };
            if id >= item.id {
                return Err(JournalError::Diverged { line: self.tip.last_line });
            }
            let decoded = self.nodes.is_some().then_some(EntryBody::DELETED);
            self.push_entry(cx, id, &body, decoded.as_ref(), Origin::Unnumbered)?;
            self.tip.shown_len -= 1;
        }
        Ok(())
    }
}

impl Journal {
    /// Returns the stream with this name and incarnation for a copy of another journal. A stream of another incarnation is
    /// replaced, and its readers see it as removed.
    pub async fn replica_stream(&self, name: &[u8], incarnation: u64) -> Result<Arc<Stream>, JournalError> {
        if let Some(stream) = self.stream(name)? {
            if stream.incarnation() == incarnation {
                return Ok(stream);
            }
            self.remove(&stream).await?;
        }
        let number = self.inner.store.next_stream_number()?;
        let key = KeyRecord { shown_line: 1, ..KeyRecord::default() };
        let record = StreamRecord { number, incarnation, first_line: 1, key, ..StreamRecord::default() };
        self.inner.store.put_stream(name, &record)?;
        self.inner.streams.replace(&self.inner.store, name, record)
    }

    /// Appends the entries of another journal that are after the last line of `stream`. Returns the last line number
    /// once they are published.
    ///
    /// # Errors
    /// [`JournalError::Diverged`] if the stream is not a prefix of the other journal.
    pub async fn replicate(&self, stream: &Arc<Stream>, batch: ReplicaBatch) -> Result<u64, JournalError> {
        let permit = self.reserve(batch.bytes()).await?;
        self.request(|reply| WriteCommand::Replicate { stream: stream.clone(), batch, permit, reply }).await
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::journal::{Durability, PageLimits};
    use crate::model::{LineText, Timestamp};

    fn line(text: &str) -> EntryBody<'_> {
        EntryBody::Line(LineText { timestamp: Timestamp::from_millis(7), text: text.into(), ..LineText::default() })
    }

    fn numbered(seq: u64) -> Origin<'static> {
        Origin::Numbered { session: "s", seq, piece: 0 }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn entries_keep_ids_numbers_and_origins() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), Durability::Interval).unwrap();
        let stream = journal.stream_or_new(b"task:logs:1").unwrap();
        for _ in 0..2 {
            // The second round is a repeat.
            let mut batch = ReplicaBatch::new();
            batch.push(EntryId::new(5, 0), 1, &line("a"), numbered(1)).unwrap();
            batch.push(EntryId::new(5, 4), 2, &line("b"), numbered(2)).unwrap();
            assert_eq!(journal.replicate(&stream, batch).await.unwrap(), 2);
        }
        let mut batch = ReplicaBatch::new();
        batch.push(EntryId::new(9, 0), 5, &line("e"), Origin::Unnumbered).unwrap();
        assert_eq!(journal.replicate(&stream, batch).await.unwrap(), 5);
        let page = journal.read(&stream, 1, PageLimits::default()).unwrap();
        let found: Vec<_> =
            page.lines.iter().map(|line| (line.n, line.id.to_string(), line.line.to_string())).collect();
        let deleted = "[line deleted]".to_owned();
        let expected = [
            (1, "5-0".to_owned(), "a".to_owned()),
            (2, "5-4".into(), "b".into()),
            (3, "5-5".into(), deleted.clone()),
            (4, "5-6".into(), deleted),
            (5, "9-0".into(), "e".into()),
        ];
        assert_eq!(found, expected);
        assert_eq!(stream.acked_seq("s"), 2);
        assert_eq!(stream.tip().shown_len, 3, "tombstones are not entries of the key");
        let mut origins = Vec::new();
        journal
            .scan(&stream, 1, 5, |_, origin| {
                origins.push(matches!(origin, Origin::Numbered { .. }));
                ControlFlow::<()>::Continue(())
            })
            .unwrap();
        assert_eq!(origins, [true, true, false, false, false]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn entry_that_cannot_follow_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), Durability::Interval).unwrap();
        let stream = journal.stream_or_new(b"task:logs:1").unwrap();
        let mut batch = ReplicaBatch::new();
        batch.push(EntryId::new(5, 0), 1, &line("a"), numbered(1)).unwrap();
        journal.replicate(&stream, batch).await.unwrap();
        for (id, n) in [(EntryId::new(4, 0), 2), (EntryId::new(9, 0), TOMBSTONES_MAX + 3), (EntryId::new(5, 1), 3)] {
            let mut batch = ReplicaBatch::new();
            batch.push(id, n, &line("x"), numbered(2)).unwrap();
            let error = journal.replicate(&stream, batch).await.unwrap_err();
            assert!(matches!(error, JournalError::Diverged { line: 1.. }), "{error}");
        }
    }
}
